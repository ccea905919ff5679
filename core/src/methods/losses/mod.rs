//! Losses on logits, in closed form: value and gradient. Every engine takes the gradient from here.
//!
//! Each loss is one file: formula, paper, parameters with their ranges, tests. Most are decided by a batch alone (`batch`):
//! as a scalar times p − e_y (`SampleLoss`), sample by sample, or all together. Those that remember something are a
//! [`Criterion`] of their own.

mod batch;
mod cce;
mod criterion;
mod device;
mod dmi;
mod forward;
mod gce;
mod imae;
mod inverse;
mod lccn;
mod mae;
mod mse;
mod rce;
mod sce;
mod state;
mod truncated_gce;
mod unhinged;

pub use cce::Cce;
pub use criterion::{Criterion, Setting, Step};
pub use device::{DeviceLoss, Latent, Learned};
pub use dmi::{Dmi, DmiMatrix};
pub use forward::Forward;
pub use gce::Gce;
pub use imae::{Imae, Normalise};
pub use lccn::Lccn;
pub use mae::Mae;
pub use mse::Mse;
pub use rce::Rce;
pub use sce::Sce;
pub use truncated_gce::TruncatedGce;
pub use unhinged::Unhinged;

use crate::input::Fields;
use batch::BatchLoss;
use criterion::Stateless;
use serde::{Deserialize, Serialize};

macro_rules! losses {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+) => {
        /// A loss and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum Loss {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant($variant),)+
        }

        impl Loss {
            /// The names that a sweep file may use.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Reads the parameters of the loss called `name`, one of [`Loss::NAMES`].
            pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Loss> {
                match name {
                    $($name => Some(Loss::$variant($variant::read(fields))),)+
                    _ => None,
                }
            }

            fn method(&self) -> &dyn Method {
                match self { $(Loss::$variant(loss) => loss),+ }
            }
        }
    };
}

losses! {
    /// Categorical cross entropy.
    Cce "cce",
    /// Mean absolute error.
    Mae "mae",
    /// Mean absolute error without its factor 2.
    Unhinged "unhinged",
    /// Mean squared error.
    Mse "mse",
    /// Reverse cross entropy.
    Rce "rce",
    /// Symmetric cross entropy.
    Sce "sce",
    /// Improved mean absolute error.
    Imae "imae",
    /// Determinant-based mutual information.
    Dmi "dmi",
    /// Forward correction by a transition matrix.
    Forward "forward",
    /// Latent class-conditional noise.
    Lccn "lccn",
    /// Truncated L_q.
    TruncatedGce "truncated-gce",
    /// Generalised cross entropy, L_q.
    Gce "gce",
}

impl Loss {
    /// Whether it needs an estimate of the transition matrix, which another job's network makes.
    pub fn estimates_transition(&self) -> bool {
        matches!(self, Loss::Forward(Forward::Estimated { .. }))
    }

    /// The loss at work.
    ///
    /// # Errors
    /// If it needs a transition matrix and there is none in `setting`, or one that cannot be.
    pub fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        self.method().criterion(setting)
    }

    /// The loss of a batch and its gradient with respect to the logits; NaN where a batch alone does not decide them (see
    /// [`Loss::criterion`]).
    ///
    /// `logits` and `gradient` are `[labels.len() × classes]`, a row a sample; most losses are means, and so are their gradients.
    ///
    /// # Panics
    /// If the lengths disagree, or a label is not below `classes`.
    pub fn value_and_gradient(&self, logits: &[f32], classes: usize, labels: &[u32], gradient: &mut [f32]) -> f64 {
        let Some(loss) = self.method().batch_loss() else {
            gradient.fill(f32::NAN);
            return f64::NAN;
        };
        criterion::value_and_gradient(loss, logits, classes, labels, gradient)
    }
}

/// What a loss makes of its parameters.
trait Method {
    /// The loss at work.
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String>;

    /// The loss itself, where a batch alone decides it.
    fn batch_loss(&self) -> Option<&dyn BatchLoss> {
        None
    }
}

impl<L: BatchLoss + Clone + Send + 'static> Method for L {
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        Ok(Box::new(Stateless { loss: self.clone(), classes: setting.classes }))
    }

    fn batch_loss(&self) -> Option<&dyn BatchLoss> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;

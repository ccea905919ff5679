//! All losses by name.

use super::criterion::{self, Criterion, Setting};
use super::method::Method;
use super::{Cce, Dmi, Forward, Gce, Imae, Lccn, Mae, Mse, Rce, Sce, TruncatedGce, Unhinged};
use crate::input::fields::Record;
use crate::input::{Declaration, Fields};
use serde::{Deserialize, Serialize};

/// A loss as its reference page describes it.
#[derive(Clone, Debug)]
pub struct LossReference {
    /// The name in a sweep file.
    pub name: &'static str,
    /// The name in full.
    pub title: &'static str,
    /// The loss of a sample, or of a batch, and its gradient.
    pub formula: &'static str,
    /// Paper and equation, and deviations from them.
    pub source: &'static str,
    /// The parameters.
    pub parameters: Vec<Declaration>,
}

macro_rules! losses {
    ($(#[doc = $doc:literal] $variant:ident $name:literal,)+) => {
        /// A loss and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum Loss {
            $(#[doc = $doc] #[serde(rename = $name)] $variant($variant),)+
        }

        impl Loss {
            /// The names of all losses in sweep files.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Reads the parameters of the loss `name`; `None` for an unknown name.
            pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Loss> {
                match name {
                    $($name => {
                        fields.describe($doc.trim_ascii());
                        Some(Loss::$variant($variant::read(fields)))
                    })+
                    _ => None,
                }
            }

            /// The reference of all losses, from their declarations.
            pub fn reference() -> Vec<LossReference> {
                vec![$(LossReference {
                    name: $name,
                    title: $doc.trim_ascii(),
                    formula: $variant::FORMULA,
                    source: $variant::SOURCE,
                    parameters: Record::of(|fields| _ = $variant::read(fields)).keys,
                }),+]
            }

            pub(super) fn method(&self) -> &dyn Method {
                match self { $(Loss::$variant(loss) => loss),+ }
            }
        }
    };
}

losses! {
    /// Categorical cross entropy
    Cce "cce",
    /// Mean absolute error
    Mae "mae",
    /// Unhinged loss: mean absolute error without its factor 2
    Unhinged "unhinged",
    /// Mean squared error
    Mse "mse",
    /// Reverse cross entropy
    Rce "rce",
    /// Symmetric cross entropy
    Sce "sce",
    /// Improved mean absolute error
    Imae "imae",
    /// Determinant-based mutual information
    Dmi "dmi",
    /// Forward correction with a transition matrix
    Forward "forward",
    /// Latent class-conditional noise
    Lccn "lccn",
    /// Truncated generalised cross entropy
    TruncatedGce "truncated-gce",
    /// Generalised cross entropy, L_q
    Gce "gce",
}

impl Loss {
    /// Whether the loss needs an estimate of the transition matrix from another job's network.
    pub fn estimates_transition(&self) -> bool {
        matches!(self, Loss::Forward(Forward::Estimated { .. }))
    }

    /// The loss for one training run.
    ///
    /// # Errors
    /// If the loss needs a transition matrix that `setting` lacks, or one that does not fit.
    pub fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        self.method().criterion(setting)
    }

    /// Returns the loss of a batch and writes its gradient with respect to the logits. Both are NaN if the loss depends on
    /// more than the batch (see [`Loss::criterion`]).
    ///
    /// `logits` and `gradient` are `[labels.len() × classes]`, one row per sample.
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

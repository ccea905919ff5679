//! Losses on logits in closed form: value and gradient. Every engine takes the gradient from here.
//!
//! Each loss is one file with its formula, paper, parameters and tests. Most depend on a batch alone (`batch`): as a scalar
//! times p − e_y (`SampleLoss`), sample by sample (`RowLoss`), or as a whole (`BatchLoss`). Losses with a state implement
//! [`Criterion`] themselves.
//!
//! Notation: z are the logits of a sample, `[classes]`; p = softmax(z); y is the given label and e_y its one-hot vector.
//! Gradients are with respect to z. Loss and gradient of a batch are means over its samples, unless a loss states otherwise.

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
mod loss;
mod mae;
mod method;
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
pub use loss::{Loss, LossReference};
pub use mae::Mae;
pub use mse::Mse;
pub use rce::Rce;
pub use sce::Sce;
pub use truncated_gce::TruncatedGce;
pub use unhinged::Unhinged;

#[cfg(test)]
mod tests;

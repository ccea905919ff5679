//! Losses in plain numbers, for a device that computes them by itself: which formula, and what it takes.
//!
//! A loss that has none is computed where its [`Criterion`](super::Criterion) is, and a step goes to its logits and back. One that has, has
//! it beside its own arithmetic in the loss's file; engines hold the two against each other in their tests.

use super::Lccn;

/// A loss as a device computes it from a batch's logits z, p = softmax(z), and given labels y. All but [`DeviceLoss::Determinant`] are means
/// over the samples of a batch, and so are their gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceLoss {
    /// α (−ln p_y) + β (1 − p_y^q)/q − bound, with the gradient (α + β p_y^q)(p − e_y). A factor of 0 leaves its term away.
    Powers {
        /// α
        alpha: f64,
        /// β
        beta: f64,
        /// q, not 0 where β is not.
        q: f64,
        /// What is taken from each sample's value.
        bound: f64,
        /// Which samples of the training file are in use, where that is not all: the others have value and gradient 0, and count.
        kept: Option<Vec<bool>>,
    },
    /// ‖p − e_y‖².
    Squares,
    /// MAE's value, and the gradient −w/2 in z_y, (w/2) p_j/(1 − p_y) elsewhere, with w = exp(T p_y (1 − p_y)).
    Imae {
        /// T
        t: f64,
        /// Whether gradients are divided by the batch's sum of w instead of the number of its samples.
        by_weight: bool,
    },
    /// −ln Σ_i p_i T_{iy}.
    Forward {
        /// ln T, given label by given label: `log_transition[y * classes + i]`.
        log_transition: Vec<f64>,
    },
    /// −ln(|det M| + ε) of the batch, M the counts of given labels against predictions.
    Determinant {
        /// ε
        epsilon: f64,
        /// Whether M is divided by the number of samples.
        normalised: bool,
    },
    /// CCE on labels that are drawn from the posterior of the true one, one number in 0..1 a sample in the batch's order.
    Latent(Latent),
}

/// Where latent class-conditional noise stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// The loss's parameters.
    pub loss: Lccn,
    /// How far it has come.
    pub learned: Learned,
}

impl Latent {
    /// Whether T is found anew from the counts before the step that comes after so many.
    pub fn refreshes(&self, steps: u64) -> bool {
        self.loss.refreshes(steps)
    }
}

/// What a loss has learned in the steps that a device took by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Steps so far.
    pub steps: u64,
    /// T, row by row, T\[true\]\[given\].
    pub transition: Vec<f64>,
    /// The latent label of every sample of the training file; nothing for those that have none yet.
    pub latent: Vec<Option<u32>>,
}

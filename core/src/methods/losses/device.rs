//! Losses as plain numbers, for a device that computes them itself.
//!
//! A loss without such a form is computed on the host by its [`Criterion`](super::Criterion) in every step. The tests of the engines
//! compare both forms of a loss.

use super::lccn::Lccn;

/// A loss as a device computes it from a batch's logits z, p = softmax(z), and given labels y. All except [`DeviceLoss::Determinant`] are means
/// over the samples of a batch, and so are their gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceLoss {
    /// α (−ln p_y) + β (1 − p_y^q)/q − bound, with the gradient (α + β p_y^q)(p − e_y). A factor of 0 removes its term.
    Powers {
        /// α
        alpha: f64,
        /// β
        beta: f64,
        /// q; not 0 unless β is.
        q: f64,
        /// Subtracted from the value of each sample.
        bound: f64,
        /// Which samples of the training file are in use; `None` for all. The others have value and gradient 0 but count in the
        /// mean.
        kept: Option<Vec<bool>>,
    },
    /// ‖p − e_y‖².
    Squares,
    /// MAE's value, and the gradient −w/2 in z_y, (w/2) p_j/(1 − p_y) elsewhere, with w = exp(T p_y (1 − p_y)).
    Imae {
        /// T
        t: f64,
        /// Whether gradients are divided by the sum of w of the batch instead of its number of samples.
        by_weight: bool,
    },
    /// −ln Σ_i p_i T_{iy}.
    Forward {
        /// ln T by columns: `log_transition[y * classes + i]`.
        log_transition: Vec<f64>,
    },
    /// −ln(|det M| + ε) of the batch, with M the counts of given labels against predictions.
    Determinant {
        /// ε
        epsilon: f64,
        /// Whether M is divided by the number of samples.
        normalised: bool,
    },
    /// CCE on labels drawn from the posterior of the true label, with one number in 0..1 per sample in the order of the batch.
    Latent(Latent),
}

/// Latent class-conditional noise with its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// The loss's parameters.
    pub loss: Lccn,
    /// The state.
    pub learned: Learned,
}

impl Latent {
    /// Whether T is re-estimated after `steps` steps.
    pub fn refreshes(&self, steps: u64) -> bool {
        self.loss.refreshes(steps)
    }
}

/// The state of a loss after steps on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Number of steps.
    pub steps: u64,
    /// T\[true\]\[given\] by rows, `[classes × classes]`.
    pub transition: Vec<f64>,
    /// The latent label of each sample of the training file; `None` for samples without one.
    pub latent: Vec<Option<u32>>,
}

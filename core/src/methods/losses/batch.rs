//! Losses that depend on a batch alone. They compute in `f64` and sum in the order of the samples.

use super::DeviceLoss;
use crate::logits;

/// Logits and labels of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    /// One row per sample, `[labels.len() × classes]`.
    pub(super) logits: &'a [f64],
    pub(super) classes: usize,
    /// Each below `classes`.
    pub(super) labels: &'a [u32],
}

impl<'a> Batch<'a> {
    /// The row of logits and the label of each sample.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&'a [f64], usize)> + use<'a> {
        self.logits.chunks_exact(self.classes).zip(self.labels).map(|(row, label)| (row, *label as usize))
    }
}

/// A loss that depends on a batch alone.
pub(super) trait BatchLoss {
    /// Returns the loss of the batch and writes its gradient with respect to the logits, if `gradient` is given.
    fn batch(&self, batch: Batch<'_>, gradient: Option<&mut [f64]>) -> f64;

    /// The loss as a device computes it; `None` if no device can.
    fn on_device(&self) -> Option<DeviceLoss> {
        None
    }
}

/// A loss that is a mean over samples.
pub(super) trait RowLoss {
    /// Returns the loss of a sample and writes `weight` times its gradient, `[classes]`.
    fn row(&self, logits: &[f64], label: usize, weight: f64, gradient: &mut [f64]) -> f64;

    /// The loss as a device computes it; `None` if no device can.
    fn on_device(&self) -> Option<DeviceLoss> {
        None
    }
}

/// A mean over samples of a function of p_y. Its gradient is c (p − e_y), which differs from that of CCE only by the scalar c.
pub(super) trait SampleLoss {
    /// The loss of a sample, and c, from ln p_y.
    fn value_and_scale(&self, log_p: f64) -> (f64, f64);

    /// α, β and q, if the loss is α (−ln p) + β (1 − p^q)/q.
    fn powers(&self) -> Option<[f64; 3]> {
        None
    }
}

impl<L: RowLoss> BatchLoss for L {
    fn batch(&self, batch: Batch<'_>, gradient: Option<&mut [f64]>) -> f64 {
        let weight = 1.0 / batch.labels.len() as f64;
        let mut total = 0.0;
        match gradient {
            Some(gradient) => {
                for ((row, label), gradient) in batch.rows().zip(gradient.chunks_exact_mut(batch.classes)) {
                    total += self.row(row, label, weight, gradient);
                }
            }
            None => {
                let mut unused = vec![0.0; batch.classes];
                for (row, label) in batch.rows() {
                    total += self.row(row, label, weight, &mut unused);
                }
            }
        }
        total * weight
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        RowLoss::on_device(self)
    }
}

impl<L: SampleLoss> RowLoss for L {
    fn row(&self, logits: &[f64], label: usize, weight: f64, gradient: &mut [f64]) -> f64 {
        let log_normaliser = log_sum_exp(logits);
        let (value, scale) = self.value_and_scale(logits[label] - log_normaliser);
        // 1 − p_y as a sum of the others avoids cancellation if p_y is near 1.
        let mut others = 0.0;
        for (j, (g, z)) in gradient.iter_mut().zip(logits).enumerate() {
            if j != label {
                let p = libm::exp(z - log_normaliser);
                others += p;
                *g = weight * scale * p;
            }
        }
        gradient[label] = -weight * scale * others;
        value
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        let [alpha, beta, q] = self.powers()?;
        Some(DeviceLoss::Powers { alpha, beta, q, bound: 0.0, kept: None })
    }
}

/// ln Σ exp z; NaN if the largest z is not finite.
pub(super) fn log_sum_exp(z: &[f64]) -> f64 {
    logits::log_sum_exp(z.iter().copied())
}

/// Writes softmax(z) to `p`.
pub(super) fn softmax(z: &[f64], p: &mut [f64]) {
    let log_normaliser = log_sum_exp(z);
    for (p, z) in p.iter_mut().zip(z) {
        *p = libm::exp(z - log_normaliser);
    }
}

/// Replaces the entry at the largest logit by minus the sum of the others: the gradient sums to 0, and cancellation makes this
/// entry inaccurate.
pub(super) fn balance(logits: &[f64], gradient: &mut [f64]) {
    let largest = logits::largest(logits);
    let others: f64 = gradient.iter().enumerate().filter(|(j, _)| *j != largest).map(|(_, g)| g).sum();
    gradient[largest] = -others;
}

/// The values in `f64`.
pub(super) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Runs `loss` in `f64` and rounds its gradient to `f32`; returns its value.
pub(super) fn rounded(gradient: &mut [f32], loss: impl FnOnce(&mut [f64]) -> f64) -> f64 {
    let mut exact = vec![0.0; gradient.len()];
    let value = loss(&mut exact);
    for (rounded, exact) in gradient.iter_mut().zip(&exact) {
        *rounded = *exact as f32;
    }
    value
}

/// # Panics
/// If the lengths disagree.
pub(super) fn check_lengths(logits: &[f32], classes: usize, labels: &[u32], gradient: &[f32]) {
    assert_eq!(logits.len(), labels.len() * classes, "one row of logits per label");
    assert_eq!(gradient.len(), logits.len(), "one gradient per logit");
}

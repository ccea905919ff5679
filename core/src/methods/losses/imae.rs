//! Improved MAE: defined by its gradient, ∂/∂z_y = −w/2 and ∂/∂z_j = (w/2) p_j/(1 − p_y) with w = exp(T p_y (1 − p_y)).
//!
//! Wang, Hua, Kodirov & Robertson, "IMAE for Noise-Robust Learning: Mean Absolute Error Does Not Treat Examples Equally and
//! Gradient Magnitude's Variance Matters" (2019). The L1 norm of a sample's gradient is w; that of MAE is 4 p_y (1 − p_y).
//! No function has this gradient; the value is that of MAE. A later survey prints exp(T p)(1 − p), a misplaced parenthesis:
//! with it the variance of w over p in 0..1 is 2182 at T = 8, but the authors print 4.55.

use super::DeviceLoss;
use super::batch::{Batch, BatchLoss, SampleLoss, log_sum_exp};
use super::mae::Mae;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// MAE with gradients of the L1 norm exp(T p_y (1 − p_y)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imae {
    /// T, 0 ≤ T ≤ 100 (T = 0: all samples weigh the same); the authors use 8 for CIFAR-10 and Clothing1M, 2 for CIFAR-100.
    pub t: f64,
    /// The divisor of a batch's gradients.
    pub normalise: Normalise,
}

/// The divisor of a batch's sum of gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// The number of its samples, as in the paper.
    Mean,
    /// The sum of its samples' w, as in the first author's later programs.
    BatchWeight,
}

impl Imae {
    pub(super) const FORMULA: &'static str = "value 2 (1 − p_y), that of MAE; gradient −w/2 for class y and (w/2) p_j/(1 − p_y) for the others, \
        with w = exp(T p_y (1 − p_y))";

    pub(super) const SOURCE: &'static str = "Wang, Hua, Kodirov & Robertson, \"IMAE for Noise-Robust Learning: Mean Absolute Error Does Not Treat \
        Examples Equally and Gradient Magnitude's Variance Matters\" (2019). The loss is defined by its \
        gradient; no function has this gradient.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        const NORMALISE: [(&str, Normalise); 2] = [("mean", Normalise::Mean), ("batch-weight", Normalise::BatchWeight)];
        Imae {
            t: fields
                .about(
                    "T; 0 weighs all samples equally; the authors use 8 for CIFAR-10 and Clothing1M, 2 for CIFAR-100",
                )
                .number("t")
                .at_least(0.0)
                .at_most(100.0)
                .or(8.0),
            normalise: fields
                .about("divide the gradients of a batch by its number of samples, or by the sum of w")
                .choice("normalise", &NORMALISE)
                .or(Normalise::Mean),
        }
    }

    /// w = exp(T p_y (1 − p_y)).
    fn weight(&self, log_p: f64) -> f64 {
        libm::exp(-self.t * libm::exp(log_p) * libm::expm1(log_p))
    }
}

impl BatchLoss for Imae {
    fn batch(&self, batch: Batch<'_>, gradient: Option<&mut [f64]>) -> f64 {
        let log_p: Vec<f64> = batch.rows().map(|(row, label)| row[label] - log_sum_exp(row)).collect();
        let total: f64 = log_p.iter().map(|log_p| Mae {}.value_and_scale(*log_p).0).sum();
        let samples = log_p.len() as f64;
        let Some(gradient) = gradient else { return total / samples };
        let divisor = match self.normalise {
            Normalise::Mean => samples,
            Normalise::BatchWeight => log_p.iter().map(|log_p| self.weight(*log_p)).sum(),
        };
        let mut others = Vec::with_capacity(batch.classes);
        for (((row, label), log_p), g) in batch.rows().zip(&log_p).zip(gradient.chunks_exact_mut(batch.classes)) {
            let half = self.weight(*log_p) / divisor / 2.0;
            // p_j/(1 − p_y) is softmax over the other classes, which is defined even if p_y is 1.
            others.clear();
            others.extend(row.iter().enumerate().filter(|(j, _)| *j != label).map(|(_, z)| *z));
            let log_others = log_sum_exp(&others);
            for (g, z) in g.iter_mut().zip(row) {
                *g = half * libm::exp(z - log_others);
            }
            g[label] = -half;
        }
        total / samples
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        Some(DeviceLoss::Imae { t: self.t, by_weight: self.normalise == Normalise::BatchWeight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAE: Imae = Imae { t: 8.0, normalise: Normalise::Mean };

    fn gradient(loss: &Imae, logits: &[f64], classes: usize, labels: &[u32]) -> Vec<f64> {
        let mut gradient = vec![f64::NAN; logits.len()];
        loss.batch(Batch { logits, classes, labels }, Some(&mut gradient));
        gradient
    }

    /// The variance of the L1 norm of a sample's gradient, p_y uniform in 0..1, by the midpoint rule over two classes.
    fn variance_of_the_norm(t: f64) -> f64 {
        const POINTS: usize = 20_000;
        let norm = |i: usize| {
            let p = (i as f64 + 0.5) / POINTS as f64;
            let g = gradient(&Imae { t, ..IMAE }, &[(p / (1.0 - p)).ln(), 0.0], 2, &[0]);
            g[0].abs() + g[1].abs()
        };
        let (mut sum, mut squares) = (0.0, 0.0);
        for w in (0..POINTS).map(norm) {
            sum += w;
            squares += w * w;
        }
        let mean = sum / POINTS as f64;
        squares / POINTS as f64 - mean * mean
    }

    #[test]
    fn the_gradients_norm_has_the_variance_that_the_paper_prints() {
        let variance = variance_of_the_norm(8.0);
        assert!((variance - 4.546).abs() < 1e-3, "{variance}: 2182 is exp(T p)(1 − p)");
        assert!(variance_of_the_norm(0.0).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_the_papers_for_any_number_of_classes() {
        for classes in [2, 10, 14, 100] {
            let logits: Vec<f64> = (0..classes).map(|j| ((j * 7919) % 13) as f64 / 3.0 - 2.0).collect();
            let sum: f64 = logits.iter().map(|z| z.exp()).sum();
            let p: Vec<f64> = logits.iter().map(|z| z.exp() / sum).collect();
            let w = (8.0 * p[1] * (1.0 - p[1])).exp();
            for (j, g) in gradient(&IMAE, &logits, classes, &[1]).iter().enumerate() {
                let expected = if j == 1 { -w / 2.0 } else { w / 2.0 * p[j] / (1.0 - p[1]) };
                assert!((g - expected).abs() < 1e-12 * expected.abs(), "{classes}: {g} against {expected}");
            }
        }
    }

    #[test]
    fn a_learned_sample_has_a_finite_gradient() {
        // 1 − p_y is 0 in f64, and its weight 1.
        let g = gradient(&IMAE, &[1e4, 1.0, 1.0], 3, &[0]);
        assert!(g.iter().zip([-0.5, 0.25, 0.25]).all(|(g, expected)| (g - expected).abs() < 1e-15));
    }

    #[test]
    fn by_batch_weight_the_norms_of_a_batch_sum_to_one() {
        let (logits, labels) = ([0.3, -0.2, 2.0, -1.0, 4.0, 0.0], [0, 1]);
        let by_weight = gradient(&Imae { normalise: Normalise::BatchWeight, ..IMAE }, &logits, 3, &labels);
        assert!((by_weight.iter().map(|g| g.abs()).sum::<f64>() - 1.0).abs() < 1e-14);
        // Equal to the gradient by mean, up to one factor.
        let by_mean = gradient(&IMAE, &logits, 3, &labels);
        let factor = by_weight[0] / by_mean[0];
        assert!(by_weight.iter().zip(&by_mean).all(|(a, b)| (a - factor * b).abs() < 1e-14));
    }
}

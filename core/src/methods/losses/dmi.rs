//! Determinant-based mutual information: −ln(|det M| + ε), M = Σ_i e_{y_i} p_iᵀ, `[classes × classes]`: counts of given labels
//! against predictions.
//!
//! Xu, Cao, Kong & Wang, "L_DMI: A Novel Information-theoretic Loss Function for Training Deep Nets Robust to Label Noise"
//! (2019). The paper's M is a joint distribution, M/N here; three of the authors' four programs use M. With ε = 1e-3 this
//! decides whether the network learns: with ten classes |det M/N| is at most 1e-10, which scales the gradient by 1e-7.
//! Instance-independent noise multiplies the determinant by a constant, so the loss shifts by a constant. The loss is of a
//! batch, not a mean over its samples, so its gradient is not divided by N. It is negative if |det M| is above 1. The network
//! must first be trained with CCE: near equal predictions the gradient is 0.
//!
//! Gradient: v_i = −|det M|/(|det M| + ε) (M⁻ᵀ)_{y_i,:} and g_i = p_i ⊙ (v_i − ⟨p_i, v_i⟩). If M is singular, the value is −ln ε, the limit
//! from both sides, and the gradient is 0:
//! - If a class is missing from the batch (always so for N < C), the determinant is 0 for all logits.
//! - If the rank is C − 2 or less for another reason, the first-order term of the determinant is 0.
//! - If the rank is C − 1 with all classes present, |det M| has a kink. Its subgradients form a segment around 0, and 0 is
//!   used, as usual for |x| at 0. The sign of a one-sided derivative would depend on rounding.

use super::DeviceLoss;
use super::batch::{Batch, BatchLoss, balance, softmax};
use super::inverse::inverse;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// −ln(|det M| + ε).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dmi {
    /// ε > 0, keeps the logarithm finite; 1e-3 in the authors' programs.
    pub epsilon: f64,
    /// The matrix whose determinant is taken.
    pub matrix: DmiMatrix,
}

/// The matrix of given labels against predictions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DmiMatrix {
    /// M, whose entries sum to N.
    Count,
    /// M/N, whose entries sum to 1.
    Normalised,
}

impl Dmi {
    pub(super) const FORMULA: &'static str = "−ln(|det M| + ε) of a batch of N samples, M = Σ_i e_{y_i} p_iᵀ; gradient of sample i: p_i ⊙ (v_i − \
        ⟨p_i, v_i⟩) with v_i = −|det M|/(|det M| + ε) (M⁻ᵀ)_{y_i,:}, and 0 if M is singular";

    pub(super) const SOURCE: &'static str = "Xu, Cao, Kong & Wang, \"L_DMI: A Novel Information-theoretic Loss Function for Training Deep Nets \
        Robust to Label Noise\" (2019). Needs a network that was first trained with CCE (`parent`): near \
        equal predictions the gradient is 0. The loss is of the batch, not a mean over its samples.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        const MATRIX: [(&str, DmiMatrix); 2] = [("count", DmiMatrix::Count), ("normalised", DmiMatrix::Normalised)];
        Dmi {
            epsilon: fields.about("ε, keeps the logarithm finite").number("epsilon").above(0.0).or(1e-3),
            matrix: fields.about("M as counts, or `normalised`: M/N").choice("matrix", &MATRIX).or(DmiMatrix::Count),
        }
    }
}

impl BatchLoss for Dmi {
    fn batch(&self, batch: Batch<'_>, gradient: Option<&mut [f64]>) -> f64 {
        let classes = batch.classes;
        let mut p = vec![0.0; batch.logits.len()];
        let mut counts = vec![0.0; classes];
        // The mean prediction of each given label; M is these rows times the counts. Rows that sum to 1 make it possible to
        // tell a pivot from a rounding error.
        let mut means = vec![0.0; classes * classes];
        for ((row, label), p) in batch.rows().zip(p.chunks_exact_mut(classes)) {
            softmax(row, p);
            counts[label] += 1.0;
            means[label * classes..][..classes].iter_mut().zip(&*p).for_each(|(mean, p)| *mean += p);
        }
        if p.iter().any(|p| p.is_nan()) {
            if let Some(gradient) = gradient {
                gradient.fill(f64::NAN);
            }
            return f64::NAN;
        }
        for (mean, count) in means.chunks_exact_mut(classes).zip(&counts) {
            mean.iter_mut().for_each(|mean| *mean /= count);
        }
        let log_epsilon = libm::log(self.epsilon);
        let rounding = 16.0 * classes as f64 * f64::EPSILON;
        let found = if counts.contains(&0.0) { None } else { inverse(classes, means, rounding) };
        let Some(found) = found else {
            if let Some(gradient) = gradient {
                gradient.fill(0.0);
            }
            return -log_epsilon;
        };
        let of_counts: f64 = counts.iter().map(|count| libm::log(*count)).sum();
        let of_samples = match self.matrix {
            DmiMatrix::Count => 0.0,
            DmiMatrix::Normalised => classes as f64 * libm::log(batch.labels.len() as f64),
        };
        let log_determinant = found.log_determinant + of_counts - of_samples;
        let above = log_determinant - log_epsilon;
        if let Some(gradient) = gradient {
            // |det|/(|det| + ε). Row y of M⁻ᵀ is that of the means divided by the count (the factor N of M/N cancels).
            let share = 1.0 / (1.0 + libm::exp(-above));
            for (((row, label), p), g) in
                batch.rows().zip(p.chunks_exact(classes)).zip(gradient.chunks_exact_mut(classes))
            {
                let v = |j: usize| -share * found.rows[j * classes + label] / counts[label];
                let mean: f64 = p.iter().enumerate().map(|(j, p)| p * v(j)).sum();
                for (j, (g, p)) in g.iter_mut().zip(p).enumerate() {
                    *g = p * (v(j) - mean);
                }
                balance(row, g);
            }
        }
        // −ln(|det| + ε), computed with logarithms so that a determinant of any size is representable.
        -(log_determinant.max(log_epsilon) + libm::log1p(libm::exp(-above.abs())))
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        Some(DeviceLoss::Determinant { epsilon: self.epsilon, normalised: self.matrix == DmiMatrix::Normalised })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Dmi = Dmi { epsilon: 1e-3, matrix: DmiMatrix::Count };
    const NORMALISED: Dmi = Dmi { matrix: DmiMatrix::Normalised, ..COUNT };
    const SINGULAR: f64 = 6.907755278982137;

    fn at(loss: &Dmi, logits: &[f64], classes: usize, labels: &[u32]) -> (f64, Vec<f64>) {
        let mut gradient = vec![f64::NAN; logits.len()];
        let value = loss.batch(Batch { logits, classes, labels }, Some(&mut gradient));
        assert_eq!(loss.batch(Batch { logits, classes, labels }, None).to_bits(), value.to_bits());
        (value, gradient)
    }

    /// Logits of a network that classifies `each` samples per class correctly and with certainty.
    fn perfect(classes: usize, each: usize, size: f64) -> (Vec<f64>, Vec<u32>) {
        let labels: Vec<u32> = (0..classes * each).map(|i| (i % classes) as u32).collect();
        let logits = labels.iter().flat_map(|y| (0..classes).map(move |j| if j == *y as usize { size } else { 0.0 }));
        (logits.collect(), labels)
    }

    #[test]
    fn with_two_classes_it_is_the_logarithm_of_the_cross_product() {
        let (logits, labels) = ([1.0, 0.2, -0.5, 0.3, 0.0, 2.0, 0.7, 0.1], [0, 0, 1, 1]);
        let p = |i: usize| 1.0 / (1.0 + f64::exp(logits[2 * i + 1] - logits[2 * i]));
        let (a, b) = (p(0) + p(1), p(2) + p(3));
        let determinant = a * (2.0 - b) - (2.0 - a) * b;
        let (value, gradient) = at(&COUNT, &logits, 2, &labels);
        assert!((value + (determinant.abs() + 1e-3f64).ln()).abs() < 1e-12);
        // det = 2 (a − b), so ∂/∂z of sample 0's first logit is −2 p (1 − p) sign/(|det| + ε).
        let expected = -2.0 * p(0) * (1.0 - p(0)) * determinant.signum() / (determinant.abs() + 1e-3);
        assert!((gradient[0] - expected).abs() < 1e-12 && (gradient[1] + expected).abs() < 1e-12);
        let normalised = at(&NORMALISED, &logits, 2, &labels).0;
        assert!((normalised + (determinant.abs() / 16.0 + 1e-3f64).ln()).abs() < 1e-12);
    }

    #[test]
    fn a_missing_class_gives_minus_ln_epsilon_and_no_gradient() {
        for classes in [2usize, 10, 14, 100] {
            let labels: Vec<u32> = (0..3 * classes).map(|i| (i % (classes - 1)) as u32).collect();
            let logits: Vec<f64> = (0..labels.len() * classes).map(|i| ((i * 31) % 17) as f64 / 4.0).collect();
            let (value, gradient) = at(&COUNT, &logits, classes, &labels);
            assert_eq!(value, SINGULAR);
            assert!(gradient.iter().all(|g| *g == 0.0));
        }
    }

    #[test]
    fn fewer_samples_than_classes_give_minus_ln_epsilon_and_no_gradient() {
        for classes in [2usize, 10, 14, 100] {
            let (logits, labels) = perfect(classes, 1, 5.0);
            let fewer = &labels[..classes - 1];
            let (value, gradient) = at(&NORMALISED, &logits[..fewer.len() * classes], classes, fewer);
            assert_eq!(value, SINGULAR);
            assert!(gradient.iter().all(|g| *g == 0.0));
        }
    }

    #[test]
    fn equal_predictions_give_minus_ln_epsilon_and_no_gradient() {
        for classes in [2usize, 3, 10, 14, 100] {
            for row in [vec![0.0; classes], (0..classes).map(|j| (j as f64).sin()).collect::<Vec<_>>()] {
                let labels: Vec<u32> = (0..7 * classes).map(|i| (i % classes) as u32).collect();
                let logits = row.repeat(labels.len());
                let (value, gradient) = at(&COUNT, &logits, classes, &labels);
                assert_eq!(value, SINGULAR);
                assert!(gradient.iter().all(|g| *g == 0.0), "{classes} classes");
            }
        }
    }

    #[test]
    fn at_the_kink_the_gradient_is_the_middle_of_both_sides() {
        // Rank C − 1 with all classes present: the gradient changes its sign.
        let at = |z| at(&COUNT, &[z, 0.0, 0.0, 0.0], 2, &[0, 1]).1;
        let (below, above) = (at(-1e-6), at(1e-6));
        assert!(below[0] > 200.0 && (below[0] + above[0]).abs() < 1.0);
        assert_eq!(at(0.0), [0.0; 4]);
    }

    #[test]
    fn a_perfect_classifier_has_counts_on_the_diagonal() {
        let (logits, labels) = perfect(10, 12, 50.0);
        let (value, gradient) = at(&COUNT, &logits, 10, &labels);
        assert!((value + 10.0 * 12f64.ln()).abs() < 1e-9, "negative loss is normal: {value}");
        // v = −M⁻ᵀ = −1/12 on the diagonal, and p_j = e⁻⁵⁰ elsewhere.
        let expected = (-50f64).exp() / 12.0;
        assert!((gradient[1] / expected - 1.0).abs() < 1e-9);
        assert!((gradient[0] / (-9.0 * expected) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn normalising_nearly_removes_the_gradient_of_a_perfect_classifier() {
        let (logits, labels) = perfect(10, 12, 6.0);
        let count = at(&COUNT, &logits, 10, &labels).1;
        let normalised = at(&NORMALISED, &logits, 10, &labels).1;
        let ratio = normalised[0] / count[0];
        // With p_y = 1 the ratio would be 10⁻¹⁰/ε = 1e-7.
        assert!(ratio > 1e-8 && ratio < 1.0001e-7, "{ratio}");
    }

    #[test]
    fn a_determinant_beyond_f64_has_a_value_and_a_gradient() {
        let (logits, labels) = perfect(100, 3000, 40.0);
        let (value, gradient) = at(&COUNT, &logits, 100, &labels);
        assert!((value + 100.0 * 3000f64.ln()).abs() < 1e-6);
        assert!(gradient.iter().all(|g| g.is_finite()));
        let (logits, labels) = perfect(100, 2, 1.0);
        let (value, gradient) = at(&NORMALISED, &logits, 100, &labels);
        assert!((value - SINGULAR).abs() < 1e-12 && gradient.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn nan_logits_give_a_nan_loss_and_gradient() {
        let (value, gradient) = at(&COUNT, &[f64::NAN, 0.0, 1.0, 2.0], 2, &[0, 0]);
        assert!(value.is_nan() && gradient.iter().all(|g| g.is_nan()));
    }
}

//! The gradient g = ∂L/∂z of each sample's loss by its logits: its norm on clean and mislabelled samples, its rank correlation with the
//! gradient of the last layer's weights, and its direction for mislabelled samples.

use super::{defined, mean, spearman, variance};
use crate::methods::noise::NO_CLASS;
use crate::metric::{Measurements, Metric};

/// Statistics of every sample's gradient, collected batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// ‖g‖₁ by sample.
    norms: Vec<f64>,
    /// Whether the given label equals the true one, by sample.
    clean: Vec<bool>,
    /// −g of the true class, for mislabelled samples that belong to a class.
    pulls: Vec<f64>,
}

impl Gradients {
    /// Appends samples. `rows` holds one row of a batch's gradient per sample; multiplied by `scale` it becomes the gradient of the sample's
    /// own loss (`scale` is the batch size if the batch's loss is a mean). True labels may be [`NO_CLASS`].
    pub fn add(&mut self, rows: &[f32], scale: f64, given: &[u32], truth: &[u32]) {
        let classes = rows.len() / given.len().max(1);
        for ((row, given), truth) in rows.chunks_exact(classes.max(1)).zip(given).zip(truth) {
            self.norms.push(scale * row.iter().map(|g| f64::from(*g).abs()).sum::<f64>());
            self.clean.push(given == truth);
            if given != truth && *truth != NO_CLASS {
                self.pulls.extend(row.get(*truth as usize).map(|g| -scale * f64::from(*g)));
            }
        }
    }

    /// Mean ‖g‖₁ of clean and of mislabelled samples, the variance of ‖g‖₁ over all samples, and the ratio of the mislabelled samples'
    /// mean to that of all.
    pub fn strength(&self) -> Measurements {
        let of = |kind| self.norms.iter().zip(&self.clean).filter(move |(_, clean)| **clean == kind).map(|(n, _)| *n);
        let (noisy, all) = (mean(of(false)), mean(self.norms.iter().copied()));
        // (share of the sum) / (share of the samples) = mean / mean.
        let ratio = noisy.zip(all.filter(|all| *all > 0.0)).map(|(noisy, all)| noisy / all);
        defined([
            (Metric::GradientClean, mean(of(true))),
            (Metric::GradientNoisy, noisy),
            (Metric::GradientVariance, variance(&self.norms)),
            (Metric::GradientNoisyRatio, ratio),
        ])
    }

    /// Spearman's correlation of ‖g‖₁ with ‖∂L/∂W‖₁ = ‖f‖₁‖g‖₁, where W are the weights of the last layer and f is its input;
    /// `features` holds ‖f‖₁ by sample.
    pub fn rank_correlation(&self, features: &[f64]) -> Measurements {
        let of_weights: Vec<f64> = self.norms.iter().zip(features).map(|(norm, feature)| norm * feature).collect();
        defined([(Metric::GradientRankCorrelation, spearman(&self.norms, &of_weights))])
    }

    /// Mean of −g of the true class over mislabelled samples, and the share of samples where it is positive, that is, where a step makes
    /// the true class more probable.
    pub fn pull(&self) -> Measurements {
        defined([
            (Metric::TrueClassPull, mean(self.pulls.iter().copied())),
            (Metric::TrueClassPullShare, mean(self.pulls.iter().map(|pull| f64::from(*pull > 0.0)))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scaled norms 2, 1, 3 and 2. The second and third samples are mislabelled, the fourth belongs to no class.
    fn collected() -> Gradients {
        let mut gradients = Gradients::default();
        gradients.add(&[-0.5, 0.5, 0.0, 0.25, -0.25, 0.0], 2.0, &[0, 1], &[0, 0]);
        gradients.add(&[-1.5, 0.5, 1.0, 1.0, 0.0, -1.0], 1.0, &[1, 2], &[0, NO_CLASS]);
        gradients
    }

    #[test]
    fn means_variance_and_ratio_agree_with_a_computation_by_hand() {
        let found = collected().strength();
        assert_eq!((found[&Metric::GradientClean], found[&Metric::GradientNoisy]), (2.0, 2.0));
        assert_eq!((found[&Metric::GradientVariance], found[&Metric::GradientNoisyRatio]), (0.5, 1.0));
    }

    #[test]
    fn the_ratio_is_the_share_of_the_gradient_over_the_share_of_the_samples() {
        let mut gradients = Gradients::default();
        gradients.add(&[0.75, 0.75, 0.5, 0.25], 2.0, &[0, 0, 0, 0], &[0, 0, 0, 1]);
        // Norms 1.5, 1.5, 1, .5: (.5/4.5)/(1/4).
        assert!((gradients.strength()[&Metric::GradientNoisyRatio] - 4.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn the_pull_on_the_true_class_omits_samples_of_no_class() {
        // −0.5 (pushed away) and 1.5 (pulled up).
        let found = collected().pull();
        assert_eq!((found[&Metric::TrueClassPull], found[&Metric::TrueClassPullShare]), (0.5, 0.5));
    }

    #[test]
    fn equal_features_keep_the_ranks_and_others_may_reverse_them() {
        let gradients = collected();
        assert_eq!(gradients.rank_correlation(&[1.0; 4])[&Metric::GradientRankCorrelation], 1.0);
        // Norms 2, 1, 3, 2 against 2, 8, .75, 2: ranks 2.5, 1, 4, 2.5 and 2.5, 4, 1, 2.5.
        assert_eq!(gradients.rank_correlation(&[1.0, 8.0, 0.25, 1.0])[&Metric::GradientRankCorrelation], -1.0);
        assert_eq!(gradients.rank_correlation(&[1.0; 3]), Measurements::new(), "a feature is missing");
    }

    #[test]
    fn zero_gradients_and_no_samples_give_no_nan() {
        let mut zero = Gradients::default();
        zero.add(&[0.0; 4], 2.0, &[0, 0], &[0, 1]);
        let found = zero.strength();
        assert_eq!((found.get(&Metric::GradientNoisyRatio), found[&Metric::GradientNoisy]), (None, 0.0));
        assert_eq!(zero.rank_correlation(&[1.0, 2.0]), Measurements::new());
        let mut nothing = Gradients::default();
        nothing.add(&[], 0.0, &[], &[]);
        for found in [nothing.strength(), nothing.pull(), nothing.rank_correlation(&[])] {
            assert_eq!(found, Measurements::new());
        }
    }
}

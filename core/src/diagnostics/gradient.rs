//! What samples pull at: ‖∂L/∂z‖₁, whom it favours, whether it ranks samples as the last layer's weights see them, and its
//! direction on wrong labels.

use super::{mean, measured, spearman, variance};
use crate::methods::noise::NO_CLASS;
use crate::metric::{Measurements, Metric};

/// What there is to know of each sample's gradient g with respect to the logits, gathered batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// ‖g‖₁ of every sample.
    norms: Vec<f64>,
    /// Whether its label is right.
    clean: Vec<bool>,
    /// −g of the true class, of the mislabelled samples that have one.
    pulls: Vec<f64>,
}

impl Gradients {
    /// Takes in some samples, in the order of all: their rows of a batch's gradient with respect to the logits, which `scale`
    /// makes a sample's own (the batch's size, for a loss that is a mean), and their labels, the true ones perhaps
    /// [`NO_CLASS`].
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

    /// How much clean and mislabelled samples pull, by their mean ‖g‖₁, and the variance of ‖g‖₁ over all of them.
    pub fn strength(&self) -> Measurements {
        let of = |kind| self.norms.iter().zip(&self.clean).filter(move |(_, clean)| **clean == kind).map(|(n, _)| *n);
        let (noisy, all) = (mean(of(false)), mean(self.norms.iter().copied()));
        // The share of the sum over the share of the samples is the mean over the mean.
        let ratio = noisy.zip(all.filter(|all| *all > 0.0)).map(|(noisy, all)| noisy / all);
        measured([
            (Metric::GradientClean, mean(of(true))),
            (Metric::GradientNoisy, noisy),
            (Metric::GradientVariance, variance(&self.norms)),
            (Metric::GradientNoisyRatio, ratio),
        ])
    }

    /// Whether ‖g‖₁ ranks samples as ‖∂L/∂W‖₁ = ‖f‖₁‖g‖₁ does, W being the weights of the last layer and f what goes into it;
    /// `features` has ‖f‖₁ of every sample.
    pub fn rank_correlation(&self, features: &[f64]) -> Measurements {
        let of_weights: Vec<f64> = self.norms.iter().zip(features).map(|(norm, feature)| norm * feature).collect();
        measured([(Metric::GradientRankCorrelation, spearman(&self.norms, &of_weights))])
    }

    /// Whether a step makes the true class of mislabelled samples likelier.
    pub fn pull(&self) -> Measurements {
        measured([
            (Metric::TrueClassPull, mean(self.pulls.iter().copied())),
            (Metric::TrueClassPullShare, mean(self.pulls.iter().map(|pull| f64::from(*pull > 0.0)))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Norms 2, 1, 3 and 2 after scaling; the second and the third are mislabelled, the fourth is foreign.
    fn gathered() -> Gradients {
        let mut gradients = Gradients::default();
        gradients.add(&[-0.5, 0.5, 0.0, 0.25, -0.25, 0.0], 2.0, &[0, 1], &[0, 0]);
        gradients.add(&[-1.5, 0.5, 1.0, 1.0, 0.0, -1.0], 1.0, &[1, 2], &[0, NO_CLASS]);
        gradients
    }

    #[test]
    fn means_variance_and_ratio_are_those_computed_by_hand() {
        let found = gathered().strength();
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
    fn the_true_class_is_pulled_where_its_gradient_is_negative_and_foreign_images_have_none() {
        // −0.5 (pushed away) and 1.5 (pulled up).
        let found = gathered().pull();
        assert_eq!((found[&Metric::TrueClassPull], found[&Metric::TrueClassPullShare]), (0.5, 0.5));
    }

    #[test]
    fn ranks_agree_unless_features_turn_them_around() {
        let gradients = gathered();
        assert_eq!(gradients.rank_correlation(&[1.0; 4])[&Metric::GradientRankCorrelation], 1.0);
        // Norms 2, 1, 3, 2 against 2, 8, .75, 2: ranks 2.5, 1, 4, 2.5 and 2.5, 4, 1, 2.5.
        assert_eq!(gradients.rank_correlation(&[1.0, 8.0, 0.25, 1.0])[&Metric::GradientRankCorrelation], -1.0);
        assert_eq!(gradients.rank_correlation(&[1.0; 3]), Measurements::new(), "a feature is missing");
    }

    #[test]
    fn where_everything_is_pruned_and_without_samples_nothing_is_nan() {
        let mut still = Gradients::default();
        still.add(&[0.0; 4], 2.0, &[0, 0], &[0, 1]);
        let found = still.strength();
        assert_eq!((found.get(&Metric::GradientNoisyRatio), found[&Metric::GradientNoisy]), (None, 0.0));
        assert_eq!(still.rank_correlation(&[1.0, 2.0]), Measurements::new());
        let mut nothing = Gradients::default();
        nothing.add(&[], 0.0, &[], &[]);
        for found in [nothing.strength(), nothing.pull(), nothing.rank_correlation(&[])] {
            assert_eq!(found, Measurements::new());
        }
    }
}

//! What is measured of a network under label noise beside its accuracies: pure functions over what it makes of samples.
//!
//! A quantity that does not exist (of mislabelled samples where there are none, a logarithm of a determinant that is 0) is absent
//! from the [`Measurements`], and nothing in them is NaN or infinite. `docs/diagnostics.md` has the formulas and the questions behind them.

mod accuracy;
mod dependence;
mod gradient;
mod pruning;
mod ranks;
mod softmax;
mod transition;
mod view;

pub use accuracy::{class_accuracy, hybrid_accuracy};
pub use dependence::{Dependence, SHUFFLES, dependence};
pub use gradient::Gradients;
pub use pruning::pruning;
pub use ranks::{auroc, spearman};
pub use softmax::softmax;
pub use transition::transition_error;
pub use view::View;

use crate::metric::{Measurements, Metric};
use serde::{Deserialize, Serialize};

/// A group of metrics that are measured where a configuration asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostic {
    /// The given label's softmax on clean and on mislabelled training samples.
    Softmax,
    /// Every class's test accuracy.
    Classes,
    /// Accuracy on all that there is, under true labels.
    Hybrid,
    /// How well pruned samples are chosen.
    Pruning,
    /// How much clean and mislabelled samples pull.
    Gradient,
    /// Whether the gradient in the logits ranks samples as the gradient in the last layer's weights does.
    Rank,
    /// Whether mislabelled samples pull towards their true class.
    Sign,
    /// Whether predictions depend on given labels beyond true ones.
    Dependence,
    /// How far a loss's transition matrix is from the realised one.
    Transition,
}

impl Diagnostic {
    /// Every diagnostic by the name that a sweep file has for it, in the order of a configuration.
    pub const ALL: &'static [(&'static str, Diagnostic)] = &[
        ("softmax", Diagnostic::Softmax),
        ("classes", Diagnostic::Classes),
        ("hybrid", Diagnostic::Hybrid),
        ("pruning", Diagnostic::Pruning),
        ("gradient", Diagnostic::Gradient),
        ("rank", Diagnostic::Rank),
        ("sign", Diagnostic::Sign),
        ("dependence", Diagnostic::Dependence),
        ("transition", Diagnostic::Transition),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Diagnostic::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    /// The diagnostic that measures `metric`; nothing for what is measured in every job.
    pub fn of(metric: Metric) -> Option<Diagnostic> {
        match metric {
            Metric::SoftmaxClean | Metric::SoftmaxNoisy | Metric::SoftmaxAuroc => Some(Diagnostic::Softmax),
            Metric::ClassAccuracy(_)
            | Metric::ClassAccuracySpread
            | Metric::ClassAccuracyStd
            | Metric::ClassAccuracyWorst => Some(Diagnostic::Classes),
            Metric::HybridAccuracy => Some(Diagnostic::Hybrid),
            Metric::PruningPrecision | Metric::PruningRecall | Metric::PruningKept => Some(Diagnostic::Pruning),
            Metric::GradientClean | Metric::GradientNoisy | Metric::GradientVariance | Metric::GradientNoisyRatio => {
                Some(Diagnostic::Gradient)
            }
            Metric::GradientRankCorrelation => Some(Diagnostic::Rank),
            Metric::TrueClassPull | Metric::TrueClassPullShare => Some(Diagnostic::Sign),
            Metric::DependenceTrain
            | Metric::DependenceValidation
            | Metric::DmiResidualTrain
            | Metric::DmiResidualValidation => Some(Diagnostic::Dependence),
            Metric::TransitionError => Some(Diagnostic::Transition),
            Metric::TrainLoss
            | Metric::CleanAccuracy
            | Metric::NoisyAccuracy
            | Metric::RecoveredAccuracy
            | Metric::ValidationLoss
            | Metric::ValidationAccuracy
            | Metric::TestAccuracy
            | Metric::LearningRate
            | Metric::ImagesPerSecond => None,
        }
    }
}

/// Those that exist.
fn measured(values: impl IntoIterator<Item = (Metric, Option<f64>)>) -> Measurements {
    let existing = values.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
    existing.filter(|(_, value)| value.is_finite()).collect()
}

/// The mean of `values`; of nothing there is none.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The mean of the squared differences from the mean.
fn variance(values: &[f64]) -> Option<f64> {
    let centre = mean(values.iter().copied())?;
    mean(values.iter().map(|value| (value - centre) * (value - centre)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_diagnostic_has_a_metric_and_its_name_is_that_of_the_canonical_form() {
        for (name, diagnostic) in Diagnostic::ALL {
            assert!(Metric::ALL.iter().any(|metric| Diagnostic::of(*metric) == Some(*diagnostic)), "{name}");
            assert_eq!(serde_json::to_string(diagnostic).unwrap(), format!("\"{name}\""));
            assert_eq!(diagnostic.name(), *name);
        }
        assert!(Diagnostic::ALL.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }

    #[test]
    fn what_is_not_finite_is_absent() {
        let values =
            [(Metric::SoftmaxClean, Some(f64::NAN)), (Metric::SoftmaxNoisy, None), (Metric::SoftmaxAuroc, Some(0.5))];
        assert_eq!(measured(values), Measurements::from([(Metric::SoftmaxAuroc, 0.5)]));
    }
}

//! Diagnostics: measurements of a network under label noise beyond its accuracies, as pure functions of predictions and labels.
//!
//! An undefined quantity (a mean over no samples, the logarithm of 0) is absent from the [`Measurements`]; no value is NaN or infinite. `docs/diagnostics.md` has the formulas and the questions behind them.

mod accuracy;
mod dependence;
mod gradient;
mod predictions;
mod pruning;
mod ranks;
mod softmax;
mod transition;

pub use accuracy::{class_accuracy, hybrid_accuracy};
pub use dependence::{Dependence, SHUFFLES, dependence};
pub use gradient::Gradients;
pub use predictions::LabelledPredictions;
pub use pruning::pruning;
pub use ranks::{auroc, spearman};
pub use softmax::softmax;
pub use transition::transition_error;

use crate::metric::{Measurements, Metric};
use serde::{Deserialize, Serialize};

/// A group of metrics that is measured if the configuration lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostic {
    /// Softmax of the given label on clean and mislabelled training samples.
    Softmax,
    /// Test accuracy by class.
    Classes,
    /// Accuracy under true labels on test, training and validation samples together.
    Hybrid,
    /// Precision and recall of pruning as a detector of mislabelled samples.
    Pruning,
    /// Norm of the logits' gradient on clean and mislabelled training samples.
    Gradient,
    /// Rank correlation of the logits' gradient with the gradient of the last layer's weights.
    Rank,
    /// Direction of mislabelled samples' gradients with respect to the true class.
    Sign,
    /// Dependence of predictions on given labels, given true labels.
    Dependence,
    /// Distance between a loss's transition matrix and the realised one.
    Transition,
}

impl Diagnostic {
    /// All diagnostics with their names in sweep files, in the order of the canonical configuration.
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

    /// The name in sweep files.
    pub fn name(self) -> &'static str {
        Diagnostic::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    /// The diagnostic that measures `metric`; `None` for metrics of every job.
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

/// The values that exist and are finite.
fn defined(values: impl IntoIterator<Item = (Metric, Option<f64>)>) -> Measurements {
    let existing = values.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
    existing.filter(|(_, value)| value.is_finite()).collect()
}

/// The mean; `None` without values.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The population variance Σ (xᵢ − x̄)² / n; `None` without values.
fn variance(values: &[f64]) -> Option<f64> {
    let centre = mean(values.iter().copied())?;
    mean(values.iter().map(|value| (value - centre) * (value - centre)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_diagnostic_has_a_metric_and_its_canonical_name() {
        for (name, diagnostic) in Diagnostic::ALL {
            assert!(Metric::ALL.iter().any(|metric| Diagnostic::of(*metric) == Some(*diagnostic)), "{name}");
            assert_eq!(serde_json::to_string(diagnostic).unwrap(), format!("\"{name}\""));
            assert_eq!(diagnostic.name(), *name);
        }
        assert!(Diagnostic::ALL.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }

    #[test]
    fn values_that_are_not_finite_are_absent() {
        let values =
            [(Metric::SoftmaxClean, Some(f64::NAN)), (Metric::SoftmaxNoisy, None), (Metric::SoftmaxAuroc, Some(0.5))];
        assert_eq!(defined(values), Measurements::from([(Metric::SoftmaxAuroc, 0.5)]));
    }
}

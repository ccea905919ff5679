//! Metrics, which are measured after every epoch, and [`EpochSelection`], which chooses the epoch that a table shows.

mod range;
mod selection;

pub use range::Range;
pub use selection::{EpochSelection, Selected, UnknownSelection, select, selected};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $better:ident $unit:ident $range:ident,)+) => {
        /// A quantity measured after every epoch.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Metric {
            $($(#[doc = $doc])+ $variant,)+
            /// Accuracy on the test samples of one class: `class_accuracy_0`, `class_accuracy_1`, …
            ClassAccuracy(Class),
        }

        impl Metric {
            /// All metrics other than those of single classes, in the order of the documentation.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),+];

            /// The metric's name in files, tables and the store.
            pub fn name(self) -> &'static str {
                match self {
                    $(Metric::$variant => $name,)+
                    Metric::ClassAccuracy(class) => CLASS_ACCURACY.get(class.index()).map_or("class_accuracy", |n| n.as_str()),
                }
            }

            /// Whether higher or lower values are better.
            pub fn better(self) -> Better {
                match self {
                    $(Metric::$variant => Better::$better,)+
                    Metric::ClassAccuracy(_) => Better::Higher,
                }
            }

            /// The unit of the values.
            pub fn unit(self) -> Unit {
                match self {
                    $(Metric::$variant => Unit::$unit,)+
                    Metric::ClassAccuracy(_) => Unit::Share,
                }
            }

            /// The values that it can have.
            pub fn range(self) -> Range {
                match self {
                    $(Metric::$variant => Range::$range,)+
                    Metric::ClassAccuracy(_) => Range::Share,
                }
            }
        }
    };
}

metrics! {
    /// Mean loss over the training samples under their given labels, accumulated during the epoch's steps.
    TrainLoss "train_loss" Lower Plain Loss,
    /// Share of the correctly labelled training samples that the network classifies as labelled.
    CleanAccuracy "clean_accuracy" Higher Share Share,
    /// Share of the mislabelled training samples that the network classifies as (wrongly) labelled: memorisation.
    NoisyAccuracy "noisy_accuracy" Lower Share Share,
    /// Share of the mislabelled training samples that the network classifies as their true class.
    RecoveredAccuracy "recovered_accuracy" Higher Share Share,
    /// Mean of the job's own loss over the validation samples under their given (noisy) labels.
    ValidationLoss "validation_loss" Lower Plain Loss,
    /// Accuracy on the validation samples under their given (noisy) labels.
    ValidationAccuracy "validation_accuracy" Higher Share Share,
    /// Accuracy on the test samples, whose labels are never corrupted.
    TestAccuracy "test_accuracy" Higher Share Share,
    /// Learning rate of the epoch.
    LearningRate "learning_rate" Higher Plain NonNegative,
    /// Training samples per second in the epoch, without evaluation.
    ImagesPerSecond "images_per_second" Higher Plain NonNegative,
    /// Mean softmax of the given label over the correctly labelled training samples.
    SoftmaxClean "softmax_clean" Higher Share Share,
    /// Mean softmax of the given (wrong) label over the mislabelled training samples.
    SoftmaxNoisy "softmax_noisy" Lower Share Share,
    /// Area under the receiver operating characteristic of the given label's softmax as a detector of correct labels.
    SoftmaxAuroc "softmax_auroc" Higher Share Share,
    /// Highest minus lowest accuracy on the test samples of one class.
    ClassAccuracySpread "class_accuracy_spread" Lower Share Share,
    /// Population standard deviation of the classes' test accuracies.
    ClassAccuracyStd "class_accuracy_std" Lower Share Share,
    /// Lowest accuracy on the test samples of one class.
    ClassAccuracyWorst "class_accuracy_worst" Higher Share Share,
    /// Accuracy on test, training and validation samples together under their true labels.
    HybridAccuracy "hybrid_accuracy" Higher Share Share,
    /// Share of the pruned training samples that are mislabelled.
    PruningPrecision "pruning_precision" Higher Share Share,
    /// Share of the mislabelled training samples that are pruned.
    PruningRecall "pruning_recall" Higher Share Share,
    /// Share of the training samples that are not pruned.
    PruningKept "pruning_kept" Higher Share Share,
    /// Mean ‖∂L/∂z‖₁ over the correctly labelled training samples.
    GradientClean "gradient_clean" Higher Plain NonNegative,
    /// Mean ‖∂L/∂z‖₁ over the mislabelled training samples.
    GradientNoisy "gradient_noisy" Lower Plain NonNegative,
    /// Variance of ‖∂L/∂z‖₁ over the training samples.
    GradientVariance "gradient_variance" Higher Plain NonNegative,
    /// Mean ‖∂L/∂z‖₁ of the mislabelled over that of all training samples; below 1 if mislabelled samples have smaller gradients.
    GradientNoisyRatio "gradient_noisy_ratio" Lower Plain NonNegative,
    /// Spearman's correlation, over the training samples, of ‖∂L/∂z‖₁ with ‖∂L/∂W‖₁ of the last layer's weights.
    GradientRankCorrelation "gradient_rank_correlation" Higher Plain Correlation,
    /// Mean of −∂L/∂z of the true class over the mislabelled training samples; positive if a step makes the true class more probable.
    TrueClassPull "true_class_pull" Higher Plain Finite,
    /// Share of the mislabelled training samples with positive −∂L/∂z of the true class.
    TrueClassPullShare "true_class_pull_share" Higher Share Share,
    /// I(h; given | true) in nats on training samples, minus its expectation under independence; h is the predicted class.
    DependenceTrain "dependence_train" Lower Plain Finite,
    /// I(h; given | true) in nats on validation samples, minus its expectation under independence; h is the predicted class.
    DependenceValidation "dependence_validation" Lower Plain Finite,
    /// ln|det U(h, given)| − ln|det U(h, true)| − ln|det T| on training samples; 0 if h and given labels are independent given true labels.
    DmiResidualTrain "dmi_residual_train" Lower Plain Finite,
    /// ln|det U(h, given)| − ln|det U(h, true)| − ln|det T| on validation samples.
    DmiResidualValidation "dmi_residual_validation" Lower Plain Finite,
    /// Σ|T̂ − T| / number of classes, for the loss's transition matrix T̂ and the realised one T.
    TransitionError "transition_error" Lower Plain NonNegative,
}

/// A class with metrics of its own, by its index below [`Class::COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class(u16);

impl Class {
    /// The number of classes with metrics of their own.
    pub const COUNT: usize = 1_000;

    /// The class `index`, if it is below [`Class::COUNT`].
    pub fn new(index: usize) -> Option<Class> {
        (index < Class::COUNT).then_some(Class(index as u16))
    }

    /// The index, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The names are stored here because [`Metric`] is `Copy`.
static CLASS_ACCURACY: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..Class::COUNT).map(|class| format!("{CLASS_ACCURACY_PREFIX}{class}")).collect());
const CLASS_ACCURACY_PREFIX: &str = "class_accuracy_";

impl Metric {
    /// Whether the metric requires validation samples.
    pub fn needs_validation(self) -> bool {
        use Metric::{DependenceValidation, DmiResidualValidation, ValidationAccuracy, ValidationLoss};
        matches!(self, ValidationLoss | ValidationAccuracy | DependenceValidation | DmiResidualValidation)
    }

    /// Whether the metric requires mislabelled samples.
    pub fn needs_noise(self) -> bool {
        use Metric::{GradientNoisy, GradientNoisyRatio, NoisyAccuracy, PruningRecall, RecoveredAccuracy};
        use Metric::{SoftmaxAuroc, SoftmaxNoisy, TrueClassPull, TrueClassPullShare};
        let accuracies =
            matches!(self, NoisyAccuracy | RecoveredAccuracy | SoftmaxNoisy | SoftmaxAuroc | PruningRecall);
        accuracies || matches!(self, GradientNoisy | GradientNoisyRatio | TrueClassPull | TrueClassPullShare)
    }

    /// The metrics that every epoch of a job has.
    pub const OF_EVERY_EPOCH: &'static [Metric] = &[Metric::TestAccuracy];
    /// The metrics that every epoch of a job with validation samples has as well.
    pub const OF_VALIDATION: &'static [Metric] = &[Metric::ValidationLoss, Metric::ValidationAccuracy];
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for a name of no metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown metric")]
pub struct UnknownMetric;

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        let of_class = || {
            let class = name.strip_prefix(CLASS_ACCURACY_PREFIX)?.parse().ok().and_then(Class::new)?;
            // Names are unique: `class_accuracy_07` is rejected.
            Some(Metric::ClassAccuracy(class)).filter(|metric| metric.name() == name)
        };
        Metric::ALL.iter().copied().find(|metric| metric.name() == name).or_else(of_class).ok_or(UnknownMetric)
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The better direction of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A share within 0..=1, printed in per cent.
    Share,
    /// A plain number.
    Plain,
}

/// The metrics of one epoch. Metrics that the job does not measure are absent, such as those of validation samples if there are none.
pub type Measurements = BTreeMap<Metric, f64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_metrics_correspond_one_to_one() {
        let classes = [0, 7, 99, 999].map(|class| Metric::ClassAccuracy(Class::new(class).unwrap()));
        for metric in Metric::ALL.iter().copied().chain(classes) {
            assert_eq!(metric.name().parse(), Ok(metric));
            let json = serde_json::to_string(&Measurements::from([(metric, 0.5)])).unwrap();
            assert_eq!(json, format!(r#"{{"{metric}":0.5}}"#));
            assert_eq!(serde_json::from_str::<Measurements>(&json).unwrap(), Measurements::from([(metric, 0.5)]));
        }
        for invalid in
            ["", "accuracy", "class_accuracy_", "class_accuracy_07", "class_accuracy_1000", "class_accuracy_-1"]
        {
            assert_eq!(invalid.parse::<Metric>(), Err(UnknownMetric), "{invalid}");
        }
        assert_eq!(Class::new(1_000), None);
    }
}

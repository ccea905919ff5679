//! What is measured after every epoch, and ([`At`]) what a table shows of a job's epochs.

mod selection;

pub use selection::{At, Selected, UnknownSelection, select, selected};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $better:ident $unit:ident,)+) => {
        /// A quantity measured after every epoch.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Metric {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Metric {
            /// Every metric, in the order of their documentation.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),+];

            /// The metric's name in files, tables and the store.
            pub fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),+ }
            }

            /// Which direction is better.
            pub fn better(self) -> Better {
                match self { $(Metric::$variant => Better::$better),+ }
            }

            /// What its values count.
            pub fn unit(self) -> Unit {
                match self { $(Metric::$variant => Unit::$unit),+ }
            }
        }
    };
}

metrics! {
    /// Mean loss over the training samples as they were trained on, under their given labels.
    TrainLoss "train_loss" Lower Plain,
    /// Share of the correctly labelled training samples that the network classifies as labelled.
    CleanAccuracy "clean_accuracy" Higher Share,
    /// Share of the mislabelled training samples that the network classifies as (wrongly) labelled: memorisation.
    NoisyAccuracy "noisy_accuracy" Lower Share,
    /// Share of the mislabelled training samples that the network classifies as their true class.
    RecoveredAccuracy "recovered_accuracy" Higher Share,
    /// Mean of the job's own loss over the validation samples under their given (noisy) labels.
    ValidationLoss "validation_loss" Lower Plain,
    /// Accuracy on the validation samples under their given (noisy) labels.
    ValidationAccuracy "validation_accuracy" Higher Share,
    /// Accuracy on the test samples, whose labels are never corrupted.
    TestAccuracy "test_accuracy" Higher Share,
    /// Learning rate in the epoch.
    LearningRate "learning_rate" Higher Plain,
    /// Training samples a second in the epoch, evaluation left out.
    ImagesPerSecond "images_per_second" Higher Plain,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No metric has this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no metric of this name is known")]
pub struct UnknownMetric;

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        Metric::ALL.iter().copied().find(|metric| metric.name() == name).ok_or(UnknownMetric)
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

/// What a metric's values count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A share in 0..=1, printed in per cent.
    Share,
    /// A plain number.
    Plain,
}

/// What was measured after one epoch. A metric that the job does not have (no validation samples, no mislabelled ones) is absent.
pub type Measurements = BTreeMap<Metric, f64>;

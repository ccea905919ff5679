//! What is measured after every epoch, and which epoch of a job a table shows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

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

/// Which epoch of a job a table shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// The last epoch.
    #[default]
    Final,
    /// The epoch in which the metric itself was best.
    Best,
    /// The epoch with the highest validation accuracy, the earliest of equals.
    BestValidation,
}

impl At {
    /// Every selection.
    pub const ALL: &'static [At] = &[At::Final, At::Best, At::BestValidation];

    /// The selection's name in files, tables and the store.
    pub fn name(self) -> &'static str {
        match self {
            At::Final => "final",
            At::Best => "best",
            At::BestValidation => "best-validation",
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was measured after one epoch. A metric that the job does not have (no validation samples, no mislabelled ones) is absent.
pub type Measurements = BTreeMap<Metric, f64>;

/// One metric of a finished job at one selection.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Selected {
    /// Which epoch was asked for.
    pub at: At,
    /// The metric.
    pub metric: Metric,
    /// The epoch it was, from 1.
    pub epoch: u32,
    /// Its value there.
    pub value: f64,
}

/// What each selection shows of a job with these epochs, in order: every metric at the last epoch, at its own best, and, where there
/// is a validation accuracy, at the epoch where that was highest. Of equals the earliest counts; values that are not finite never do.
pub fn select(epochs: &[(u32, Measurements)]) -> Vec<Selected> {
    let best_of = |metric: Metric| {
        let values = epochs.iter().filter_map(|(epoch, row)| Some((*epoch, *row.get(&metric)?)));
        values.filter(|(_, value)| value.is_finite()).reduce(|best, next| {
            let better = match metric.better() {
                Better::Higher => next.1 > best.1,
                Better::Lower => next.1 < best.1,
            };
            if better { next } else { best }
        })
    };
    let mut selected = Vec::new();
    let mut take = |at, epoch, row: &Measurements| {
        selected.extend(row.iter().map(|(metric, value)| Selected { at, metric: *metric, epoch, value: *value }));
    };
    if let Some((epoch, row)) = epochs.last() {
        take(At::Final, *epoch, row);
    }
    if let Some((epoch, _)) = best_of(Metric::ValidationAccuracy)
        && let Some((_, row)) = epochs.iter().find(|(e, _)| *e == epoch)
    {
        take(At::BestValidation, epoch, row);
    }
    let best = Metric::ALL.iter().filter_map(|metric| {
        best_of(*metric).map(|(epoch, value)| Selected { at: At::Best, metric: *metric, epoch, value })
    });
    selected.extend(best);
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(rows: &[(f64, f64)]) -> Vec<(u32, Measurements)> {
        let row = |(validation, test): &(f64, f64)| {
            Measurements::from([(Metric::ValidationAccuracy, *validation), (Metric::TestAccuracy, *test)])
        };
        (1..).zip(rows.iter().map(row)).collect()
    }

    fn chosen(rows: &[(f64, f64)], at: At) -> Option<(u32, f64)> {
        let selected = select(&epochs(rows));
        selected.iter().find(|s| s.at == at && s.metric == Metric::TestAccuracy).map(|s| (s.epoch, s.value))
    }

    #[test]
    fn each_selection_shows_its_own_epoch() {
        let rows = [(0.5, 0.6), (0.7, 0.8), (0.7, 0.9), (0.6, 0.5)];
        assert_eq!(chosen(&rows, At::Final), Some((4, 0.5)));
        assert_eq!(chosen(&rows, At::Best), Some((3, 0.9)));
        assert_eq!(chosen(&rows, At::BestValidation), Some((2, 0.8)), "the earliest of equals");
    }

    #[test]
    fn without_validation_there_is_no_best_validation() {
        let rows = vec![(1, Measurements::from([(Metric::TestAccuracy, 0.5)]))];
        assert!(select(&rows).iter().all(|s| s.at != At::BestValidation));
    }

    #[test]
    fn a_value_that_is_not_finite_is_never_the_best() {
        assert_eq!(chosen(&[(0.1, f64::NAN), (0.2, 0.3)], At::Best), Some((2, 0.3)));
    }
}

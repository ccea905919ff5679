//! Chooses the epoch of a job that a table shows, or the epochs that it averages.

use super::{Better, Measurements, Metric};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The epoch of a job that a table shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum EpochSelection {
    /// The last epoch.
    #[default]
    Final,
    /// The epoch with the best value of the shown metric, the earliest of equals.
    Best,
    /// The epoch with the highest validation accuracy, the earliest of equals.
    BestValidation,
    /// The epoch with the lowest validation loss, the earliest of equals.
    BestValidationLoss,
    /// The mean over this number of last epochs. Undefined for a job with fewer epochs, or if one of them lacks the metric.
    LastMean(NonZeroU32),
}

impl EpochSelection {
    /// The selections of a single epoch. Their values are stored with every finished job.
    pub const ALL: &'static [EpochSelection] = &[
        EpochSelection::Final,
        EpochSelection::Best,
        EpochSelection::BestValidation,
        EpochSelection::BestValidationLoss,
    ];

    /// All names, with an example of the one that contains a number.
    pub const NAMES: &'static [&'static str] =
        &["final", "best", "best-validation", "best-validation-loss", "last-10-mean"];

    /// The name in files, tables and the store.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            EpochSelection::Final => "final",
            EpochSelection::Best => "best",
            EpochSelection::BestValidation => "best-validation",
            EpochSelection::BestValidationLoss => "best-validation-loss",
            EpochSelection::LastMean(epochs) => return Cow::Owned(format!("last-{epochs}-mean")),
        })
    }

    /// Whether the selection requires validation samples.
    pub fn needs_validation(self) -> bool {
        matches!(self, EpochSelection::BestValidation | EpochSelection::BestValidationLoss)
    }
}

impl fmt::Display for EpochSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// The error for a name of no epoch selection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected `final`, `best`, `best-validation`, `best-validation-loss` or a mean such as `last-10-mean`")]
pub struct UnknownSelection;

impl FromStr for EpochSelection {
    type Err = UnknownSelection;

    fn from_str(name: &str) -> Result<Self, UnknownSelection> {
        let mean = || {
            let epochs = name.strip_prefix("last-")?.strip_suffix("-mean")?.parse().ok()?;
            // Names are unique: `last-05-mean` is rejected.
            Some(EpochSelection::LastMean(epochs)).filter(|at| at.name() == name)
        };
        EpochSelection::ALL.iter().copied().find(|at| at.name() == name).or_else(mean).ok_or(UnknownSelection)
    }
}

impl Serialize for EpochSelection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for EpochSelection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The value of a metric at an epoch selection.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Selected {
    /// The epoch selection.
    pub at: EpochSelection,
    /// The metric.
    pub metric: Metric,
    /// The selected epoch, from 1; the last epoch of a mean.
    pub epoch: u32,
    /// The metric's value.
    pub value: f64,
}

/// The value of `metric` at `at` for a job with these epochs in order. Values that are not finite are never best and have no mean.
pub fn selected(epochs: &[(u32, Measurements)], metric: Metric, at: EpochSelection) -> Option<Selected> {
    let of = |(epoch, row): &(u32, Measurements)| {
        row.get(&metric).map(|value| Selected { at, metric, epoch: *epoch, value: *value })
    };
    match at {
        EpochSelection::Final => of(epochs.last()?),
        EpochSelection::Best => of(best(epochs, metric)?),
        EpochSelection::BestValidation => of(best(epochs, Metric::ValidationAccuracy)?),
        EpochSelection::BestValidationLoss => of(best(epochs, Metric::ValidationLoss)?),
        EpochSelection::LastMean(wanted) => {
            let first = epochs.len().checked_sub(wanted.get() as usize)?;
            let sum: f64 = epochs[first..].iter().map(|epoch| of(epoch).map(|one| one.value)).sum::<Option<f64>>()?;
            let value = Some(sum / f64::from(wanted.get())).filter(|value| value.is_finite())?;
            Some(Selected { value, ..of(epochs.last()?)? })
        }
    }
}

/// The epoch with the best finite value of `metric`, the earliest of equals.
fn best(epochs: &[(u32, Measurements)], metric: Metric) -> Option<&(u32, Measurements)> {
    let values = epochs.iter().filter_map(|epoch| Some((epoch, *epoch.1.get(&metric)?)));
    let best = values.filter(|(_, value)| value.is_finite()).reduce(|best, next| {
        let better = match metric.better() {
            Better::Higher => next.1 > best.1,
            Better::Lower => next.1 < best.1,
        };
        if better { next } else { best }
    });
    best.map(|(epoch, _)| epoch)
}

/// The values of all metrics at every selection of a single epoch, for a job with these epochs in order.
pub fn select(epochs: &[(u32, Measurements)]) -> Vec<Selected> {
    let mut metrics: Vec<Metric> = epochs.iter().flat_map(|(_, row)| row.keys().copied()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let all = EpochSelection::ALL.iter().flat_map(|at| metrics.iter().map(|metric| selected(epochs, *metric, *at)));
    all.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(rows: &[(f64, f64)]) -> Vec<(u32, Measurements)> {
        let row = |(validation, test): &(f64, f64)| {
            // The validation loss is lowest in the last epoch.
            Measurements::from([
                (Metric::ValidationAccuracy, *validation),
                (Metric::ValidationLoss, (validation - 0.6).abs()),
                (Metric::TestAccuracy, *test),
            ])
        };
        (1..).zip(rows.iter().map(row)).collect()
    }

    fn selected_accuracy(rows: &[(f64, f64)], at: EpochSelection) -> Option<(u32, f64)> {
        let selected = select(&epochs(rows));
        selected.iter().find(|s| s.at == at && s.metric == Metric::TestAccuracy).map(|s| (s.epoch, s.value))
    }

    fn mean(rows: &[(f64, f64)], last: u32) -> Option<(u32, f64)> {
        let at = EpochSelection::LastMean(NonZeroU32::new(last).unwrap());
        selected(&epochs(rows), Metric::TestAccuracy, at).map(|s| (s.epoch, s.value))
    }

    const ROWS: [(f64, f64); 4] = [(0.5, 0.6), (0.7, 0.8), (0.7, 0.9), (0.6, 0.5)];

    #[test]
    fn every_selection_chooses_its_epoch() {
        assert_eq!(selected_accuracy(&ROWS, EpochSelection::Final), Some((4, 0.5)));
        assert_eq!(selected_accuracy(&ROWS, EpochSelection::Best), Some((3, 0.9)));
        assert_eq!(selected_accuracy(&ROWS, EpochSelection::BestValidation), Some((2, 0.8)), "the earliest of equals");
        assert_eq!(
            selected_accuracy(&ROWS, EpochSelection::BestValidationLoss),
            Some((4, 0.5)),
            "the lowest, not the highest"
        );
    }

    #[test]
    fn a_mean_needs_the_requested_number_of_epochs() {
        assert_eq!(mean(&ROWS, 1), Some((4, 0.5)));
        assert_eq!(mean(&ROWS, 2).map(|(epoch, value)| (epoch, (value * 1e9).round())), Some((4, 7e8)));
        assert_eq!(mean(&ROWS, 5), None);
        assert_eq!(mean(&[(0.5, f64::NAN), (0.5, 0.25)], 2), None, "values that are not finite have no mean");
        let mut lacking = epochs(&ROWS);
        lacking[2].1.remove(&Metric::TestAccuracy);
        assert_eq!(
            selected(&lacking, Metric::TestAccuracy, EpochSelection::LastMean(NonZeroU32::new(2).unwrap())),
            None
        );
    }

    #[test]
    fn names_and_selections_correspond_one_to_one() {
        let ten = EpochSelection::LastMean(NonZeroU32::new(10).unwrap());
        for at in EpochSelection::ALL.iter().copied().chain([ten]) {
            assert_eq!(at.name().parse(), Ok(at));
            assert!(EpochSelection::NAMES.contains(&&*at.name()));
            assert_eq!(serde_json::from_str::<EpochSelection>(&serde_json::to_string(&at).unwrap()).unwrap(), at);
        }
        for invalid in
            ["", "last", "last--mean", "last-0-mean", "last-05-mean", "last-+5-mean", "last-99999999999-mean"]
        {
            assert_eq!(invalid.parse::<EpochSelection>(), Err(UnknownSelection), "{invalid}");
        }
    }

    #[test]
    fn there_is_no_best_validation_epoch_without_validation() {
        let rows = vec![(1, Measurements::from([(Metric::TestAccuracy, 0.5)]))];
        assert!(select(&rows).iter().all(|s| !s.at.needs_validation()));
    }

    #[test]
    fn a_value_that_is_not_finite_is_never_best() {
        assert_eq!(selected_accuracy(&[(0.1, f64::NAN), (0.2, 0.3)], EpochSelection::Best), Some((2, 0.3)));
    }
}

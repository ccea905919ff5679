//! Which epoch of a job a table shows, or which epochs it takes the mean of.

use super::{Better, Measurements, Metric};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// What a table shows of a job's epochs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum EpochSelection {
    /// The last epoch.
    #[default]
    Final,
    /// The epoch in which the metric itself was best.
    Best,
    /// The epoch with the highest validation accuracy, the earliest of equals.
    BestValidation,
    /// The epoch with the lowest validation loss, the earliest of equals.
    BestValidationLoss,
    /// The mean over the last so many epochs. A job that has not so many, all with the metric, has none.
    LastMean(NonZeroU32),
}

impl EpochSelection {
    /// The selections of a single epoch, which are stored with every finished job.
    pub const ALL: &'static [EpochSelection] = &[
        EpochSelection::Final,
        EpochSelection::Best,
        EpochSelection::BestValidation,
        EpochSelection::BestValidationLoss,
    ];

    /// The names that there are, the one that holds a number with a number in it.
    pub const NAMES: &'static [&'static str] =
        &["final", "best", "best-validation", "best-validation-loss", "last-10-mean"];

    /// The selection's name in files, tables and the store.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            EpochSelection::Final => "final",
            EpochSelection::Best => "best",
            EpochSelection::BestValidation => "best-validation",
            EpochSelection::BestValidationLoss => "best-validation-loss",
            EpochSelection::LastMean(epochs) => return Cow::Owned(format!("last-{epochs}-mean")),
        })
    }

    /// Whether there is such an epoch only where there are validation samples.
    pub fn needs_validation(self) -> bool {
        matches!(self, EpochSelection::BestValidation | EpochSelection::BestValidationLoss)
    }
}

impl fmt::Display for EpochSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// No selection has this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected `final`, `best`, `best-validation`, `best-validation-loss` or, for a mean, such as `last-10-mean`")]
pub struct UnknownSelection;

impl FromStr for EpochSelection {
    type Err = UnknownSelection;

    fn from_str(name: &str) -> Result<Self, UnknownSelection> {
        let mean = || {
            let epochs = name.strip_prefix("last-")?.strip_suffix("-mean")?.parse().ok()?;
            // One name each: `last-05-mean` is none.
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

/// One metric of a finished job at one selection.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Selected {
    /// What was asked for.
    pub at: EpochSelection,
    /// The metric.
    pub metric: Metric,
    /// The epoch it was, from 1; of a mean the last.
    pub epoch: u32,
    /// Its value there.
    pub value: f64,
}

/// What `at` shows of one metric of a job with these epochs, in order. Of equals the earliest counts; values that are not finite
/// are never best and have no mean.
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

/// The epoch in which `metric` was best, the earliest of equals.
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

/// What each selection of a single epoch shows of every metric of a job with these epochs, in order.
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
            // Lowest in the last epoch.
            Measurements::from([
                (Metric::ValidationAccuracy, *validation),
                (Metric::ValidationLoss, (validation - 0.6).abs()),
                (Metric::TestAccuracy, *test),
            ])
        };
        (1..).zip(rows.iter().map(row)).collect()
    }

    fn chosen(rows: &[(f64, f64)], at: EpochSelection) -> Option<(u32, f64)> {
        let selected = select(&epochs(rows));
        selected.iter().find(|s| s.at == at && s.metric == Metric::TestAccuracy).map(|s| (s.epoch, s.value))
    }

    fn mean(rows: &[(f64, f64)], last: u32) -> Option<(u32, f64)> {
        let at = EpochSelection::LastMean(NonZeroU32::new(last).unwrap());
        selected(&epochs(rows), Metric::TestAccuracy, at).map(|s| (s.epoch, s.value))
    }

    const ROWS: [(f64, f64); 4] = [(0.5, 0.6), (0.7, 0.8), (0.7, 0.9), (0.6, 0.5)];

    #[test]
    fn each_selection_shows_its_own_epoch() {
        assert_eq!(chosen(&ROWS, EpochSelection::Final), Some((4, 0.5)));
        assert_eq!(chosen(&ROWS, EpochSelection::Best), Some((3, 0.9)));
        assert_eq!(chosen(&ROWS, EpochSelection::BestValidation), Some((2, 0.8)), "the earliest of equals");
        assert_eq!(chosen(&ROWS, EpochSelection::BestValidationLoss), Some((4, 0.5)), "the lowest, not the highest");
    }

    #[test]
    fn a_mean_is_over_the_last_epochs_and_over_no_fewer_than_asked_for() {
        assert_eq!(mean(&ROWS, 1), Some((4, 0.5)));
        assert_eq!(mean(&ROWS, 2).map(|(epoch, value)| (epoch, (value * 1e9).round())), Some((4, 7e8)));
        assert_eq!(mean(&ROWS, 5), None);
        assert_eq!(mean(&[(0.5, f64::NAN), (0.5, 0.25)], 2), None, "what is not finite has no mean");
        let mut lacking = epochs(&ROWS);
        lacking[2].1.remove(&Metric::TestAccuracy);
        assert_eq!(
            selected(&lacking, Metric::TestAccuracy, EpochSelection::LastMean(NonZeroU32::new(2).unwrap())),
            None
        );
    }

    #[test]
    fn a_name_leads_back_to_its_selection_and_each_has_one() {
        let ten = EpochSelection::LastMean(NonZeroU32::new(10).unwrap());
        for at in EpochSelection::ALL.iter().copied().chain([ten]) {
            assert_eq!(at.name().parse(), Ok(at));
            assert!(EpochSelection::NAMES.contains(&&*at.name()));
            assert_eq!(serde_json::from_str::<EpochSelection>(&serde_json::to_string(&at).unwrap()).unwrap(), at);
        }
        for wrong in ["", "last", "last--mean", "last-0-mean", "last-05-mean", "last-+5-mean", "last-99999999999-mean"]
        {
            assert_eq!(wrong.parse::<EpochSelection>(), Err(UnknownSelection), "{wrong}");
        }
    }

    #[test]
    fn without_validation_there_is_no_best_validation() {
        let rows = vec![(1, Measurements::from([(Metric::TestAccuracy, 0.5)]))];
        assert!(select(&rows).iter().all(|s| !s.at.needs_validation()));
    }

    #[test]
    fn a_value_that_is_not_finite_is_never_the_best() {
        assert_eq!(chosen(&[(0.1, f64::NAN), (0.2, 0.3)], EpochSelection::Best), Some((2, 0.3)));
    }
}

//! Finds the published value for a cell's configuration.

use super::protocol::Difference;
use crate::metric::{EpochSelection, Metric};
use crate::sweep_file::{Condition, Path, Published, PublishedResult};
use serde::Serialize;
use serde_json::Value;

/// Why a cell has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Obstacle {
    /// No value was published for such a configuration.
    NotPublished,
    /// Values were published only for other parameters of the same methods.
    OtherConfiguration {
        /// The parameters that differ from the nearest published configuration.
        differences: Vec<Difference>,
    },
    /// Values were published for the configuration, but of other metrics or epochs.
    OtherSelection {
        /// The published metrics and epochs, such as "test_accuracy at best".
        published: Vec<String>,
    },
    /// The cell has no value yet.
    NoValue,
    /// A diverged seed withholds the cell's mean.
    Diverged,
    /// The cell lacks seeds.
    Incomplete {
        /// The number of seeds with a value.
        n: usize,
        /// The number of seeds of the sweep.
        asked: usize,
    },
    /// The sweep has one seed, so the cell's deviation is unknown.
    OneSeed,
    /// The paper does not state the number of runs.
    #[serde(rename = "not-said-how-many")]
    UnknownRuns,
    /// The published value comes from one run.
    OneRun,
    /// No standard deviation was published.
    NoStd,
    /// Both standard deviations are 0.
    NoSpread,
}

impl Obstacle {
    /// The obstacle's name in files.
    pub fn name(&self) -> &'static str {
        match self {
            Obstacle::NotPublished => "not-published",
            Obstacle::OtherConfiguration { .. } => "other-configuration",
            Obstacle::OtherSelection { .. } => "other-selection",
            Obstacle::NoValue => "no-value",
            Obstacle::Diverged => "diverged",
            Obstacle::Incomplete { .. } => "incomplete",
            Obstacle::OneSeed => "one-seed",
            Obstacle::UnknownRuns => "not-said-how-many",
            Obstacle::OneRun => "one-run",
            Obstacle::NoStd => "no-std",
            Obstacle::NoSpread => "no-spread",
        }
    }
}

/// The published value for a cell.
pub(super) enum Match<'p> {
    Found(&'p PublishedResult),
    Missing(Obstacle),
}

/// The published value of `metric` at `at` for a configuration, given as JSON. Of several values, the one with the most conditions on the
/// configuration is taken, and of those the first.
pub(super) fn match_published<'p>(
    configuration: &Value,
    metric: Metric,
    at: EpochSelection,
    published: &'p Published,
) -> Match<'p> {
    let is_requested = |result: &&PublishedResult| result.metric == metric.name() && result.at == at.name();
    let matching: Vec<_> = published.results.iter().filter(|result| result.is_for(configuration)).collect();
    // `max_by_key` returns the last of equals, so the order is reversed.
    let requested = matching.iter().rev().copied().filter(|result| is_requested(result));
    if let Some(result) = requested.max_by_key(|result| result.when.iter().flat_map(leaves).count()) {
        return Match::Found(result);
    }
    if !matching.is_empty() {
        let mut published: Vec<String> = Vec::new();
        for name in matching.iter().map(|result| format!("{} at {}", result.metric, result.at)) {
            if !published.contains(&name) {
                published.push(name);
            }
        }
        return Match::Missing(Obstacle::OtherSelection { published });
    }
    let near =
        published.results.iter().filter(is_requested).filter_map(|result| parameter_differences(result, configuration));
    match near.min_by_key(Vec::len) {
        Some(differences) => Match::Missing(Obstacle::OtherConfiguration { differences }),
        None => Match::Missing(Obstacle::NotPublished),
    }
}

/// The differences between a published configuration and this one if they concern parameters only. With another data set, method or noise
/// rate the value answers a different question.
fn parameter_differences(result: &PublishedResult, configuration: &Value) -> Option<Vec<Difference>> {
    let leaves = result.when.iter().flat_map(leaves).filter(|leaf| !leaf.holds(configuration));
    let parameter = |leaf: &Condition| !leaf.value.is_string() && leaf.path.to_string() != "noise.rate";
    leaves.map(|leaf| parameter(&leaf).then(|| Difference::of(&leaf, configuration))).collect()
}

/// Splits a condition on a map into conditions on its entries.
fn leaves(condition: &Condition) -> Vec<Condition> {
    match &condition.value {
        Value::Object(entries) => {
            let below = |(key, value): (&String, &Value)| {
                let path = Path([condition.path.0.as_slice(), std::slice::from_ref(key)].concat());
                leaves(&Condition { path, value: value.clone() })
            };
            entries.iter().flat_map(below).collect()
        }
        _ => vec![condition.clone()],
    }
}

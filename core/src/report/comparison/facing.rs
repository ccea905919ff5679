//! Which published number faces a cell of ours, or why none does.

use crate::metric::{EpochSelection, Metric};
use crate::sweep_file::{Condition, Path, Published, PublishedResult};
use serde::Serialize;
use serde_json::Value;

/// Why there is no verdict on a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Obstacle {
    /// No number was published for such a configuration.
    NotPublished,
    /// Numbers were published for methods of these names with other parameters.
    OtherConfiguration {
        /// What would have to be otherwise, such as "loss.q is 0.3, published for 0.7".
        differences: Vec<super::Difference>,
    },
    /// Numbers were published for the configuration, of these metrics at these selections.
    OtherSelection {
        /// Such as "test_accuracy at best".
        published: Vec<String>,
    },
    /// Our cell has no value yet.
    NoValue,
    /// Our cell has no mean because a seed diverged.
    Diverged,
    /// Our cell lacks seeds.
    Incomplete {
        /// How many have a value.
        n: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// Our cell has one seed, so its spread is unknown.
    OneSeed,
    /// The paper does not say over how many runs its mean is.
    NotSaidHowMany,
    /// The published number is of one run.
    OneRun,
    /// No standard deviation was printed.
    NoStd,
    /// Neither number has any spread.
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
            Obstacle::NotSaidHowMany => "not-said-how-many",
            Obstacle::OneRun => "one-run",
            Obstacle::NoStd => "no-std",
            Obstacle::NoSpread => "no-spread",
        }
    }
}

/// What stands beside a cell.
pub(super) enum Faced<'p> {
    With(&'p PublishedResult),
    Not(Obstacle),
}

/// The published number for a configuration, given as its JSON; of several the one that says most of it.
pub(super) fn face<'p>(
    configuration: &Value,
    metric: Metric,
    at: EpochSelection,
    published: &'p Published,
) -> Faced<'p> {
    let is_asked = |result: &&PublishedResult| result.metric == metric.name() && result.at == at.name();
    let fitting: Vec<_> = published.results.iter().filter(|result| result.is_for(configuration)).collect();
    // Of equals the first: `max_by_key` takes the last.
    let asked = fitting.iter().rev().copied().filter(|result| is_asked(result));
    if let Some(result) = asked.max_by_key(|result| result.when.iter().flat_map(leaves).count()) {
        return Faced::With(result);
    }
    if !fitting.is_empty() {
        let mut published: Vec<String> = Vec::new();
        for name in fitting.iter().map(|result| format!("{} at {}", result.metric, result.at)) {
            if !published.contains(&name) {
                published.push(name);
            }
        }
        return Faced::Not(Obstacle::OtherSelection { published });
    }
    let near = published.results.iter().filter(is_asked).filter_map(|result| lacking(result, configuration));
    match near.min_by_key(Vec::len) {
        Some(differences) => Faced::Not(Obstacle::OtherConfiguration { differences }),
        None => Faced::Not(Obstacle::NotPublished),
    }
}

/// What keeps a result from being for the configuration, if it is only parameters: another data set, method or noise rate is another
/// question, for which the number says nothing.
fn lacking(result: &PublishedResult, configuration: &Value) -> Option<Vec<super::Difference>> {
    let leaves = result.when.iter().flat_map(leaves).filter(|leaf| !leaf.holds(configuration));
    let parameter = |leaf: &Condition| !leaf.value.is_string() && leaf.path.to_string() != "noise.rate";
    leaves.map(|leaf| parameter(&leaf).then(|| super::Difference::of(&leaf, configuration))).collect()
}

/// A condition on a map as conditions on its entries.
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

//! `seeds`: a number of seeds, or a list of them.

use crate::input::fields::{Fields, integer, items};
use crate::input::node::{Node, Value};
use std::collections::BTreeSet;

/// The seeds of a sweep, not yet listed: there may be too many.
#[derive(Clone, Debug)]
pub(super) enum Seeds {
    /// The seeds 0 to n − 1.
    First(u64),
    /// These seeds, each once.
    Listed(Vec<u64>),
}

pub(super) const EXPECTED: &str = "a number of seeds (`5` means 0 to 4) or a list of seeds";

impl Seeds {
    /// The number of seeds.
    pub(super) fn len(&self) -> u64 {
        match self {
            Seeds::First(count) => *count,
            Seeds::Listed(seeds) => seeds.len() as u64,
        }
    }

    /// All seeds.
    pub(super) fn list(self) -> Vec<u64> {
        match self {
            Seeds::First(count) => (0..count).collect(),
            Seeds::Listed(seeds) => seeds,
        }
    }
}

/// Reads the seeds in `node`; one placeholder seed if they are invalid.
pub(super) fn read(fields: &mut Fields<'_>, node: &Node) -> Seeds {
    match &node.value {
        Value::Seq(_) => {
            let mut seeds = Vec::new();
            let mut seen = BTreeSet::new();
            for item in items(fields, "seeds", node, EXPECTED).unwrap_or_default() {
                let before = fields.problems().reports();
                let seed = integer(fields, "seeds", item, 0, i64::MAX as u64);
                if fields.problems().reports() != before {
                    continue;
                }
                if seen.insert(seed) {
                    seeds.push(seed);
                } else {
                    let label = "a job is trained once under each seed".to_owned();
                    let title = format!("the seed {seed} is given twice");
                    fields.problems().report(item.span.clone(), title, label, Some("remove it here".to_owned()));
                }
            }
            Seeds::Listed(seeds)
        }
        Value::Int(_) | Value::Float(_) => Seeds::First(integer(fields, "seeds", node, 1, i64::MAX as u64)),
        _ => {
            fields.unexpected("seeds", node, EXPECTED, None);
            Seeds::First(1)
        }
    }
}

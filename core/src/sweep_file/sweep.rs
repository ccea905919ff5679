//! A checked sweep: what is left when the file has no more problems.

use super::selection::Select;
use crate::id::{CellId, SweepName};
use crate::job::Configuration;
use crate::metric::{EpochSelection, Metric};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A sweep whose file has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Its name.
    pub name: SweepName,
    /// What it is for, in the author's words.
    pub description: Option<String>,
    /// In the file's order, each once.
    pub seeds: Vec<u64>,
    /// In the order of the grid, each once.
    pub cells: Vec<Cell>,
    /// What cells build on, each once and after what it builds on itself. One of them may be a cell as well.
    pub parents: Vec<Cell>,
    /// What is chosen among its cells; without it each is trained under every seed.
    pub select: Option<Select>,
    /// How its table is laid out.
    pub table: TableSpec,
}

/// One configuration of a sweep: one mean ± std.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The hash of the configuration.
    pub id: CellId,
    /// What its jobs share.
    pub configuration: Arc<Configuration>,
}

impl Sweep {
    /// What is trained, each once: parents, before what builds on them, and then the cells that are no parents.
    pub fn trained(&self) -> Vec<&Cell> {
        let parents: BTreeSet<CellId> = self.parents.iter().map(|cell| cell.id).collect();
        self.parents.iter().chain(self.cells.iter().filter(|cell| !parents.contains(&cell.id))).collect()
    }
}

/// How a sweep's table is laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Paths into the configuration (`loss`, `noise.rate`) whose values name the rows.
    pub rows: Vec<Path>,
    /// Paths whose values name the columns.
    pub columns: Vec<Path>,
    /// What is shown.
    pub metric: Metric,
    /// In which epoch.
    pub at: EpochSelection,
    /// Which standard deviation.
    pub std: Std,
    /// How many of the best of each column are bold.
    pub bold: usize,
    /// What comes of seeds that diverged.
    pub diverged: Divergence,
    /// The name of the published results that it is to be set beside.
    pub reference: Option<String>,
}

/// Which standard deviation a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Std {
    /// Over n − 1.
    #[default]
    Sample,
    /// Over n.
    Population,
}

/// What comes of a seed in a table whose loss became infinite or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// It is left out of the mean, whose n is shown short.
    #[default]
    Exclude,
    /// It counts with what its selection shows of the epochs that it finished before; where it finished none, it is left out.
    Count,
    /// Its cell has no mean, and the sweep has failed.
    Fail,
}

impl Divergence {
    /// Every policy.
    pub const ALL: &'static [Divergence] = &[Divergence::Exclude, Divergence::Count, Divergence::Fail];

    /// The policy's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Divergence::Exclude => "exclude",
            Divergence::Count => "count",
            Divergence::Fail => "fail",
        }
    }

    /// Whether it is the one that is taken where none is named.
    pub fn is_default(&self) -> bool {
        *self == Divergence::default()
    }
}

/// A dotted path into a configuration's JSON, such as `noise.rate`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<String>);

impl Path {
    /// The value that the path leads to in `tree`.
    pub fn find<'v>(&self, tree: &'v serde_json::Value) -> Option<&'v serde_json::Value> {
        self.0.iter().try_fold(tree, |node, key| node.get(key))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

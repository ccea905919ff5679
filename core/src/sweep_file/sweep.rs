//! A checked sweep.

use super::path::Path;
use crate::id::{CellId, SweepName};
use crate::job::Configuration;
use crate::metric::{EpochSelection, Metric};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A sweep whose file has no problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Its name; a profile's sweep is named `SWEEP-PROFILE`.
    pub name: SweepName,
    /// The author's description, printed above the table.
    pub description: Option<String>,
    /// In the file's order, each once.
    pub seeds: Vec<u64>,
    /// In the order of the grid, each once.
    pub cells: Vec<Cell>,
    /// The parents of cells, each once and after its own parent. A parent may also be a cell.
    pub parents: Vec<Cell>,
    /// Hyper-parameter selection; without it each cell is trained under every seed.
    pub select: Option<Select>,
    /// Layout of the table.
    pub table: TableSpec,
}

/// One configuration of a sweep: one mean ± std of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The hash of the configuration.
    pub id: CellId,
    /// The configuration that its jobs share.
    pub configuration: Arc<Configuration>,
}

impl Sweep {
    /// All configurations to train, each once: parents before their children, then the cells that are not parents.
    pub fn trained(&self) -> Vec<&Cell> {
        let parents: BTreeSet<CellId> = self.parents.iter().map(|cell| cell.id).collect();
        self.parents.iter().chain(self.cells.iter().filter(|cell| !parents.contains(&cell.id))).collect()
    }
}

/// Hyper-parameter selection: cells that differ only in some paths are candidates of one group. All candidates are trained
/// under the first seeds, and only the best one under the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// The paths whose values are chosen.
    pub over: Vec<Path>,
    /// The metric that candidates are compared by, in its better direction.
    pub by: Metric,
    /// The epoch of each job that is compared.
    pub at: EpochSelection,
    /// How many of the sweep's first seeds every candidate is trained under, from 1 to the number of seeds.
    pub seeds: usize,
    /// The candidates of each group, as indices into the sweep's cells in the order of the grid. Each cell is in one group.
    pub groups: Vec<Vec<usize>>,
}

/// Layout of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Paths into the configuration (`loss`, `noise.rate`) whose values name the rows.
    pub rows: Vec<Path>,
    /// Paths whose values name the columns.
    pub columns: Vec<Path>,
    /// The metric shown.
    pub metric: Metric,
    /// The epoch shown.
    pub at: EpochSelection,
    /// The standard deviation shown.
    pub std: Std,
    /// How many of the best cells of each column are bold.
    pub bold: usize,
    /// How seeds that diverged count.
    pub diverged: Divergence,
    /// The decimals of printed numbers; `None` chooses them by unit and deviation.
    pub decimals: Option<u8>,
    /// The name of the published results to compare with.
    pub reference: Option<String>,
}

impl TableSpec {
    /// The most decimals of printed numbers.
    pub const MOST_DECIMALS: u8 = 10;
}

/// A standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Std {
    /// Of a sample: divides by n − 1.
    #[default]
    Sample,
    /// Of a population: divides by n.
    Population,
}

/// How a seed counts whose loss became infinite or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// It is left out of the mean; the table shows the smaller n.
    #[default]
    Exclude,
    /// It counts with the epochs that it finished before; without any, it is left out.
    Count,
    /// Its cell has no mean, and the sweep counts as failed.
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

    /// Whether this is the default policy.
    pub fn is_default(&self) -> bool {
        *self == Divergence::default()
    }
}

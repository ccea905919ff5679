//! The table of a sweep: mean ± standard deviation of every cell, with the seeds that are missing.

use super::axis::{Axis, Layout};
use super::precision::Precision;
use super::selection::{CellSelection, SelectionRule, ShownCell, shown_cells};
use super::statistics::MeanStd;
use super::status::{JobResult, SeedResult, Status, StatusCounts};
use crate::id::{CellId, SweepName};
use crate::metric::{Better, EpochSelection, Metric};
use crate::sweep_file::{Cell, Decision, Divergence, Std, Sweep};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The table of a sweep. Its JSON loses nothing: a table read from it equals the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The sweep's name.
    pub title: SweepName,
    /// The sweep's description, as its author wrote it.
    pub description: Option<String>,
    /// The metric in the cells.
    pub metric: Metric,
    /// The epoch of each job that the metric is taken from.
    pub at: EpochSelection,
    /// The kind of standard deviation.
    #[serde(with = "StdName")]
    pub std: Std,
    /// How diverged seeds enter the mean.
    #[serde(default, skip_serializing_if = "Divergence::is_default")]
    pub diverged: Divergence,
    /// The decimals of printed numbers; `None` chooses them by unit and deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// The rule of a sweep that selects hyper-parameters.
    #[serde(rename = "choosing", default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionRule>,
    /// The sweep's seeds.
    pub seeds: Vec<u64>,
    /// The number of jobs in the table by status.
    pub jobs: StatusCounts,
    /// The headers of the rows.
    pub rows: Axis,
    /// The headers of the columns.
    pub columns: Axis,
    /// By row, then by column; `None` where the sweep has no such cell.
    pub cells: Vec<Vec<Option<CellSummary>>>,
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellSummary {
    /// The cell's hash. In a group without a winner, the hash of the first candidate.
    pub id: CellId,
    /// The label of the cell's value by path of the rows and columns; a path that the configuration lacks is absent.
    pub labels: BTreeMap<String, String>,
    /// The state of the selection, in a sweep that selects hyper-parameters.
    #[serde(rename = "choice", default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<CellSelection>,
    /// Mean over the `counts.n` seeds with a value; `None` if there are none or [a divergence fails the cell](Self::fails).
    pub mean: Option<f64>,
    /// Standard deviation over the same seeds; `None` also for a single seed.
    pub std: Option<f64>,
    /// The number of seeds by status.
    pub counts: StatusCounts,
    /// Whether the cell is among the best of its column for its data set and noise.
    pub bold: bool,
    /// All seeds of the sweep, in its order.
    pub seeds: Vec<SeedResult>,
}

/// The names of [`Std`] in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Std", rename_all = "kebab-case")]
enum StdName {
    Sample,
    Population,
}

impl CellSummary {
    fn new(
        cell: &Cell,
        labels: BTreeMap<String, String>,
        selection: Option<CellSelection>,
        seeds: Vec<SeedResult>,
        sweep: &Sweep,
    ) -> CellSummary {
        let MeanStd { mean, std, .. } =
            MeanStd::of(seeds.iter().filter_map(|seed| seed.status.value()), sweep.table.std);
        let counts = seeds.iter().map(|seed| seed.status).collect();
        let mut summary = CellSummary { id: cell.id, labels, selection, mean, std, counts, bold: false, seeds };
        if summary.fails(sweep.table.diverged) {
            (summary.mean, summary.std) = (None, None);
        }
        summary
    }

    /// Whether every seed of the sweep is in the mean.
    pub fn is_complete(&self) -> bool {
        self.counts.n == self.counts.asked()
    }

    /// Whether a diverged seed withholds the cell's mean under this policy.
    pub fn fails(&self, policy: Divergence) -> bool {
        policy == Divergence::Fail && self.counts.diverged > 0
    }
}

/// A cell's configuration as JSON.
pub(super) fn configuration_json(cell: &Cell) -> Value {
    serde_json::to_value(&*cell.configuration).expect("a configuration serialises to JSON")
}

impl Table {
    /// The table of `sweep` with no hyper-parameters selected yet. A job without a result counts as waiting; of several results for
    /// one job the last counts; results of other cells and seeds are ignored.
    pub fn new(sweep: &Sweep, results: impl IntoIterator<Item = JobResult>) -> Table {
        Table::with_decisions(sweep, &[], results)
    }

    /// Like [`Table::new`], with the [decisions](super::decisions) of a sweep that selects hyper-parameters. A group's cell shows the
    /// winner; until there is one, all its seeds have the group's status.
    pub fn with_decisions(
        sweep: &Sweep,
        decisions: &[Decision],
        results: impl IntoIterator<Item = JobResult>,
    ) -> Table {
        let policy = sweep.table.diverged;
        let statuses: BTreeMap<(CellId, u64), Status> = results
            .into_iter()
            .map(|result| ((result.cell, result.seed), result.status.under_policy(policy)))
            .collect();
        let configurations: Vec<_> = sweep.cells.iter().map(configuration_json).collect();
        let shown = shown_cells(sweep, &configurations, decisions, &statuses);
        let configurations: Vec<_> = shown.iter().map(|shown| configurations[shown.cell].clone()).collect();
        let Layout { rows, columns, positions, labels } = Layout::new(&configurations, &sweep.table);
        let problems = problems(&configurations, &positions);
        let mut cells: Vec<Vec<Option<CellSummary>>> = vec![vec![None; columns.len()]; rows.len()];
        for ((shown, (row, column)), labels) in shown.into_iter().zip(positions).zip(labels) {
            let ShownCell { cell, status, selection } = shown;
            let cell = &sweep.cells[cell];
            let result = |seed: &u64| {
                let own = || statuses.get(&(cell.id, *seed)).copied().unwrap_or_default();
                SeedResult { seed: *seed, status: status.unwrap_or_else(own) }
            };
            let seeds = sweep.seeds.iter().map(result).collect();
            cells[row][column] = Some(CellSummary::new(cell, labels, selection, seeds, sweep));
        }
        let mut table = Table {
            title: sweep.name.clone(),
            description: sweep.description.clone(),
            metric: sweep.table.metric,
            at: sweep.table.at,
            std: sweep.table.std,
            diverged: policy,
            decimals: sweep.table.decimals,
            selection: sweep.select.as_ref().map(|select| SelectionRule::new(select, &sweep.seeds)),
            seeds: sweep.seeds.clone(),
            jobs: cells.iter().flatten().flatten().flat_map(|cell| cell.seeds.iter().map(|seed| seed.status)).collect(),
            rows,
            columns,
            cells,
        };
        for ((column, _), rows) in problems {
            table.mark_best(column, &rows, sweep.table.bold);
        }
        table
    }

    /// The name of every cell: its labels in the rows and columns, joined by ` · `.
    pub fn cell_names(&self) -> BTreeMap<CellId, String> {
        let name = |cell: &CellSummary| {
            let paths = self.rows.paths.iter().chain(&self.columns.paths);
            paths.filter_map(|path| cell.labels.get(path)).map(String::as_str).collect::<Vec<_>>().join(" · ")
        };
        self.summaries().map(|cell| (cell.id, name(cell))).collect()
    }

    /// All cells of the table, row by row.
    pub fn summaries(&self) -> impl Iterator<Item = &CellSummary> {
        self.cells.iter().flatten().flatten()
    }

    /// The number of decimals that a column prints.
    pub(super) fn precision(&self, column: usize) -> Precision {
        let cells = self.cells.iter().filter_map(|row| row[column].as_ref());
        let numbers: Vec<_> = cells.filter_map(|cell| cell.mean.map(|mean| (mean, cell.std))).collect();
        Precision::of(self.metric.unit(), self.decimals, &numbers)
    }

    /// Marks as bold the `count` best of the cells in these rows of a column, and the cells that print the same mean as the last of
    /// them.
    ///
    /// Only complete cells can be best. Nothing is bold while a job of these cells waits, runs, is cancelled or has failed, because a
    /// better result may follow; a divergence is final. At least two complete cells are needed for a comparison.
    fn mark_best(&mut self, column: usize, rows: &[usize], count: usize) {
        let precision = self.precision(column);
        let better = self.metric.better();
        let cells = || rows.iter().filter_map(|row| self.cells[*row][column].as_ref());
        let settled = cells().all(|cell| !cell.counts.is_partial());
        let mut means: Vec<f64> = cells().filter(|cell| cell.is_complete()).filter_map(|cell| cell.mean).collect();
        if !settled || count == 0 || means.len() < 2 {
            return;
        }
        means.sort_by(|a, b| match better {
            Better::Higher => b.total_cmp(a),
            Better::Lower => a.total_cmp(b),
        });
        let last = means[count.min(means.len()) - 1];
        let printed = precision.print(last);
        let best = |mean: f64| match better {
            Better::Higher => mean >= last,
            Better::Lower => mean <= last,
        };
        for row in rows {
            if let Some(cell) = self.cells[*row][column].as_mut().filter(|cell| cell.is_complete()) {
                cell.bold = cell.mean.is_some_and(|mean| best(mean) || precision.print(mean) == printed);
            }
        }
    }
}

/// Methods compete where the problem is the same: the rows of each column by data set and noise.
fn problems(configurations: &[Value], positions: &[(usize, usize)]) -> BTreeMap<(usize, String), Vec<usize>> {
    let mut problems: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
    for (configuration, (row, column)) in configurations.iter().zip(positions) {
        let problem = format!("{} {}", configuration["dataset"], configuration["noise"]);
        problems.entry((*column, problem)).or_default().push(*row);
    }
    problems
}

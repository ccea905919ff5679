//! The table of a sweep: every cell's mean ± std, and what is missing from it.

use super::axis::{Axis, Layout};
use super::choice::{self, Choice, Choosing, Shown};
use super::precision::Precision;
use super::statistics::Moments;
use super::status::{Counts, JobResult, SeedResult};
use crate::id::{CellId, SweepName};
use crate::metric::{Better, EpochSelection, Metric};
use crate::sweep_file::{Decision, Divergence, Std, Sweep};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The table of a sweep. Its JSON is both one of the [formats](super::Format) and how a table travels: it loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The sweep.
    pub title: SweepName,
    /// What the sweep is for, in the author's words.
    pub description: Option<String>,
    /// What is shown.
    pub metric: Metric,
    /// In which epoch of each job.
    pub at: EpochSelection,
    /// Which standard deviation.
    #[serde(with = "StdName")]
    pub std: Std,
    /// What comes of seeds that diverged.
    #[serde(default, skip_serializing_if = "Divergence::is_default")]
    pub diverged: Divergence,
    /// How hyper-parameters were chosen, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choosing: Option<Choosing>,
    /// The seeds that every cell was asked for.
    pub seeds: Vec<u64>,
    /// How all jobs stand.
    pub jobs: Counts,
    /// What the rows are.
    pub rows: Axis,
    /// What the columns are.
    pub columns: Axis,
    /// By row, then by column; nothing where the sweep has no such cell.
    pub cells: Vec<Vec<Option<CellSummary>>>,
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellSummary {
    /// The cell's hash.
    pub id: CellId,
    /// By path of the rows and columns: the label of the cell's value, where its configuration has one.
    pub labels: BTreeMap<String, String>,
    /// What was chosen here, where the sweep chooses. A place without a winner has the hash of the first candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Over the `counts.n` seeds that have a value; absent of a [void](Self::is_void) cell.
    pub mean: Option<f64>,
    /// Of the same seeds; absent where there are fewer than two.
    pub std: Option<f64>,
    /// How its seeds stand.
    pub counts: Counts,
    /// Whether it is among the best of its column on its data set, under its noise.
    pub bold: bool,
    /// Every seed that was asked for, in the sweep's order.
    pub seeds: Vec<SeedResult>,
}

/// How [`Std`] is called in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Std", rename_all = "kebab-case")]
enum StdName {
    Sample,
    Population,
}

impl CellSummary {
    /// Whether every seed that was asked for is in the mean.
    pub fn is_complete(&self) -> bool {
        self.counts.n == self.counts.asked()
    }

    /// Whether it has no mean because a seed diverged.
    pub fn is_void(&self, policy: Divergence) -> bool {
        policy == Divergence::Fail && self.counts.diverged > 0
    }
}

impl Table {
    /// The table of `sweep` as `results` have it. Results of other cells and seeds are passed over, a job without a result
    /// waits, and of several results for a job the last one counts. Of a sweep that chooses, nothing is decided.
    pub fn new(sweep: &Sweep, results: impl IntoIterator<Item = JobResult>) -> Table {
        Table::given(sweep, &[], results)
    }

    /// As [`Table::new`], of a sweep whose choices have come to these [`decisions`](super::decisions): a winner has the place of its
    /// group, which waits before there is one.
    pub fn given(sweep: &Sweep, decisions: &[Decision], results: impl IntoIterator<Item = JobResult>) -> Table {
        let diverged = sweep.table.diverged;
        let known: BTreeMap<_, _> =
            results.into_iter().map(|result| ((result.cell, result.seed), result.status.under(diverged))).collect();
        let trees: Vec<_> = sweep.cells.iter().map(choice::tree).collect();
        let all = choice::shown(sweep, &trees, decisions, &known);
        let trees: Vec<_> = all.iter().map(|shown| trees[shown.cell].clone()).collect();
        let Layout { rows, columns, places, labels } = Layout::of(&trees, &sweep.table);
        let mut cells: Vec<Vec<Option<CellSummary>>> = vec![vec![None; columns.len()]; rows.len()];
        // Methods compete where the problem is the same: one data set under one noise.
        let mut contests: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for (tree, (row, column)) in trees.iter().zip(&places) {
            contests.entry((*column, format!("{} {}", tree["dataset"], tree["noise"]))).or_default().push(*row);
        }
        for ((shown, (row, column)), labels) in all.into_iter().zip(places).zip(labels) {
            let Shown { cell, instead, choice } = shown;
            let cell = &sweep.cells[cell];
            let status =
                |seed: &u64| instead.unwrap_or_else(|| known.get(&(cell.id, *seed)).copied().unwrap_or_default());
            let seeds: Vec<_> =
                sweep.seeds.iter().map(|seed| SeedResult { seed: *seed, status: status(seed) }).collect();
            let moments = Moments::of(seeds.iter().filter_map(|seed| seed.status.value()), sweep.table.std);
            let mut summary = CellSummary {
                id: cell.id,
                labels,
                choice,
                mean: moments.mean,
                std: moments.std,
                counts: seeds.iter().map(|seed| seed.status).collect(),
                bold: false,
                seeds,
            };
            if summary.is_void(diverged) {
                (summary.mean, summary.std) = (None, None);
            }
            cells[row][column] = Some(summary);
        }
        let mut table = Table {
            title: sweep.name.clone(),
            description: sweep.description.clone(),
            metric: sweep.table.metric,
            at: sweep.table.at,
            std: sweep.table.std,
            diverged,
            choosing: sweep.select.as_ref().map(|select| Choosing::of(select, &sweep.seeds)),
            seeds: sweep.seeds.clone(),
            jobs: cells.iter().flatten().flatten().flat_map(|cell| cell.seeds.iter().map(|seed| seed.status)).collect(),
            rows,
            columns,
            cells,
        };
        for ((column, _), rows) in contests {
            table.embolden(column, &rows, sweep.table.bold);
        }
        table
    }

    /// What each cell is called: its labels in the rows and columns.
    pub fn names(&self) -> BTreeMap<CellId, String> {
        let name = |cell: &CellSummary| {
            let paths = self.rows.paths.iter().chain(&self.columns.paths);
            paths.filter_map(|path| cell.labels.get(path)).map(String::as_str).collect::<Vec<_>>().join(" · ")
        };
        self.summaries().map(|cell| (cell.id, name(cell))).collect()
    }

    /// Every cell of the sweep, by rows.
    pub fn summaries(&self) -> impl Iterator<Item = &CellSummary> {
        self.cells.iter().flatten().flatten()
    }

    /// How the numbers of a column are printed.
    pub(super) fn precision(&self, column: usize) -> Precision {
        let moments: Vec<_> = self.column(column).filter_map(|cell| cell.mean.map(|mean| (mean, cell.std))).collect();
        Precision::of(self.metric.unit(), &moments)
    }

    fn column(&self, column: usize) -> impl Iterator<Item = &CellSummary> {
        self.cells.iter().filter_map(move |row| row[column].as_ref())
    }

    /// Marks the `count` best of the cells in these rows of a column, and whatever prints the same mean as the last of them.
    ///
    /// Only complete cells can be best, and nothing is best before all are settled: while a job waits or runs, or was called
    /// off or failed and might yet be run, the best may be still to come. A divergence is a result. Where fewer than two
    /// cells can be compared, none is better than another.
    fn embolden(&mut self, column: usize, rows: &[usize], count: usize) {
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

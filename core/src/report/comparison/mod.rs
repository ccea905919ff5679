//! A sweep's table beside a published one, cell by cell.

mod csv;
mod facing;
mod protocol;
mod shown;
#[cfg(test)]
mod tests;

pub use facing::Obstacle;
pub use protocol::Difference;

use super::Format;
use super::inference::{Interval, StudentT, Summary, Welch, holm, welch};
use super::listing;
use super::statistics::Moments;
use super::status::is_zero;
use super::table::{CellSummary, Table};
use crate::id::{CellId, SweepName};
use crate::metric::{EpochSelection, Metric};
use crate::sweep_file::{Published, PublishedResult, Spread, Std, Sweep};
use facing::{Faced, face};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A sweep's table beside a published one. Means and deviations are in the metric's own unit: shares of 1, not per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The sweep.
    pub title: SweepName,
    /// What is compared.
    pub metric: Metric,
    /// In which epoch.
    pub at: EpochSelection,
    /// The level of the verdicts, 0 < α < 1.
    pub alpha: f64,
    /// The seeds that every cell of ours was asked for.
    pub seeds: usize,
    /// Jobs of ours that diverged and count with what they had reached before.
    #[serde(skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// The published table.
    pub reference: Reference,
    /// What the labels of a cell are the values of.
    pub paths: Vec<String>,
    /// Every cell of ours, by rows.
    pub cells: Vec<Compared>,
    /// What the published numbers were divided by to be ours.
    #[serde(skip)]
    divisor: f64,
}

/// The published table that a sweep is set beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// What sweep files call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Where it was printed.
    pub source: Option<String>,
    /// What is to be known of its numbers.
    pub notes: Vec<String>,
}

/// One cell of ours and what was published for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The cell's hash.
    pub id: CellId,
    /// What the cell is called, a label for every path.
    pub labels: Vec<String>,
    /// Our number.
    pub ours: Ours,
    /// The published number.
    pub published: Option<Theirs>,
    /// Ours less theirs, where both are there and ours is complete.
    pub difference: Option<f64>,
    /// Of the difference, with confidence 1 − α, not corrected for their number.
    pub interval: Option<Interval>,
    /// Welch's test of the difference.
    pub test: Option<StudentT>,
    /// Its p by Holm's correction over all cells with a test.
    pub p_holm: Option<f64>,
    /// Whether the two agree.
    pub verdict: Verdict,
    /// Why there is no verdict.
    pub obstacle: Option<Obstacle>,
    /// In what our configuration is not that of the published number, as far as that is known.
    pub differences: Vec<Difference>,
}

impl Compared {
    /// [`Compared::differences`] of a published number, or else what keeps the nearest one from being comparable.
    fn told(&self) -> &[Difference] {
        match &self.obstacle {
            Some(Obstacle::OtherConfiguration { differences }) => differences,
            _ => &self.differences,
        }
    }
}

/// Our number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ours {
    /// How many seeds have a value.
    pub n: usize,
    /// How many were asked for.
    pub asked: usize,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their sample standard deviation.
    pub std: Option<f64>,
    /// Whether there is no mean because a seed diverged.
    #[serde(skip_serializing_if = "is_false")]
    pub diverged: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A published number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Theirs {
    /// As printed.
    pub printed: String,
    /// Its mean.
    pub mean: f64,
    /// Its sample standard deviation, as printed or made so.
    pub std: Option<f64>,
    /// Over how many runs.
    pub n: Option<u64>,
    /// Why it may not be what it seems.
    pub doubt: Option<String>,
}

/// Whether a number of ours agrees with the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The test shows no difference, which is no proof that there is none.
    Agree,
    /// The test shows a difference by itself, and none once it is held against how many cells were tested.
    DifferAlone,
    /// The test shows a difference, corrected for the number of cells.
    Differ,
    /// There is no test.
    NotCompared,
}

impl Verdict {
    /// The verdict of a p and of the same p corrected.
    fn of(p: f64, p_holm: f64, alpha: f64) -> Verdict {
        match (p < alpha, p_holm < alpha) {
            (_, true) => Verdict::Differ,
            (true, false) => Verdict::DifferAlone,
            (false, false) => Verdict::Agree,
        }
    }

    /// The verdict's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Agree => "agree",
            Verdict::DifferAlone => "differ-alone",
            Verdict::Differ => "differ",
            Verdict::NotCompared => "not-compared",
        }
    }
}

impl Comparison {
    /// Sets `table`, which is that of `sweep`, beside `published`, at the level `alpha`.
    pub fn new(sweep: &Sweep, table: &Table, published: &Published, alpha: f64) -> Comparison {
        let tree = |cell: &crate::sweep_file::Cell| serde_json::to_value(&*cell.configuration).unwrap_or_default();
        let trees: BTreeMap<CellId, Value> = sweep.cells.iter().map(|cell| (cell.id, tree(cell))).collect();
        let mut cells = Vec::new();
        for (row, labels) in table.cells.iter().zip(&table.rows.labels) {
            for (cell, column) in row.iter().zip(&table.columns.labels) {
                let Some(cell) = cell else { continue };
                let labels = labels.iter().chain(column).cloned().collect();
                let configuration = trees.get(&cell.id).unwrap_or(&Value::Null);
                cells.push(Compared::new(cell, labels, configuration, table, published, alpha));
            }
        }
        let ps: Vec<Option<f64>> = cells.iter().map(|cell| cell.test.map(|test| test.p)).collect();
        for (cell, p_holm) in cells.iter_mut().zip(holm(&ps)) {
            if let (Some(test), Some(p_holm)) = (cell.test, p_holm) {
                cell.p_holm = Some(p_holm);
                cell.verdict = Verdict::of(test.p, p_holm, alpha);
            }
        }
        Comparison {
            title: table.title.clone(),
            metric: table.metric,
            at: table.at,
            alpha,
            seeds: table.seeds.len(),
            counted: table.jobs.counted,
            reference: Reference {
                name: published.name.clone(),
                title: published.title.clone(),
                source: published.source.clone(),
                notes: published.notes.iter().cloned().chain(unsaid(published)).collect(),
            },
            paths: table.rows.paths.iter().chain(&table.columns.paths).cloned().collect(),
            cells,
            divisor: published.divisor,
        }
    }

    /// The comparison as text in the given format, ending in a newline.
    pub fn render(&self, format: Format) -> String {
        listing::render(self, format, shown::listing, csv::render)
    }

    /// How many cells have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == verdict).count()
    }
}

/// What has to be said where a paper does not say which standard deviation it prints.
fn unsaid(published: &Published) -> Option<String> {
    let printed = published.results.iter().any(|result| result.std.is_some());
    let taken = "which standard deviation was published is not said: it is taken for the sample's";
    (printed && published.spread == Spread::Unsaid).then(|| taken.to_owned())
}

impl Compared {
    fn new(
        cell: &CellSummary,
        labels: Vec<String>,
        configuration: &Value,
        table: &Table,
        published: &Published,
        alpha: f64,
    ) -> Compared {
        // The table may show the population's deviation; a test asks for the sample's.
        let moments = Moments::of(cell.seeds.iter().filter_map(|seed| seed.status.value()), Std::Sample);
        let diverged = cell.is_void(table.diverged);
        let (mean, std) = if diverged { (None, None) } else { (moments.mean, moments.std) };
        let ours = Ours { n: moments.n, asked: cell.counts.asked(), mean, std, diverged };
        let mut compared = Compared {
            id: cell.id,
            labels,
            ours,
            published: None,
            difference: None,
            interval: None,
            test: None,
            p_holm: None,
            verdict: Verdict::NotCompared,
            obstacle: None,
            differences: Vec::new(),
        };
        match face(configuration, table.metric, table.at, published) {
            Faced::With(result) => {
                compared.differences = protocol::differences(published.settings(configuration), configuration);
                compared.obstacle = compared.test(result, published, alpha).err();
            }
            Faced::Not(obstacle) => compared.obstacle = Some(obstacle),
        }
        compared
    }

    /// Takes in the published number and tests ours against it.
    fn test(&mut self, result: &PublishedResult, published: &Published, alpha: f64) -> Result<(), Obstacle> {
        let mean = result.mean / published.divisor;
        let std = result.sample_std(published.spread).map(|std| std / published.divisor);
        let (printed, doubt) = (result.printed.clone(), result.doubt.clone());
        self.published = Some(Theirs { printed, mean, std, n: result.n, doubt });
        let Ours { n, asked, mean: Some(ours), std: our_std, .. } = self.ours else {
            return Err(if self.ours.diverged { Obstacle::Diverged } else { Obstacle::NoValue });
        };
        if n < asked {
            return Err(Obstacle::Incomplete { n, asked });
        }
        self.difference = Some(ours - mean);
        let our_std = our_std.ok_or(Obstacle::OneSeed)?;
        let their_n = result.n.ok_or(Obstacle::NotSaidHowMany)?;
        if their_n < 2 {
            return Err(Obstacle::OneRun);
        }
        let their_std = std.ok_or(Obstacle::NoStd)?;
        let summary = |n, mean, std| Summary { n, mean, std };
        match welch(summary(n as u64, ours, our_std), summary(their_n, mean, their_std), alpha) {
            Welch::Tested(test, interval) => {
                (self.test, self.interval) = (Some(test), Some(interval));
                Ok(())
            }
            Welch::NoSpread => Err(Obstacle::NoSpread),
            Welch::TooFew => Err(Obstacle::OneSeed),
        }
    }
}

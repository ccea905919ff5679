//! The cells of a comparison, and the tests that decide their verdicts.

use super::matching::{Match, Obstacle, match_published};
use super::protocol::{self, Difference};
use crate::id::{CellId, SweepName};
use crate::metric::{EpochSelection, Metric};
use crate::report::inference::{Interval, SampleSummary, StudentT, Welch, holm, welch};
use crate::report::statistics::MeanStd;
use crate::report::status::is_zero;
use crate::report::table::{CellSummary, Table, configuration_json};
use crate::sweep_file::{Published, PublishedResult, Spread, Std, Sweep};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A sweep's table compared with a published one. Means and deviations are in the metric's own unit: shares of 1, not per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The sweep's name.
    pub title: SweepName,
    /// The compared metric.
    pub metric: Metric,
    /// The epoch that the metric is taken from.
    pub at: EpochSelection,
    /// The decimals of printed numbers; `None` chooses them by unit and deviation.
    #[serde(skip)]
    pub decimals: Option<u8>,
    /// The significance level α of the verdicts, 0 < α < 1.
    pub alpha: f64,
    /// The number of seeds of every cell of the sweep.
    pub seeds: usize,
    /// The number of diverged jobs in the means.
    #[serde(skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// The published table.
    pub reference: Reference,
    /// The paths of the labels of every cell.
    pub paths: Vec<String>,
    /// All cells of the sweep, row by row.
    pub cells: Vec<ComparedCell>,
    /// Published number / `divisor` = number in the metric's own unit.
    #[serde(skip)]
    pub(super) divisor: f64,
}

/// The published table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// Its name in sweep files.
    pub name: String,
    /// Its title for readers.
    pub title: String,
    /// Where it was published.
    pub source: Option<String>,
    /// Remarks on its numbers.
    pub notes: Vec<String>,
}

/// One cell of the sweep with its published value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedCell {
    /// The cell's hash.
    pub id: CellId,
    /// One label per path.
    pub labels: Vec<String>,
    /// The sweep's value.
    pub ours: Ours,
    /// The published value.
    pub published: Option<PublishedValue>,
    /// Sweep's mean − published mean; `None` unless both exist and the cell is complete.
    pub difference: Option<f64>,
    /// Confidence interval of the difference, of level 1 − α, not corrected for multiple comparisons.
    pub interval: Option<Interval>,
    /// Welch's test of the difference.
    pub test: Option<StudentT>,
    /// p corrected by Holm's procedure over all tested cells.
    pub p_holm: Option<f64>,
    /// Whether the two values agree.
    pub verdict: Verdict,
    /// The reason for [`Verdict::NotCompared`].
    pub obstacle: Option<Obstacle>,
    /// The settings in which the cell's configuration differs from the published one, as far as they are known.
    pub differences: Vec<Difference>,
}

impl ComparedCell {
    /// [`ComparedCell::differences`], or the differences from the nearest published configuration if none matches.
    pub(super) fn reported_differences(&self) -> &[Difference] {
        match &self.obstacle {
            Some(Obstacle::OtherConfiguration { differences }) => differences,
            _ => &self.differences,
        }
    }
}

/// The sweep's value of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ours {
    /// The number of seeds with a value.
    pub n: usize,
    /// The number of seeds of the sweep.
    pub asked: usize,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their sample standard deviation.
    pub std: Option<f64>,
    /// Whether a diverged seed withholds the mean.
    #[serde(skip_serializing_if = "is_false")]
    pub diverged: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A published value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedValue {
    /// The text as printed.
    pub printed: String,
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation, converted if another was printed.
    pub std: Option<f64>,
    /// The number of runs.
    pub n: Option<u64>,
    /// Why the value may be wrong.
    pub doubt: Option<String>,
}

/// Whether the sweep's value agrees with the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The test shows no difference. This does not prove that there is none.
    Agree,
    /// The test alone shows a difference, but not after correction for the number of cells.
    DifferAlone,
    /// The test shows a difference after correction for the number of cells.
    Differ,
    /// No test was possible.
    NotCompared,
}

impl Verdict {
    /// The verdict of a p value before and after correction.
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
    /// Compares `table`, the table of `sweep`, with `published` at the significance level `alpha`.
    pub fn new(sweep: &Sweep, table: &Table, published: &Published, alpha: f64) -> Comparison {
        let configurations: BTreeMap<CellId, Value> =
            sweep.cells.iter().map(|cell| (cell.id, configuration_json(cell))).collect();
        let mut cells = Vec::new();
        for (row, labels) in table.cells.iter().zip(&table.rows.labels) {
            for (cell, column) in row.iter().zip(&table.columns.labels) {
                let Some(cell) = cell else { continue };
                let labels = labels.iter().chain(column).cloned().collect();
                let configuration = configurations.get(&cell.id).unwrap_or(&Value::Null);
                cells.push(ComparedCell::new(cell, labels, configuration, table, published, alpha));
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
            decimals: table.decimals,
            alpha,
            seeds: table.seeds.len(),
            counted: table.jobs.counted,
            reference: Reference {
                name: published.name.clone(),
                title: published.title.clone(),
                source: published.source.clone(),
                notes: published.notes.iter().cloned().chain(assumed_deviation(published)).collect(),
            },
            paths: table.rows.paths.iter().chain(&table.columns.paths).cloned().collect(),
            cells,
            divisor: published.divisor,
        }
    }

    /// The number of cells with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == verdict).count()
    }
}

/// The remark on a paper that does not specify its standard deviation.
fn assumed_deviation(published: &Published) -> Option<String> {
    let printed = published.results.iter().any(|result| result.std.is_some());
    let remark = "which standard deviation was published is not said: it is taken for the sample's";
    (printed && published.spread == Spread::Unsaid).then(|| remark.to_owned())
}

impl ComparedCell {
    fn new(
        cell: &CellSummary,
        labels: Vec<String>,
        configuration: &Value,
        table: &Table,
        published: &Published,
        alpha: f64,
    ) -> ComparedCell {
        // The table may show the population's deviation; the test needs the sample's.
        let summary = MeanStd::of(cell.seeds.iter().filter_map(|seed| seed.status.value()), Std::Sample);
        let diverged = cell.fails(table.diverged);
        let (mean, std) = if diverged { (None, None) } else { (summary.mean, summary.std) };
        let ours = Ours { n: summary.n, asked: cell.counts.asked(), mean, std, diverged };
        let mut compared = ComparedCell {
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
        match match_published(configuration, table.metric, table.at, published) {
            Match::Found(result) => {
                compared.differences = protocol::differences(published.settings(configuration), configuration);
                compared.obstacle = compared.test(result, published, alpha).err();
            }
            Match::Missing(obstacle) => compared.obstacle = Some(obstacle),
        }
        compared
    }

    /// Sets the published value and tests the cell against it.
    ///
    /// # Errors
    /// If a test is not possible.
    fn test(&mut self, result: &PublishedResult, published: &Published, alpha: f64) -> Result<(), Obstacle> {
        let mean = result.mean / published.divisor;
        let std = result.sample_std(published.spread).map(|std| std / published.divisor);
        let (printed, doubt) = (result.printed.clone(), result.doubt.clone());
        self.published = Some(PublishedValue { printed, mean, std, n: result.n, doubt });
        let Ours { n, asked, mean: Some(our_mean), std: our_std, .. } = self.ours else {
            return Err(if self.ours.diverged { Obstacle::Diverged } else { Obstacle::NoValue });
        };
        if n < asked {
            return Err(Obstacle::Incomplete { n, asked });
        }
        self.difference = Some(our_mean - mean);
        let our_std = our_std.ok_or(Obstacle::OneSeed)?;
        let published_n = result.n.ok_or(Obstacle::UnknownRuns)?;
        if published_n < 2 {
            return Err(Obstacle::OneRun);
        }
        let published_std = std.ok_or(Obstacle::NoStd)?;
        let summary = |n, mean, std| SampleSummary { n, mean, std };
        match welch(summary(n as u64, our_mean, our_std), summary(published_n, mean, published_std), alpha) {
            Welch::Tested(test, interval) => {
                (self.test, self.interval) = (Some(test), Some(interval));
                Ok(())
            }
            Welch::NoSpread => Err(Obstacle::NoSpread),
            Welch::TooFew => Err(Obstacle::OneSeed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_may_vanish_after_holms_correction() {
        assert_eq!(Verdict::of(0.03, 0.06, 0.05), Verdict::DifferAlone);
        assert_eq!(Verdict::of(0.01, 0.02, 0.05), Verdict::Differ);
        assert_eq!(Verdict::of(0.3, 0.6, 0.05), Verdict::Agree);
    }
}

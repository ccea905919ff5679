//! The pairs of losses of a sweep, and the tests that decide their verdicts.

use super::problems::{LabelPaths, LossCell, ProblemCells, problems};
use crate::id::{CellId, SweepName};
use crate::metric::{Better, EpochSelection, Metric};
use crate::report::inference::{Interval, Paired, PairedTest, SignedRank, StudentT, holm};
use crate::report::status::is_zero;
use crate::report::table::Table;
use crate::sweep_file::Sweep;
use serde::Serialize;

/// All pairs of losses of a sweep. Values are in the metric's own unit: shares of 1, not per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Significance {
    /// The sweep's name.
    pub title: SweepName,
    /// The compared metric.
    pub metric: Metric,
    /// The epoch that the metric is taken from.
    pub at: EpochSelection,
    /// The decimals of printed differences; `None` chooses them by unit and deviation.
    #[serde(skip)]
    pub decimals: Option<u8>,
    /// The significance level α of the verdicts, 0 < α < 1.
    pub alpha: f64,
    /// The sweep's seeds.
    pub seeds: Vec<u64>,
    /// The number of diverged jobs whose values are compared.
    #[serde(skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// The paths that name losses and problems.
    pub paths: LabelPaths,
    /// The problems, in the order of the table.
    #[serde(rename = "contests")]
    pub problems: Vec<Problem>,
}

/// One data set under one noise, with the pairs of losses trained on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// One label per path of [`LabelPaths::problems`].
    pub labels: Vec<String>,
    /// All pairs of its losses.
    pub pairs: Vec<Pair>,
}

/// Two losses compared on the seeds that have values of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The first loss.
    pub a: LossOnProblem,
    /// The second loss.
    pub b: LossOnProblem,
    /// The seeds with values of both losses, in the sweep's order.
    pub seeds: Vec<u64>,
    /// Mean of a − b over these seeds; `None` without seeds.
    pub difference: Option<f64>,
    /// Confidence interval of the mean difference, of level 1 − α, not corrected for the number of pairs.
    pub interval: Option<Interval>,
    /// The paired t-test, with n − 1 degrees of freedom.
    pub t: Option<StudentT>,
    /// p of the t-test, corrected by Holm's procedure over the pairs of the problem.
    pub t_holm: Option<f64>,
    /// Wilcoxon's signed-rank test, for comparison: it does not assume normal differences but has less power with few seeds.
    pub signed_rank: Option<SignedRank>,
    /// p of the signed-rank test, corrected by Holm's procedure over the pairs of the problem.
    pub signed_rank_holm: Option<f64>,
    /// The result of the corrected paired t-test.
    pub verdict: Verdict,
    /// Settings that determine samples and labels and differ between the losses. If there are any, equal seeds give different labels.
    pub unshared: Vec<String>,
}

/// One loss of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LossOnProblem {
    /// The cell's hash.
    pub cell: CellId,
    /// The loss's labels.
    pub name: String,
}

/// The result of a comparison of losses a and b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// a is better.
    A,
    /// b is better.
    B,
    /// The test shows no difference. This does not prove that there is none.
    NotShown,
    /// The values are equal under every seed.
    Equal,
    /// The difference is the same under every seed, so its standard error is 0 and no test is possible.
    Constant,
    /// Fewer than two seeds have values of both.
    TooFew,
    /// A diverged seed withholds the mean of a or b.
    Diverged,
}

impl Verdict {
    /// The verdict's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::A => "a",
            Verdict::B => "b",
            Verdict::NotShown => "not-shown",
            Verdict::Equal => "equal",
            Verdict::Constant => "constant",
            Verdict::TooFew => "too-few",
            Verdict::Diverged => "diverged",
        }
    }
}

impl Significance {
    /// Compares the losses of `table`, the table of `sweep`, at the significance level `alpha`.
    pub fn new(sweep: &Sweep, table: &Table, alpha: f64) -> Significance {
        let (paths, problems) = problems(sweep, table);
        let better = table.metric.better();
        let compared = |ProblemCells { labels, cells }: ProblemCells<'_>| {
            let mut pairs = Vec::new();
            for (i, a) in cells.iter().enumerate() {
                pairs.extend(cells[i + 1..].iter().map(|b| Pair::new(a, b, alpha)));
            }
            correct(&mut pairs, better, alpha);
            Problem { labels, pairs }
        };
        Significance {
            title: table.title.clone(),
            metric: table.metric,
            at: table.at,
            decimals: table.decimals,
            alpha,
            seeds: table.seeds.clone(),
            counted: table.jobs.counted,
            paths,
            problems: problems.into_iter().map(compared).collect(),
        }
    }

    /// All pairs of all problems.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.problems.iter().flat_map(|problem| &problem.pairs)
    }
}

impl Pair {
    fn new(a: &LossCell<'_>, b: &LossCell<'_>, alpha: f64) -> Pair {
        // Both cells list the sweep's seeds in the same order.
        let seeds = a.cell.seeds.iter().zip(&b.cell.seeds).filter(|(a, b)| a.seed == b.seed);
        let failed = a.failed || b.failed;
        let shared =
            seeds.filter(|_| !failed).filter_map(|(a, b)| Some((a.seed, (a.status.value()?, b.status.value()?))));
        let (seeds, values): (Vec<u64>, Vec<(f64, f64)>) = shared.unzip();
        let paired = Paired::of(&values, alpha);
        let (t, interval, verdict) = match paired.test {
            PairedTest::Tested(t, interval) => (Some(t), Some(interval), Verdict::NotShown),
            PairedTest::Equal => (None, None, Verdict::Equal),
            PairedTest::Constant => (None, None, Verdict::Constant),
            PairedTest::TooFew if failed => (None, None, Verdict::Diverged),
            PairedTest::TooFew => (None, None, Verdict::TooFew),
        };
        let loss = |loss: &LossCell<'_>| LossOnProblem { cell: loss.cell.id, name: loss.name.clone() };
        Pair {
            a: loss(a),
            b: loss(b),
            seeds,
            difference: paired.difference,
            interval,
            t,
            t_holm: None,
            signed_rank: paired.signed_rank.filter(|_| !matches!(verdict, Verdict::TooFew | Verdict::Diverged)),
            signed_rank_holm: None,
            verdict,
            unshared: a.unshared_settings(b),
        }
    }
}

/// Corrects the p values of a problem's pairs for their number and sets the verdicts that follow.
fn correct(pairs: &mut [Pair], better: Better, alpha: f64) {
    let t = holm(&pairs.iter().map(|pair| pair.t.map(|test| test.p)).collect::<Vec<_>>());
    let ranks = holm(&pairs.iter().map(|pair| pair.signed_rank.map(|test| test.p)).collect::<Vec<_>>());
    for ((pair, t), ranks) in pairs.iter_mut().zip(t).zip(ranks) {
        (pair.t_holm, pair.signed_rank_holm) = (t, ranks);
        if let (Some(p), Some(difference)) = (t, pair.difference)
            && p < alpha
        {
            let higher = better == Better::Higher;
            pair.verdict = if (difference > 0.0) == higher { Verdict::A } else { Verdict::B };
        }
    }
}

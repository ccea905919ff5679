//! Which losses of a sweep differ: pairs of losses on shared seeds.
//!
//! What is random about a job but for its loss (split, noise, initial weights, order of samples) comes from its seed, so two losses under
//! one seed meet the same corrupted labels. Their differences seed by seed are compared, not their means alone: what a seed does
//! to both is no part of the difference.

mod contest;
mod csv;
mod shown;
#[cfg(test)]
mod tests;

use super::Format;
use super::inference::{Interval, Paired, PairedTest, SignedRank, StudentT, holm};
use super::listing;
use super::status::is_zero;
use super::table::Table;
use crate::id::{CellId, SweepName};
use crate::metric::{Better, EpochSelection, Metric};
use crate::sweep_file::Sweep;
use contest::{Entrant, contests};
use serde::Serialize;

/// The losses of a sweep in pairs. Values are in the metric's own unit: shares of 1, not per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Significance {
    /// The sweep.
    pub title: SweepName,
    /// What is compared.
    pub metric: Metric,
    /// In which epoch.
    pub at: EpochSelection,
    /// The level of the verdicts, 0 < α < 1.
    pub alpha: f64,
    /// The seeds that every cell was asked for.
    pub seeds: Vec<u64>,
    /// Jobs that diverged and count with what they had reached before.
    #[serde(skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// What the names of losses and contests are made of: paths that tell losses apart, and those that tell contests apart.
    pub paths: Paths,
    /// The problems on which losses meet, in the order of the table.
    pub contests: Vec<Contest>,
}

/// The paths that a table shows, by what they tell apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// Losses.
    pub losses: Vec<String>,
    /// Contests.
    pub contests: Vec<String>,
}

/// One problem, such as one data set under one noise, and the losses that met on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contest {
    /// The labels by which it differs from others, one for each of [`Paths::contests`].
    pub labels: Vec<String>,
    /// Each two of its losses.
    pub pairs: Vec<Pair>,
}

/// Two losses on the seeds that both have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// One loss.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// The seeds with a value of both, in the sweep's order.
    pub seeds: Vec<u64>,
    /// Mean of a − b over these seeds.
    pub difference: Option<f64>,
    /// Of the mean difference, with confidence 1 − α, not corrected for the number of pairs.
    pub interval: Option<Interval>,
    /// The paired t-test.
    pub t: Option<StudentT>,
    /// Its p by Holm's correction over the pairs of the contest.
    pub t_holm: Option<f64>,
    /// Wilcoxon's signed-rank test, for contrast: it does not take differences for normal, and shows less with few seeds.
    pub signed_rank: Option<SignedRank>,
    /// Its p by Holm's correction over the pairs of the contest.
    pub signed_rank_holm: Option<f64>,
    /// What the paired t-test says, corrected.
    pub verdict: Verdict,
    /// Settings besides the loss that decide what a seed gives, and in which the two differ: their seeds do not give the same labels.
    pub unshared: Vec<String>,
}

/// One loss of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The cell's hash.
    pub cell: CellId,
    /// What the loss is called.
    pub name: String,
}

/// What is known of two losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// a is better.
    A,
    /// b is better.
    B,
    /// No difference is shown, which is no proof that there is none.
    NotShown,
    /// They have the same value on every seed.
    Equal,
    /// They differ by the same amount on every seed, so there is no spread to test with.
    Constant,
    /// Fewer than two seeds have a value of both.
    TooFew,
    /// One of them has no mean because a seed diverged.
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
    /// Compares the losses of `table`, which is that of `sweep`, at the level `alpha`.
    pub fn new(sweep: &Sweep, table: &Table, alpha: f64) -> Significance {
        let (paths, contests) = contests(sweep, table);
        let better = table.metric.better();
        let contest = |(labels, entrants): (Vec<String>, Vec<Entrant<'_>>)| {
            let mut pairs = Vec::new();
            for (i, a) in entrants.iter().enumerate() {
                pairs.extend(entrants[i + 1..].iter().map(|b| Pair::new(a, b, alpha)));
            }
            correct(&mut pairs, better, alpha);
            Contest { labels, pairs }
        };
        Significance {
            title: table.title.clone(),
            metric: table.metric,
            at: table.at,
            alpha,
            seeds: table.seeds.clone(),
            counted: table.jobs.counted,
            paths,
            contests: contests.into_iter().map(contest).collect(),
        }
    }

    /// Every pair of every contest.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.contests.iter().flat_map(|contest| &contest.pairs)
    }

    /// The comparisons as text in the given format, ending in a newline.
    pub fn render(&self, format: Format) -> String {
        listing::render(self, format, shown::listing, csv::render)
    }
}

impl Pair {
    fn new(a: &Entrant<'_>, b: &Entrant<'_>, alpha: f64) -> Pair {
        // Both cells have the sweep's seeds, in its order.
        let seeds = a.cell.seeds.iter().zip(&b.cell.seeds).filter(|(a, b)| a.seed == b.seed);
        let void = a.void || b.void;
        let shared =
            seeds.filter(|_| !void).filter_map(|(a, b)| Some((a.seed, (a.status.value()?, b.status.value()?))));
        let (seeds, values): (Vec<u64>, Vec<(f64, f64)>) = shared.unzip();
        let paired = Paired::of(&values, alpha);
        let (t, interval, verdict) = match paired.test {
            PairedTest::Tested(t, interval) => (Some(t), Some(interval), Verdict::NotShown),
            PairedTest::Equal => (None, None, Verdict::Equal),
            PairedTest::Constant => (None, None, Verdict::Constant),
            PairedTest::TooFew if void => (None, None, Verdict::Diverged),
            PairedTest::TooFew => (None, None, Verdict::TooFew),
        };
        let side = |entrant: &Entrant<'_>| Side { cell: entrant.cell.id, name: entrant.name.clone() };
        Pair {
            a: side(a),
            b: side(b),
            seeds,
            difference: paired.difference,
            interval,
            t,
            t_holm: None,
            signed_rank: paired.signed_rank.filter(|_| !matches!(verdict, Verdict::TooFew | Verdict::Diverged)),
            signed_rank_holm: None,
            verdict,
            unshared: a.unshared(b),
        }
    }
}

/// Corrects the p values of a contest's pairs for their number, and says what they show.
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

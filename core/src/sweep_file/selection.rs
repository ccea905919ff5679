//! How a sweep chooses hyper-parameters: which cells are candidates for one place, and which of them has won.

use super::sweep::{Cell, Path, Sweep};
use crate::id::CellId;
use crate::job::Job;
use crate::metric::{Better, EpochSelection, Metric};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What `select` says: cells that differ in some paths alone are candidates of one group. All of them are trained under the first
/// seeds, and the best alone under the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// The paths whose values are chosen.
    pub over: Vec<Path>,
    /// What the candidates are compared by, in its better direction.
    pub by: Metric,
    /// In which epoch of each job.
    pub at: EpochSelection,
    /// How many of the sweep's first seeds every candidate is trained under, 1 ≤ seeds ≤ the sweep's.
    pub seeds: usize,
    /// The candidates of every group as indices of the sweep's cells, in the grid's order; each cell is in one group.
    pub groups: Vec<Vec<usize>>,
}

/// What has come of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A candidate is yet to be trained.
    Open,
    /// This candidate is the best, by its index among the sweep's cells.
    Won(usize),
    /// No candidate has a value under every seed of the selection.
    Nobody,
}

/// What is known of a candidate's job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trial {
    /// It is yet to end, or was called off.
    Unsettled,
    /// It has ended without a value: failed, diverged, or not measured.
    Failed,
    /// The metric at the selection.
    Value(f64),
}

impl Sweep {
    /// What has come of each group, in the order of [`Select::groups`], where `trial` tells of the job of a cell under a seed; empty for
    /// a sweep that chooses nothing. A candidate without a value under one of the seeds is out, and of equals the first wins. Who
    /// is alone has won.
    pub fn decisions(&self, trial: impl Fn(CellId, u64) -> Trial) -> Vec<Decision> {
        let Some(select) = &self.select else { return Vec::new() };
        select.groups.iter().map(|group| self.decide(select, group, &trial)).collect()
    }

    fn decide(&self, select: &Select, group: &[usize], trial: &impl Fn(CellId, u64) -> Trial) -> Decision {
        if let [only] = group {
            return Decision::Won(*only);
        }
        let mut best: Option<(usize, f64)> = None;
        for candidate in group {
            let trials = self.seeds.iter().take(select.seeds).map(|seed| trial(self.cells[*candidate].id, *seed));
            let mut sum = Some(0.0);
            for trial in trials {
                match trial {
                    Trial::Unsettled => return Decision::Open,
                    Trial::Failed => sum = None,
                    Trial::Value(value) => sum = sum.map(|sum| sum + value).filter(|sum| sum.is_finite()),
                }
            }
            // All have the same number of seeds, so that the sums are ordered as the means are.
            let Some(sum) = sum else { continue };
            let better = best.is_none_or(|(_, other)| match select.by.better() {
                Better::Higher => sum > other,
                Better::Lower => sum < other,
            });
            if better {
                best = Some((*candidate, sum));
            }
        }
        best.map_or(Decision::Nobody, |(candidate, _)| Decision::Won(candidate))
    }

    /// The jobs that are to be trained while nothing is decided; all of a sweep that chooses nothing.
    ///
    /// The first seed of every cell comes before the second of any: a sweep that is cut short has a whole table of fewer seeds. Under
    /// each seed a parent comes before the jobs that build on it.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = Job> + '_ {
        self.jobs_given(&[])
    }

    /// The jobs that are to be trained once `decisions` are known: what all candidates are trained under, what the winners are besides,
    /// and what those build on. In the order of [`Sweep::jobs`]; a group without a decision is open.
    pub fn jobs_given(&self, decisions: &[Decision]) -> impl ExactSizeIterator<Item = Job> + '_ {
        let trained = self.trained();
        let reach = self.reach(&trained, decisions);
        let places = (0..self.seeds.len()).flat_map(|seed| (0..reach.len()).map(move |cell| (seed, cell)));
        let places: Vec<(usize, usize)> = places.filter(|(seed, cell)| *seed < reach[*cell]).collect();
        places.into_iter().map(move |(seed, cell)| {
            let Cell { id, configuration } = trained[cell];
            Job::new(Arc::clone(configuration), *id, self.seeds[seed])
        })
    }

    /// How many jobs there will be once everything is decided: as many as [`Sweep::jobs`] where nothing is chosen. Where candidates build
    /// on parents of their own, the winners are taken to be those with the longest line of them.
    pub fn jobs_in_all(&self) -> usize {
        let generations = |cell: &usize| {
            let parents = std::iter::successors(self.cells[*cell].configuration.parent.as_deref(), |parent| {
                parent.configuration.parent.as_deref()
            });
            (parents.count(), std::cmp::Reverse(*cell))
        };
        let longest = |group: &Vec<usize>| group.iter().copied().max_by_key(generations);
        let groups = self.select.iter().flat_map(|select| &select.groups);
        let decisions: Vec<_> = groups.map(|group| longest(group).map_or(Decision::Nobody, Decision::Won)).collect();
        self.jobs_given(&decisions).len()
    }

    /// Under how many of the first seeds each of `trained` is wanted.
    fn reach(&self, trained: &[&Cell], decisions: &[Decision]) -> Vec<usize> {
        let all = self.seeds.len();
        let Some(select) = &self.select else { return vec![all; trained.len()] };
        let mut reach: BTreeMap<CellId, usize> = BTreeMap::new();
        for (i, group) in select.groups.iter().enumerate() {
            for candidate in group {
                let won = group.len() == 1 || decisions.get(i) == Some(&Decision::Won(*candidate));
                reach.insert(self.cells[*candidate].id, if won { all } else { select.seeds });
            }
        }
        // What builds on others stands behind them.
        for cell in trained.iter().rev() {
            let own = reach.get(&cell.id).copied().unwrap_or_default();
            if let Some((parent, _)) = cell.configuration.origin() {
                let wanted = reach.entry(parent).or_default();
                *wanted = own.max(*wanted);
            }
        }
        trained.iter().map(|cell| reach.get(&cell.id).copied().unwrap_or_default()).collect()
    }
}

//! Hyper-parameter selection: the decisions between candidates, and the jobs that follow from them.

use super::sweep::{Cell, Select, Sweep};
use crate::id::CellId;
use crate::job::Job;
use crate::metric::Better;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of a group of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A trial is outstanding.
    Open,
    /// The best candidate, as an index into the sweep's cells.
    Won(usize),
    /// No candidate has a value under every seed of the selection.
    Nobody,
}

/// The result of a candidate under one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trial {
    /// The job has not finished, or was cancelled.
    Unsettled,
    /// The job finished without a value: it failed, diverged, or lacks the metric.
    Failed,
    /// The metric in the selected epoch.
    Value(f64),
}

impl Sweep {
    /// The decision of each group, in the order of [`Select::groups`]; empty without a selection. `trial` returns the result
    /// of a cell under a seed. A candidate that lacks a value under one of the seeds is out, ties go to the first candidate,
    /// and the only candidate of a group wins.
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
            // All candidates have the same number of seeds, so sums order as means do.
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

    /// The jobs to train before any decision; all jobs without a selection.
    ///
    /// The first seed of every cell precedes the second seed of any, so that an interrupted sweep has a full table of fewer
    /// seeds. Under each seed parents precede their children.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = Job> + '_ {
        self.jobs_given(&[])
    }

    /// The jobs to train given `decisions`: every candidate under the seeds of the selection, the winners under all seeds, and
    /// their parents. In the order of [`Sweep::jobs`]; a group without a decision counts as open.
    pub fn jobs_given(&self, decisions: &[Decision]) -> impl ExactSizeIterator<Item = Job> + '_ {
        let trained = self.trained();
        let counts = self.seeds_of_each(&trained, decisions);
        let places = (0..self.seeds.len()).flat_map(|seed| (0..counts.len()).map(move |cell| (seed, cell)));
        let places: Vec<(usize, usize)> = places.filter(|(seed, cell)| *seed < counts[*cell]).collect();
        places.into_iter().map(move |(seed, cell)| {
            let Cell { id, configuration } = trained[cell];
            Job::new(Arc::clone(configuration), *id, self.seeds[seed])
        })
    }

    /// The number of jobs after all decisions; without a selection that of [`Sweep::jobs`]. If candidates have parents of
    /// their own, the number is that for the winners with the longest chain of parents.
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

    /// How many of the first seeds each of `trained` is trained under.
    fn seeds_of_each(&self, trained: &[&Cell], decisions: &[Decision]) -> Vec<usize> {
        let all = self.seeds.len();
        let Some(select) = &self.select else { return vec![all; trained.len()] };
        let mut counts: BTreeMap<CellId, usize> = BTreeMap::new();
        for (i, group) in select.groups.iter().enumerate() {
            for candidate in group {
                let won = group.len() == 1 || decisions.get(i) == Some(&Decision::Won(*candidate));
                counts.insert(self.cells[*candidate].id, if won { all } else { select.seeds });
            }
        }
        // Children follow their parents.
        for cell in trained.iter().rev() {
            let own = counts.get(&cell.id).copied().unwrap_or_default();
            if let Some((parent, _)) = cell.configuration.origin() {
                let wanted = counts.entry(parent).or_default();
                *wanted = own.max(*wanted);
            }
        }
        trained.iter().map(|cell| counts.get(&cell.id).copied().unwrap_or_default()).collect()
    }
}

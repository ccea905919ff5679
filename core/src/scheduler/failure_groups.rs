//! The failed jobs of each sweep, grouped by their failures.
//!
//! Users ask for the most frequent failures of a sweep all the time, and a hundred thousand jobs may have failed. The groups are therefore
//! kept up to date with every state change, in order of size.

use super::job_entry::JobIndex;
use crate::outcome::{Failure, FailureKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What the jobs of a group have in common: the kind and a hash of the message.
type GroupKey = (FailureKind, u64);

/// The failures of every sweep, by the sweep's ordinal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FailuresBySweep {
    sweeps: BTreeMap<u32, Failures>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Failures {
    /// The failed jobs by group, with how often the sweep lists each.
    jobs: BTreeMap<(GroupKey, JobIndex), u32>,
    sizes: BTreeMap<GroupKey, usize>,
    by_size: BTreeSet<(Reverse<usize>, GroupKey)>,
    diverged: usize,
}

/// A group of jobs that failed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The number of jobs.
    pub jobs: usize,
    /// The first of them.
    pub example: JobIndex,
}

impl FailuresBySweep {
    /// Adds a failed job of a sweep.
    pub fn add(&mut self, sweep: u32, job: JobIndex, failure: &Failure) {
        let (failures, group) = (self.sweeps.entry(sweep).or_default(), key(failure));
        *failures.jobs.entry((group, job)).or_default() += 1;
        failures.resize(group, 1);
    }

    /// Removes a job that was added with this failure.
    pub fn remove(&mut self, sweep: u32, job: JobIndex, failure: &Failure) {
        let Some(failures) = self.sweeps.get_mut(&sweep) else { return };
        let group = key(failure);
        let Some(listed) = failures.jobs.get_mut(&(group, job)) else { return };
        *listed -= 1;
        if *listed == 0 {
            failures.jobs.remove(&(group, job));
        }
        failures.resize(group, -1);
        if failures.jobs.is_empty() {
            self.sweeps.remove(&sweep);
        }
    }

    /// The groups of a sweep, the largest first.
    pub fn groups(&self, sweep: u32) -> impl Iterator<Item = Group> {
        let failures = self.sweeps.get(&sweep);
        failures.into_iter().flat_map(|failures| {
            failures.by_size.iter().filter_map(|(Reverse(jobs), group)| {
                let ((_, example), _) = failures.jobs.range((*group, 0)..=(*group, JobIndex::MAX)).next()?;
                Some(Group { jobs: *jobs, example: *example })
            })
        })
    }

    /// The number of diverged jobs of a sweep.
    pub fn diverged(&self, sweep: u32) -> usize {
        self.sweeps.get(&sweep).map_or(0, |failures| failures.diverged)
    }
}

impl Failures {
    fn resize(&mut self, group: GroupKey, by: isize) {
        let size = self.sizes.entry(group).or_default();
        self.by_size.remove(&(Reverse(*size), group));
        *size = size.saturating_add_signed(by);
        match *size {
            0 => drop(self.sizes.remove(&group)),
            size => drop(self.by_size.insert((Reverse(size), group))),
        }
        if group.0 == FailureKind::Diverged {
            self.diverged = self.diverged.saturating_add_signed(by);
        }
    }
}

fn key(failure: &Failure) -> GroupKey {
    let hash = blake3::hash(failure.message.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
    (failure.kind, u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_ordered_by_size_and_name_their_first_job() {
        let failure = |text: &str| Failure::new(FailureKind::UserError, text);
        let mut failures = FailuresBySweep::default();
        for job in [7, 3, 5] {
            failures.add(0, job, &failure("no data set"));
        }
        failures.add(0, 1, &Failure::new(FailureKind::Diverged, "NaN"));
        failures.add(1, 1, &failure("no data set"));
        let groups = |failures: &FailuresBySweep| failures.groups(0).collect::<Vec<_>>();
        assert_eq!(groups(&failures), [Group { jobs: 3, example: 3 }, Group { jobs: 1, example: 1 }]);
        assert_eq!((failures.diverged(0), failures.diverged(1)), (1, 0));
        for job in [3, 5, 7] {
            failures.remove(0, job, &failure("no data set"));
        }
        assert_eq!(groups(&failures), [Group { jobs: 1, example: 1 }]);
        failures.remove(0, 1, &Failure::new(FailureKind::Diverged, "NaN"));
        failures.remove(1, 1, &failure("no data set"));
        assert_eq!(failures, FailuresBySweep::default(), "nothing is left over");
    }

    #[test]
    fn a_job_that_a_sweep_lists_twice_counts_twice() {
        let failure = Failure::new(FailureKind::UserError, "no data set");
        let mut failures = FailuresBySweep::default();
        failures.add(0, 1, &failure);
        failures.add(0, 1, &failure);
        failures.remove(0, 1, &failure);
        assert_eq!(failures.groups(0).collect::<Vec<_>>(), [Group { jobs: 1, example: 1 }]);
    }
}

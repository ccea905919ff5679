//! Counts jobs by state for each sweep, and lists those that run.
//!
//! A sweep may list a million jobs, and clients ask for its counts all the time. Jobs are therefore counted by the set of sweeps that
//! list them. There are few such sets, and a state change updates two numbers however many sweeps list the job.

use super::job_entry::{JobIndex, JobState, SweepSetIndex};
use std::collections::{BTreeMap, BTreeSet};

/// The number of jobs in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs that wait for a parent, a back-off or a slot.
    pub queued: usize,
    /// Jobs with an attempt on a worker.
    pub running: usize,
    /// Jobs with a result.
    pub finished: usize,
    /// Jobs without a result that are not retried.
    pub failed: usize,
    /// Cancelled jobs.
    pub dropped: usize,
}

impl JobCounts {
    /// The counter of jobs in the same state as `state`.
    pub(super) fn of(&mut self, state: &JobState) -> &mut usize {
        match state {
            JobState::Queued { .. } => &mut self.queued,
            JobState::Running { .. } => &mut self.running,
            JobState::Finished => &mut self.finished,
            JobState::Failed(_) => &mut self.failed,
            JobState::Dropped => &mut self.dropped,
        }
    }

    fn add(&mut self, other: &JobCounts) {
        self.queued += other.queued;
        self.running += other.running;
        self.finished += other.finished;
        self.failed += other.failed;
        self.dropped += other.dropped;
    }
}

/// Job counts for every set of sweeps that some job is listed by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CountsBySweepSet {
    sets: Vec<SweepSet>,
    indices: BTreeMap<Vec<u32>, SweepSetIndex>,
    /// The sets that each sweep is in, by the sweep's ordinal.
    sets_of: BTreeMap<u32, Vec<SweepSetIndex>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct SweepSet {
    /// Sweep ordinals in ascending order. A sweep that lists a job twice appears twice.
    sweeps: Vec<u32>,
    /// Counts the jobs that exactly these sweeps list.
    counts: JobCounts,
    /// The running ones among these jobs.
    running: BTreeSet<JobIndex>,
}

impl Default for CountsBySweepSet {
    /// The first set is the empty one.
    fn default() -> Self {
        CountsBySweepSet {
            sets: vec![SweepSet::default()],
            indices: BTreeMap::from([(Vec::new(), 0)]),
            sets_of: BTreeMap::new(),
        }
    }
}

impl CountsBySweepSet {
    /// Counts a new job.
    pub fn add(&mut self, set: SweepSetIndex, state: &JobState) {
        *self.sets[set as usize].counts.of(state) += 1;
    }

    /// Counts a job's change of state.
    pub fn change_state(&mut self, set: SweepSetIndex, job: JobIndex, before: &JobState, after: &JobState) {
        self.take(set, job, before);
        self.put(set, job, after);
    }

    /// Counts a job's move from one set of sweeps to another.
    pub fn change_set(&mut self, from: SweepSetIndex, to: SweepSetIndex, job: JobIndex, state: &JobState) {
        self.take(from, job, state);
        self.put(to, job, state);
    }

    fn take(&mut self, set: SweepSetIndex, job: JobIndex, state: &JobState) {
        let set = &mut self.sets[set as usize];
        *set.counts.of(state) -= 1;
        if let JobState::Running { .. } = state {
            set.running.remove(&job);
        }
    }

    fn put(&mut self, set: SweepSetIndex, job: JobIndex, state: &JobState) {
        let set = &mut self.sets[set as usize];
        *set.counts.of(state) += 1;
        if let JobState::Running { .. } = state {
            set.running.insert(job);
        }
    }

    /// The set with one more occurrence of `sweep` than `set`.
    pub fn with(&mut self, set: SweepSetIndex, sweep: u32) -> SweepSetIndex {
        let mut sweeps = self.sets[set as usize].sweeps.clone();
        sweeps.insert(sweeps.partition_point(|other| *other < sweep), sweep);
        self.index_of(sweeps)
    }

    /// The set with one occurrence of `sweep` less than `set`.
    pub fn without(&mut self, set: SweepSetIndex, sweep: u32) -> SweepSetIndex {
        let mut sweeps = self.sets[set as usize].sweeps.clone();
        if let Ok(position) = sweeps.binary_search(&sweep) {
            sweeps.remove(position);
        }
        self.index_of(sweeps)
    }

    fn index_of(&mut self, sweeps: Vec<u32>) -> SweepSetIndex {
        *self.indices.entry(sweeps).or_insert_with_key(|sweeps| {
            let index = self.sets.len() as SweepSetIndex;
            let mut members = sweeps.clone();
            members.dedup();
            members.into_iter().for_each(|sweep| self.sets_of.entry(sweep).or_default().push(index));
            self.sets.push(SweepSet { sweeps: sweeps.clone(), ..SweepSet::default() });
            index
        })
    }

    /// The sweeps of a set, in ascending order. A sweep that lists a job twice appears twice.
    pub fn sweeps_in(&self, set: SweepSetIndex) -> &[u32] {
        &self.sets[set as usize].sweeps
    }

    /// The counts of one sweep, by its ordinal.
    pub fn of_sweep(&self, sweep: u32) -> JobCounts {
        let mut sum = JobCounts::default();
        for set in self.sets_with(sweep) {
            for _ in set.sweeps.iter().filter(|listed| **listed == sweep) {
                sum.add(&set.counts);
            }
        }
        sum
    }

    /// At most `most` running jobs of a sweep in ascending order, from `from` on.
    pub fn running(&self, sweep: u32, from: JobIndex, most: usize) -> Vec<JobIndex> {
        let of_set = |set: &'_ SweepSet| set.running.range(from..).take(most).copied().collect::<Vec<_>>();
        let mut running: Vec<JobIndex> = self.sets_with(sweep).flat_map(of_set).collect();
        running.sort_unstable();
        running.truncate(most);
        running
    }

    fn sets_with(&self, sweep: u32) -> impl Iterator<Item = &SweepSet> {
        let sets = self.sets_of.get(&sweep).map_or(&[][..], Vec::as_slice);
        sets.iter().map(|set| &self.sets[*set as usize])
    }
}

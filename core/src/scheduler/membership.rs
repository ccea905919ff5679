//! Which sweeps name a job, and how many jobs of each stand where.
//!
//! A sweep may have a million jobs, and its counts are asked for all the time. Jobs are counted by the set of sweeps that name them, of
//! which there are few, so that a change of one job changes two numbers, whichever sweeps name it.

use super::state::JobState;
use super::view::Counts;
use std::collections::BTreeMap;

/// A set of sweeps, by its place among all that there have been.
pub(super) type SetIndex = u32;

/// The sets of sweeps that jobs are in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Memberships {
    sets: Vec<Set>,
    known: BTreeMap<Vec<u32>, SetIndex>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Set {
    /// Their ordinals, in order. A sweep that names a job twice stands here twice.
    sweeps: Vec<u32>,
    /// Of the jobs that these sweeps name and no others.
    counts: Counts,
}

impl Default for Memberships {
    /// The set of no sweeps is the first.
    fn default() -> Self {
        Memberships { sets: vec![Set::default()], known: BTreeMap::from([(Vec::new(), 0)]) }
    }
}

impl Memberships {
    /// Counts a job that has come to be.
    pub fn came(&mut self, set: SetIndex, state: &JobState) {
        *self.sets[set as usize].counts.of(state) += 1;
    }

    /// Counts a job that stands elsewhere now.
    pub fn changed(&mut self, set: SetIndex, before: &JobState, after: &JobState) {
        let counts = &mut self.sets[set as usize].counts;
        *counts.of(before) -= 1;
        *counts.of(after) += 1;
    }

    /// Counts a job that other sweeps name now.
    pub fn moved(&mut self, from: SetIndex, to: SetIndex, state: &JobState) {
        *self.sets[from as usize].counts.of(state) -= 1;
        *self.sets[to as usize].counts.of(state) += 1;
    }

    /// The set that has `sweep` once more than `set` has it.
    pub fn with(&mut self, set: SetIndex, sweep: u32) -> SetIndex {
        let mut sweeps = self.sets[set as usize].sweeps.clone();
        sweeps.insert(sweeps.partition_point(|other| *other < sweep), sweep);
        self.set(sweeps)
    }

    /// The set that has `sweep` once less.
    pub fn without(&mut self, set: SetIndex, sweep: u32) -> SetIndex {
        let mut sweeps = self.sets[set as usize].sweeps.clone();
        if let Ok(place) = sweeps.binary_search(&sweep) {
            sweeps.remove(place);
        }
        self.set(sweeps)
    }

    fn set(&mut self, sweeps: Vec<u32>) -> SetIndex {
        *self.known.entry(sweeps).or_insert_with_key(|sweeps| {
            self.sets.push(Set { sweeps: sweeps.clone(), counts: Counts::default() });
            (self.sets.len() - 1) as SetIndex
        })
    }

    /// How many jobs of a sweep stand where.
    pub fn counts(&self, sweep: u32) -> Counts {
        let mut sum = Counts::default();
        for set in &self.sets {
            for _ in set.sweeps.iter().filter(|named| **named == sweep) {
                sum.add(&set.counts);
            }
        }
        sum
    }
}

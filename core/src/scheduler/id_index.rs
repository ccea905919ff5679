//! Finds a job's index in the list of jobs by its id.

use super::job_entry::{JobEntry, JobIndex};
use crate::id::JobId;

/// An open-addressing hash table of indices into the list of jobs, which holds the ids. Ids are hashes already, so the table hashes
/// nothing. It cannot be iterated, so no order depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct IdIndex {
    /// An index plus one, or 0 for an empty slot. The length is a power of two and at least twice the number of jobs.
    slots: Vec<JobIndex>,
}

impl IdIndex {
    /// The index of `job` in `jobs`, all of which have been added.
    pub fn get(&self, jobs: &[JobEntry], job: JobId) -> Option<JobIndex> {
        let mut slot = self.first_slot(job)?;
        loop {
            let index = self.slots[slot].checked_sub(1)?;
            if jobs[index as usize].id == job {
                return Some(index);
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    /// Adds the last of `jobs`; the others have been added before.
    pub fn add_last(&mut self, jobs: &[JobEntry]) {
        if jobs.len() * 2 > self.slots.len() {
            self.rebuild(jobs, jobs.len());
        } else if let Some(last) = jobs.len().checked_sub(1) {
            self.insert(jobs[last].id, last);
        }
    }

    /// Makes room for `more` jobs beyond `jobs`, all of which have been added.
    pub fn reserve(&mut self, jobs: &[JobEntry], more: usize) {
        let expected = jobs.len() + more;
        if expected * 2 > self.slots.len() {
            self.rebuild(jobs, expected);
        }
    }

    fn rebuild(&mut self, jobs: &[JobEntry], expected: usize) {
        self.slots = vec![0; (expected * 2).next_power_of_two().max(16)];
        for (index, entry) in jobs.iter().enumerate() {
            self.insert(entry.id, index);
        }
    }

    fn insert(&mut self, job: JobId, index: usize) {
        let Some(mut slot) = self.first_slot(job) else { return };
        while self.slots[slot] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = index as JobIndex + 1;
    }

    /// The slot at which a search for `job` starts; nothing if the table is empty.
    fn first_slot(&self, job: JobId) -> Option<usize> {
        let number = job.number();
        ((number >> 64) as usize ^ number as usize).checked_rem(self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewJob, Record, State, WallTime};
    use crate::id::{CellId, JobId};

    #[test]
    fn jobs_are_found_by_id_despite_collisions() {
        let collide = |n: u8| JobId::from_bytes([n; 16]);
        let spread = |n: u8| JobId::of(&[&[n]]);
        let ids: Vec<JobId> = (0..100).map(collide).chain((0..100).map(spread)).collect();
        let cell = CellId::of(&[]);
        let jobs = ids.iter().map(|id| NewJob { id: *id, cell, seed: 0, origin: None });
        let mut state = State::default();
        assert_eq!(state.index_of(ids[0]), None);
        // Adds 50 one at a time, then all 200 at once.
        for job in jobs.clone().take(50) {
            state.apply(&Record::Unlisted { cells: vec![], jobs: vec![job] });
        }
        let (cells, jobs) = (vec![], jobs.collect());
        let (requeued, dropped) = (vec![], vec![]);
        let name = "many".parse().unwrap();
        state.apply(&Record::Submitted { name, source: "".into(), cells, jobs, requeued, dropped, at: WallTime(0) });
        let found: Vec<_> = ids.iter().map(|id| state.index_of(*id)).collect();
        assert_eq!(found, (0..200).map(Some).collect::<Vec<_>>());
        assert_eq!(state.index_of(collide(100)), None);
    }
}

//! Where a job stands in the list of jobs, by its id.

use super::state::{Entry, JobIndex};
use crate::id::JobId;

/// A hash table of places in the list of jobs, which has the ids themselves. Ids are hashes, so nothing is hashed here; and the table
/// cannot be gone through, so no order can vary with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// One more than a place, or 0 where there is none; as many as a power of two, and at least twice as many as there are jobs.
    slots: Vec<JobIndex>,
}

impl Index {
    /// The place of `job` among `jobs`, all of which have been added.
    pub fn get(&self, jobs: &[Entry], job: JobId) -> Option<JobIndex> {
        let mut slot = self.first(job)?;
        loop {
            let place = self.slots[slot].checked_sub(1)?;
            if jobs[place as usize].id == job {
                return Some(place);
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    /// Adds the last of `jobs`, of which the others have been added.
    pub fn add_last(&mut self, jobs: &[Entry]) {
        if jobs.len() * 2 > self.slots.len() {
            self.grow(jobs, jobs.len());
        } else if let Some(last) = jobs.len().checked_sub(1) {
            self.put(jobs[last].id, last);
        }
    }

    /// Makes room for `more` jobs than `jobs`, all of which have been added.
    pub fn reserve(&mut self, jobs: &[Entry], more: usize) {
        let expected = jobs.len() + more;
        if expected * 2 > self.slots.len() {
            self.grow(jobs, expected);
        }
    }

    fn grow(&mut self, jobs: &[Entry], expected: usize) {
        self.slots = vec![0; (expected * 2).next_power_of_two().max(16)];
        for (place, entry) in jobs.iter().enumerate() {
            self.put(entry.id, place);
        }
    }

    fn put(&mut self, job: JobId, place: usize) {
        let Some(mut slot) = self.first(job) else { return };
        while self.slots[slot] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = place as JobIndex + 1;
    }

    /// Where to look first.
    fn first(&self, job: JobId) -> Option<usize> {
        let number = job.number();
        ((number >> 64) as usize ^ number as usize).checked_rem(self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewJob, Record, State, WallTime};
    use crate::id::{CellId, JobId};

    #[test]
    fn jobs_are_found_by_their_ids_wherever_these_would_have_them_in_the_table() {
        let collide = |n: u8| JobId::from_bytes([n; 16]);
        let spread = |n: u8| JobId::of(&[&[n]]);
        let ids: Vec<JobId> = (0..100).map(collide).chain((0..100).map(spread)).collect();
        let cell = CellId::of(&[]);
        let jobs = ids.iter().map(|id| NewJob { id: *id, cell, seed: 0, origin: None });
        let mut state = State::default();
        assert_eq!(state.index_of(ids[0]), None);
        // One after another, and then, of twice as many, all at once.
        for job in jobs.clone().take(50) {
            state.apply(&Record::Remembered { cells: vec![], jobs: vec![job] });
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

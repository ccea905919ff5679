//! What users are shown of the state.

use super::Time;
use super::machine::Machine;
use super::state::JobState;
use crate::id::{CellId, JobId, SweepName};
use std::sync::Arc;

/// How many jobs of a sweep stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a slot.
    pub queued: usize,
    /// On a worker.
    pub running: usize,
    /// With a result.
    pub finished: usize,
    /// Given up.
    pub failed: usize,
    /// Cancelled.
    pub dropped: usize,
}

/// A sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepView {
    /// Its name.
    pub name: SweepName,
    /// The sweep file.
    pub source: Arc<str>,
    /// When it was submitted last.
    pub submitted: Time,
    /// Whether it was cancelled since.
    pub cancelled: bool,
    /// Where its jobs stand.
    pub counts: Counts,
}

/// A job of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its cell.
    pub cell: CellId,
    /// Its seed.
    pub seed: u64,
    /// Attempts made.
    pub attempts: u32,
    /// Where it stands.
    pub state: JobState,
}

impl Machine {
    /// Every sweep, in the order of their first submission.
    pub fn sweeps(&self) -> Vec<SweepView> {
        let mut sweeps: Vec<_> = self.state().sweeps.iter().collect();
        sweeps.sort_by_key(|(_, sweep)| sweep.ordinal);
        sweeps.into_iter().filter_map(|(name, _)| self.sweep(name)).collect()
    }

    /// One sweep.
    pub fn sweep(&self, name: &SweepName) -> Option<SweepView> {
        let sweep = self.state().sweeps.get(name)?;
        let mut counts = Counts::default();
        for index in &sweep.jobs {
            let count = match self.state().jobs[*index as usize].state {
                JobState::Queued { .. } => &mut counts.queued,
                JobState::Running { .. } => &mut counts.running,
                JobState::Finished => &mut counts.finished,
                JobState::Failed(_) => &mut counts.failed,
                JobState::Dropped => &mut counts.dropped,
            };
            *count += 1;
        }
        let (source, cancelled) = (Arc::clone(&sweep.source), sweep.cancelled);
        Some(SweepView { name: name.clone(), source, submitted: sweep.submitted, cancelled, counts })
    }

    /// The jobs of a sweep, in its order; none of a sweep that is not known.
    pub fn jobs_of(&self, name: &SweepName) -> impl Iterator<Item = JobView> + '_ {
        let jobs = self.state().sweeps.get(name).map_or(&[][..], |sweep| &sweep.jobs);
        jobs.iter().map(|index| {
            let entry = &self.state().jobs[*index as usize];
            let cell = self.state().cells[entry.cell as usize].id;
            JobView { id: entry.id, cell, seed: entry.seed, attempts: entry.attempts, state: entry.state.clone() }
        })
    }
}

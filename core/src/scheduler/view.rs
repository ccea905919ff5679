//! What users are shown of the state.

use super::WallTime;
use super::event::Session;
use super::handle::Scheduler;
use super::state::{Entry, JobState, SweepEntry};
use crate::id::{AttemptId, CellId, JobId, SweepName, WorkerName};
use std::collections::BTreeSet;
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

impl Counts {
    /// The count of those that stand as `state` does.
    pub(super) fn of(&mut self, state: &JobState) -> &mut usize {
        match state {
            JobState::Queued { .. } => &mut self.queued,
            JobState::Running { .. } => &mut self.running,
            JobState::Finished => &mut self.finished,
            JobState::Failed(_) => &mut self.failed,
            JobState::Dropped => &mut self.dropped,
        }
    }

    pub(super) fn add(&mut self, other: &Counts) {
        self.queued += other.queued;
        self.running += other.running;
        self.finished += other.finished;
        self.failed += other.failed;
        self.dropped += other.dropped;
    }
}

/// A connected worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView<'s> {
    /// Its connection.
    pub session: Session,
    /// Its name.
    pub name: &'s WorkerName,
    /// Attempts that it takes at once.
    pub slots: u32,
    /// Whether it trains on a GPU.
    pub gpu: bool,
    /// What it has in hand.
    pub busy: &'s BTreeSet<AttemptId>,
    /// Until when it is given nothing, because it gave back what it was given.
    pub rests_until: WallTime,
}

/// A sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepView {
    /// Its name.
    pub name: SweepName,
    /// The sweep file.
    pub source: Arc<str>,
    /// When it was submitted last.
    pub submitted: WallTime,
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

/// What else there is to know of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// The job.
    pub job: JobView,
    /// Its configuration in canonical form.
    pub configuration: Arc<str>,
    /// The sweeps that it is a job of, in the order in which they were first submitted, and whether each is cancelled.
    pub sweeps: Vec<(SweepName, bool)>,
    /// Whether it has its result, though it may be trained again for its weights.
    pub has_result: bool,
    /// Failures that count towards the limit.
    pub failures: u32,
    /// Why it is not being trained yet, if it is queued.
    pub waiting: Option<Waiting>,
    /// Until when it is a worker's, if it is running.
    pub lease: Option<WallTime>,
}

/// Why a queued job is not being trained yet: the first of these that holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// What it builds on has not finished, or has not left the weights.
    Parent(JobId, JobState),
    /// It has failed, and is tried again then.
    Until(WallTime),
    /// This sweep is trained and nothing else.
    Only(SweepName),
    /// GPUs alone can train it, and no connected worker has one.
    Gpu,
    /// So many jobs that may be trained come before it, where they can be trained by those who can train it.
    Turn(usize),
}

impl Scheduler {
    /// The jobs whose ids begin with these hexadecimal digits, up to `most` of them; nothing if an id cannot begin so.
    pub fn jobs_called(&self, beginning: &str, most: usize) -> Option<Vec<JobId>> {
        let digits = !beginning.is_empty() && beginning.bytes().all(|byte| byte.is_ascii_hexdigit());
        let end =
            |digit: &str| (beginning.to_owned() + &digit.repeat(32_usize.checked_sub(beginning.len())?)).parse().ok();
        let (first, last): (JobId, JobId) = (end("0").filter(|_| digits)?, end("f")?);
        let mut jobs: Vec<JobId> = self.state().jobs.iter().map(|entry| entry.id).collect();
        jobs.retain(|job| (first..=last).contains(job));
        jobs.sort_unstable();
        jobs.truncate(most);
        Some(jobs)
    }

    /// Where a job stands, and why it is there.
    pub fn position(&self, now: WallTime, job: JobId) -> Option<Position> {
        let state = self.state();
        let index = state.index_of(job)?;
        let entry = &state.jobs[index as usize];
        let mut sweeps: Vec<_> = state.sweeps.iter().filter(|(_, sweep)| sweep.jobs.contains(&index)).collect();
        sweeps.sort_by_key(|(_, sweep)| sweep.ordinal);
        let JobState::Queued { not_before } = entry.state else {
            return Some(self.described(entry, sweeps, None));
        };
        let only = self.policy().only.as_ref();
        let waiting = match state.families.origin(job) {
            Some(origin) if !state.has_what_it_builds_on(job) => {
                Waiting::Parent(origin.job, state.job(origin.job).cloned().unwrap_or(JobState::Dropped))
            }
            _ if not_before > now => Waiting::Until(not_before),
            _ => match only.filter(|only| sweeps.iter().all(|(name, _)| name != only)) {
                Some(only) => Waiting::Only(only.clone()),
                None if entry.gpu && !self.workers().any(|worker| worker.gpu) => Waiting::Gpu,
                None => {
                    // Its own time may have come since the queue was last looked at.
                    let precedes = |other: &&Entry| other.id != job && (only.is_some() || other.turn <= entry.turn);
                    let before = state.in_turn(only, self.workers().any(|worker| worker.gpu)).take_while(precedes);
                    let due =
                        |entry: &&Entry| matches!(entry.state, JobState::Queued { not_before } if not_before <= now);
                    Waiting::Turn(before.filter(due).filter(|entry| state.has_what_it_builds_on(entry.id)).count())
                }
            },
        };
        Some(self.described(entry, sweeps, Some(waiting)))
    }

    fn described(&self, entry: &Entry, sweeps: Vec<(&SweepName, &SweepEntry)>, waiting: Option<Waiting>) -> Position {
        let cell = &self.state().cells[entry.cell as usize];
        Position {
            job: self.view(entry),
            configuration: Arc::clone(&cell.configuration),
            sweeps: sweeps.into_iter().map(|(name, sweep)| (name.clone(), sweep.cancelled)).collect(),
            has_result: entry.result,
            failures: entry.failures,
            waiting,
            lease: self.lease(entry.id),
        }
    }

    /// Every sweep, in the order of their first submission.
    pub fn sweeps(&self) -> Vec<SweepView> {
        let mut sweeps: Vec<_> = self.state().sweeps.iter().collect();
        sweeps.sort_by_key(|(_, sweep)| sweep.ordinal);
        sweeps.into_iter().filter_map(|(name, _)| self.sweep(name)).collect()
    }

    /// One sweep.
    pub fn sweep(&self, name: &SweepName) -> Option<SweepView> {
        let sweep = self.state().sweeps.get(name)?;
        let counts = self.state().memberships.counts(sweep.ordinal);
        let (source, cancelled) = (Arc::clone(&sweep.source), sweep.cancelled);
        Some(SweepView { name: name.clone(), source, submitted: sweep.submitted, cancelled, counts })
    }

    /// The jobs of a sweep, in its order; none of a sweep that is not known.
    pub fn jobs_of<'s>(&'s self, name: &SweepName) -> impl Iterator<Item = JobView> + use<'s> {
        self.entries_of(name).map(move |entry| self.view(entry))
    }

    /// Those of them that run or have failed.
    pub fn conspicuous_jobs_of<'s>(&'s self, name: &SweepName) -> impl Iterator<Item = JobView> + use<'s> {
        let conspicuous = |entry: &&Entry| matches!(entry.state, JobState::Running { .. } | JobState::Failed(_));
        self.entries_of(name).filter(conspicuous).map(move |entry| self.view(entry))
    }

    fn entries_of<'s>(&'s self, name: &SweepName) -> impl Iterator<Item = &'s Entry> + use<'s> {
        let jobs = self.state().sweeps.get(name).map_or(&[][..], |sweep| &sweep.jobs);
        jobs.iter().map(|index| &self.state().jobs[*index as usize])
    }

    fn view(&self, entry: &Entry) -> JobView {
        let cell = self.state().cells[entry.cell as usize].id;
        JobView { id: entry.id, cell, seed: entry.seed, attempts: entry.attempts, state: entry.state.clone() }
    }
}

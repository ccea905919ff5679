//! What is known of jobs and sweeps: the committed facts, and the queue that follows from them.

use super::WallTime;
use super::family::Families;
use super::index::Index;
use super::membership::{Memberships, SetIndex};
use super::queue::{Place, Queue};
use super::record::{Ending, NewCell, NewJob, Next, Record, StoredState};
use crate::id::{Attempt, CellId, JobId, SweepName, WorkerName};
use crate::job::needs_gpu;
use crate::outcome::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A job's place in the state's list of jobs.
pub(super) type JobIndex = u32;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// Waits for a slot, or first for what it builds on.
    Queued {
        /// Not assigned before then: a failed job waits a little.
        not_before: WallTime,
    },
    /// An attempt is a worker's until its lease passes.
    Running {
        /// The current attempt.
        attempt: Attempt,
        /// Whose it is.
        worker: WorkerName,
        /// Since when.
        since: WallTime,
    },
    /// It has its result.
    Finished,
    /// It has none and is not tried again.
    Failed(Failure),
    /// No sweep wants it.
    Dropped,
}

/// What decisions about a job follow from.
#[derive(Clone, Debug, PartialEq)]
pub struct Essence {
    /// Where it stands.
    pub state: JobState,
    /// Attempts made.
    pub attempts: u32,
    /// Of these, failures that count towards the limit.
    pub failures: u32,
    /// While it may be tried again: the furthest epoch, and the furthest when the last failure happened that counts.
    pub reached: Option<(u32, u32)>,
}

/// A job and what has become of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub id: JobId,
    pub cell: u32,
    pub seed: u64,
    /// Whether GPUs alone can train it.
    pub gpu: bool,
    /// Attempts made: the number of the last one.
    pub attempts: u32,
    /// Of these, failures that count towards the limit: those since any attempt came further than all before it.
    pub failures: u32,
    /// The furthest epoch that any attempt has reached.
    pub reached: u32,
    /// The furthest that any had reached when the last failure happened that counts.
    pub reached_before: u32,
    /// How many sweeps that are not cancelled want it.
    pub wanted: u32,
    /// The sweep that asked first and the job's place in it: the order of the queue.
    pub turn: (u32, u32),
    /// The sweeps that name it, cancelled or not.
    pub set: SetIndex,
    /// Whether it has been trained to its end. It then has its result for good, though it may be trained again for its weights.
    pub result: bool,
    pub state: JobState,
}

/// A sweep and its jobs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SweepEntry {
    pub source: Arc<str>,
    pub jobs: Vec<JobIndex>,
    pub ordinal: u32,
    pub submitted: WallTime,
    pub cancelled: bool,
}

/// The committed facts, and the queue that follows from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(super) jobs: Vec<Entry>,
    index: Index,
    pub(super) cells: Vec<NewCell>,
    /// Of each of them, whether GPUs alone can train its jobs.
    on_gpus: Vec<bool>,
    cell_index: BTreeMap<CellId, u32>,
    pub(super) sweeps: BTreeMap<SweepName, SweepEntry>,
    submissions: u32,
    /// Queued jobs that may be assigned, in their turn; those that wait for a parent come in when it has finished.
    pub(super) queue: Queue,
    /// Those that would be there but for the time: each with when it comes in.
    pub(super) later: BTreeSet<(WallTime, (u32, u32), JobIndex)>,
    /// The time that is known to have come. Nothing that is committed; the queue alone follows from it.
    pub(super) now: WallTime,
    pub(super) memberships: Memberships,
    pub(super) families: Families,
    pub(super) running: BTreeSet<JobIndex>,
}

impl State {
    /// Takes a fact in. The only way in which anything here changes; a fact about a job that is not known is ignored.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Submitted { name, source, cells, jobs, requeued, dropped, at } => {
                self.submitted(name, source, cells, jobs, *at);
                requeued.iter().for_each(|job| self.requeue(*job));
                dropped.iter().for_each(|job| self.set_aside(*job, JobState::Dropped));
            }
            Record::Cancelled { name, dropped, .. } => {
                if let Some(sweep) = self.sweeps.get_mut(name)
                    && !std::mem::replace(&mut sweep.cancelled, true)
                {
                    sweep.jobs.iter().for_each(|job| self.jobs[*job as usize].wanted -= 1);
                }
                dropped.iter().for_each(|job| self.set_aside(*job, JobState::Dropped));
            }
            Record::Assigned { job, attempt, worker, at } => {
                if let Some(entry) = self.entry_mut(*job) {
                    entry.attempts = attempt.0;
                    self.families.assigned(*job);
                    self.set(*job, JobState::Running { attempt: *attempt, worker: worker.clone(), since: *at });
                }
            }
            Record::Epoch { job, epoch, .. } => {
                if let Some(entry) = self.entry_mut(*job) {
                    entry.reached = entry.reached.max(*epoch);
                }
            }
            Record::Ended { job, ending, next, .. } => match (next, ending) {
                (Next::Retry { not_before, failures, reached }, _) => {
                    if let Some(entry) = self.entry_mut(*job) {
                        (entry.failures, entry.reached_before) = (*failures, *reached);
                    }
                    self.set(*job, JobState::Queued { not_before: *not_before });
                }
                (_, Ending::Failed(failure)) => self.set_aside(*job, JobState::Failed(failure.clone())),
                (_, Ending::Finished(facts)) => {
                    self.families.kept(*job, &facts.kept);
                    if let Some(entry) = self.entry_mut(*job) {
                        entry.result = true;
                    }
                    self.set(*job, JobState::Finished);
                }
            },
            Record::Stranded { jobs, failure, .. } => {
                jobs.iter().for_each(|job| self.set_aside(*job, JobState::Failed(failure.clone())));
            }
            Record::Requeued { job, .. } => self.requeue(*job),
            Record::Remembered { cells, jobs } => {
                self.learn(cells);
                jobs.iter().for_each(|job| self.remember(job));
            }
            Record::Restored { job, attempts, failures, reached, result, state } => {
                if let Some(index) = self.index_of(*job) {
                    let state = match state.clone() {
                        StoredState::Queued { not_before } => JobState::Queued { not_before },
                        StoredState::Running { worker, at } => {
                            JobState::Running { attempt: Attempt(*attempts), worker, since: at }
                        }
                        StoredState::Finished { kept } => {
                            self.families.kept(*job, &kept);
                            JobState::Finished
                        }
                        StoredState::Failed(failure) => JobState::Failed(failure),
                        StoredState::Dropped => JobState::Dropped,
                    };
                    let entry = &mut self.jobs[index as usize];
                    (entry.attempts, entry.failures) = (*attempts, *failures);
                    (entry.reached, entry.reached_before) = *reached;
                    entry.result = *result || state == JobState::Finished;
                    self.set_at(index, state);
                }
            }
        }
    }

    fn submitted(&mut self, name: &SweepName, source: &Arc<str>, cells: &[NewCell], jobs: &[NewJob], at: WallTime) {
        self.learn(cells);
        // A sweep that is submitted again keeps its place.
        let ordinal = self.sweeps.get(name).map_or(self.submissions, |before| before.ordinal);
        self.submissions = self.submissions.max(ordinal + 1);
        self.expect(jobs.len());
        let indices: Vec<JobIndex> =
            (0..).zip(jobs).map(|(position, job)| self.want(job, (ordinal, position))).collect();
        self.regroup(&indices, |memberships, set| memberships.with(set, ordinal));
        let sweep = SweepEntry { source: Arc::clone(source), jobs: indices, ordinal, submitted: at, cancelled: false };
        if let Some(before) = self.sweeps.insert(name.clone(), sweep) {
            self.regroup(&before.jobs, |memberships, set| memberships.without(set, ordinal));
            if !before.cancelled {
                before.jobs.iter().for_each(|job| self.jobs[*job as usize].wanted -= 1);
            }
        }
    }

    /// Moves jobs into other sets of sweeps. Jobs of a set mostly stand side by side.
    fn regroup(&mut self, jobs: &[JobIndex], other: impl Fn(&mut Memberships, SetIndex) -> SetIndex) {
        let mut last = None;
        for job in jobs {
            let entry = &mut self.jobs[*job as usize];
            let to = match last {
                Some((from, to)) if from == entry.set => to,
                _ => other(&mut self.memberships, entry.set),
            };
            last = Some((entry.set, to));
            self.memberships.moved(entry.set, to, &entry.state);
            entry.set = to;
        }
    }

    /// Makes room for so many jobs.
    fn expect(&mut self, jobs: usize) {
        // Where most are known already, this is more room than will be needed, and less than twice as much.
        if self.jobs.len() < jobs {
            self.jobs.reserve(jobs);
            self.index.reserve(&self.jobs, jobs);
        }
    }

    fn learn(&mut self, cells: &[NewCell]) {
        for cell in cells {
            self.cell_index.entry(cell.id).or_insert_with(|| {
                self.on_gpus.push(needs_gpu(&cell.configuration));
                self.cells.push(cell.clone());
                (self.cells.len() - 1) as u32
            });
        }
    }

    fn want(&mut self, job: &NewJob, turn: (u32, u32)) -> JobIndex {
        let known = self.index_of(job.id);
        let index = known.unwrap_or_else(|| self.insert(job));
        let entry = &mut self.jobs[index as usize];
        // The turn is that of the earliest sweep that wants the job.
        if entry.wanted == 0 || turn.0 <= entry.turn.0 {
            if self.queue.remove((entry.turn, index), entry.gpu) {
                self.queue.insert((turn, index), entry.gpu);
            } else if let JobState::Queued { not_before } = entry.state
                && self.later.remove(&(not_before, entry.turn, index))
            {
                self.later.insert((not_before, turn, index));
            }
            entry.turn = turn;
        }
        entry.wanted += 1;
        if known.is_none() {
            self.set_at(index, JobState::Queued { not_before: WallTime(0) });
        }
        index
    }

    fn remember(&mut self, job: &NewJob) {
        if self.index_of(job.id).is_none() {
            self.insert(job);
        }
    }

    fn insert(&mut self, job: &NewJob) -> JobIndex {
        let index = self.jobs.len() as JobIndex;
        let cell = self.cell_index.get(&job.cell).copied().unwrap_or_default();
        self.jobs.push(Entry {
            id: job.id,
            cell,
            seed: job.seed,
            gpu: self.on_gpus.get(cell as usize).is_some_and(|gpu| *gpu),
            attempts: 0,
            failures: 0,
            reached: 0,
            reached_before: 0,
            wanted: 0,
            turn: (0, 0),
            set: 0,
            result: false,
            state: JobState::Dropped,
        });
        self.index.add_last(&self.jobs);
        self.memberships.came(0, &JobState::Dropped);
        if let Some(origin) = job.origin {
            self.families.link(job.id, origin);
        }
        index
    }

    fn requeue(&mut self, job: JobId) {
        if let Some(entry) = self.entry_mut(job) {
            entry.failures = 0;
            self.families.forget(job);
            self.set(job, JobState::Queued { not_before: WallTime(0) });
        }
    }

    /// Gives up training a job: it stands as `otherwise` says, or, where it was trained again, has its result as before.
    fn set_aside(&mut self, job: JobId, otherwise: JobState) {
        let state = if self.has_result(job) { JobState::Finished } else { otherwise };
        self.set(job, state);
    }

    /// Whether the job has its result, though it may be trained again for its weights.
    pub(super) fn has_result(&self, job: JobId) -> bool {
        self.entry(job).is_some_and(|entry| entry.result)
    }

    fn set(&mut self, job: JobId, state: JobState) {
        if let Some(index) = self.index_of(job) {
            self.set_at(index, state);
        }
    }

    fn set_at(&mut self, index: JobIndex, state: JobState) {
        let entry = &mut self.jobs[index as usize];
        let before = std::mem::replace(&mut entry.state, state);
        self.memberships.changed(entry.set, &before, &entry.state);
        let (id, runs) = (entry.id, matches!(entry.state, JobState::Running { .. }));
        if runs {
            self.running.insert(index);
        } else if matches!(before, JobState::Running { .. }) {
            self.running.remove(&index);
        }
        if let JobState::Queued { not_before } = before {
            self.take_out(index, not_before);
        }
        self.place(index);
        // Whether it has finished is what its children wait to hear.
        let children: Vec<JobId> = self.families.children(id).collect();
        for child in children {
            if let Some(index) = self.index_of(child) {
                self.place(index);
            }
        }
    }

    /// Puts the job into the queue, if it is queued and has what it builds on, or takes it out, if it has not.
    fn place(&mut self, index: JobIndex) {
        let entry = &self.jobs[index as usize];
        let JobState::Queued { not_before } = entry.state else { return };
        if !self.has_what_it_builds_on(entry.id) {
            self.take_out(index, not_before);
        } else if not_before <= self.now {
            self.queue.insert((entry.turn, index), entry.gpu);
        } else {
            self.later.insert((not_before, entry.turn, index));
        }
    }

    /// Takes a job out of the queue that was in it until `not_before`, or since.
    fn take_out(&mut self, index: JobIndex, not_before: WallTime) {
        let Entry { turn, gpu, .. } = self.jobs[index as usize];
        if !self.queue.remove((turn, index), gpu) {
            self.later.remove(&(not_before, turn, index));
        }
    }

    /// Lets time come: jobs that waited for it may be assigned.
    pub(super) fn pass(&mut self, now: WallTime) {
        self.now = self.now.max(now);
        while let Some((not_before, turn, index)) = self.later.first().copied()
            && not_before <= self.now
        {
            self.later.pop_first();
            self.queue.insert((turn, index), self.jobs[index as usize].gpu);
        }
    }

    /// Whether the job builds on nothing, or on weights that are there.
    pub(super) fn has_what_it_builds_on(&self, job: JobId) -> bool {
        let Some(origin) = self.families.origin(job) else { return true };
        self.job(origin.job) == Some(&JobState::Finished) && self.families.file(origin).is_some()
    }

    /// The jobs that may be assigned now to a worker with a GPU, or without, in the order in which they are to be trained; or, of one
    /// sweep, all that there are.
    pub(super) fn in_turn(&self, only: Option<&SweepName>, gpu: bool) -> impl Iterator<Item = &Entry> {
        let all = only.is_none().then(|| self.queue.in_turn(gpu).map(|(_, index): Place| index));
        let one = only.and_then(|name| self.sweeps.get(name)).map(|sweep| sweep.jobs.iter().copied());
        let indices = all.into_iter().flatten().chain(one.into_iter().flatten());
        indices.map(|index| &self.jobs[index as usize]).filter(move |entry| gpu || !entry.gpu)
    }

    /// What decisions about each job follow from: equal before a restart and after it.
    pub fn essence(&self) -> BTreeMap<JobId, Essence> {
        let of = |entry: &Entry| {
            let open = matches!(entry.state, JobState::Queued { .. } | JobState::Running { .. });
            Essence {
                state: entry.state.clone(),
                attempts: entry.attempts,
                failures: entry.failures,
                reached: open.then_some((entry.reached, entry.reached_before)),
            }
        };
        self.jobs.iter().map(|entry| (entry.id, of(entry))).collect()
    }

    /// Where `job` stands.
    pub fn job(&self, job: JobId) -> Option<&JobState> {
        self.entry(job).map(|entry| &entry.state)
    }

    /// A job as it stands in a submission.
    pub(super) fn as_submitted(&self, index: JobIndex) -> NewJob {
        let entry = &self.jobs[index as usize];
        let (cell, origin) = (self.cells[entry.cell as usize].id, self.families.origin(entry.id));
        NewJob { id: entry.id, cell, seed: entry.seed, origin }
    }

    /// Where `job` stands in the list of jobs.
    pub(super) fn index_of(&self, job: JobId) -> Option<JobIndex> {
        self.index.get(&self.jobs, job)
    }

    pub(super) fn entry(&self, job: JobId) -> Option<&Entry> {
        self.index_of(job).map(|index| &self.jobs[index as usize])
    }

    fn entry_mut(&mut self, job: JobId) -> Option<&mut Entry> {
        self.index_of(job).map(|index| &mut self.jobs[index as usize])
    }

    /// Whether `attempt` is the one that `job` is being trained by.
    pub fn is_running(&self, job: JobId, attempt: Attempt) -> bool {
        matches!(self.job(job), Some(JobState::Running { attempt: a, .. }) if *a == attempt)
    }

    /// Whether it is, on `worker`.
    pub(super) fn is_current(&self, worker: &WorkerName, job: JobId, attempt: Attempt) -> bool {
        matches!(self.job(job), Some(JobState::Running { attempt: a, worker: w, .. }) if (*a, w) == (attempt, worker))
    }
}

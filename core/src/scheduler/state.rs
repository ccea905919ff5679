//! The committed state: jobs, cells and sweeps, with the indices and the queue that follow from them.

use super::device_class::DeviceClass;
use super::failure_groups::FailuresBySweep;
use super::id_index::IdIndex;
use super::intake::AttemptReports;
use super::job_counts::CountsBySweepSet;
use super::job_entry::{JobEntry, JobIndex, JobState, QueuePosition, Reached, Reported};
use super::parents::Parents;
use super::queue::{Queue, QueueKey};
use super::record::{NewCell, NewJob, PausedSweep, Place};
use super::time::WallTime;
use crate::id::{AttemptId, CellId, JobId, SweepName, WorkerName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a restart must preserve of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct DurableJob {
    /// The job's state.
    pub state: JobState,
    /// Attempts made.
    pub attempts: u32,
    /// Failures that count towards the limit.
    pub failures: u32,
    /// Where it failed since an attempt last got further; only for queued and running jobs.
    pub failed_on: Vec<Place>,
    /// The epochs that its attempts completed; only for queued and running jobs.
    pub reached: Option<Reached>,
    /// What the current attempt has reported; only for running jobs.
    pub reported: Option<Reported>,
}

/// A sweep and its jobs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SweepEntry {
    pub source: Arc<str>,
    pub jobs: Vec<JobIndex>,
    /// The rank of its first submission among all sweeps.
    pub ordinal: u32,
    pub submitted: WallTime,
    pub cancelled: bool,
    /// Why its dispatch is paused, if it is.
    pub paused: Option<PausedSweep>,
}

/// The committed state. Only `State::apply` changes it, live and on a restart; the queue also follows the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(super) jobs: Vec<JobEntry>,
    index: IdIndex,
    pub(super) cells: Vec<NewCell>,
    /// The device class that the jobs of each cell require.
    requirements: Vec<DeviceClass>,
    cell_index: BTreeMap<CellId, u32>,
    pub(super) sweeps: BTreeMap<SweepName, SweepEntry>,
    /// The ordinal of the next new sweep.
    pub(super) next_ordinal: u32,
    /// Queued jobs that may be assigned. A job with a parent enters when the parent's weights are there.
    pub(super) queue: Queue,
    /// Queued jobs whose back-off has not ended.
    pub(super) backing_off: BTreeSet<(WallTime, QueueKey)>,
    /// The latest time that the queue reflects. It is not committed.
    pub(super) now: WallTime,
    pub(super) counts: CountsBySweepSet,
    pub(super) failures: FailuresBySweep,
    pub(super) parents: Parents,
    pub(super) running: BTreeSet<JobIndex>,
    /// What the current attempts of running jobs have reported.
    reports: BTreeMap<JobIndex, AttemptReports>,
    /// Where queued and running jobs failed since an attempt last got further. Most have failed nowhere.
    failed_on: BTreeMap<JobIndex, Vec<Place>>,
    /// The ordinals of paused sweeps.
    paused: BTreeSet<u32>,
}

impl State {
    /// The state of `job`, if the job is known.
    pub fn job(&self, job: JobId) -> Option<&JobState> {
        self.entry(job).map(|entry| &entry.state)
    }

    /// Whether this is the current attempt of a running job.
    pub fn is_running(&self, id: AttemptId) -> bool {
        matches!(self.job(id.job), Some(JobState::Running { attempt, .. }) if *attempt == id.attempt)
    }

    /// Everything that a restart must preserve: equal before and after it.
    pub fn durable_jobs(&self) -> BTreeMap<JobId, DurableJob> {
        let durable = |(index, entry): (JobIndex, &JobEntry)| {
            let open = matches!(entry.state, JobState::Queued { .. } | JobState::Running { .. });
            let durable = DurableJob {
                state: entry.state.clone(),
                attempts: entry.attempts,
                failures: entry.failures,
                failed_on: self.failed_on(entry.id).to_vec(),
                reached: open.then_some(entry.reached),
                reported: self.reports.get(&index).map(|reports| reports.reported),
            };
            (entry.id, durable)
        };
        (0..).zip(&self.jobs).map(durable).collect()
    }

    /// Whether this is the current attempt of a job that runs on `worker`.
    pub(super) fn is_current(&self, worker: &WorkerName, id: AttemptId) -> bool {
        let running = |state: &JobState| match state {
            JobState::Running { attempt, worker: assigned, .. } => (*attempt, assigned) == (id.attempt, worker),
            _ => false,
        };
        self.job(id.job).is_some_and(running)
    }

    /// The epochs of a running job; nothing if it does not run, or is not one that plusminus trains itself.
    pub fn epochs_of_running(&self, job: JobId) -> Option<u32> {
        self.reports_of(job).and_then(|reports| reports.epochs)
    }

    /// What the current attempt at the job has reported, if the job runs.
    pub(super) fn reports_of(&self, job: JobId) -> Option<AttemptReports> {
        self.reports.get(&self.index_of(job)?).copied()
    }

    /// Notes that the current attempt at a running job has reported this.
    pub(super) fn set_reported(&mut self, job: JobId, change: impl FnOnce(&mut Reported)) {
        let Some(index) = self.index_of(job).filter(|index| self.running.contains(index)) else { return };
        let configuration = &self.cells[self.jobs[index as usize].cell as usize].configuration;
        let reports = self.reports.entry(index);
        change(&mut reports.or_insert_with(|| AttemptReports::of(configuration, Reported::default())).reported);
    }

    /// Whether the job has a result; it may be retrained for its weights all the same.
    pub(super) fn has_result(&self, job: JobId) -> bool {
        self.entry(job).is_some_and(|entry| entry.has_result)
    }

    /// Whether the job has no parent, or the parent's weights are there.
    pub(super) fn has_parent_weights(&self, job: JobId) -> bool {
        let Some(origin) = self.parents.origin(job) else { return true };
        self.job(origin.job) == Some(&JobState::Finished) && self.parents.file(origin).is_some()
    }

    /// Where a queued or running job failed since an attempt last got further.
    pub(super) fn failed_on(&self, job: JobId) -> &[Place] {
        if self.failed_on.is_empty() {
            return &[];
        }
        self.index_of(job).and_then(|index| self.failed_on.get(&index)).map_or(&[], Vec::as_slice)
    }

    /// Changes where a queued or running job failed.
    pub(super) fn set_failed_on(&mut self, job: JobId, places: &[Place]) {
        let Some(index) = self.index_of(job) else { return };
        if places.is_empty() {
            self.failed_on.remove(&index);
        } else {
            self.failed_on.insert(index, places.to_vec());
        }
    }

    /// The workers of running jobs, and those on which open jobs failed.
    pub(super) fn workers(&self) -> BTreeSet<WorkerName> {
        let running = self.running.iter().filter_map(|index| match &self.jobs[*index as usize].state {
            JobState::Running { worker, .. } => Some(worker),
            _ => None,
        });
        let failed_on = self.failed_on.values().flatten().map(|place| &place.worker);
        running.chain(failed_on).cloned().collect()
    }

    /// Whether the job is queued or running.
    pub(super) fn is_open(&self, job: JobId) -> bool {
        matches!(self.job(job), Some(JobState::Queued { .. } | JobState::Running { .. }))
    }

    /// The class of device that the job requires.
    pub(super) fn requirement(&self, job: JobId) -> DeviceClass {
        self.entry(job).map_or(DeviceClass::Cpu, |entry| entry.requires)
    }

    /// Whether the dispatch of any sweep is paused.
    pub(super) fn has_paused_sweeps(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Whether only paused sweeps list the job.
    pub(super) fn is_held(&self, entry: &JobEntry) -> bool {
        !self.paused.is_empty() && {
            let listing = self.counts.sweeps_in(entry.sweeps);
            let cancelled =
                |ordinal: &u32| self.sweeps.values().any(|sweep| sweep.ordinal == *ordinal && sweep.cancelled);
            listing.iter().any(|ordinal| self.paused.contains(ordinal))
                && listing.iter().all(|ordinal| self.paused.contains(ordinal) || cancelled(ordinal))
        }
    }

    /// Pauses the dispatch of a sweep, or resumes it.
    pub(super) fn set_paused(&mut self, name: &SweepName, paused: Option<PausedSweep>) {
        let Some(sweep) = self.sweeps.get_mut(name) else { return };
        let ordinal = sweep.ordinal;
        let changed = if paused.is_some() { self.paused.insert(ordinal) } else { self.paused.remove(&ordinal) };
        sweep.paused = paused;
        if changed {
            self.requeue_jobs_of(name);
        }
    }

    /// Brings the queue up to date with the pauses of the sweeps that list the jobs of this one.
    pub(super) fn requeue_jobs_of(&mut self, name: &SweepName) {
        let jobs = self.sweeps.get(name).map(|sweep| sweep.jobs.clone()).unwrap_or_default();
        jobs.into_iter().for_each(|index| self.enqueue_if_ready(index));
    }

    /// The queued jobs that a worker of this class can train, in order. With `only`, all jobs of that sweep in whatever state.
    pub(super) fn in_queue_order(
        &self,
        only: Option<&SweepName>,
        device: DeviceClass,
    ) -> impl Iterator<Item = &JobEntry> {
        let all = only.is_none().then(|| self.queue.trainable_on(device).map(|key| key.job));
        let one = only.and_then(|name| self.sweeps.get(name)).map(|sweep| sweep.jobs.iter().copied());
        let indices = all.into_iter().flatten().chain(one.into_iter().flatten());
        let entries = indices.map(|index| &self.jobs[index as usize]);
        entries.filter(move |entry| device.can_train(entry.requires))
    }

    /// The job as a submission lists it.
    pub(super) fn as_submitted(&self, index: JobIndex) -> NewJob {
        let entry = &self.jobs[index as usize];
        let (cell, origin) = (self.cells[entry.cell as usize].id, self.parents.origin(entry.id));
        NewJob { id: entry.id, cell, seed: entry.seed, origin }
    }

    pub(super) fn index_of(&self, job: JobId) -> Option<JobIndex> {
        self.index.get(&self.jobs, job)
    }

    pub(super) fn entry(&self, job: JobId) -> Option<&JobEntry> {
        self.index_of(job).map(|index| &self.jobs[index as usize])
    }

    pub(super) fn entry_mut(&mut self, job: JobId) -> Option<&mut JobEntry> {
        self.index_of(job).map(|index| &mut self.jobs[index as usize])
    }

    /// Reserves memory for a submission of this many jobs.
    pub(super) fn reserve(&mut self, jobs: usize) {
        // If most of the jobs are known, this reserves too much, but less than twice what is used.
        if self.jobs.len() < jobs {
            self.jobs.reserve(jobs);
            self.index.reserve(&self.jobs, jobs);
        }
    }

    /// Adds the cells that are not known.
    pub(super) fn add_cells(&mut self, cells: &[NewCell]) {
        for cell in cells {
            self.cell_index.entry(cell.id).or_insert_with(|| {
                self.requirements.push(DeviceClass::required_by(&cell.configuration));
                self.cells.push(cell.clone());
                (self.cells.len() - 1) as u32
            });
        }
    }

    /// Adds a job that is not known, as dropped.
    pub(super) fn add_job(&mut self, job: &NewJob) -> JobIndex {
        let index = self.jobs.len() as JobIndex;
        let cell = self.cell_index.get(&job.cell).copied().unwrap_or_default();
        self.jobs.push(JobEntry {
            id: job.id,
            cell,
            seed: job.seed,
            requires: self.requirements.get(cell as usize).copied().unwrap_or(DeviceClass::Cpu),
            attempts: 0,
            failures: 0,
            reached: Reached::default(),
            wanted: 0,
            position: QueuePosition::default(),
            sweeps: 0,
            has_result: false,
            state: JobState::Dropped,
        });
        self.index.add_last(&self.jobs);
        self.counts.add(0, &JobState::Dropped);
        if let Some(origin) = job.origin {
            self.parents.link(job.id, origin);
        }
        index
    }

    /// Changes the state of a known job; ignored for an unknown one.
    pub(super) fn set_job(&mut self, job: JobId, state: JobState) {
        if let Some(index) = self.index_of(job) {
            self.set_state(index, state);
        }
    }

    /// Changes the state of a job, and updates the counts and the queue.
    pub(super) fn set_state(&mut self, index: JobIndex, state: JobState) {
        let entry = &mut self.jobs[index as usize];
        let before = std::mem::replace(&mut entry.state, state);
        self.counts.change_state(entry.sweeps, index, &before, &entry.state);
        for sweep in self.counts.sweeps_in(entry.sweeps) {
            if let JobState::Failed(failure) = &before {
                self.failures.remove(*sweep, index, failure);
            }
            if let JobState::Failed(failure) = &entry.state {
                self.failures.add(*sweep, index, failure);
            }
        }
        let (id, runs) = (entry.id, matches!(entry.state, JobState::Running { .. }));
        if !runs && !matches!(entry.state, JobState::Queued { .. }) && !self.failed_on.is_empty() {
            self.failed_on.remove(&index);
        }
        if runs {
            self.running.insert(index);
        } else if matches!(before, JobState::Running { .. }) {
            self.running.remove(&index);
            self.reports.remove(&index);
        }
        if let JobState::Queued { not_before } = before {
            self.dequeue(index, not_before);
        }
        self.enqueue_if_ready(index);
        // Children wait until the parent finishes.
        let children: Vec<JobId> = self.parents.children(id).collect();
        for child in children {
            if let Some(index) = self.index_of(child) {
                self.enqueue_if_ready(index);
            }
        }
    }

    /// Changes the queue position of a job.
    pub(super) fn set_position(&mut self, index: JobIndex, position: QueuePosition) {
        let entry = &mut self.jobs[index as usize];
        let (before, after) = (key(entry, index), QueueKey { position, job: index });
        if self.queue.remove(before, entry.requires) {
            self.queue.insert(after, entry.requires);
        } else if let JobState::Queued { not_before } = entry.state
            && self.backing_off.remove(&(not_before, before))
        {
            self.backing_off.insert((not_before, after));
        }
        entry.position = position;
    }

    /// Adds a queued job to the queue if its parent's weights are there and no pause holds it, and removes it otherwise.
    pub(super) fn enqueue_if_ready(&mut self, index: JobIndex) {
        let entry = &self.jobs[index as usize];
        let JobState::Queued { not_before } = entry.state else { return };
        if !self.has_parent_weights(entry.id) || self.is_held(entry) {
            self.dequeue(index, not_before);
        } else if not_before <= self.now {
            self.queue.insert(key(entry, index), entry.requires);
        } else {
            self.backing_off.insert((not_before, key(entry, index)));
        }
    }

    /// Removes a job whose back-off ends at `not_before` from the queue.
    fn dequeue(&mut self, index: JobIndex, not_before: WallTime) {
        let entry = &self.jobs[index as usize];
        if !self.queue.remove(key(entry, index), entry.requires) {
            self.backing_off.remove(&(not_before, key(entry, index)));
        }
    }

    /// Moves jobs whose back-off has ended into the queue.
    pub(super) fn advance_time(&mut self, now: WallTime) {
        self.now = self.now.max(now);
        while let Some((not_before, key)) = self.backing_off.first().copied()
            && not_before <= self.now
        {
            self.backing_off.pop_first();
            self.queue.insert(key, self.jobs[key.job as usize].requires);
        }
    }
}

fn key(entry: &JobEntry, index: JobIndex) -> QueueKey {
    QueueKey { position: entry.position, job: index }
}

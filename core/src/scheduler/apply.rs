//! Applies records to the state, live and on a restart.

use super::job_counts::CountsBySweepSet;
use super::job_entry::{JobIndex, JobState, QueuePosition, Reported, SweepSetIndex};
use super::record::{Ending, NewCell, NewJob, Next, Record, StoredState};
use super::state::{State, SweepEntry};
use super::time::WallTime;
use crate::id::{Attempt, JobId, SweepName};
use std::sync::Arc;

impl State {
    /// Applies a record. Nothing else changes the committed state. A record about an unknown job is ignored.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Submitted { name, source, cells, jobs, requeued, dropped, at } => {
                self.submitted(name, source, cells, jobs, *at);
                requeued.iter().for_each(|job| self.requeue(*job));
                dropped.iter().for_each(|job| self.end_without_result(*job, JobState::Dropped));
            }
            Record::Cancelled { name, dropped, .. } => {
                let had_pauses = self.has_paused_sweeps();
                if let Some(sweep) = self.sweeps.get_mut(name)
                    && !std::mem::replace(&mut sweep.cancelled, true)
                {
                    sweep.jobs.iter().for_each(|job| self.jobs[*job as usize].wanted -= 1);
                }
                self.set_paused(name, None);
                if had_pauses {
                    self.requeue_jobs_of(name);
                }
                dropped.iter().for_each(|job| self.end_without_result(*job, JobState::Dropped));
            }
            Record::DiedOn { job, failed_on } => self.set_failed_on(*job, failed_on),
            Record::Paused { name, paused } => self.set_paused(name, Some(paused.clone())),
            Record::Released { name } => self.set_paused(name, None),
            Record::Assigned { attempt: id, worker, at } => {
                if let Some(entry) = self.entry_mut(id.job) {
                    entry.attempts = id.attempt.0;
                    self.parents.request_weights(id.job);
                    let state = JobState::Running { attempt: id.attempt, worker: worker.clone(), since: *at };
                    self.set_job(id.job, state);
                    self.set_reported(id.job, |reported| *reported = Reported::default());
                }
            }
            Record::Epoch { attempt: id, epoch, measurements, .. } => {
                if let Some(entry) = self.entry_mut(id.job) {
                    entry.reached.furthest = entry.reached.furthest.max(*epoch);
                }
                self.set_reported(id.job, |reported| reported.add(*epoch, measurements));
            }
            Record::Ended { attempt: id, ending, next, .. } => self.ended(id.job, ending, next),
            Record::ParentUnavailable { jobs, failure, .. } => {
                jobs.iter().for_each(|job| self.end_without_result(*job, JobState::Failed(failure.clone())));
            }
            Record::Requeued { job, .. } => self.requeue(*job),
            Record::Unlisted { cells, jobs } => {
                self.add_cells(cells);
                for job in jobs {
                    if self.index_of(job.id).is_none() {
                        self.add_job(job);
                    }
                }
            }
            Record::Restored { job, attempts, failures, failed_on, reached, reported, result, state } => {
                let Some(index) = self.index_of(*job) else { return };
                let state = self.restored_state(*job, Attempt(*attempts), state.clone());
                let entry = &mut self.jobs[index as usize];
                (entry.attempts, entry.failures, entry.reached) = (*attempts, *failures, *reached);
                entry.has_result = *result || state == JobState::Finished;
                self.set_failed_on(*job, failed_on);
                self.set_state(index, state);
                self.set_reported(*job, |now| *now = *reported);
            }
        }
    }

    fn ended(&mut self, job: JobId, ending: &Ending, next: &Next) {
        match (next, ending) {
            (Next::Retry { not_before, failures, reached, failed_on }, _) => {
                if let Some(entry) = self.entry_mut(job) {
                    entry.failures = *failures;
                    entry.reached.at_last_failure = *reached;
                }
                self.set_failed_on(job, failed_on);
                self.set_job(job, JobState::Queued { not_before: *not_before });
            }
            (_, Ending::Failed(failure)) => self.end_without_result(job, JobState::Failed(failure.clone())),
            (_, Ending::Finished(facts)) => {
                self.parents.set_kept(job, &facts.kept);
                if let Some(entry) = self.entry_mut(job) {
                    entry.has_result = true;
                }
                self.set_job(job, JobState::Finished);
            }
        }
    }

    fn restored_state(&mut self, job: JobId, attempt: Attempt, state: StoredState) -> JobState {
        match state {
            StoredState::Queued { not_before } => JobState::Queued { not_before },
            StoredState::Running { worker, at } => JobState::Running { attempt, worker, since: at },
            StoredState::Finished { kept } => {
                self.parents.set_kept(job, &kept);
                JobState::Finished
            }
            StoredState::Failed(failure) => JobState::Failed(failure),
            StoredState::Dropped => JobState::Dropped,
        }
    }

    fn submitted(&mut self, name: &SweepName, source: &Arc<str>, cells: &[NewCell], jobs: &[NewJob], at: WallTime) {
        self.add_cells(cells);
        // A sweep that is submitted again keeps its rank.
        let ordinal = self.sweeps.get(name).map_or(self.next_ordinal, |before| before.ordinal);
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
        self.reserve(jobs.len());
        let position = |job| QueuePosition { sweep: ordinal, job };
        let indices: Vec<JobIndex> = (0..).zip(jobs).map(|(nth, job)| self.want(job, position(nth))).collect();
        self.list(&indices, ordinal);
        // A submission ends a pause.
        let had_pauses = self.has_paused_sweeps();
        self.set_paused(name, None);
        let sweep = SweepEntry {
            source: Arc::clone(source),
            jobs: indices,
            ordinal,
            submitted: at,
            cancelled: false,
            paused: None,
        };
        if let Some(before) = self.sweeps.insert(name.clone(), sweep) {
            self.unlist(&before.jobs, ordinal);
            if !before.cancelled {
                before.jobs.iter().for_each(|job| self.jobs[*job as usize].wanted -= 1);
            }
            if had_pauses {
                before.jobs.into_iter().for_each(|job| self.enqueue_if_ready(job));
            }
        }
        if had_pauses {
            self.requeue_jobs_of(name);
        }
    }

    /// Notes that a sweep lists the jobs.
    fn list(&mut self, jobs: &[JobIndex], sweep: u32) {
        self.change_sets(jobs, |counts, set| counts.with(set, sweep));
        for job in jobs {
            if let JobState::Failed(failure) = &self.jobs[*job as usize].state {
                self.failures.add(sweep, *job, failure);
            }
        }
    }

    /// Notes that a sweep lists the jobs once less.
    fn unlist(&mut self, jobs: &[JobIndex], sweep: u32) {
        self.change_sets(jobs, |counts, set| counts.without(set, sweep));
        for job in jobs {
            if let JobState::Failed(failure) = &self.jobs[*job as usize].state {
                self.failures.remove(sweep, *job, failure);
            }
        }
    }

    /// Moves jobs to other sets of sweeps. Neighbours mostly share a set, so the last answer of `other` is reused.
    fn change_sets(
        &mut self,
        jobs: &[JobIndex],
        other: impl Fn(&mut CountsBySweepSet, SweepSetIndex) -> SweepSetIndex,
    ) {
        let mut last = None;
        for job in jobs {
            let entry = &mut self.jobs[*job as usize];
            let to = match last {
                Some((from, to)) if from == entry.sweeps => to,
                _ => other(&mut self.counts, entry.sweeps),
            };
            last = Some((entry.sweeps, to));
            self.counts.change_set(entry.sweeps, to, *job, &entry.state);
            entry.sweeps = to;
        }
    }

    /// Adds the job if it is unknown, and counts one more sweep that wants it.
    fn want(&mut self, job: &NewJob, position: QueuePosition) -> JobIndex {
        let known = self.index_of(job.id);
        let index = known.unwrap_or_else(|| self.add_job(job));
        let entry = &self.jobs[index as usize];
        // The position is that in the earliest sweep that wants the job.
        if entry.wanted == 0 || position.sweep <= entry.position.sweep {
            self.set_position(index, position);
        }
        self.jobs[index as usize].wanted += 1;
        if known.is_none() {
            self.set_state(index, JobState::Queued { not_before: WallTime(0) });
        }
        index
    }

    fn requeue(&mut self, job: JobId) {
        if let Some(entry) = self.entry_mut(job) {
            entry.failures = 0;
            self.set_failed_on(job, &[]);
            self.parents.forget_weights(job);
            self.set_job(job, JobState::Queued { not_before: WallTime(0) });
        }
    }

    /// Ends the training of a job. It goes back to its earlier result if it has one, and otherwise to `state`.
    fn end_without_result(&mut self, job: JobId, state: JobState) {
        let state = if self.has_result(job) { JobState::Finished } else { state };
        self.set_job(job, state);
    }
}

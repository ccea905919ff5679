//! The progress of running attempts and the devices of connected workers, kept in memory only.

use plusminus_core::id::{Attempt, AttemptId, JobId};
use plusminus_core::metric::Measurements;
use plusminus_core::scheduler::{JobState, JobView, Session, WallTime};
use plusminus_proto::convert::{self, attempt_id};
use plusminus_proto::v1;
use std::collections::BTreeMap;

/// What workers last reported and nothing stores. Empty after a restart, until workers report again.
#[derive(Debug, Default)]
pub struct LiveProgress {
    attempts: BTreeMap<JobId, AttemptProgress>,
    devices: BTreeMap<Session, Vec<v1::Device>>,
}

/// Whether a job with that many epochs can have made this progress. An unknown number of epochs is not compared.
pub(crate) fn is_plausible(progress: v1::Progress, epochs: Option<u32>) -> bool {
    let v1::Progress { epoch, epochs: announced, step, steps } = progress;
    epoch <= announced && step <= steps && epochs.is_none_or(|epochs| announced == epochs)
}

#[derive(Debug)]
struct AttemptProgress {
    attempt: Attempt,
    progress: v1::Progress,
    last_epoch: Option<v1::Epoch>,
}

impl LiveProgress {
    pub(crate) fn set_progress(&mut self, attempt: AttemptId, progress: v1::Progress) {
        self.of_attempt(attempt).progress = progress;
    }

    pub(crate) fn set_epoch(&mut self, attempt: AttemptId, epoch: u32, measurements: &Measurements) {
        self.of_attempt(attempt).last_epoch = Some(convert::epoch(epoch, measurements));
    }

    pub(crate) fn set_devices(&mut self, session: Session, devices: Vec<v1::Device>) {
        self.devices.insert(session, devices);
    }

    pub(crate) fn remove_devices(&mut self, session: Session) {
        self.devices.remove(&session);
    }

    /// The devices of a worker; none if its session is not connected.
    pub(crate) fn devices(&self, session: Session) -> Vec<v1::Device> {
        self.devices.get(&session).cloned().unwrap_or_default()
    }

    /// Forgets the attempt at a job that ended.
    pub(crate) fn remove(&mut self, job: JobId) {
        self.attempts.remove(&job);
    }

    /// The entry of an attempt. A newer attempt replaces the entry of an older one.
    fn of_attempt(&mut self, AttemptId { job, attempt }: AttemptId) -> &mut AttemptProgress {
        let fresh = || AttemptProgress { attempt, progress: v1::Progress::default(), last_epoch: None };
        let entry = self.attempts.entry(job).or_insert_with(fresh);
        if entry.attempt < attempt {
            *entry = fresh();
        }
        entry
    }

    /// The last epoch that a running job's attempt finished; nothing if the job does not run or has not reported one.
    pub(crate) fn last_epoch(&self, job: &JobView) -> Option<u32> {
        let JobState::Running { attempt, .. } = &job.state else { return None };
        let entry = self.attempts.get(&job.id).filter(|entry| entry.attempt == *attempt)?;
        entry.last_epoch.as_ref().map(|epoch| epoch.epoch)
    }

    /// A running job with its worker and progress; nothing if the job does not run.
    pub(crate) fn running(&self, job: &JobView, now: WallTime) -> Option<v1::RunningJob> {
        let JobState::Running { attempt, worker, since } = &job.state else { return None };
        let entry = self.attempts.get(&job.id).filter(|entry| entry.attempt == *attempt);
        Some(v1::RunningJob {
            of: Some(attempt_id(AttemptId::new(job.id, *attempt))),
            cell: job.cell.to_string(),
            seed: job.seed,
            worker: worker.to_string(),
            progress: entry.map(|entry| entry.progress),
            last: entry.and_then(|entry| entry.last_epoch.clone()),
            running_milliseconds: now.0.saturating_sub(since.0),
            // The services know the labels of cells.
            label: String::new(),
        })
    }
}

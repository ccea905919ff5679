//! Explains the state of one job.

use super::error::AnswerError;
use super::status::quarantines;
use crate::progress::LiveProgress;
use crate::store::{AttemptRow, Reader};
use plusminus_core::id::JobId;
use plusminus_core::scheduler::{JobDetails, JobState, ListedBy, Scheduler, WaitReason, WallTime};
use plusminus_proto::convert::job_state;
use plusminus_proto::v1;
use std::collections::BTreeSet;

/// The most ids that an error about an ambiguous id lists.
const LISTED: usize = 4;

/// The job whose id starts with `prefix`.
///
/// # Errors
/// If there is none, or more than one.
pub fn find_job(scheduler: &Scheduler, prefix: &str) -> Result<JobId, AnswerError> {
    let no_id = || AnswerError::NoJobId(prefix.to_owned());
    match scheduler.view().jobs_with_prefix(prefix, LISTED).ok_or_else(no_id)?.as_slice() {
        [] => Err(AnswerError::UnknownJob(prefix.to_owned())),
        [job] => Ok(*job),
        several => {
            let mut jobs: Vec<String> = several.iter().map(JobId::to_string).collect();
            if jobs.len() == LISTED {
                jobs[LISTED - 1] = "…".to_owned();
            }
            Err(AnswerError::AmbiguousJob { found: prefix.to_owned(), jobs })
        }
    }
}

/// The jobs whose ids start with these prefixes.
///
/// # Errors
/// If a prefix matches no job, or more than one.
pub fn find_jobs(scheduler: &Scheduler, prefixes: &[String]) -> Result<BTreeSet<JobId>, AnswerError> {
    prefixes.iter().map(|prefix| find_job(scheduler, prefix)).collect()
}

/// What the scheduler knows of a job. Its attempts are in the store.
pub struct Explanation {
    job: JobId,
    response: v1::ExplainResponse,
}

impl Explanation {
    /// Explains the job whose id starts with `prefix`.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn of(
        scheduler: &Scheduler,
        progress: &LiveProgress,
        now: WallTime,
        prefix: &str,
    ) -> Result<Self, AnswerError> {
        let job = find_job(scheduler, prefix)?;
        let details = scheduler.view().job(now, job).ok_or_else(|| AnswerError::UnknownJob(prefix.to_owned()))?;
        let JobDetails { job: view, configuration, sweeps, has_result, failures, failed_on, waiting, lease } = details;
        let (status, _) = job_state(&view.state);
        let wanted_by = |ListedBy { sweep, cancelled }: ListedBy| v1::WantedBy { sweep: sweep.into(), cancelled };
        let mut response = v1::ExplainResponse {
            job: job.to_string(),
            cell: view.cell.to_string(),
            seed: view.seed,
            configuration: configuration.to_string(),
            sweeps: sweeps.into_iter().map(wanted_by).collect(),
            status: status.into(),
            has_result,
            failures,
            failures_allowed: scheduler.policy().failures,
            waiting: waiting.map(|reason| v1::Waiting { why: Some(wait_reason(scheduler, now, reason)) }),
            lease_milliseconds: lease.map_or(0, |until| until.0.saturating_sub(now.0)),
            ..v1::ExplainResponse::default()
        };
        response.failed_on = failed_on.into_iter().map(|place| place.worker.0).collect();
        if response.waiting.is_some() {
            response.quarantines = quarantines(scheduler, now);
        }
        response.running = progress.running(&view, now);
        if let JobState::Failed(failure) = view.state {
            response.failure = Some(failure.into());
        }
        Ok(Explanation { job, response })
    }

    /// Adds the job's attempts from the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn with_attempts(mut self, reader: &Reader) -> Result<v1::ExplainResponse, AnswerError> {
        self.response.attempts = reader.attempts(self.job)?.into_iter().map(attempt_row).collect();
        Ok(self.response)
    }
}

fn attempt_row(row: AttemptRow) -> v1::AttemptRow {
    v1::AttemptRow {
        attempt: row.attempt,
        worker: row.worker,
        started: row.started.0,
        ended: row.ended.map(|at| at.0),
        epochs: row.epochs,
        ending: row.ending.unwrap_or_default(),
        message: row.message.unwrap_or_default(),
    }
}

fn wait_reason(scheduler: &Scheduler, now: WallTime, reason: WaitReason) -> v1::waiting::Why {
    match reason {
        WaitReason::Parent(job, state) => {
            let (status, _) = job_state(&state);
            v1::waiting::Why::Parent(v1::ParentJob { job: job.to_string(), status: status.into() })
        }
        WaitReason::Backoff(until) => v1::waiting::Why::RetryMilliseconds(until.0.saturating_sub(now.0)),
        WaitReason::OtherSweep(sweep) => v1::waiting::Why::Only(sweep.into()),
        WaitReason::Paused(sweep, paused) => {
            let (sweep, paused) = (sweep.into(), Some(paused.into()));
            v1::waiting::Why::Paused(v1::WaitsForPausedSweep { sweep, paused })
        }
        WaitReason::NoGpu => v1::waiting::Why::NoGpu(v1::NoGpu {}),
        WaitReason::Queue(before) => {
            let mut turn = v1::Turn { before: before as u64, ..v1::Turn::default() };
            for worker in scheduler.workers() {
                turn.workers += 1;
                turn.slots += worker.slots;
                turn.busy += worker.busy.len() as u32;
                turn.resting += u32::from(worker.paused_until > now);
            }
            v1::waiting::Why::Turn(turn)
        }
    }
}

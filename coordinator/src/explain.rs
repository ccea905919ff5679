//! Why a job is where it is; the same with and without a running coordinator.

use crate::answer::{AnswerError, Board};
use crate::store::{AttemptRow, Reader};
use plusminus_core::id::JobId;
use plusminus_core::scheduler::{JobState, Position, Scheduler, Waiting, WallTime};
use plusminus_proto::convert::job_state;
use plusminus_proto::v1;
use std::collections::BTreeSet;

/// How many jobs are named where one was meant.
const NAMED: usize = 4;

/// The job whose id begins so.
///
/// # Errors
/// If there is none, or more than one.
pub fn called(machine: &Scheduler, beginning: &str) -> Result<JobId, AnswerError> {
    let no_id = || AnswerError::NoJobId(beginning.to_owned());
    match machine.jobs_called(beginning, NAMED).ok_or_else(no_id)?.as_slice() {
        [] => Err(AnswerError::UnknownJob(beginning.to_owned())),
        [job] => Ok(*job),
        several => {
            let mut jobs: Vec<String> = several.iter().map(JobId::to_string).collect();
            if jobs.len() == NAMED {
                jobs[NAMED - 1] = "…".to_owned();
            }
            Err(AnswerError::AmbiguousJob { found: beginning.to_owned(), jobs })
        }
    }
}

/// The jobs whose ids begin so.
///
/// # Errors
/// If one of them is not there, or more than one.
pub fn chosen(machine: &Scheduler, beginnings: &[String]) -> Result<BTreeSet<JobId>, AnswerError> {
    beginnings.iter().map(|beginning| called(machine, beginning)).collect()
}

/// What the machine knows of a job; what became of its attempts is the store's to say.
pub struct Explained {
    job: JobId,
    response: v1::ExplainResponse,
}

impl Explained {
    /// Looks the job up whose id begins so.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn of(machine: &Scheduler, board: &Board, now: WallTime, beginning: &str) -> Result<Self, AnswerError> {
        let job = called(machine, beginning)?;
        let position = machine.position(now, job).ok_or_else(|| AnswerError::UnknownJob(beginning.to_owned()))?;
        let Position { job: view, configuration, sweeps, has_result, failures, waiting, lease } = position;
        let (status, _) = job_state(&view.state);
        let mut response = v1::ExplainResponse {
            job: job.to_string(),
            cell: view.cell.to_string(),
            seed: view.seed,
            configuration: configuration.to_string(),
            sweeps: sweeps
                .into_iter()
                .map(|(sweep, cancelled)| v1::WantedBy { sweep: sweep.into(), cancelled })
                .collect(),
            status: status.into(),
            has_result,
            failures,
            failures_allowed: machine.policy().failures,
            waiting: waiting.map(|waiting| v1::Waiting { why: Some(why(machine, now, waiting)) }),
            lease_milliseconds: lease.map_or(0, |until| until.0.saturating_sub(now.0)),
            ..v1::ExplainResponse::default()
        };
        response.running = board.running(&view, now);
        if let JobState::Failed(failure) = view.state {
            response.failure = Some(failure.into());
        }
        Ok(Explained { job, response })
    }

    /// Adds what the store knows of its attempts.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn with_attempts(mut self, reader: &Reader) -> Result<v1::ExplainResponse, AnswerError> {
        self.response.attempts = reader.attempts(self.job)?.into_iter().map(row).collect();
        Ok(self.response)
    }
}

fn row(row: AttemptRow) -> v1::AttemptRow {
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

fn why(machine: &Scheduler, now: WallTime, waiting: Waiting) -> v1::waiting::Why {
    match waiting {
        Waiting::Parent(job, state) => {
            let (status, _) = job_state(&state);
            v1::waiting::Why::Parent(v1::ParentJob { job: job.to_string(), status: status.into() })
        }
        Waiting::Until(then) => v1::waiting::Why::RetryMilliseconds(then.0.saturating_sub(now.0)),
        Waiting::Only(sweep) => v1::waiting::Why::Only(sweep.into()),
        Waiting::Gpu => v1::waiting::Why::NoGpu(v1::NoGpu {}),
        Waiting::Turn(before) => {
            let mut turn = v1::Turn { before: before as u64, ..v1::Turn::default() };
            for worker in machine.workers() {
                turn.workers += 1;
                turn.slots += worker.slots;
                turn.busy += worker.busy.len() as u32;
                turn.resting += u32::from(worker.rests_until > now);
            }
            v1::waiting::Why::Turn(turn)
        }
    }
}

//! The status of sweeps and workers.
//!
//! The scheduler maintains counts, running jobs and failure groups of each sweep, so no answer walks over all jobs of a sweep. Answers come
//! in parts of bounded size.

use super::error::AnswerError;
use crate::progress::LiveProgress;
use plusminus_core::failure_text::first_line;
use plusminus_core::id::SweepName;
use plusminus_core::scheduler::{FailureSummary, JobsAlike, Scheduler, SweepView, WallTime, WorkerView};
use plusminus_proto::parts::{FULL, WHOLE};
use plusminus_proto::{convert, v1};
use prost::Message;

/// The most failures that a status lists. Thousands of jobs may each have diverged with a message of their own.
const FAILURES: usize = 20;
/// The most running jobs that one look at the scheduler takes.
const RUNNING: usize = 500;
/// The most running jobs of a sweep, and the most bytes of a failure's message, in an abridged status.
const ABRIDGED: usize = 100;

/// The most workers in quarantine that an answer lists.
const QUARANTINES: usize = 100;

/// A reader's place in the status of all sweeps, or of one.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The sweep to read next, by its rank among all; none of them once the workers follow.
    sweep: usize,
    /// The number of the next running job of that sweep; nothing before the sweep's counts.
    running: Option<u32>,
    /// The rank of the worker to read next.
    worker: usize,
}

/// The sweeps that a status is about.
#[derive(Clone, Debug)]
pub struct Sweeps(Vec<SweepName>);

impl Sweeps {
    /// The sweep `name`, or every sweep if it is empty.
    ///
    /// # Errors
    /// If the sweep does not exist.
    pub fn of(scheduler: &Scheduler, name: &str) -> Result<Sweeps, AnswerError> {
        match name {
            "" => Ok(Sweeps(scheduler.view().sweeps().into_iter().map(|sweep| sweep.name).collect())),
            name => Ok(Sweeps(vec![find_sweep(scheduler, name)?.name])),
        }
    }
}

/// The next part of the status of these sweeps and of the workers, and where to continue; nothing at the end.
pub fn status_part(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    sweeps: &Sweeps,
    mut at: Cursor,
) -> (v1::StatusResponse, Option<Cursor>) {
    let (mut part, mut size) = (v1::StatusResponse::default(), 0);
    while let Some(name) = sweeps.0.get(at.sweep) {
        if size > FULL {
            return (part, Some(at));
        }
        // A sweep may have been removed since.
        let Some(sweep) = scheduler.view().sweep(name) else {
            at = Cursor { sweep: at.sweep + 1, ..Cursor::default() };
            continue;
        };
        let (status, next) = sweep_part(scheduler, progress, now, &sweep, at.running);
        size += status.encoded_len();
        part.sweeps.push(status);
        at = match next {
            Some(running) => Cursor { running: Some(running), ..at },
            None => Cursor { sweep: at.sweep + 1, ..Cursor::default() },
        };
    }
    for worker in scheduler.workers().skip(at.worker) {
        if size > FULL {
            return (part, Some(at));
        }
        let status = worker_status(&worker, progress, now);
        size += status.encoded_len();
        part.workers.push(status);
        at.worker += 1;
    }
    part.quarantines = quarantines(scheduler, now);
    (part, None)
}

/// The status of one sweep in parts of bounded size.
pub fn sweep_parts(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    sweep: &SweepView,
) -> Vec<v1::SweepStatus> {
    let (first, mut next) = sweep_part(scheduler, progress, now, sweep, None);
    let mut parts = vec![first];
    while let Some(from) = next {
        let part;
        (part, next) = sweep_part(scheduler, progress, now, sweep, Some(from));
        parts.push(part);
    }
    parts
}

/// The status of one sweep, or of every sweep if `name` is empty, and of the workers, in one message. It leaves out running jobs and the
/// ends of failures if they do not fit.
///
/// # Errors
/// If the sweep does not exist, or not even the counts of all sweeps fit.
pub fn status(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    name: &str,
) -> Result<v1::StatusResponse, AnswerError> {
    let sweeps = Sweeps::of(scheduler, name)?;
    let (mut whole, mut size, mut next) = (v1::StatusResponse::default(), 0, Some(Cursor::default()));
    while let Some(at) = next {
        let part;
        (part, next) = status_part(scheduler, progress, now, &sweeps, at);
        size += part.encoded_len();
        whole.extend(part);
        if size > WHOLE {
            return abridged(scheduler, progress, now, &sweeps);
        }
    }
    Ok(whole)
}

fn abridged(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    sweeps: &Sweeps,
) -> Result<v1::StatusResponse, AnswerError> {
    let (mut status, mut size) = (v1::StatusResponse::default(), 0);
    for sweep in sweeps.0.iter().filter_map(|name| scheduler.view().sweep(name)) {
        let mut sweep = sweep_counts(&sweep, scheduler.view().failures_of(&sweep.name, FAILURES));
        if size < WHOLE / 2 {
            let name = sweep.sweep.parse().ok();
            let running = name.map(|name: SweepName| scheduler.view().running_jobs_of(&name, 0, ABRIDGED));
            sweep.running_jobs =
                running.into_iter().flatten().filter_map(|(_, job)| progress.running(&job, now)).collect();
            for failure in sweep.failures.iter_mut().filter_map(|group| group.failure.as_mut()) {
                failure.message = first_line(&failure.message, ABRIDGED);
            }
        } else {
            sweep.other_failures += sweep.failures.drain(..).map(|group| group.jobs).sum::<u64>();
        }
        sweep.other_running = sweep.running.saturating_sub(sweep.running_jobs.len() as u64);
        size += sweep.encoded_len();
        status.sweeps.push(sweep);
    }
    for worker in scheduler.workers() {
        let worker = worker_status(&worker, progress, now);
        size += worker.encoded_len();
        status.workers.push(worker);
    }
    status.quarantines = quarantines(scheduler, now);
    size += status.quarantines.iter().map(Message::encoded_len).sum::<usize>();
    if size > WHOLE { Err(AnswerError::TooLong) } else { Ok(status) }
}

/// The workers in quarantine, at most [`QUARANTINES`].
pub(super) fn quarantines(scheduler: &Scheduler, now: WallTime) -> Vec<v1::Quarantine> {
    let listed = scheduler.view().quarantines(now).take(QUARANTINES);
    listed.map(|(worker, quarantine)| convert::quarantine(worker, quarantine, now)).collect()
}

fn worker_status(worker: &WorkerView<'_>, progress: &LiveProgress, now: WallTime) -> v1::WorkerStatus {
    v1::WorkerStatus {
        worker: worker.name.to_string(),
        slots: worker.slots,
        busy: worker.busy.len() as u32,
        rests_milliseconds: worker.paused_until.0.saturating_sub(now.0),
        devices: progress.devices(worker.session),
    }
}

/// The text of the sweep file that was submitted as `name`.
///
/// # Errors
/// If the sweep does not exist.
pub fn source(scheduler: &Scheduler, name: &str) -> Result<String, AnswerError> {
    Ok(find_sweep(scheduler, name)?.source.to_string())
}

pub(crate) fn find_sweep(scheduler: &Scheduler, name: &str) -> Result<SweepView, AnswerError> {
    let sweep = name.parse().ok().and_then(|name: SweepName| scheduler.view().sweep(&name));
    sweep.ok_or_else(|| AnswerError::UnknownSweep {
        name: name.to_owned(),
        known: scheduler.view().sweeps().into_iter().map(|sweep| sweep.name.into()).collect(),
    })
}

/// The counts and failures of a sweep, unless `running` continues an earlier part, and running jobs. Returns where to continue.
fn sweep_part(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    sweep: &SweepView,
    running: Option<u32>,
) -> (v1::SweepStatus, Option<u32>) {
    let mut status = match running {
        None => sweep_counts(sweep, scheduler.view().failures_of(&sweep.name, FAILURES)),
        Some(_) => v1::SweepStatus { sweep: sweep.name.to_string(), ..v1::SweepStatus::default() },
    };
    let jobs = scheduler.view().running_jobs_of(&sweep.name, running.unwrap_or(0), RUNNING);
    let whole = jobs.len() < RUNNING;
    let (mut size, mut next) = (0, None);
    for (number, job) in jobs {
        if size > FULL {
            return (status, Some(number));
        }
        if let Some(job) = progress.running(&job, now) {
            size += job.encoded_len();
            status.running_jobs.push(job);
        }
        next = number.checked_add(1);
    }
    (status, next.filter(|_| !whole))
}

fn sweep_counts(sweep: &SweepView, failures: FailureSummary<'_>) -> v1::SweepStatus {
    let group = |group: &JobsAlike<'_>| v1::FailureCount {
        failure: Some(group.failure.clone().into()),
        jobs: group.jobs as u64,
        example: group.example.to_string(),
    };
    v1::SweepStatus {
        sweep: sweep.name.to_string(),
        submitted: sweep.submitted.0,
        cancelled: sweep.cancelled,
        queued: sweep.counts.queued as u64,
        running: sweep.counts.running as u64,
        finished: sweep.counts.finished as u64,
        failed: sweep.counts.failed as u64,
        dropped: sweep.counts.dropped as u64,
        failures: failures.groups.iter().map(group).collect(),
        other_failures: failures.others as u64,
        diverged: failures.diverged as u64,
        paused: sweep.paused.clone().map(Into::into),
        ..v1::SweepStatus::default()
    }
}

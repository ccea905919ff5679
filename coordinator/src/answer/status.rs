//! The status of sweeps and workers.

use super::error::AnswerError;
use crate::progress::LiveProgress;
use plusminus_core::id::{JobId, SweepName};
use plusminus_core::outcome::FailureKind;
use plusminus_core::scheduler::{JobState, Scheduler, SweepView, WallTime};
use plusminus_proto::{convert, v1};
use std::collections::BTreeMap;

/// The most failures that a status lists. Thousands of jobs may each have diverged with a message of their own.
const FAILURES: usize = 20;

/// The most workers in quarantine that an answer lists.
pub(super) const QUARANTINES: usize = 100;

/// The status of the sweep `name`, or of every sweep if it is empty, and of the workers.
///
/// # Errors
/// If the sweep does not exist.
pub fn status(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    now: WallTime,
    name: &str,
) -> Result<v1::StatusResponse, AnswerError> {
    let sweeps = match name {
        "" => scheduler.view().sweeps(),
        name => vec![find_sweep(scheduler, name)?],
    };
    let workers = scheduler.workers().map(|worker| v1::WorkerStatus {
        worker: worker.name.to_string(),
        slots: worker.slots,
        busy: worker.busy.len() as u32,
        rests_milliseconds: worker.paused_until.0.saturating_sub(now.0),
        devices: progress.devices(worker.session),
    });
    let quarantines = scheduler.view().quarantines(now).take(QUARANTINES);
    Ok(v1::StatusResponse {
        quarantines: quarantines.map(|(worker, quarantine)| convert::quarantine(worker, quarantine, now)).collect(),
        workers: workers.collect(),
        sweeps: sweeps.iter().map(|sweep| sweep_status(scheduler, progress, sweep, now)).collect(),
    })
}

/// The text of the sweep file that was submitted as `name`.
///
/// # Errors
/// If the sweep does not exist.
pub fn source(scheduler: &Scheduler, name: &str) -> Result<String, AnswerError> {
    Ok(find_sweep(scheduler, name)?.source.to_string())
}

pub(super) fn find_sweep(scheduler: &Scheduler, name: &str) -> Result<SweepView, AnswerError> {
    let sweep = name.parse().ok().and_then(|name: SweepName| scheduler.view().sweep(&name));
    sweep.ok_or_else(|| AnswerError::UnknownSweep {
        name: name.to_owned(),
        known: scheduler.view().sweeps().into_iter().map(|sweep| sweep.name.into()).collect(),
    })
}

fn sweep_status(scheduler: &Scheduler, progress: &LiveProgress, sweep: &SweepView, now: WallTime) -> v1::SweepStatus {
    let mut running_jobs = Vec::new();
    let mut diverged = 0;
    let mut failures: BTreeMap<(FailureKind, String), (u64, JobId)> = BTreeMap::new();
    for job in scheduler.view().running_and_failed_jobs_of(&sweep.name) {
        running_jobs.extend(progress.running(&job, now));
        if let JobState::Failed(failure) = &job.state {
            diverged += u64::from(failure.kind == FailureKind::Diverged);
            failures.entry((failure.kind, failure.message.clone())).or_insert((0, job.id)).0 += 1;
        }
    }
    let mut failures: Vec<_> = failures.into_iter().collect();
    failures.sort_by_key(|(_, (jobs, _))| std::cmp::Reverse(*jobs));
    let other_failures = failures.iter().skip(FAILURES).map(|(_, (jobs, _))| jobs).sum();
    let failures = failures.into_iter().take(FAILURES).map(|((kind, message), (jobs, example))| v1::FailureCount {
        failure: Some(v1::Failure { kind: v1::FailureKind::from(kind).into(), message }),
        jobs,
        example: example.to_string(),
    });
    v1::SweepStatus {
        sweep: sweep.name.to_string(),
        submitted: sweep.submitted.0,
        cancelled: sweep.cancelled,
        queued: sweep.counts.queued as u64,
        running: sweep.counts.running as u64,
        finished: sweep.counts.finished as u64,
        failed: sweep.counts.failed as u64,
        dropped: sweep.counts.dropped as u64,
        running_jobs,
        failures: failures.collect(),
        other_failures,
        diverged,
        paused: sweep.paused.clone().map(Into::into),
    }
}

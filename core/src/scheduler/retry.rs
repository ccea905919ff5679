//! Ends attempts and decides whether their jobs are retried.

use super::blame;
use super::dependencies;
use super::job_entry::JobState;
use super::record::{Ending, Next, Place, Record};
use super::step::Step;
use super::sweep_pause;
use super::time::milliseconds;
use crate::id::{AttemptId, JobId, WorkerName};
use crate::outcome::{Failure, FailureKind};
use std::time::Duration;

/// How an attempt was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its worker reported the ending.
    Reported,
    /// Its worker's process died. That may be the job's doing, on one host.
    Died,
}

/// Ends an attempt whose worker's process died. An attempt from before a restart costs the job nothing.
pub(super) fn lose_attempt(step: &mut Step<'_>, id: AttemptId, message: String) {
    let inherited = step.leases.is_inherited(id.job);
    let kind = if inherited { FailureKind::Preempted } else { FailureKind::Infrastructure };
    end(step, id, Ending::Failed(Failure::new(kind, message)), Loss::Died);
}

/// Ends the current attempt of a job.
pub(super) fn end_attempt(step: &mut Step<'_>, id: AttemptId, ending: Ending) {
    end(step, id, ending, Loss::Reported);
}

fn end(step: &mut Step<'_>, id: AttemptId, mut ending: Ending, loss: Loss) {
    let job = id.job;
    let next = match &mut ending {
        Ending::Finished(_) => Next::Done,
        Ending::Failed(failure) => after_failure(step, job, failure, loss),
    };
    let reason = if let Ending::Failed(failure) = &ending { Some(failure.clone()) } else { None };
    let retried = matches!(next, Next::Retry { .. });
    let finished = next == Next::Done;
    step.leases.release(job);
    let failures_before =
        if retried || finished { Vec::new() } else { sweep_pause::failures_of_sweeps(step.state, job) };
    step.record(Record::Ended { attempt: id, ending, next, at: step.now });
    if retried {
        // The job's parent may have failed, or lost its weights, while the attempt ran.
        dependencies::resolve_siblings(step, job);
    } else if finished {
        sweep_pause::job_finished(step, job);
        dependencies::resolve_children(step, job);
    } else {
        dependencies::fail_children(step, vec![job], reason);
        sweep_pause::jobs_failed(step, failures_before);
    }
}

fn after_failure(step: &Step<'_>, job: JobId, failure: &mut Failure, loss: Loss) -> Next {
    let (state, policy) = (&*step.state, step.policy);
    let Some(entry) = state.entry(job) else { return Next::GiveUp };
    let JobState::Running { worker, .. } = &entry.state else { return Next::GiveUp };
    let (reached, before) = (entry.reached, entry.failures);
    let retry_at = |wait: Duration| {
        let wait = milliseconds(wait);
        step.now.after(Duration::from_millis(wait - spread(job, entry.attempts, wait / 2)))
    };
    if failure.kind == FailureKind::Preempted {
        // The worker left, or the parent's weights were missing: not the job's fault. A job with a parent waits, so that a file that
        // stays missing does not keep workers busy.
        let wait = if state.parents.origin(job).is_some() { policy.backoff } else { Duration::ZERO };
        let failed_on = state.failed_on(job).to_vec();
        return Next::Retry {
            not_before: retry_at(wait),
            failures: before,
            reached: reached.at_last_failure,
            failed_on,
        };
    }
    if !failure.kind.is_transient() {
        return Next::GiveUp;
    }
    // An attempt that got further than all before it made progress, however it ended.
    let progressed = reached.furthest > reached.at_last_failure;
    let failed_on = blame::failed_on(step, job, worker, progressed);
    let before = if progressed { 0 } else { before };
    let failures = before + u32::from(costs_a_failure(step, job, worker, &failed_on, loss));
    if blame::is_jobs_fault(step, job, &failed_on, failures) {
        let hosts: Vec<&str> = failed_on.iter().map(|place| &*place.worker.0).collect();
        let (failures, hosts) = (failures.max(hosts.len() as u32), hosts.join(", "));
        failure.message += &format!(
            " (given up after {failures} failures without getting further, on {hosts}; `plusminus resume` retries the job)"
        );
        return Next::GiveUp;
    }
    let wait = policy.backoff_after(failures.saturating_sub(1));
    Next::Retry { not_before: retry_at(wait), failures, reached: reached.furthest, failed_on }
}

/// Whether the loss of an attempt counts as a failure of the job. It does not if the worker died, nor if it is suspected and a sound one may
/// finish the job.
fn costs_a_failure(step: &Step<'_>, job: JobId, worker: &WorkerName, failed_on: &[Place], loss: Loss) -> bool {
    let excused = step.fleet.is_suspected(worker) && blame::has_candidate(step, job, failed_on);
    loss == Loss::Reported && !excused
}

/// A number from 0 to `most` that is derived from the job and its attempts, since core has no source of randomness.
fn spread(job: JobId, attempts: u32, most: u64) -> u64 {
    let hash = blake3::hash(format!("{job} {attempts}").as_bytes());
    let number = hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    number % most.saturating_add(1)
}

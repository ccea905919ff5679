//! Ends attempts and decides whether their jobs are retried.

use super::dependencies;
use super::policy::Policy;
use super::record::{Ending, Next, Record};
use super::state::State;
use super::step::Step;
use super::time::{WallTime, milliseconds};
use crate::id::{AttemptId, JobId};
use crate::outcome::{Failure, FailureKind};
use std::time::Duration;

/// Ends an attempt that no worker runs any more. An attempt from before a restart does not count as a failure of the job.
pub(super) fn lose_attempt(step: &mut Step<'_>, id: AttemptId, message: String) {
    let inherited = step.leases.is_inherited(id.job);
    let kind = if inherited { FailureKind::Preempted } else { FailureKind::Infrastructure };
    end_attempt(step, id, Ending::Failed(Failure::new(kind, message)));
}

/// Ends the current attempt of a job.
pub(super) fn end_attempt(step: &mut Step<'_>, id: AttemptId, mut ending: Ending) {
    let job = id.job;
    let next = match &mut ending {
        Ending::Finished(_) => Next::Done,
        Ending::Failed(failure) => {
            let next = after_failure(step.state, step.policy, step.now, job, failure.kind);
            if next == Next::GiveUp && failure.kind.is_transient() {
                let failures = step.policy.failures;
                failure.message += &format!(
                    " (given up after {failures} failures without getting further; `plusminus resume` retries the job)"
                );
            }
            next
        }
    };
    let reason = if let Ending::Failed(failure) = &ending { Some(failure.clone()) } else { None };
    step.leases.release(job);
    step.record(Record::Ended { attempt: id, ending, next, at: step.now });
    match next {
        Next::Done => dependencies::resolve_children(step, job),
        Next::GiveUp => dependencies::fail_children(step, vec![job], reason),
        // The job's parent may have failed, or lost its weights, while the attempt ran.
        Next::Retry { .. } => dependencies::resolve_siblings(step, job),
    }
}

fn after_failure(state: &State, policy: &Policy, now: WallTime, job: JobId, kind: FailureKind) -> Next {
    let Some(entry) = state.entry(job) else { return Next::GiveUp };
    let (failures, reached) = (entry.failures, entry.reached);
    let retry_at = |wait: Duration| {
        let wait = milliseconds(wait);
        now.after(Duration::from_millis(wait - spread(job, entry.attempts, wait / 2)))
    };
    if kind == FailureKind::Preempted {
        // The worker left, or the parent's weights were missing: not the job's fault. A job with a parent waits, so that a file that
        // stays missing does not keep workers busy.
        let wait = if state.parents.origin(job).is_some() { policy.backoff } else { Duration::ZERO };
        return Next::Retry { not_before: retry_at(wait), failures, reached: reached.at_last_failure };
    }
    // An attempt that got further than all before it made progress, however it ended.
    let failures = if reached.furthest > reached.at_last_failure { 1 } else { failures + 1 };
    if !kind.is_transient() || failures >= policy.failures {
        return Next::GiveUp;
    }
    Next::Retry { not_before: retry_at(policy.backoff_after(failures - 1)), failures, reached: reached.furthest }
}

/// A number from 0 to `most` that is derived from the job and its attempts, since core has no source of randomness.
fn spread(job: JobId, attempts: u32, most: u64) -> u64 {
    let hash = blake3::hash(format!("{job} {attempts}").as_bytes());
    let number = hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    number % most.saturating_add(1)
}

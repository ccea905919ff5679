//! Who is to blame for a lost attempt: the job, or the machine. Decides which workers are in quarantine and which jobs are given up.
//!
//! A worker is blamed when it fails what others finish, or several different jobs in a row. A job is blamed when sound workers on different
//! hosts fail it, or the only workers that there are.

use super::event::{Effect, Notice};
use super::fleet::QuarantineCause;
use super::record::{Place, Record};
use super::step::Step;
use crate::id::{AttemptId, JobId, WorkerName};
use crate::outcome::{Failure, FailureKind};
use std::collections::BTreeSet;

/// The most places that are remembered per job.
const REMEMBERED_PLACES: usize = 64;

/// Notes that a worker reported a failed attempt. Call it before the attempt is ended.
pub(super) fn worker_failed(step: &mut Step<'_>, worker: &WorkerName, job: JobId, failure: &Failure) {
    let cause = match failure.kind {
        FailureKind::UserError | FailureKind::Diverged => return,
        FailureKind::Preempted if step.fleet.is_drained(worker) => return,
        FailureKind::Preempted => QuarantineCause::Returned,
        FailureKind::OutOfMemory | FailureKind::Infrastructure => QuarantineCause::Failures,
    };
    step.fleet.struck(worker, job);
    // The only worker that there is goes on: its jobs are given up instead.
    let blamed = step.fleet.is_suspected(worker) && step.fleet.others(worker, step.now);
    if blamed || cause == QuarantineCause::Returned {
        pause(step, worker, cause, &failure.to_string());
    }
    update_gate(step, worker);
}

/// Notes that a worker finished a job. Call it before the attempt is ended.
pub(super) fn worker_finished(step: &mut Step<'_>, worker: &WorkerName, job: JobId) {
    let (ended, changed) = step.fleet.finished(worker);
    if changed {
        update_gate(step, worker);
    }
    if ended.is_some_and(|quarantine| quarantine.probation) {
        step.effects.push(Effect::Notice(Notice::QuarantineEnded { worker: worker.clone(), lifted: false }));
    }
    // Workers that failed what this one finished are suspected, unless they have finished a job since.
    let failed_on: Vec<WorkerName> = step.state.failed_on(job).iter().map(|place| place.worker.clone()).collect();
    for other in failed_on.iter().filter(|other| *other != worker) {
        if step.fleet.refuted(other, job) {
            let reason = format!("it failed job {job}, which worker {worker} has finished");
            pause(step, other, QuarantineCause::Failures, &reason);
        }
    }
}

/// Notes that a worker's process died while it held these attempts, which have been ended.
pub(super) fn worker_died(step: &mut Step<'_>, worker: &WorkerName, expired: BTreeSet<AttemptId>) {
    // Attempts whose lease expired before were lost to this death, not to the network.
    for id in expired {
        let mut failed_on = step.state.failed_on(id.job).to_vec();
        if step.state.is_open(id.job) && add_place(&mut failed_on, step.fleet.place(worker)) {
            step.record(Record::DiedOn { job: id.job, failed_on });
        }
    }
    if step.fleet.is_suspected(worker) {
        pause(step, worker, QuarantineCause::Flapping, "its process ended while it held jobs, again and again");
    }
    update_gate(step, worker);
}

/// Notes that the leases of these attempts expired, all on one worker. `heard`: it had sent something since a lease last expired.
pub(super) fn worker_fell_silent(step: &mut Step<'_>, worker: &WorkerName, heard: bool, attempts: Vec<AttemptId>) {
    step.fleet.fell_silent(worker, heard, attempts);
    if step.fleet.is_suspected(worker) {
        pause(step, worker, QuarantineCause::Silent, "it let the leases of its jobs expire, again and again");
    }
    update_gate(step, worker);
}

/// Lifts a worker's quarantine. Returns nothing for an unknown worker, and otherwise whether it was in quarantine.
pub(super) fn reinstate(step: &mut Step<'_>, worker: &WorkerName) -> Option<bool> {
    let lifted = step.fleet.reinstate(worker)?.is_some_and(|quarantine| quarantine.is_active(step.now));
    update_gate(step, worker);
    if lifted {
        step.effects.push(Effect::Notice(Notice::QuarantineEnded { worker: worker.clone(), lifted: true }));
    }
    Some(lifted)
}

fn pause(step: &mut Step<'_>, worker: &WorkerName, cause: QuarantineCause, reason: &str) {
    if let Some(quarantine) = step.fleet.pause(worker, cause, reason, step.now, step.policy) {
        let (worker, now) = (worker.clone(), step.now);
        step.effects.push(Effect::Notice(Notice::Quarantined { worker, quarantine, now }));
    }
    update_gate(step, worker);
}

/// Tells the worker's connections what dispatch has to know.
pub(super) fn update_gate(step: &mut Step<'_>, worker: &WorkerName) {
    step.connections.set_gate(worker, step.fleet.gate(worker));
}

/// Where a job failed since it last got further, after one more attempt failed or died on `worker`.
pub(super) fn failed_on(step: &Step<'_>, job: JobId, worker: &WorkerName, progressed: bool) -> Vec<Place> {
    let mut places = if progressed { Vec::new() } else { step.state.failed_on(job).to_vec() };
    add_place(&mut places, step.fleet.place(worker));
    places
}

fn add_place(places: &mut Vec<Place>, place: Place) -> bool {
    let new = places.len() < REMEMBERED_PLACES && places.iter().all(|known| known.worker != place.worker);
    if new {
        places.push(place);
    }
    new
}

/// Whether the failures of a job are its own: sound workers on `failures` hosts failed it; or no other sound worker may finish it, and it
/// failed that often, or on that many hosts. The death of a worker counts as one host, never as a failure of its own.
pub(super) fn is_jobs_fault(step: &Step<'_>, job: JobId, places: &[Place], failures: u32) -> bool {
    let limit = step.policy.failures;
    let hosts = places.iter().map(|place| &*place.host).collect::<BTreeSet<_>>().len();
    let enough = |hosts: usize| hosts >= limit as usize;
    enough(step.fleet.sound_hosts(places))
        || (!has_candidate(step, job, places) && (failures >= limit || enough(hosts)))
}

/// Whether a sound worker that has not failed the job may still finish it.
pub(super) fn has_candidate(step: &Step<'_>, job: JobId, places: &[Place]) -> bool {
    let requires = step.state.requirement(job);
    step.fleet.has_candidate(places, requires, step.now)
}

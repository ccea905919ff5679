//! Handles what workers send and fail to send: connections, heartbeats, reports and expired leases.

use super::blame;
use super::connections::Connection;
use super::event::{Effect, Heartbeat, Report, ReportBody, Session};
use super::intake::{self, Impossible, Intake};
use super::job_entry::JobState;
use super::record::{Ending, Record};
use super::retry::{end_attempt, lose_attempt};
use super::step::Step;
use crate::id::{AttemptId, JobId, WorkerName};
use crate::outcome::{Failure, FailureKind};
use std::collections::{BTreeMap, BTreeSet};

/// Accepts or rejects a new session.
pub(super) fn connected(step: &mut Step<'_>, session: Session, connection: Connection, host: &str) {
    let (worker, holds) = (connection.worker.clone(), connection.busy.clone());
    let Some(replaced) = step.connections.admit(&worker, connection.instance) else {
        return step.effects.push(Effect::Reject(session));
    };
    let (lived_since, left) = (step.fleet.started(&worker), step.fleet.is_drained(&worker));
    let same_process = step.fleet.connected(&worker, host, connection.device, connection.instance, step.now);
    // The welcome names stale attempts, so that no stale attempt runs on until a separate stop message arrives.
    let is_stale = |id: &&AttemptId| !step.state.is_current(&worker, **id);
    step.effects.push(Effect::Welcome(session, holds.iter().filter(is_stale).copied().collect()));
    step.effects.extend(replaced.into_iter().map(Effect::Disconnect));
    // Attempts that the worker was assigned and does not hold never reached it, or died with its process.
    let unclaimed = unclaimed(step, &worker, &holds);
    let held = step.fleet.has_expired(&worker) || unclaimed.iter().any(|lost| !step.leases.is_inherited(lost.job));
    let died = !same_process && !left && held;
    let expired = if died { step.fleet.died(&worker, lived_since, step.now) } else { BTreeSet::new() };
    for lost in unclaimed {
        if same_process {
            // The same process would have reported the death of a runner.
            let failure = format!("the assignment did not reach worker {worker}");
            end_attempt(step, lost, Ending::Failed(Failure::new(FailureKind::Preempted, failure)));
        } else {
            lose_attempt(step, lost, format!("worker {worker} restarted and no longer runs the attempt"));
        }
    }
    step.leases.worker_reconnected(&worker, &holds);
    for id in holds {
        if step.state.is_current(&worker, id) {
            step.leases.claim(id.job, step.now.after(step.policy.lease));
        }
    }
    step.connections.insert(session, connection);
    if died {
        blame::worker_died(step, &worker, expired);
    } else if same_process {
        step.fleet.came_back(&worker, |_| true);
    }
    blame::update_gate(step, &worker);
}

/// Ends a session. The worker may reconnect.
pub(super) fn disconnected(step: &mut Step<'_>, session: Session) {
    if let Some(connection) = step.connections.remove(session)
        && !step.connections.is_connected(&connection.worker)
    {
        step.fleet.disconnected(&connection.worker, step.now);
    }
}

/// Gives a worker no further attempts, because it leaves.
pub(super) fn draining(step: &mut Step<'_>, session: Session) {
    step.connections.set_slots(session, 0);
    if let Some(connection) = step.connections.get_mut(session) {
        step.fleet.drained(&connection.worker);
    }
}

/// The current attempts of the worker that it does not hold.
fn unclaimed(step: &Step<'_>, worker: &WorkerName, holds: &BTreeSet<AttemptId>) -> Vec<AttemptId> {
    let running = step.state.running.iter().map(|index| &step.state.jobs[*index as usize]);
    let current = running.filter_map(|entry| match &entry.state {
        JobState::Running { attempt, worker: assigned, .. } if assigned == worker => {
            Some(AttemptId::new(entry.id, *attempt))
        }
        _ => None,
    });
    current.filter(|id| !holds.contains(id)).collect()
}

/// Renews leases, and frees the slots of stale attempts that the worker no longer runs.
pub(super) fn heartbeat(step: &mut Step<'_>, heartbeat: Heartbeat) {
    let Heartbeat { session, beat, holds } = heartbeat;
    let (now, lease, state) = (step.now, step.policy.lease, &*step.state);
    let Some(connection) = step.connections.get_mut(session) else { return };
    connection.silent = false;
    // The worker counts the leases of assignments on their way to it from this heartbeat too. Twice the lease bounds how long.
    let is_new = |job: JobId| match state.job(job) {
        Some(JobState::Running { since, .. }) => now < since.after(2 * lease),
        _ => false,
    };
    let on_their_way = connection.busy.iter().filter(|id| is_new(id.job));
    for id in holds.iter().chain(on_their_way) {
        if state.is_current(&connection.worker, *id) {
            step.leases.grant(id.job, now.after(lease));
        }
    }
    let Connection { worker, busy, .. } = connection;
    let worker = worker.clone();
    busy.retain(|id| holds.contains(id) || state.is_current(&worker, *id));
    // An attempt that the last heartbeat named and this one does not has ended. One that was never named may be on its way.
    let named = std::mem::replace(&mut connection.named, holds.into_iter().collect());
    named.difference(&connection.named).for_each(|ended| step.leases.confirm_end(*ended));
    // A worker that still has an attempt whose lease expired was cut off or suspended.
    if step.fleet.came_back(&worker, |expired| connection.named.contains(expired)) {
        blame::update_gate(step, &worker);
    }
    step.effects.push(Effect::Renew(session, beat));
}

/// Records a report of a current attempt. A report of a stale attempt is only acknowledged. An impossible one ends its attempt.
pub(super) fn reported(step: &mut Step<'_>, session: Session, report: Report) {
    let Report { sequence, attempt: id, body } = report;
    let Some(connection) = step.connections.get_mut(session) else { return };
    connection.silent = false;
    if matches!(body, ReportBody::Ended(_)) {
        connection.busy.remove(&id);
        step.leases.confirm_end(id);
    }
    let current = step.state.is_current(&connection.worker, id);
    let reports = step.state.reports_of(id.job).unwrap_or_default();
    let checked = intake::check(reports, step.state.parents.wanted(id.job), &body);
    match checked {
        _ if !current => {}
        Err(impossible) => refuse(step, session, id, &impossible, matches!(body, ReportBody::Ended(_))),
        // The first report of the epoch is recorded.
        Ok(Intake::Repeated) => step.leases.grant(id.job, step.now.after(step.policy.lease)),
        Ok(Intake::New) => record_report(step, session, id, body),
    }
    step.effects.push(Effect::Acknowledge(session, sequence));
}

/// Records a possible report of a current attempt.
fn record_report(step: &mut Step<'_>, session: Session, id: AttemptId, body: ReportBody) {
    if let (ReportBody::Ended(ending), Some(connection)) = (&body, step.connections.get_mut(session)) {
        let worker = connection.worker.clone();
        match ending {
            Ending::Failed(failure) => blame::worker_failed(step, &worker, id.job, failure),
            Ending::Finished(_) => blame::worker_finished(step, &worker, id.job),
        }
    }
    match body {
        ReportBody::Epoch(epoch, measurements) => {
            step.leases.grant(id.job, step.now.after(step.policy.lease));
            step.record(Record::Epoch { attempt: id, epoch, measurements, at: step.now });
        }
        ReportBody::Ended(ending) => end_attempt(step, id, ending),
    }
}

/// Ends a current attempt that reported something impossible. A worker that still trains it gets a stop message.
fn refuse(step: &mut Step<'_>, session: Session, id: AttemptId, impossible: &Impossible, ended: bool) {
    let Some(JobState::Running { worker, .. }) = step.state.job(id.job).cloned() else { return };
    let message = format!("worker {worker} reported an impossible value: {impossible}");
    if !ended {
        step.leases.revoke(step.state, &BTreeSet::from([id.job]), step.now, step.policy.lease);
    }
    let failure = Failure::new(FailureKind::Infrastructure, message);
    blame::worker_failed(step, &worker, id.job, &failure);
    end_attempt(step, id, Ending::Failed(failure));
    if !ended {
        step.effects.push(Effect::Stop { session, attempt: id });
    }
}

/// Ends the attempts whose lease has expired. That alone costs a job nothing: the network may be to blame.
pub(super) fn tick(step: &mut Step<'_>) {
    let mut silent: BTreeMap<WorkerName, (bool, Vec<AttemptId>)> = BTreeMap::new();
    for job in step.leases.tick(step.now, step.policy.lease) {
        let Some(JobState::Running { attempt, worker, .. }) = step.state.job(job).cloned() else {
            step.leases.release(job);
            continue;
        };
        let id = AttemptId::new(job, attempt);
        let inherited = step.leases.is_inherited(job);
        if !inherited {
            // Attempts that expire while a worker is silent are one silence.
            let heard = step.connections.is_heard(&worker);
            let lost = silent.entry(worker.clone()).or_default();
            lost.0 |= heard;
            lost.1.push(id);
        }
        for session in step.connections.mark_silent(&worker) {
            step.effects.push(Effect::Stop { session, attempt: id });
        }
        let seconds = step.policy.lease.as_secs_f64();
        let message = format!("the lease expired: no sign of the attempt from worker {worker} for {seconds} s");
        end_attempt(step, id, Ending::Failed(Failure::new(FailureKind::Preempted, message)));
    }
    for (worker, (heard, attempts)) in silent {
        blame::worker_fell_silent(step, &worker, heard, attempts);
    }
}

//! Handles what users ask for: submitting, cancelling and resuming sweeps.

use super::blame;
use super::dependencies;
use super::event::{Effect, Refusal, RetrySelection, Submission, SubmitSummary, Ticket};
use super::job_entry::JobState;
use super::record::{NewJob, Record};
use super::state::State;
use super::step::Step;
use super::sweep_pause;
use super::time::WallTime;
use crate::id::{JobId, SweepName, WorkerName};
use crate::outcome::FailureKind;
use std::collections::BTreeSet;

/// Submits a sweep. Failed jobs are queued again, except those that diverged.
pub(super) fn submit(step: &mut Step<'_>, ticket: Ticket, submission: Submission) {
    if let Some(only) = step.policy.only.clone().filter(|only| *only != submission.name) {
        return step.effects.push(Effect::Refuse(ticket, Refusal::OtherSweep { only }));
    }
    let summary = register(step, submission, step.now, true);
    step.effects.push(Effect::Submitted(ticket, summary));
}

/// Adds the jobs that hyper-parameter selection has chosen. Ignored if the sweep is cancelled or unknown.
pub(super) fn extend(step: &mut Step<'_>, submission: Submission) {
    let sweep = step.state.sweeps.get(&submission.name).filter(|sweep| !sweep.cancelled);
    if let Some(submitted) = sweep.map(|sweep| sweep.submitted) {
        let (name, paused) = (submission.name.clone(), sweep.and_then(|sweep| sweep.paused.clone()));
        // The time of submission stays the user's.
        register(step, submission, submitted, false);
        // A pause too: only a user ends it.
        if let Some(paused) = paused {
            step.record(Record::Paused { name, paused });
        }
    }
}

/// Registers a sweep in place of the sweep with its name, if there is one. `retry` also queues failed jobs again.
fn register(step: &mut Step<'_>, submission: Submission, submitted: WallTime, retry: bool) -> SubmitSummary {
    let Submission { name, source, cells, jobs } = submission;
    let mut summary = SubmitSummary { jobs: jobs.len(), ..SubmitSummary::default() };
    let mut requeued = Vec::new();
    for job in &jobs {
        match step.state.job(job.id) {
            None => summary.new += 1,
            Some(JobState::Finished) => summary.finished += 1,
            Some(JobState::Dropped) => requeued.push(job.id),
            // The same job would diverge again.
            Some(JobState::Failed(failure)) if retry && failure.kind != FailureKind::Diverged => {
                requeued.push(job.id);
            }
            Some(JobState::Failed(_) | JobState::Queued { .. } | JobState::Running { .. }) => {}
        }
    }
    let retrained = dependencies::parents_to_retrain(step.state, &jobs, &requeued);
    summary.finished -= retrained.len();
    requeued.extend(retrained);
    summary.requeued = requeued.len();
    let mut dropped = wanted_only_by(step.state, &name);
    if !dropped.is_empty() {
        let listed: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        dropped.retain(|job| !listed.contains(job));
    }
    summary.dropped = without_result(step.state, &dropped);
    (summary.replaced, summary.replaced_finished) = replaced(step.state, &name, &source, &jobs);
    revoke(step, &dropped);
    let mut parents: BTreeSet<JobId> = jobs.iter().filter_map(|job| Some(job.origin?.job)).collect();
    parents.extend(&dropped);
    step.record(Record::Submitted { name, source, cells, jobs, requeued, dropped, at: submitted });
    dependencies::fail_children(step, parents.into_iter().collect(), None);
    summary
}

/// The number of jobs that another file of the same name has registered and `jobs` lacks, and how many of them have a result.
fn replaced(state: &State, name: &SweepName, source: &str, jobs: &[NewJob]) -> (usize, usize) {
    let Some(earlier) = state.sweeps.get(name).filter(|sweep| *sweep.source != *source) else { return (0, 0) };
    let listed: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
    let others = earlier.jobs.iter().map(|index| &state.jobs[*index as usize]).filter(|job| !listed.contains(&job.id));
    others.fold((0, 0), |(all, finished), job| (all + 1, finished + usize::from(job.has_result)))
}

/// Cancels a sweep: its queued and running jobs that no other sweep wants are dropped.
pub(super) fn cancel(step: &mut Step<'_>, ticket: Ticket, name: SweepName) {
    if !step.state.sweeps.contains_key(&name) {
        let known = step.state.sweeps.keys().cloned().collect();
        return step.effects.push(Effect::Refuse(ticket, Refusal::UnknownSweep { name, known }));
    }
    let dropped = wanted_only_by(step.state, &name);
    let count = without_result(step.state, &dropped);
    revoke(step, &dropped);
    step.record(Record::Cancelled { name, dropped: dropped.clone(), at: step.now });
    dependencies::fail_children(step, dropped, None);
    step.effects.push(Effect::Cancelled(ticket, count));
}

/// Queues failed jobs again, together with the parents whose weights they need.
pub(super) fn resume(step: &mut Step<'_>, ticket: Ticket, name: SweepName, selection: &RetrySelection) {
    let Some(sweep) = step.state.sweeps.get(&name) else {
        let known = step.state.sweeps.keys().cloned().collect();
        return step.effects.push(Effect::Refuse(ticket, Refusal::UnknownSweep { name, known }));
    };
    if let Some(only) = step.policy.only.clone().filter(|only| *only != name) {
        return step.effects.push(Effect::Refuse(ticket, Refusal::OtherSweep { only }));
    }
    if sweep.cancelled {
        return step.effects.push(Effect::Refuse(ticket, Refusal::Cancelled { name }));
    }
    let jobs: Vec<NewJob> = sweep.jobs.iter().map(|index| step.state.as_submitted(*index)).collect();
    if let RetrySelection::Jobs(chosen) = selection {
        let all: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        if let Some(job) = chosen.iter().find(|job| !all.contains(job)).copied() {
            return step.effects.push(Effect::Refuse(ticket, Refusal::UnknownJob { name, job }));
        }
    }
    let requeued = jobs_to_resume(step.state, &jobs, selection);
    step.effects.push(Effect::Resumed(ticket, requeued.len()));
    for job in requeued.into_iter().rev() {
        step.record(Record::Requeued { job, at: step.now });
    }
    sweep_pause::release(step, &name);
    dependencies::resolve_all(step);
}

/// Ends the quarantine of a worker.
pub(super) fn reinstate(step: &mut Step<'_>, ticket: Ticket, name: WorkerName) {
    let effect = match blame::reinstate(step, &name) {
        Some(was_in_quarantine) => Effect::Reinstated(ticket, was_in_quarantine),
        None => {
            let quarantined = step.fleet.quarantines(step.now).map(|(name, _)| name.clone()).collect();
            Effect::Refuse(ticket, Refusal::UnknownWorker { name, quarantined })
        }
    };
    step.effects.push(effect);
}

/// The selected failed jobs, children before parents, with the parents that have to be retrained for them.
fn jobs_to_resume(state: &State, jobs: &[NewJob], selection: &RetrySelection) -> Vec<JobId> {
    let mut parents = BTreeSet::new();
    let mut requeued = Vec::new();
    // Children come first: a failed parent of a chosen job is chosen too.
    for job in jobs.iter().rev() {
        let chosen = match (state.job(job.id), selection) {
            (Some(JobState::Failed(_)), _) if parents.contains(&job.id) => true,
            (Some(JobState::Failed(failure)), RetrySelection::AllFailed) => failure.kind != FailureKind::Diverged,
            (Some(JobState::Failed(_)), RetrySelection::Jobs(chosen)) => chosen.contains(&job.id),
            _ => false,
        };
        if chosen {
            parents.extend(job.origin.map(|origin| origin.job));
            requeued.push(job.id);
        }
    }
    requeued.extend(dependencies::parents_to_retrain(state, jobs, &requeued));
    requeued
}

/// Revokes the running attempts of these jobs. Their slots become free once the workers confirm the end.
fn revoke(step: &mut Step<'_>, jobs: &[JobId]) {
    let jobs: BTreeSet<JobId> = jobs.iter().copied().collect();
    step.leases.revoke(step.state, &jobs, step.now, step.policy.lease);
    let revoked = step.connections.busy().filter(|(_, attempt)| jobs.contains(&attempt.job));
    step.effects.extend(revoked.map(|(session, attempt)| Effect::Stop { session, attempt }));
}

/// The number of these jobs that have no result.
fn without_result(state: &State, jobs: &[JobId]) -> usize {
    jobs.iter().filter(|job| !state.has_result(**job)).count()
}

/// The queued and running jobs that no sweep but `name` wants.
fn wanted_only_by(state: &State, name: &SweepName) -> Vec<JobId> {
    let Some(sweep) = state.sweeps.get(name).filter(|sweep| !sweep.cancelled) else { return Vec::new() };
    let entries = sweep.jobs.iter().map(|index| &state.jobs[*index as usize]);
    let unfinished = |state: &JobState| matches!(state, JobState::Queued { .. } | JobState::Running { .. });
    entries.filter(|entry| entry.wanted == 1 && unfinished(&entry.state)).map(|entry| entry.id).collect()
}

//! Decisions about jobs with a parent: which parents are retrained for missing weights, and which children fail with their parent.

use super::job_entry::JobState;
use super::record::{NewJob, Origin, Record};
use super::state::State;
use super::step::Step;
use crate::id::{Digest, JobId};
use crate::outcome::{Failure, FailureKind};
use std::collections::BTreeSet;

/// The finished jobs among `jobs` that must be retrained, because jobs without a result want weights that they did not save.
/// `requeued` are jobs that are trained in any case.
pub(super) fn parents_to_retrain(state: &State, jobs: &[NewJob], requeued: &[JobId]) -> Vec<JobId> {
    let mut trained: BTreeSet<JobId> = requeued.iter().copied().collect();
    let mut retrain = Vec::new();
    // Children come first: a parent that is retrained wants the weights of its own parent.
    for job in jobs.iter().rev() {
        let Some(origin) = job.origin else { continue };
        let waits = match state.job(job.id) {
            None | Some(JobState::Queued { .. }) => true,
            Some(_) => trained.contains(&job.id),
        };
        let finished = state.job(origin.job) == Some(&JobState::Finished);
        if waits && finished && state.parents.file(origin).is_none() && trained.insert(origin.job) {
            retrain.push(origin.job);
        }
    }
    retrain
}

/// Decides about the queued children of `parent`. A finished parent is retrained for weights that it was not asked for or that were lost.
/// If it cannot provide the weights, its children fail.
pub(super) fn resolve_children(step: &mut Step<'_>, parent: JobId) {
    let state = &*step.state;
    if state.job(parent) == Some(&JobState::Finished) {
        let lacks = |origin: Origin| state.parents.file(origin).is_none() && !state.parents.was_requested(origin);
        let wanted = state.entry(parent).is_some_and(|entry| entry.wanted > 0);
        if wanted && waiting_children(state, parent).iter().any(|(_, origin)| lacks(*origin)) {
            return retrain(step, parent);
        }
    }
    fail_children(step, vec![parent], None);
}

/// Decides about all queued children of the parent of `job`.
pub(super) fn resolve_siblings(step: &mut Step<'_>, job: JobId) {
    if let Some(origin) = step.state.parents.origin(job) {
        resolve_children(step, origin.job);
    }
}

/// Decides about all queued jobs with a parent.
pub(super) fn resolve_all(step: &mut Step<'_>) {
    let state = &*step.state;
    let waiting = state.jobs.iter().filter(|entry| matches!(entry.state, JobState::Queued { .. }));
    let parent = |id| Some(state.parents.origin(id)?.job);
    let parents: BTreeSet<JobId> = waiting.filter_map(|entry| parent(entry.id)).collect();
    parents.into_iter().for_each(|parent| resolve_children(step, parent));
}

/// Queues a finished job again, and decides about its own parent.
fn retrain(step: &mut Step<'_>, job: JobId) {
    step.record(Record::Requeued { job, at: step.now });
    resolve_siblings(step, job);
}

/// Fails the queued children of those `parents` that cannot provide the wanted weights, and their children in turn. `reason` is why
/// parents that have a result could not be retrained.
pub(super) fn fail_children(step: &mut Step<'_>, mut parents: Vec<JobId>, reason: Option<Failure>) {
    while let Some(parent) = parents.pop() {
        let state = &*step.state;
        if let Some(JobState::Queued { .. } | JobState::Running { .. }) = state.job(parent) {
            continue;
        }
        let mut waiting = waiting_children(state, parent);
        let failure = match state.job(parent) {
            Some(JobState::Failed(failure)) => {
                // A diverged parent is a result for the child too: a retry would diverge again.
                let kind = match failure.kind {
                    FailureKind::Diverged => FailureKind::Diverged,
                    _ => FailureKind::UserError,
                };
                Failure::new(kind, format!("parent job {parent} failed: {failure}"))
            }
            Some(JobState::Finished) => {
                waiting.retain(|(_, origin)| state.parents.file(*origin).is_none());
                let problem = match &reason {
                    Some(failure) => format!("could not be retrained for its weights: {failure}"),
                    None => "finished without saving the requested weights".to_owned(),
                };
                let remedy = "submit the sweep again to retrain it";
                Failure::new(FailureKind::UserError, format!("parent job {parent} {problem}; {remedy}"))
            }
            _ => {
                let problem = "was cancelled; submit the sweep again";
                Failure::new(FailureKind::UserError, format!("parent job {parent} {problem}"))
            }
        };
        if !waiting.is_empty() {
            let jobs: Vec<JobId> = waiting.into_iter().map(|(job, _)| job).collect();
            parents.extend(&jobs);
            step.record(Record::ParentUnavailable { jobs, failure, at: step.now });
        }
    }
}

/// Retrains the job whose weights file was lost, if a sweep wants it.
pub(super) fn weights_lost(step: &mut Step<'_>, job: JobId, file: Digest) {
    let wanted = step.state.entry(job).is_some_and(|entry| entry.wanted > 0);
    let finished = step.state.job(job) == Some(&JobState::Finished);
    if wanted && finished && step.state.parents.is_kept(job, file) {
        retrain(step, job);
    }
}

/// The queued children of `parent`, each with the weights that it wants.
fn waiting_children(state: &State, parent: JobId) -> Vec<(JobId, Origin)> {
    let queued = |job: &JobId| matches!(state.job(*job), Some(JobState::Queued { .. }));
    let children = state.parents.children(parent).filter(queued);
    children.filter_map(|child| Some((child, state.parents.origin(child)?))).collect()
}

//! Decisions about jobs that build on others: who has to be trained again, and who fails with its parent.

use super::Time;
use super::event::Effect;
use super::machine::Machine;
use super::record::{NewJob, Origin, Record};
use super::state::JobState;
use crate::id::{Digest, JobId};
use crate::outcome::{Failure, FailureKind};
use std::collections::BTreeSet;

impl Machine {
    /// The finished ones of a submission's `jobs` that are to be trained again, because jobs that are yet to be trained want
    /// weights of theirs that are not there. `requeued` are those that are trained again in any case.
    pub(super) fn wanted_again(&self, jobs: &[NewJob], requeued: &[JobId]) -> Vec<JobId> {
        let mut trained: BTreeSet<JobId> = requeued.iter().copied().collect();
        let mut again = Vec::new();
        // Children first: what is trained again wants its own parent's weights.
        for job in jobs.iter().rev() {
            let Some(origin) = job.origin else { continue };
            let waits = match self.state().job(job.id) {
                None | Some(JobState::Queued { .. }) => true,
                Some(_) => trained.contains(&job.id),
            };
            let finished = self.state().job(origin.job) == Some(&JobState::Finished);
            if waits && finished && self.state().families.file(origin).is_none() && trained.insert(origin.job) {
                again.push(origin.job);
            }
        }
        again
    }

    /// What follows for the children of a job that has just finished: those whose weights it was not asked for when it began wait
    /// until it has been trained again.
    pub(super) fn finished(&mut self, at: Time, job: JobId, effects: &mut Vec<Effect>) {
        let waiting = self.waiting_for(job);
        let families = &self.state().families;
        let lacking = || waiting.iter().map(|(_, origin)| *origin).filter(|origin| families.file(*origin).is_none());
        if lacking().any(|origin| !families.was_asked(origin)) {
            self.record(Record::Requeued { job, at }, effects);
        } else if lacking().next().is_some() {
            self.strand(at, [job].into(), effects);
        }
    }

    /// Fails the queued children of those `parents` that will not have what the children want, and their children with them.
    pub(super) fn strand(&mut self, at: Time, mut parents: Vec<JobId>, effects: &mut Vec<Effect>) {
        while let Some(parent) = parents.pop() {
            if let Some(JobState::Queued { .. } | JobState::Running { .. }) = self.state().job(parent) {
                continue;
            }
            let mut waiting = self.waiting_for(parent);
            let failure = match self.state().job(parent) {
                Some(JobState::Failed(failure)) => {
                    // That the parent diverged is a result for the child too: the same again would end as this has.
                    let kind = match failure.kind {
                        FailureKind::Diverged => FailureKind::Diverged,
                        _ => FailureKind::UserError,
                    };
                    Failure::new(kind, format!("job {parent}, which it builds on, has failed: {failure}"))
                }
                Some(JobState::Finished) => {
                    waiting.retain(|(_, origin)| self.state().families.file(*origin).is_none());
                    let why = "has finished and has not left the weights; submit the sweep again to train it anew";
                    Failure::new(FailureKind::UserError, format!("job {parent}, which it builds on, {why}"))
                }
                _ => {
                    let why = "is not wanted any more; submit the sweep again";
                    Failure::new(FailureKind::UserError, format!("job {parent}, which it builds on, {why}"))
                }
            };
            if !waiting.is_empty() {
                let jobs: Vec<JobId> = waiting.into_iter().map(|(job, _)| job).collect();
                parents.extend(&jobs);
                self.record(Record::Stranded { jobs, failure, at }, effects);
            }
        }
    }

    /// A file of weights is gone: the job that left it is trained again if anybody wants it.
    pub(super) fn lost(&mut self, at: Time, job: JobId, file: Digest, effects: &mut Vec<Effect>) {
        let wanted = self.state().entry(job).is_some_and(|entry| entry.wanted > 0);
        let finished = self.state().job(job) == Some(&JobState::Finished);
        if wanted && finished && self.state().families.is_kept(job, file) {
            self.record(Record::Requeued { job, at }, effects);
        }
    }

    /// The queued children of `parent`.
    fn waiting_for(&self, parent: JobId) -> Vec<(JobId, Origin)> {
        let families = &self.state().families;
        let queued = |job: &JobId| matches!(self.state().job(*job), Some(JobState::Queued { .. }));
        let children = families.children(parent).filter(queued);
        children.filter_map(|child| Some((child, families.origin(child)?))).collect()
    }
}

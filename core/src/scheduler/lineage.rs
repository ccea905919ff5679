//! Decisions about jobs that build on others: who has to be trained again, and who fails with its parent.

use super::WallTime;
use super::event::Effect;
use super::handle::Scheduler;
use super::record::{NewJob, Origin, Record};
use super::state::JobState;
use crate::id::{Digest, JobId};
use crate::outcome::{Failure, FailureKind};
use std::collections::BTreeSet;

impl Scheduler {
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

    /// What follows for those who wait for `parent`, however it stands: it is trained again for weights that it was not asked for when it
    /// began, or lost; where there is no hope of them, its children fail.
    pub(super) fn settle(&mut self, at: WallTime, parent: JobId, effects: &mut Vec<Effect>) {
        if self.state().job(parent) == Some(&JobState::Finished) {
            let waiting = self.waiting_for(parent);
            let families = &self.state().families;
            let lacks = |origin: Origin| families.file(origin).is_none() && !families.was_asked(origin);
            let wanted = self.state().entry(parent).is_some_and(|entry| entry.wanted > 0);
            if wanted && waiting.iter().any(|(_, origin)| lacks(*origin)) {
                return self.again(at, parent, effects);
            }
        }
        self.strand(at, [parent].into(), None, effects);
    }

    /// The same for those who wait for what `job` builds on, of whom it may be one.
    pub(super) fn settle_origin(&mut self, at: WallTime, job: JobId, effects: &mut Vec<Effect>) {
        if let Some(origin) = self.state().families.origin(job) {
            self.settle(at, origin.job, effects);
        }
    }

    /// The same for everybody who waits.
    pub(super) fn settle_all(&mut self, at: WallTime, effects: &mut Vec<Effect>) {
        let waiting = self.state().jobs.iter().filter(|entry| matches!(entry.state, JobState::Queued { .. }));
        let origin = |id| Some(self.state().families.origin(id)?.job);
        let parents: BTreeSet<JobId> = waiting.filter_map(|entry| origin(entry.id)).collect();
        parents.into_iter().for_each(|parent| self.settle(at, parent, effects));
    }

    /// Queues a finished job again, and looks whether what it builds on itself is there.
    fn again(&mut self, at: WallTime, job: JobId, effects: &mut Vec<Effect>) {
        self.record(Record::Requeued { job, at }, effects);
        self.settle_origin(at, job, effects);
    }

    /// Fails the queued children of those `parents` that will not have what the children want, and their children with them.
    /// `why` parents that have a result were not trained again.
    pub(super) fn strand(
        &mut self,
        at: WallTime,
        mut parents: Vec<JobId>,
        why: Option<Failure>,
        effects: &mut Vec<Effect>,
    ) {
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
                    let remedy = "submit the sweep again to train it anew";
                    let what = match &why {
                        Some(failure) => {
                            format!("has finished, and cannot be trained again for its weights: {failure}")
                        }
                        None => "has finished and has not left the weights".to_owned(),
                    };
                    Failure::new(FailureKind::UserError, format!("job {parent}, which it builds on, {what}; {remedy}"))
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
    pub(super) fn lost(&mut self, at: WallTime, job: JobId, file: Digest, effects: &mut Vec<Effect>) {
        let wanted = self.state().entry(job).is_some_and(|entry| entry.wanted > 0);
        let finished = self.state().job(job) == Some(&JobState::Finished);
        if wanted && finished && self.state().families.is_kept(job, file) {
            self.again(at, job, effects);
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

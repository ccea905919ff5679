//! Decisions about what users ask for: a sweep taken in, anew or again, cancelled, or tried again where it has failed.

use super::WallTime;
use super::event::{Again, Effect, Refusal, Submission, SubmitSummary, Ticket};
use super::handle::Scheduler;
use super::record::{NewJob, Record};
use super::state::JobState;
use crate::id::{JobId, SweepName};
use crate::outcome::FailureKind;
use std::collections::BTreeSet;

impl Scheduler {
    pub(super) fn submit(&mut self, at: WallTime, ticket: Ticket, submission: Submission, effects: &mut Vec<Effect>) {
        if let Some(only) = self.policy.only.clone().filter(|only| *only != submission.name) {
            return effects.push(Effect::Refuse(ticket, Refusal::OtherSweep { only }));
        }
        let summary = self.take((at, at), submission, true, effects);
        effects.push(Effect::Submitted(ticket, summary));
    }

    pub(super) fn go_on(&mut self, now: WallTime, submission: Submission, effects: &mut Vec<Effect>) {
        let sweep = self.state.sweeps.get(&submission.name).filter(|sweep| !sweep.cancelled);
        // To its user it is the sweep that was submitted then.
        if let Some(at) = sweep.map(|sweep| sweep.submitted) {
            self.take((now, at), submission, false, effects);
        }
    }

    /// Takes in a sweep now that was submitted then, anew or in place of the one of its name; what has failed is queued again where that is
    /// asked for.
    fn take(
        &mut self,
        (now, at): (WallTime, WallTime),
        submission: Submission,
        retry: bool,
        effects: &mut Vec<Effect>,
    ) -> SubmitSummary {
        let Submission { name, source, cells, jobs } = submission;
        let mut summary = SubmitSummary { jobs: jobs.len(), ..SubmitSummary::default() };
        let mut requeued = Vec::new();
        for job in &jobs {
            match self.state.job(job.id) {
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
        let again = self.wanted_again(&jobs, &requeued);
        summary.finished -= again.len();
        requeued.extend(again);
        summary.requeued = requeued.len();
        let mut dropped = self.only_wanted_by(&name);
        if !dropped.is_empty() {
            let still: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
            dropped.retain(|job| !still.contains(job));
        }
        summary.dropped = self.without_result(&dropped);
        self.stop(now, &dropped, effects);
        let mut parents: BTreeSet<JobId> = jobs.iter().filter_map(|job| Some(job.origin?.job)).collect();
        parents.extend(&dropped);
        self.record(Record::Submitted { name, source, cells, jobs, requeued, dropped, at }, effects);
        self.strand(at, parents.into_iter().collect(), None, effects);
        summary
    }

    pub(super) fn cancel(&mut self, at: WallTime, ticket: Ticket, name: SweepName, effects: &mut Vec<Effect>) {
        if !self.state.sweeps.contains_key(&name) {
            let known = self.state.sweeps.keys().cloned().collect();
            return effects.push(Effect::Refuse(ticket, Refusal::UnknownSweep { name, known }));
        }
        let dropped = self.only_wanted_by(&name);
        let count = self.without_result(&dropped);
        self.stop(at, &dropped, effects);
        self.record(Record::Cancelled { name, dropped: dropped.clone(), at }, effects);
        self.strand(at, dropped, None, effects);
        effects.push(Effect::Cancelled(ticket, count));
    }

    /// Queues failed jobs again, and of what they build on what is not there.
    pub(super) fn resume(
        &mut self,
        at: WallTime,
        ticket: Ticket,
        name: SweepName,
        again: &Again,
        effects: &mut Vec<Effect>,
    ) {
        let Some(sweep) = self.state.sweeps.get(&name) else {
            let known = self.state.sweeps.keys().cloned().collect();
            return effects.push(Effect::Refuse(ticket, Refusal::UnknownSweep { name, known }));
        };
        if let Some(only) = self.policy.only.clone().filter(|only| *only != name) {
            return effects.push(Effect::Refuse(ticket, Refusal::OtherSweep { only }));
        }
        if sweep.cancelled {
            return effects.push(Effect::Refuse(ticket, Refusal::Cancelled { name }));
        }
        let jobs: Vec<NewJob> = sweep.jobs.iter().map(|index| self.state.as_submitted(*index)).collect();
        if let Again::Jobs(chosen) = again {
            let all: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
            if let Some(job) = chosen.iter().find(|job| !all.contains(job)).copied() {
                return effects.push(Effect::Refuse(ticket, Refusal::UnknownJob { name, job }));
            }
        }
        let mut built_on = BTreeSet::new();
        let mut requeued = Vec::new();
        // Children first: what they build on may have failed, or may be asked for nothing.
        for job in jobs.iter().rev() {
            let chosen = match (self.state.job(job.id), again) {
                (Some(JobState::Failed(_)), _) if built_on.contains(&job.id) => true,
                (Some(JobState::Failed(failure)), Again::Failed) => failure.kind != FailureKind::Diverged,
                (Some(JobState::Failed(_)), Again::Jobs(chosen)) => chosen.contains(&job.id),
                _ => false,
            };
            if chosen {
                built_on.extend(job.origin.map(|origin| origin.job));
                requeued.push(job.id);
            }
        }
        requeued.extend(self.wanted_again(&jobs, &requeued));
        effects.push(Effect::Resumed(ticket, requeued.len()));
        for job in requeued.into_iter().rev() {
            self.record(Record::Requeued { job, at }, effects);
        }
        self.settle_all(at, effects);
    }

    /// How many of the jobs have no result.
    fn without_result(&self, jobs: &[JobId]) -> usize {
        jobs.iter().filter(|job| !self.state.has_result(**job)).count()
    }

    /// The jobs that are yet to be trained, for a result or for weights, and that no sweep but `name` wants.
    fn only_wanted_by(&self, name: &SweepName) -> Vec<JobId> {
        let Some(sweep) = self.state.sweeps.get(name).filter(|sweep| !sweep.cancelled) else { return Vec::new() };
        let entries = sweep.jobs.iter().map(|index| &self.state.jobs[*index as usize]);
        let unfinished = |state: &JobState| matches!(state, JobState::Queued { .. } | JobState::Running { .. });
        entries.filter(|entry| entry.wanted == 1 && unfinished(&entry.state)).map(|entry| entry.id).collect()
    }
}

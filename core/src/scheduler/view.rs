//! What users see of sweeps, jobs and workers.

use super::connections::{Connections, WorkerView};
use super::device_class::DeviceClass;
use super::fleet::{Fleet, Quarantine};
use super::job_counts::JobCounts;
use super::job_entry::{JobEntry, JobState};
use super::leases::Leases;
use super::policy::Policy;
use super::record::{PausedSweep, Place};
use super::state::{State, SweepEntry};
use super::time::WallTime;
use crate::id::{CellId, JobId, SweepName, WorkerName};
use crate::outcome::Failure;
use std::cmp::Reverse;
use std::sync::Arc;

/// A sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepView {
    /// The sweep's name.
    pub name: SweepName,
    /// The text of the sweep file.
    pub source: Arc<str>,
    /// The time of the last submission.
    pub submitted: WallTime,
    /// Whether it was cancelled after that.
    pub cancelled: bool,
    /// Why its dispatch is paused, if it is.
    pub paused: Option<PausedSweep>,
    /// The number of its jobs in each state.
    pub counts: JobCounts,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// The job's id.
    pub id: JobId,
    /// The job's cell.
    pub cell: CellId,
    /// The job's seed.
    pub seed: u64,
    /// Attempts made.
    pub attempts: u32,
    /// The job's state.
    pub state: JobState,
}

/// A sweep that lists a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBy {
    /// The sweep's name.
    pub sweep: SweepName,
    /// Whether it is cancelled.
    pub cancelled: bool,
}

/// A job as its sweep lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedJob {
    /// The job.
    pub job: JobView,
    /// Its configuration in canonical form.
    pub configuration: Arc<str>,
}

/// The failures of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailureSummary<'s> {
    /// The most frequent failures, the most frequent first.
    pub groups: Vec<JobsAlike<'s>>,
    /// The failed jobs in no group.
    pub others: usize,
    /// The diverged jobs.
    pub diverged: usize,
}

/// Jobs of a sweep that failed alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobsAlike<'s> {
    /// Their failure.
    pub failure: &'s Failure,
    /// How many they are.
    pub jobs: usize,
    /// One of them.
    pub example: JobId,
}

/// Everything that explains the state of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDetails {
    /// The job.
    pub job: JobView,
    /// Its configuration in canonical form.
    pub configuration: Arc<str>,
    /// The sweeps that list it, in the order of their first submission.
    pub sweeps: Vec<ListedBy>,
    /// Whether it has a result; it may be retrained for its weights all the same.
    pub has_result: bool,
    /// Failures that count towards the limit.
    pub failures: u32,
    /// Where a queued or running job failed since an attempt last got further. Other workers are preferred.
    pub failed_on: Vec<Place>,
    /// Why a queued job does not run yet.
    pub waiting: Option<WaitReason>,
    /// When the lease of a running job expires.
    pub lease: Option<WallTime>,
}

/// Why a queued job does not run yet: the first of these that applies.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitReason {
    /// Its parent has not finished, or has not saved the weights. The state is the parent's.
    Parent(JobId, JobState),
    /// It failed, and its back-off ends at this time.
    Backoff(WallTime),
    /// The coordinator runs only this other sweep.
    OtherSweep(SweepName),
    /// The dispatch of this sweep is paused, and no other sweep wants the job.
    Paused(SweepName, PausedSweep),
    /// It requires a GPU, and no connected worker has one.
    NoGpu,
    /// This many jobs that the same workers can train come before it.
    Queue(usize),
}

/// Read access to the scheduler for replies to users.
#[derive(Clone, Copy)]
pub struct View<'s> {
    policy: &'s Policy,
    state: &'s State,
    connections: &'s Connections,
    leases: &'s Leases,
    fleet: &'s Fleet,
}

impl<'s> View<'s> {
    pub(super) fn new(
        policy: &'s Policy,
        state: &'s State,
        connections: &'s Connections,
        leases: &'s Leases,
        fleet: &'s Fleet,
    ) -> Self {
        View { policy, state, connections, leases, fleet }
    }

    /// The workers in quarantine at `now`, connected or not.
    pub fn quarantines(self, now: WallTime) -> impl Iterator<Item = (&'s WorkerName, &'s Quarantine)> {
        self.fleet.quarantines(now)
    }

    /// The connected workers.
    pub fn workers(self) -> impl Iterator<Item = WorkerView<'s>> {
        self.connections.views()
    }

    /// At most `most` jobs whose id starts with these hexadecimal digits, in order. Returns nothing if no id can start with `prefix`.
    pub fn jobs_with_prefix(self, prefix: &str, most: usize) -> Option<Vec<JobId>> {
        let is_hexadecimal = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let padded =
            |digit: &str| (prefix.to_owned() + &digit.repeat(32_usize.checked_sub(prefix.len())?)).parse().ok();
        let (first, last): (JobId, JobId) = (padded("0").filter(|_| is_hexadecimal)?, padded("f")?);
        let mut jobs: Vec<JobId> = self.state.jobs.iter().map(|entry| entry.id).collect();
        jobs.retain(|job| (first..=last).contains(job));
        jobs.sort_unstable();
        jobs.truncate(most);
        Some(jobs)
    }

    /// What explains the state of a job; nothing for an unknown job.
    pub fn job(self, now: WallTime, job: JobId) -> Option<JobDetails> {
        let state = self.state;
        let index = state.index_of(job)?;
        let entry = &state.jobs[index as usize];
        let mut sweeps: Vec<_> = state.sweeps.iter().filter(|(_, sweep)| sweep.jobs.contains(&index)).collect();
        sweeps.sort_by_key(|(_, sweep)| sweep.ordinal);
        let listed_by =
            |(name, sweep): (&SweepName, &SweepEntry)| ListedBy { sweep: name.clone(), cancelled: sweep.cancelled };
        let sweeps: Vec<ListedBy> = sweeps.into_iter().map(listed_by).collect();
        Some(JobDetails {
            job: self.job_view(entry),
            configuration: Arc::clone(&state.cells[entry.cell as usize].configuration),
            has_result: entry.has_result,
            failures: entry.failures,
            failed_on: state.failed_on(entry.id).to_vec(),
            waiting: self.wait_reason(now, entry, &sweeps),
            lease: self.leases.expiry(entry.id),
            sweeps,
        })
    }

    fn wait_reason(self, now: WallTime, entry: &JobEntry, sweeps: &[ListedBy]) -> Option<WaitReason> {
        let JobState::Queued { not_before } = entry.state else { return None };
        let (state, only) = (self.state, self.policy.only.as_ref());
        if let Some(origin) = state.parents.origin(entry.id)
            && !state.has_parent_weights(entry.id)
        {
            let parent = state.job(origin.job).cloned().unwrap_or(JobState::Dropped);
            return Some(WaitReason::Parent(origin.job, parent));
        }
        if not_before > now {
            return Some(WaitReason::Backoff(not_before));
        }
        if let Some(only) = only.filter(|only| sweeps.iter().all(|listed| listed.sweep != **only)) {
            return Some(WaitReason::OtherSweep(only.clone()));
        }
        if state.is_held(entry) {
            let paused = |listed: &ListedBy| {
                let paused = state.sweeps.get(&listed.sweep)?.paused.clone()?;
                Some(WaitReason::Paused(listed.sweep.clone(), paused))
            };
            return sweeps.iter().find_map(paused);
        }
        let device = if self.connections.has_gpu() { DeviceClass::Gpu } else { DeviceClass::Cpu };
        if !device.can_train(entry.requires) {
            return Some(WaitReason::NoGpu);
        }
        // The job's back-off may have ended since the queue was last updated, so the job itself may be missing from it.
        let precedes = |other: &&JobEntry| other.id != entry.id && (only.is_some() || other.position <= entry.position);
        let due = |entry: &&JobEntry| matches!(entry.state, JobState::Queued { not_before } if not_before <= now);
        let before = state.in_queue_order(only, device).take_while(precedes);
        Some(WaitReason::Queue(before.filter(due).filter(|entry| state.has_parent_weights(entry.id)).count()))
    }

    /// Every sweep, in the order of first submission.
    pub fn sweeps(self) -> Vec<SweepView> {
        let mut sweeps: Vec<_> = self.state.sweeps.iter().collect();
        sweeps.sort_by_key(|(_, sweep)| sweep.ordinal);
        sweeps.into_iter().filter_map(|(name, _)| self.sweep(name)).collect()
    }

    /// One sweep; nothing for an unknown name.
    pub fn sweep(self, name: &SweepName) -> Option<SweepView> {
        let sweep = self.state.sweeps.get(name)?;
        let counts = self.state.counts.of_sweep(sweep.ordinal);
        let (source, cancelled, paused) = (Arc::clone(&sweep.source), sweep.cancelled, sweep.paused.clone());
        Some(SweepView { name: name.clone(), source, submitted: sweep.submitted, cancelled, paused, counts })
    }

    /// The jobs of a sweep in its order; none for an unknown sweep.
    pub fn jobs_of(self, name: &SweepName) -> impl Iterator<Item = JobView> + use<'s> {
        self.entries_of(name).map(move |entry| self.job_view(entry))
    }

    /// The job with this id; nothing for an unknown job.
    pub fn find(self, job: JobId) -> Option<JobView> {
        self.state.index_of(job).map(|index| self.job_view(&self.state.jobs[index as usize]))
    }

    /// At most `most` jobs of a sweep in its order, from the position `from` on, with their configurations; none for an unknown sweep.
    pub fn listed_jobs_of(
        self,
        name: &SweepName,
        from: usize,
        most: usize,
    ) -> impl Iterator<Item = ListedJob> + use<'s> {
        let jobs = self.state.sweeps.get(name).and_then(|sweep| sweep.jobs.get(from..)).unwrap_or_default();
        jobs.iter().take(most).map(move |index| {
            let entry = &self.state.jobs[*index as usize];
            let configuration = Arc::clone(&self.state.cells[entry.cell as usize].configuration);
            ListedJob { job: self.job_view(entry), configuration }
        })
    }

    /// At most `most` running jobs of a sweep, from the `from`-th of all known jobs on, each with its number among them. The numbers of a
    /// sweep's jobs mostly follow its order.
    pub fn running_jobs_of(self, name: &SweepName, from: u32, most: usize) -> Vec<(u32, JobView)> {
        let Some(sweep) = self.state.sweeps.get(name) else { return Vec::new() };
        let running = self.state.counts.running(sweep.ordinal, from, most);
        running.into_iter().map(|index| (index, self.job_view(&self.state.jobs[index as usize]))).collect()
    }

    /// The `most` most frequent failures of a sweep.
    pub fn failures_of(self, name: &SweepName, most: usize) -> FailureSummary<'s> {
        let Some(sweep) = self.state.sweeps.get(name) else { return FailureSummary::default() };
        let groups = self.state.failures.groups(sweep.ordinal).take(most);
        let groups = groups.filter_map(|group| {
            let entry = &self.state.jobs[group.example as usize];
            let JobState::Failed(failure) = &entry.state else { return None };
            Some(JobsAlike { failure, jobs: group.jobs, example: entry.id })
        });
        let mut groups: Vec<JobsAlike<'s>> = groups.collect();
        // Groups of the same size have no other order.
        groups.sort_by_key(|group| (Reverse(group.jobs), group.failure.kind, &group.failure.message));
        let listed: usize = groups.iter().map(|group| group.jobs).sum();
        FailureSummary {
            groups,
            others: self.state.counts.of_sweep(sweep.ordinal).failed.saturating_sub(listed),
            diverged: self.state.failures.diverged(sweep.ordinal),
        }
    }

    fn entries_of(self, name: &SweepName) -> impl Iterator<Item = &'s JobEntry> + use<'s> {
        let jobs = self.state.sweeps.get(name).map_or(&[][..], |sweep| &sweep.jobs);
        jobs.iter().map(move |index| &self.state.jobs[*index as usize])
    }

    fn job_view(self, entry: &JobEntry) -> JobView {
        let cell = self.state.cells[entry.cell as usize].id;
        JobView { id: entry.id, cell, seed: entry.seed, attempts: entry.attempts, state: entry.state.clone() }
    }
}

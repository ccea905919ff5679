//! Leases of running attempts, and attempts that were revoked but may still run.

use super::job_entry::{JobEntry, JobState};
use super::policy::Policy;
use super::state::State;
use super::time::WallTime;
use crate::id::{Attempt, AttemptId, JobId, WorkerName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An attempt that was taken back from its worker, which may still run it.
#[derive(Clone, Debug, PartialEq)]
struct RevokedAttempt {
    attempt: Attempt,
    /// Unknown for an attempt that was revoked before a restart.
    worker: Option<WorkerName>,
    /// The time at which the worker's lease expires at the latest.
    until: WallTime,
}

/// Who holds which attempt until when. Leases are not stored; after a restart all are renewed.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    /// When the lease of each running job expires.
    expiry: BTreeMap<JobId, WallTime>,
    /// Revoked attempts, until their worker confirms the end or their lease expires. Their jobs are not dispatched meanwhile.
    revoked: BTreeMap<JobId, RevokedAttempt>,
    /// Jobs that ran before the restart and that no worker has claimed since. Their worker may have died with the previous process.
    inherited: BTreeSet<JobId>,
    /// The time of the last tick.
    ticked: Option<WallTime>,
}

impl Leases {
    /// The leases after a restart. Workers may have continued, so every lease is renewed.
    pub fn after_restart(state: &State, policy: &Policy, now: WallTime) -> Self {
        // A worker may just have started to wait for the answer to its last attempt to connect.
        let until = now.after(2 * policy.lease.max(policy.lease_before));
        let inherited: BTreeSet<JobId> = state.running.iter().map(|index| state.jobs[*index as usize].id).collect();
        // The worker of a dropped job may not have received the stop message. A job with a back-off failed; one without was queued again
        // by a user, and its last attempt may have been dropped before.
        let was_dropped = |entry: &&JobEntry| {
            entry.attempts > 0
                && matches!(entry.state, JobState::Dropped | JobState::Queued { not_before: WallTime(0) })
        };
        let revoked =
            |entry: &JobEntry| (entry.id, RevokedAttempt { attempt: Attempt(entry.attempts), worker: None, until });
        Leases {
            expiry: inherited.iter().map(|job| (*job, until)).collect(),
            revoked: state.jobs.iter().filter(was_dropped).map(revoked).collect(),
            inherited,
            ticked: Some(now),
        }
    }

    /// When the job's lease expires.
    pub fn expiry(&self, job: JobId) -> Option<WallTime> {
        self.expiry.get(&job).copied()
    }

    /// Grants or renews the lease of a job.
    pub fn grant(&mut self, job: JobId, until: WallTime) {
        self.expiry.insert(job, until);
    }

    /// Renews the lease of a job whose worker reconnected with it.
    pub fn claim(&mut self, job: JobId, until: WallTime) {
        self.inherited.remove(&job);
        self.grant(job, until);
    }

    /// Ends the lease of a job whose attempt ended.
    pub fn release(&mut self, job: JobId) {
        self.expiry.remove(&job);
        self.inherited.remove(&job);
    }

    /// Whether the job ran before the restart and no worker has claimed it since.
    pub fn is_inherited(&self, job: JobId) -> bool {
        self.inherited.contains(&job)
    }

    /// Revokes the running attempts of these jobs.
    pub fn revoke(&mut self, state: &State, jobs: &BTreeSet<JobId>, now: WallTime, lease: Duration) {
        for job in jobs {
            let expiry = self.expiry.remove(job).unwrap_or_default();
            if let Some(JobState::Running { attempt, worker, .. }) = state.job(*job) {
                // The worker counts its lease from the last answered heartbeat, which may be newer than the attempt's own renewal. The
                // lease of a previous coordinator process may be longer.
                let until = now.after(lease).max(expiry);
                let revoked = RevokedAttempt { attempt: *attempt, worker: Some(worker.clone()), until };
                self.revoked.insert(*job, revoked);
            }
        }
    }

    /// Whether a worker may still run a revoked attempt at the job.
    pub fn is_revoked(&self, job: JobId) -> bool {
        self.revoked.contains_key(&job)
    }

    /// Notes that a worker no longer runs this attempt.
    pub fn confirm_end(&mut self, id: AttemptId) {
        if self.revoked.get(&id.job).is_some_and(|revoked| revoked.attempt == id.attempt) {
            self.revoked.remove(&id.job);
        }
    }

    /// Notes that a worker reconnected and holds only these attempts.
    pub fn worker_reconnected(&mut self, worker: &WorkerName, holds: &BTreeSet<AttemptId>) {
        self.revoked.retain(|job, revoked| {
            revoked.worker.as_ref() != Some(worker) || holds.contains(&AttemptId::new(*job, revoked.attempt))
        });
    }

    /// Notes that time passed, and returns the jobs whose lease has expired.
    pub fn tick(&mut self, now: WallTime, lease: Duration) -> Vec<JobId> {
        // While this process stood still (a suspended host, a slow disk) it received no heartbeats. That is not the workers' fault.
        let stood_still = self.ticked.map_or(Duration::ZERO, |ticked| now.since(ticked));
        self.ticked = Some(now);
        if stood_still > lease / 2 {
            self.expiry.values_mut().for_each(|until| *until = until.after(stood_still));
        }
        self.revoked.retain(|_, revoked| revoked.until > now);
        self.expiry.iter().filter(|(_, until)| **until <= now).map(|(job, _)| *job).collect()
    }
}

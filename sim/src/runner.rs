//! A simulated runner: an epoch is a span of time that passes while the lease is valid.

use crate::plan::PlannedJob;
use plusminus_core::id::JobId;
use plusminus_core::metric::EpochSelection;
use std::collections::BTreeSet;

/// A lane of a runner: the part of a runner process that trains in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneId {
    pub worker: usize,
    /// Which process of the worker's daemon, from 1.
    pub process: u64,
    pub slot: usize,
    /// Which process of the slot's runner, from 1.
    pub generation: u64,
}

/// An attempt in a lane.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub job: JobId,
    pub planned: PlannedJob,
    pub keeps: BTreeSet<EpochSelection>,
    /// The number of finished epochs.
    pub done: u32,
    /// The remaining time of the present epoch in milliseconds.
    pub remaining: u64,
    /// Since when it trains; `None` while it is paused.
    pub since: Option<u64>,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// A lane of a runner process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runner {
    pub generation: u64,
    /// The end of the lease.
    pub lease: u64,
    pub work: Option<Training>,
    /// Until when it is suspended.
    pub frozen: u64,
    /// Whether it hangs until it is killed.
    pub hangs: bool,
    /// The number of the latest timer; earlier ones are ignored.
    pub timer: u64,
}

impl Runner {
    /// Accounts for the time since training started or resumed, and pauses. Returns the job that was training.
    pub fn pause(&mut self, now: u64) -> Option<JobId> {
        let work = self.work.as_mut()?;
        let since = work.since.take()?;
        // Time after the lease does not count.
        work.remaining = work.remaining.saturating_sub(now.min(self.lease).saturating_sub(since));
        Some(work.job)
    }

    /// Whether it can start or resume training now.
    pub fn may_train(&self, now: u64) -> bool {
        let wants = self.work.as_ref().is_some_and(|work| work.since.is_none() && !work.stopping);
        wants && now < self.lease && now >= self.frozen && !self.hangs
    }

    /// When the epoch is finished or the lease expires.
    pub fn due(&self) -> Option<u64> {
        let work = self.work.as_ref()?;
        Some((work.since? + work.remaining).min(self.lease))
    }
}

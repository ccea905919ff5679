//! A runner with an engine that trains nothing: time passes, epoch after epoch, while the lease lasts.

use crate::plan::Planned;
use plusminus_core::id::JobId;
use plusminus_core::metric::EpochSelection;
use std::collections::BTreeSet;

/// An attempt in a runner's hands.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub job: JobId,
    pub planned: Planned,
    pub keeps: BTreeSet<EpochSelection>,
    /// Epochs done.
    pub done: u32,
    /// What is left of the epoch in hand, in milliseconds.
    pub left: u64,
    /// Since when it trains, where it does.
    pub since: Option<u64>,
    /// Whether it has been told to stop.
    pub stopping: bool,
}

/// A runner process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runner {
    pub generation: u64,
    /// Until when it may train.
    pub lease: u64,
    pub work: Option<Work>,
    /// Until when it is frozen.
    pub frozen: u64,
    /// Whether it has got stuck: it does nothing more until it is killed.
    pub hangs: bool,
    /// Which of the wake-ups that it has asked for is the latest.
    pub alarm: u64,
}

impl Runner {
    /// Puts the time that has passed down to the epoch in hand, and stops the clock.
    pub fn pause(&mut self, now: u64) -> Option<JobId> {
        let work = self.work.as_mut()?;
        let since = work.since.take()?;
        // What would have been trained past the lease, or while it was frozen, was not.
        work.left = work.left.saturating_sub(now.min(self.lease).saturating_sub(since));
        Some(work.job)
    }

    /// Whether it may go on now.
    pub fn may_train(&self, now: u64) -> bool {
        let wants = self.work.as_ref().is_some_and(|work| work.since.is_none() && !work.stopping);
        wants && now < self.lease && now >= self.frozen && !self.hangs
    }

    /// When something has to be looked at: the epoch is done, or the lease has passed.
    pub fn due(&self) -> Option<u64> {
        let work = self.work.as_ref()?;
        Some((work.since? + work.left).min(self.lease))
    }
}

//! The settings that scheduling decisions depend on.

use crate::id::SweepName;
use std::time::Duration;

/// Lease length, retry policy and back-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The time that an attempt stays with a worker after its last heartbeat.
    pub lease: Duration,
    /// The number of failures after which a job is given up. An attempt that gets further than all before it resets the count to one.
    pub failures: u32,
    /// The back-off after the first failure. It doubles with each further failure. Up to half of each wait is taken off at random (from
    /// the job's id), so that jobs that failed together are not retried together.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_limit: Duration,
    /// The longest pause of a worker in quarantine, if another sound worker is there. Otherwise it is the longest back-off.
    pub quarantine_limit: Duration,
    /// The only sweep that this coordinator runs; nothing to run all sweeps.
    pub only: Option<SweepName>,
    /// The lease length of the previous coordinator process, on which workers may still rely.
    pub lease_before: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            lease: Duration::from_secs(15),
            failures: 3,
            backoff: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(60),
            quarantine_limit: Duration::from_secs(600),
            only: None,
            lease_before: Duration::ZERO,
        }
    }
}

impl Policy {
    /// The back-off after `before` earlier ones, without random reduction.
    pub(super) fn backoff_after(&self, before: u32) -> Duration {
        self.backoff.saturating_mul(1 << before.min(16)).min(self.backoff_limit)
    }
}

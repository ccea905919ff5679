//! Rests of runners that cannot train for want of something on their host: threads, processes, disk space.
//!
//! A resting runner gets no attempt, and the other runners of the worker go on. So a host with a limit of processes trains as many jobs as
//! the limit allows. Rests get longer until the runner has finished a job: an epoch proves little, because what is missing may be needed
//! only at the end.

use super::Agent;
use super::event::BootTime;
use plusminus_core::id::JobId;
use std::time::Duration;
use tracing::{info, warn};

const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The rests of one runner.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The end of the present rest, or of the last one.
    until: BootTime,
    /// The number of rests since the runner last finished a job.
    number: u32,
}

impl Rest {
    /// Starts a rest. Returns its length; nothing if the runner rests already.
    fn start(&mut self, now: BootTime) -> Option<Duration> {
        if self.is_resting(now) {
            return None;
        }
        let length = SHORTEST_REST.saturating_mul(1 << self.number.min(16)).min(LONGEST_REST);
        self.number = self.number.saturating_add(1);
        self.until = now.after(length);
        Some(length)
    }

    pub fn is_resting(&self, now: BootTime) -> bool {
        now < self.until
    }

    /// The end of the rest, if it is in the future.
    pub fn pending_end(&self, now: BootTime) -> Option<BootTime> {
        Some(self.until).filter(|_| self.is_resting(now))
    }
}

impl Agent {
    /// Lets a runner rest, because its host prevented an attempt.
    pub(super) fn start_rest(&mut self, now: BootTime, runner: usize, why: &str) {
        if let Some(length) = self.runners[runner].rest.start(now) {
            let seconds = length.as_secs();
            warn!(runner, seconds, "{why}; no job loses a try, and this slot of the worker rests");
        }
    }

    /// Records that a runner has finished a job.
    pub(super) fn end_rests(&mut self, runner: usize) {
        self.runners[runner].rest = Rest::default();
    }

    /// Records that the training in a slot waits for its weights to be saved, or no longer does. The reason is logged once for all slots.
    pub(super) fn set_waiting(&mut self, slot: usize, waiting: Option<(JobId, String)>) {
        let before = self.is_any_waiting();
        if let Some(active) = &mut self.slots[slot].active {
            active.waiting = waiting.is_some();
        }
        match waiting {
            Some((job, why)) if !before => warn!(
                %job,
                "{why}: the trained weights stay in memory until they can be saved, and this worker gets no more jobs until then"
            ),
            None if before && !self.is_any_waiting() => info!("the weights can be saved again"),
            _ => {}
        }
    }

    /// Whether a finished training waits for its weights to be saved.
    pub(super) fn is_any_waiting(&self) -> bool {
        self.slots.iter().filter_map(|slot| slot.active.as_ref()).any(|active| active.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_minute_and_do_not_overlap() {
        let (mut rest, mut now, mut seconds) = (Rest::default(), BootTime(7), Vec::new());
        for _ in 0..9 {
            let length = rest.start(now).unwrap();
            assert_eq!((rest.start(now), rest.pending_end(now)), (None, Some(now.after(length))));
            seconds.push(length.as_secs());
            now = now.after(length);
            assert!(!rest.is_resting(now));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}

//! Rests of runners that cannot train for want of something on their host: threads, processes, disk space.
//!
//! A resting runner gets no attempt, and the other runners of the worker go on. So a host with a limit of processes trains as many jobs as
//! the limit allows. Rests get longer until the runner has finished a job: an epoch proves little, because what is missing may be needed
//! only at the end.

use super::event::BootTime;
use std::time::Duration;

const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// What a rest of each runner is longer than that of the runner before. If all ended together, all would start together, and each would
/// take from the others what they all need.
const SPREAD: Duration = Duration::from_millis(250);
/// The longest spread, in rests of the first runner.
const LONGEST_SPREAD: u32 = 4;

/// The rests of one runner.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The end of the present rest, or of the last one.
    until: BootTime,
    /// The number of rests since the runner last finished a job.
    number: u32,
}

impl Rest {
    /// Starts a rest of the runner with this number. Returns its length; nothing if the runner rests already.
    pub fn start(&mut self, now: BootTime, runner: usize) -> Option<Duration> {
        if self.is_resting(now) {
            return None;
        }
        let length = SHORTEST_REST.saturating_mul(1 << self.number.min(16)).min(LONGEST_REST);
        let length = length + SPREAD.saturating_mul(runner as u32).min(LONGEST_SPREAD * length);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_minute_and_do_not_overlap() {
        let (mut rest, mut now, mut seconds) = (Rest::default(), BootTime(7), Vec::new());
        for _ in 0..9 {
            let length = rest.start(now, 0).unwrap();
            assert_eq!((rest.start(now, 0), rest.pending_end(now)), (None, Some(now.after(length))));
            seconds.push(length.as_secs());
            now = now.after(length);
            assert!(!rest.is_resting(now));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn runners_that_fail_together_do_not_start_together() {
        let length = |runner| Rest::default().start(BootTime(7), runner).unwrap().as_millis();
        assert_eq!([0, 1, 2, 16, 1_000].map(length), [1_000, 1_250, 1_500, 5_000, 5_000]);
    }
}

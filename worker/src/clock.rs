//! The clock of leases: all processes of a host share it, and it counts while the host sleeps.

use crate::agent::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// The present time. Outside Linux, which alone has CLOCK_BOOTTIME, the clock stops while the host sleeps.
pub(crate) fn now() -> BootTime {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    // Neither field is negative.
    BootTime(now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances_and_never_goes_back() {
        let times = [(); 1_000].map(|()| now());
        assert!(times.is_sorted() && times[0] > BootTime(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(now().since(times[0]) >= std::time::Duration::from_millis(5));
    }
}

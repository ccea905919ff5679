//! The clock that all processes of this machine have in common, and that goes on while it sleeps.

use crate::agent::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// What the daemon and its runners mean by a time. Where there is no CLOCK_BOOTTIME (outside Linux) it does not go on while the machine
/// sleeps.
pub(crate) fn now() -> BootTime {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    // Neither is ever negative.
    BootTime(now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let times = [(); 1_000].map(|()| now());
        assert!(times.is_sorted() && times[0] > BootTime(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(now().since(times[0]) >= 5);
    }
}

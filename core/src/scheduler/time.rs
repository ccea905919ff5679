//! Wall-clock time as the scheduler receives it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds since the Unix epoch. The driver passes it in; it never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The time `duration` later, in whole milliseconds; it saturates.
    pub fn after(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(milliseconds(duration)))
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a duration; it saturates.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

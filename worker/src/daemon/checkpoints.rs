//! Removal of checkpoints that no job needs: of jobs that have finished, and of jobs that ended elsewhere long ago.

use crate::agent::BootTime;
use plusminus_core::id::JobId;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tracing::{info, warn};

/// Checkpoints that have not changed for this long are removed.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The time between two searches for such checkpoints.
pub(super) const SEARCH_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// Schedules periodic work: due at once, and then once per interval.
pub(super) struct Interval {
    length: Duration,
    next: BootTime,
}

impl Interval {
    pub fn new(length: Duration) -> Self {
        Interval { length, next: BootTime(0) }
    }

    /// Whether the work is due. If so, the next interval starts now.
    pub fn is_due(&mut self, now: BootTime) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now.after(self.length);
        }
        due
    }
}

/// Removes the checkpoints of finished jobs. Blocks.
pub(super) fn remove(directory: &Path, finished: &[JobId]) {
    for job in finished {
        if let Err(error) = plusminus_trainer::checkpoint::remove(directory, *job) {
            warn!(%error, "cannot remove the checkpoints of a finished job");
        }
    }
}

/// Removes checkpoints older than the retention time: their jobs have finished on other workers or were cancelled. Blocks.
pub(super) fn remove_expired(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let job = entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok());
        // Every checkpoint changes the modification time of its directory.
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let expired = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > RETENTION));
        if let Some(job) = job.filter(|_| expired) {
            info!(%job, days = RETENTION.as_secs() / (24 * 3_600), "removing checkpoints that have not changed for too long");
            let _ = plusminus_trainer::checkpoint::remove(directory, job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn expired_checkpoints_are_searched_at_the_start_and_once_a_day() {
        let mut interval = Interval::new(SEARCH_INTERVAL);
        const HOUR: u64 = 3_600_000;
        let due: Vec<u64> = (5..=100).filter(|hour| interval.is_due(BootTime(hour * HOUR))).collect();
        assert_eq!(due, [5, 29, 53, 77]);
    }

    #[test]
    fn only_expired_checkpoints_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("epoch-1-attempt-1.checkpoint"), "").unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let expired = make(&"a".repeat(32), 2 * RETENTION);
        let recent = make(&"b".repeat(32), RETENTION / 2);
        let foreign = make("not-a-job", 2 * RETENTION);
        remove_expired(directory.path());
        assert_eq!([expired, recent, foreign].map(|path| path.exists()), [false, true, true]);
        remove_expired(&directory.path().join("absent"));
    }
}

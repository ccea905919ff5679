//! The attempts at a job, as users see them.

use super::error::StoreError;
use super::read::Reader;
use plusminus_core::failure_text::bounded;
use plusminus_core::id::JobId;
use plusminus_core::scheduler::WallTime;
use rusqlite::Row;

/// An attempt as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The worker that it was assigned to.
    pub worker: String,
    /// The time of the assignment.
    pub started: WallTime,
    /// The time of its end; nothing while it runs.
    pub ended: Option<WallTime>,
    /// `finished`, `cancelled` or the kind of failure.
    pub ending: Option<String>,
    /// The message of a failure.
    pub message: Option<String>,
    /// The last reported epoch; 0 if there is none.
    pub epochs: u32,
}

impl Reader {
    /// The attempts at a job, in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        // The expression matches the index on ids in either version.
        let found = if self.version < 3 { "jobs WHERE id = lower(hex(?1))" } else { "job_states WHERE id = ?1" };
        let select = format!(
            "SELECT attempts.attempt, attempts.worker, attempts.started, attempts.ended, attempts.ending,
                             attempts.message, coalesce((SELECT max(epochs.epoch) FROM epochs
                                WHERE epochs.job = attempts.job AND epochs.attempt = attempts.attempt), 0)
                      FROM attempts WHERE attempts.job = (SELECT number FROM {found}) ORDER BY attempts.attempt"
        );
        let attempt = |row: &Row<'_>| {
            Ok(AttemptRow {
                attempt: row.get(0)?,
                worker: row.get(1)?,
                started: WallTime(row.get::<_, i64>(2)? as u64),
                ended: row.get::<_, Option<i64>>(3)?.map(|at| WallTime(at as u64)),
                ending: row.get(4)?,
                // Texts from before they were bounded may be huge.
                message: row.get::<_, Option<String>>(5)?.map(bounded),
                epochs: row.get(6)?,
            })
        };
        let read = || {
            let mut statement = self.connection.prepare_cached(&select)?;
            statement.query_map([job.as_bytes()], attempt)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }
}

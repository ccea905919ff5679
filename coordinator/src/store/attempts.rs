//! The attempts at a job, for people: nothing follows from them any more.

use super::{Reader, StoreError};
use plusminus_core::id::JobId;
use plusminus_core::scheduler::WallTime;
use rusqlite::Row;

/// An attempt as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// From 1.
    pub attempt: u32,
    /// Whose it was.
    pub worker: String,
    /// When it was given to the worker.
    pub started: WallTime,
    /// When it ended.
    pub ended: Option<WallTime>,
    /// `finished`, `cancelled` or the kind of failure.
    pub ending: Option<String>,
    /// Of a failure.
    pub message: Option<String>,
    /// The last epoch that it told of; 0 for none.
    pub epochs: u32,
}

impl Reader {
    /// The attempts at a job, in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        // Found by its id where there is an index.
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
                message: row.get(5)?,
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

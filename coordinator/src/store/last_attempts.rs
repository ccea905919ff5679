//! The last attempts at many jobs, as lists of jobs show them.

use super::error::StoreError;
use super::read::Reader;
use plusminus_core::id::JobId;
use rusqlite::OptionalExtension;

/// The last attempt at a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastAttempt {
    /// The worker that it was assigned to; empty without an attempt.
    pub worker: String,
    /// Its last reported epoch; 0 if there is none.
    pub epoch: u32,
}

impl Reader {
    /// The last attempts at these jobs, in their order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last_attempts(&self, jobs: &[JobId]) -> Result<Vec<LastAttempt>, StoreError> {
        // The expression matches the index on ids in either version.
        let found = if self.version < 3 { "jobs WHERE id = lower(hex(?1))" } else { "job_states WHERE id = ?1" };
        let select = format!(
            "SELECT attempts.worker, coalesce((SELECT max(epochs.epoch) FROM epochs
                        WHERE epochs.job = attempts.job AND epochs.attempt = attempts.attempt), 0)
             FROM attempts WHERE attempts.job = (SELECT number FROM {found})
             ORDER BY attempts.attempt DESC LIMIT 1"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&select)?;
            let mut last = |job: &JobId| {
                let row = statement
                    .query_row([job.as_bytes()], |row| Ok(LastAttempt { worker: row.get(0)?, epoch: row.get(1)? }));
                Ok(row.optional()?.unwrap_or_default())
            };
            jobs.iter().map(&mut last).collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }
}

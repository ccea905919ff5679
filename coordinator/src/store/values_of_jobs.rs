//! Metric values of single jobs, whichever sweep lists them.

use super::checksum::{EpochRow, ResultRow};
use super::error::StoreError;
use super::read::Reader;
use super::values::{CHECKSUMS, needed};
use plusminus_core::id::JobId;
use plusminus_core::metric::{EpochSelection, Measurements, Metric, selected};
use rusqlite::{OptionalExtension, Result, Row, params};
use std::collections::BTreeMap;

impl Reader {
    /// The metric at an epoch selection, for each of the jobs that has a value; see [`Reader::values`], which is faster for the jobs of
    /// one sweep.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn values_of_jobs(
        &self,
        jobs: impl Iterator<Item = JobId>,
        metric: Metric,
        at: EpochSelection,
    ) -> std::result::Result<BTreeMap<JobId, f64>, StoreError> {
        let query = || -> Result<BTreeMap<JobId, f64>> {
            // One transaction: a coordinator may be writing.
            let _transaction = self.connection.unchecked_transaction()?;
            let mut values = BTreeMap::new();
            for job in jobs {
                if let Some(value) = self.value_of_job(job, metric, at)? {
                    values.insert(job, value);
                }
            }
            Ok(values)
        };
        query().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    fn value_of_job(&self, job: JobId, metric: Metric, at: EpochSelection) -> Result<Option<f64>> {
        // Both have an index of the ids; the view `jobs` has none.
        let select = match self.version {
            ..3 => "SELECT number, coalesce(failure_kind, 'finished') FROM jobs WHERE id = lower(hex(?1))",
            _ => "SELECT number, coalesce(failure_kind, 'finished') FROM job_states WHERE id = ?1",
        };
        let with_result = " AND (state = 'finished' OR state = 'failed' AND failure_kind = 'diverged')";
        let mut find = self.connection.prepare_cached(&format!("{select}{with_result}"))?;
        let found = find.query_row([&job.as_bytes()[..]], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((number, ending)): Option<(i64, String)> = found else { return Ok(None) };
        match at {
            EpochSelection::Final | EpochSelection::Best | EpochSelection::BestValidation => {
                let checksum = if self.version < CHECKSUMS { "NULL" } else { "checksum" };
                let select =
                    format!("SELECT value, epoch, {checksum} FROM results WHERE job = ?1 AND at = ?2 AND metric = ?3");
                let mut statement = self.connection.prepare_cached(&select)?;
                let (at, metric) = (&*at.name(), metric.name());
                let read = |row: &Row<'_>| {
                    let value: Option<f64> = row.get(0)?;
                    if let Some(checksum) = row.get(2)? {
                        ResultRow { at, metric, epoch: row.get(1)?, value }.check(job, checksum)?;
                    }
                    Ok(value)
                };
                Ok(statement.query_row(params![number, at, metric], read).optional()?.flatten())
            }
            EpochSelection::BestValidationLoss | EpochSelection::LastMean(_) => {
                let epochs = self.epochs_of_job(job, number, &ending, metric)?;
                Ok(selected(&epochs, metric, at).map(|selected| selected.value))
            }
        }
    }

    /// The metric and the validation loss of each epoch of the attempt that gave the job's result.
    fn epochs_of_job(&self, job: JobId, number: i64, ending: &str, metric: Metric) -> Result<Vec<(u32, Measurements)>> {
        let checksum = if self.version < CHECKSUMS { "NULL" } else { "checksum" };
        let select = format!(
            "SELECT epoch, measurements, attempt, at, {checksum}
             FROM epochs WHERE job = ?1 AND attempt = (
               SELECT max(attempt) FROM attempts WHERE attempts.job = ?1 AND ending = ?2)
             ORDER BY epoch"
        );
        let mut statement = self.connection.prepare_cached(&select)?;
        let rows = statement.query_map(params![number, ending], |row| {
            let (epoch, measurements): (u32, _) = (row.get(0)?, row.get_ref(1)?.as_str()?);
            if let Some(checksum) = row.get(4)? {
                let [attempt, at] = [row.get(2)?, row.get(3)?];
                EpochRow { attempt, epoch: epoch.into(), at, measurements }.check(job, checksum)?;
            }
            Ok((epoch, needed(measurements, metric)?))
        })?;
        rows.collect()
    }
}

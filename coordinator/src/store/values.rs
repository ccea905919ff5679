//! Reads the values that a table shows, and checks every row that they come from.

use super::checksum::{EpochRow, ResultRow};
use super::connection::parsed;
use plusminus_core::id::{JobId, SweepName};
use plusminus_core::metric::{EpochSelection, Measurements, Metric, selected};
use rusqlite::types::Type;
use rusqlite::{Connection, Result, params};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// From this version of the schema on, rows have checksums.
pub(super) const CHECKSUMS: u32 = 4;
/// The jobs of the sweep `?1` that finished, or completed epochs before they diverged.
const JOBS: &str = "FROM sweeps
                    JOIN sweep_jobs ON sweep_jobs.sweep = sweeps.ordinal
                    JOIN jobs ON jobs.number = sweep_jobs.job
                     AND (jobs.state = 'finished' OR jobs.state = 'failed' AND jobs.failure_kind = 'diverged')";

/// The metric at an epoch selection, for every job of the sweep that has a value.
pub(super) fn read(
    connection: &Connection,
    version: u32,
    sweep: &SweepName,
    metric: Metric,
    at: EpochSelection,
) -> Result<BTreeMap<JobId, f64>> {
    match at {
        EpochSelection::Final | EpochSelection::Best | EpochSelection::BestValidation => {
            stored(connection, version, sweep, metric, at)
        }
        // Means over any number of epochs cannot be stored in advance. The lowest loss is not stored for jobs that ended under an older
        // version.
        EpochSelection::BestValidationLoss | EpochSelection::LastMean(_) => {
            computed(connection, version, sweep, metric, at)
        }
    }
}

fn stored(
    connection: &Connection,
    version: u32,
    sweep: &SweepName,
    metric: Metric,
    at: EpochSelection,
) -> Result<BTreeMap<JobId, f64>> {
    let checksum = if version < CHECKSUMS { "NULL" } else { "results.checksum" };
    let select = format!(
        "SELECT jobs.id, results.value, results.epoch, {checksum} {JOBS}
         JOIN results ON results.job = jobs.number
         WHERE sweeps.name = ?1 AND results.metric = ?2 AND results.at = ?3"
    );
    let (at, metric) = (&*at.name(), metric.name());
    let mut statement = connection.prepare_cached(&select)?;
    let mut rows = statement.query([sweep.as_str(), metric, at])?;
    let mut values = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (job, value) = (parsed(row, 0)?, row.get(1)?);
        if let Some(checksum) = row.get(3)? {
            ResultRow { at, metric, epoch: row.get(2)?, value }.check(job, checksum)?;
        }
        values.extend(value.map(|value| (job, value)));
    }
    Ok(values)
}

fn computed(
    connection: &Connection,
    version: u32,
    sweep: &SweepName,
    metric: Metric,
    at: EpochSelection,
) -> Result<BTreeMap<JobId, f64>> {
    let checksum = if version < CHECKSUMS { "NULL" } else { "epochs.checksum" };
    let select = format!(
        "SELECT jobs.id, epochs.epoch, epochs.measurements, epochs.attempt, epochs.at, {checksum} {JOBS}
         JOIN epochs ON epochs.job = jobs.number AND epochs.attempt = (
           SELECT max(attempts.attempt) FROM attempts
           WHERE attempts.job = jobs.number AND attempts.ending = coalesce(jobs.failure_kind, 'finished'))
         WHERE sweeps.name = ?1 ORDER BY sweep_jobs.position, epochs.epoch"
    );
    let mut statement = connection.prepare_cached(&select)?;
    let mut rows = statement.query(params![sweep.as_str()])?;
    let mut jobs: BTreeMap<JobId, Vec<(u32, Measurements)>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (job, epoch, measurements) = (parsed(row, 0)?, row.get::<_, u32>(1)?, row.get_ref(2)?.as_str()?);
        if let Some(checksum) = row.get(5)? {
            let [attempt, at] = [row.get(3)?, row.get(4)?];
            EpochRow { attempt, epoch: epoch.into(), at, measurements }.check(job, checksum)?;
        }
        jobs.entry(job).or_default().push((epoch, needed(measurements, metric)?));
    }
    let value = |epochs: Vec<_>| selected(&epochs, metric, at).map(|selected| selected.value);
    Ok(jobs.into_iter().filter_map(|(job, epochs)| Some((job, value(epochs)?))).collect())
}

/// The metric and the validation loss among the stored measurements of an epoch. Metrics of other versions may be among them.
pub(super) fn needed(measurements: &str, metric: Metric) -> Result<Measurements> {
    let all: BTreeMap<Cow<'_, str>, Option<f64>> = serde_json::from_str(measurements).map_err(unreadable)?;
    let needed = [metric, Metric::ValidationLoss].map(|metric| Some((metric, (*all.get(metric.name())?)?)));
    Ok(needed.into_iter().flatten().collect())
}

fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
}

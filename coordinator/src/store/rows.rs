//! Checks all rows of a store: checksums, ids, and results against the epochs that they were selected from.

use super::checksum::{self, EpochRow, ResultRow};
use super::migrate::older;
use plusminus_core::id::{CellId, JobId};
use plusminus_core::job::Job;
use plusminus_core::metric::{EpochSelection, Measurements, Metric, select};
use rusqlite::{Connection, Result, Row, params};
use std::collections::BTreeMap;

/// The numbers of rows that were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Sweeps.
    pub sweeps: u64,
    /// Jobs.
    pub jobs: u64,
    /// Epochs of all attempts.
    pub epochs: u64,
    /// Values of metrics at epoch selections.
    pub results: u64,
}

/// Calls `fault` with each row that is not what was written.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn check(connection: &Connection, version: u32, fault: &mut impl FnMut(String)) -> Result<Rows> {
    let mut rows = Rows::default();
    // A coordinator may be writing.
    let snapshot = connection.unchecked_transaction()?;
    cells(&snapshot, fault)?;
    sweeps(&snapshot, version, &mut rows, fault)?;
    let states = if version < 3 { older::states(version, "jobs") } else { "job_states".to_owned() };
    jobs(&snapshot, version, &states, &mut rows, fault)?;
    Ok(rows)
}

fn cells(connection: &Connection, fault: &mut impl FnMut(String)) -> Result<()> {
    let mut statement = connection.prepare("SELECT id, configuration FROM cells")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let (id, configuration) = (text(row, 0), text(row, 1));
        if id.parse() != Ok(CellId::of_canonical(&configuration)) {
            fault(format!("the configuration of cell {id}"));
        }
    }
    Ok(())
}

fn sweeps(connection: &Connection, version: u32, rows: &mut Rows, fault: &mut impl FnMut(String)) -> Result<()> {
    let checksum = checksum_column(version);
    let mut statement = connection.prepare(&format!("SELECT name, source, {checksum} FROM sweeps"))?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let (name, source) = (text(row, 0), text(row, 1));
        rows.sweeps += 1;
        if row.get::<_, Option<i64>>(2)?.is_some_and(|stored| stored != checksum::of_sweep(&name, &source)) {
            fault(format!("the sweep file of `{name}`"));
        }
    }
    Ok(())
}

/// A row of job states.
struct JobRow {
    number: i64,
    id: JobId,
    /// How the attempt with the results ended.
    ending: Option<&'static str>,
}

fn jobs(
    connection: &Connection,
    version: u32,
    states: &str,
    rows: &mut Rows,
    fault: &mut impl FnMut(String),
) -> Result<()> {
    let cells = if version < 3 { older::CELLS } else { "cells" };
    let select = format!(
        "SELECT states.number, states.id, cells.id, states.seed, states.result, states.state, states.failure_kind
         FROM {states} AS states LEFT JOIN {cells} AS cells ON cells.number = states.cell ORDER BY states.number"
    );
    let mut statement = connection.prepare(&select)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rows.jobs += 1;
        let number: i64 = row.get(0)?;
        let Ok(id) = row.get(1).map(JobId::from_bytes) else {
            fault(format!("the id of the job in row {number}"));
            continue;
        };
        let cell = text(row, 2).parse::<CellId>();
        if !cell.is_ok_and(|cell| row.get::<_, i64>(3).is_ok_and(|seed| Job::id_of(cell, seed.cast_unsigned()) == id)) {
            fault(format!("the cell or seed of job {id}"));
        }
        let (state, kind) = (text(row, 5), text(row, 6));
        if !["queued", "running", "finished", "failed", "dropped"].contains(&&*state) {
            fault(format!("the state of job {id}"));
        }
        let ending = match (row.get::<_, i64>(4)?, &*state, &*kind) {
            (1, _, _) => Some("finished"),
            (0, "failed", "diverged") => Some("diverged"),
            (0, _, _) => None,
            _ => {
                fault(format!("the state of job {id}"));
                None
            }
        };
        let job = JobRow { number, id, ending };
        let epochs = epochs(connection, version, &job, rows, fault)?;
        results(connection, version, &job, &epochs, rows, fault)?;
        if version >= 3 {
            facts(connection, version, &job, fault)?;
        }
    }
    Ok(())
}

/// Checks all epochs of a job. Returns those of the attempt that its results come from.
fn epochs(
    connection: &Connection,
    version: u32,
    job: &JobRow,
    rows: &mut Rows,
    fault: &mut impl FnMut(String),
) -> Result<Vec<(u32, Measurements)>> {
    let source = "SELECT max(attempt) FROM attempts WHERE job = ?1 AND ending = ?2";
    let source: Option<i64> =
        connection.prepare_cached(source)?.query_row(params![job.number, job.ending], |row| row.get(0))?;
    let checksum = checksum_column(version);
    let select = format!(
        "SELECT attempt, epoch, at, measurements, {checksum} FROM epochs WHERE job = ?1 ORDER BY attempt, epoch"
    );
    let mut statement = connection.prepare_cached(&select)?;
    let mut found = statement.query([job.number])?;
    let mut epochs = Vec::new();
    while let Some(row) = found.next()? {
        rows.epochs += 1;
        let (attempt, epoch, measurements) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, text(row, 3));
        let name = || format!("epoch {epoch} of attempt {attempt} of job {}", job.id);
        let Ok(at) = row.get(2) else {
            fault(name());
            continue;
        };
        let content = EpochRow { attempt, epoch, at, measurements: &measurements };
        let sound = row.get::<_, Option<i64>>(4)?.is_none_or(|stored| content.check(job.id, stored).is_ok());
        match serde_json::from_str::<BTreeMap<String, Option<f64>>>(&measurements) {
            Ok(values) if sound => {
                if Some(attempt) == source {
                    let known = values.into_iter().filter_map(|(name, value)| Some((name.parse().ok()?, value)));
                    let known = known.map(|(metric, value)| (metric, value.unwrap_or(f64::NAN)));
                    epochs.push((u32::try_from(epoch).unwrap_or_default(), known.collect()));
                }
            }
            _ => fault(name()),
        }
    }
    Ok(epochs)
}

/// Checks the results of a job: against their checksums, and against a new selection from the epochs.
fn results(
    connection: &Connection,
    version: u32,
    job: &JobRow,
    epochs: &[(u32, Measurements)],
    rows: &mut Rows,
    fault: &mut impl FnMut(String),
) -> Result<()> {
    let mut expected: BTreeMap<(EpochSelection, Metric), (i64, Option<f64>)> = BTreeMap::new();
    if job.ending.is_some() {
        let selected = select(epochs).into_iter().map(|selected| {
            let value = Some(selected.value).filter(|value| value.is_finite());
            ((selected.at, selected.metric), (i64::from(selected.epoch), value))
        });
        expected.extend(selected);
    }
    let checksum = checksum_column(version);
    let select = format!("SELECT at, metric, epoch, value, {checksum} FROM results WHERE job = ?1");
    let mut statement = connection.prepare_cached(&select)?;
    let mut found = statement.query([job.number])?;
    while let Some(row) = found.next()? {
        rows.results += 1;
        let (at, metric) = (text(row, 0), text(row, 1));
        let name = || format!("{metric} at `{at}` of job {}", job.id);
        let (Ok(epoch), Ok(value)) = (row.get(2), row.get(3)) else {
            fault(name());
            continue;
        };
        let content = ResultRow { at: &at, metric: &metric, epoch, value };
        if row.get::<_, Option<i64>>(4)?.is_some_and(|stored| content.check(job.id, stored).is_err()) {
            fault(name());
        } else if let (Ok(selection), Ok(known)) = (at.parse::<EpochSelection>(), metric.parse::<Metric>()) {
            // Other versions have metrics that this one does not know.
            match expected.remove(&(selection, known)) {
                Some(same) if same == (epoch, value) => {}
                _ => fault(format!("{} is not what its epochs give", name())),
            }
        }
    }
    // Older versions did not store this selection.
    expected.retain(|(at, _), _| *at != EpochSelection::BestValidationLoss);
    if let Some(((at, metric), _)) = expected.first_key_value() {
        fault(format!("{} at `{at}` of job {} is missing", metric.name(), job.id));
    }
    Ok(())
}

fn facts(connection: &Connection, version: u32, job: &JobRow, fault: &mut impl FnMut(String)) -> Result<()> {
    let select = format!("SELECT facts, {} FROM job_facts WHERE job = ?1", checksum_column(version));
    let mut statement = connection.prepare_cached(&select)?;
    let mut found = statement.query([job.number])?;
    match found.next()? {
        Some(row) => {
            let stored: Option<i64> = row.get(1)?;
            if stored.is_some_and(|stored| stored != checksum::of_facts(job.id.as_bytes(), &text(row, 0))) {
                fault(format!("the facts of job {}", job.id));
            }
        }
        None if job.ending == Some("finished") => fault(format!("the facts of job {} are missing", job.id)),
        None => {}
    }
    Ok(())
}

/// Rows of older versions have no checksums.
fn checksum_column(version: u32) -> &'static str {
    if version < 4 { "NULL" } else { "checksum" }
}

/// A text; a damaged one in a readable form.
fn text(row: &Row<'_>, column: usize) -> String {
    row.get_ref(column)
        .ok()
        .and_then(|value| value.as_bytes_or_null().ok().flatten())
        .map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned())
}

//! Reads rows as records and as metric values.

use super::checksum;
use super::connection::{FILE, VERSION, check_length, open_to_read, parsed};
use super::database::{Store, application_id};
use super::error::StoreError;
use super::migrate::older;
use super::values;
use plusminus_core::id::{CellId, JobId, SweepName, WorkerName};
use plusminus_core::job::{Configuration, Job};
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::{
    NewCell, NewJob, Origin, PausedSweep, Place, Reached, Record, Reported, StoredState, WallTime,
};
use rusqlite::{Connection, Result, Row, Statement, params, types::Type};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Store {
    /// The records that give the stored state.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn records(&self) -> std::result::Result<Vec<Record>, StoreError> {
        records(&self.connection, VERSION).map_err(|error| self.error(error))
    }

    /// A second connection, for reading.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn reader(&self) -> std::result::Result<Reader, StoreError> {
        let mut reader = Reader::at(self.path.clone())?;
        reader._file.clone_from(&self.file);
        Ok(reader)
    }
}

/// A store that is opened for reading. A coordinator may have it open for writing.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// The version of the schema. Stores of older versions are read as they are.
    pub(super) version: u32,
    /// The file of the coordinator of this process; see [`Store`].
    _file: Option<Arc<File>>,
}

impl Reader {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(directory: &Path) -> std::result::Result<Reader, StoreError> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Err(StoreError::Absent(directory.to_owned()));
        }
        check_length(directory)?;
        Reader::at(path)
    }

    pub(super) fn at(path: PathBuf) -> std::result::Result<Reader, StoreError> {
        match open_to_read(&path) {
            // The coordinator was killed before it created the tables.
            Ok((_, 0)) => Err(StoreError::Absent(path)),
            Ok((connection, version @ 1..=VERSION)) => Ok(Reader { connection, path, version, _file: None }),
            Ok((_, found)) => Err(StoreError::TooNew { path, found, known: VERSION }),
            Err(error) => Err(StoreError::from_sqlite(path, error)),
        }
    }

    /// The records that give the stored state.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn records(&self) -> std::result::Result<Vec<Record>, StoreError> {
        // One transaction, since a coordinator may be writing.
        let read = || records(&*self.connection.unchecked_transaction()?, self.version);
        read().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    /// The number that identifies the store and its copies.
    pub(super) fn identity(&self) -> std::result::Result<u32, StoreError> {
        application_id(&self.connection).map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    /// The error that a row of this store is not what was written.
    pub(crate) fn damaged(&self, row: String) -> StoreError {
        StoreError::Row { path: self.path.clone(), row }
    }

    /// The metric at an epoch selection, for every job of the sweep that has a value: jobs that finished, and jobs that completed epochs
    /// before they diverged.
    ///
    /// # Errors
    /// If the file cannot be read, or a row that the values come from is not what was written.
    pub fn values(
        &self,
        sweep: &SweepName,
        metric: Metric,
        at: EpochSelection,
    ) -> std::result::Result<BTreeMap<JobId, f64>, StoreError> {
        let query = || values::read(&self.connection, self.version, sweep, metric, at);
        query().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }
}

fn records(connection: &Connection, version: u32) -> Result<Vec<Record>> {
    let mut cells_by_number = CellsByNumber::new();
    let mut cells: BTreeMap<CellId, NewCell> = BTreeMap::new();
    let from = if version < 3 { older::CELLS } else { "cells" };
    let mut statement = connection.prepare(&format!("SELECT number, id, configuration FROM {from}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, configuration): (CellId, String) = (parsed(row, 1)?, row.get(2)?);
        cells_by_number.insert(row.get(0)?, (id, origin(&configuration)));
        cells.insert(id, NewCell { id, configuration: configuration.into() });
    }
    let configurations = |jobs: &[NewJob]| {
        let mut named: Vec<CellId> = jobs.iter().map(|job| job.cell).collect();
        // Jobs of a cell are mostly adjacent.
        named.dedup();
        let named: BTreeSet<CellId> = named.into_iter().collect();
        named.iter().filter_map(|cell| cells.get(cell).cloned()).collect()
    };
    let StoredJobs { numbers, jobs, restored } = stored_jobs(connection, version, &cells_by_number)?;
    let mut unlisted = vec![true; jobs.len()];
    let mut records = Vec::with_capacity(restored.len() + 1);
    let added = if version < 4 { "NULL, NULL" } else { "paused, checksum" };
    let select = format!("SELECT ordinal, name, source, submitted, cancelled, {added} FROM sweeps ORDER BY ordinal");
    let mut sweeps = connection.prepare(&select)?;
    let mut rows = sweeps.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(stored) = row.get(6)? {
            let (name, source) = (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
            checksum::check(checksum::of_sweep(name, source), stored, || format!("the sweep file of `{name}`"))?;
        }
        let jobs = jobs_of(connection, row.get(0)?, &numbers, |index| {
            unlisted[index] = false;
            jobs[index]
        })?;
        let name: SweepName = parsed(row, 1)?;
        records.push(Record::Submitted {
            name: name.clone(),
            source: Arc::from(row.get::<_, String>(2)?),
            cells: configurations(&jobs),
            jobs,
            requeued: Vec::new(),
            dropped: Vec::new(),
            at: time(row, 3)?,
        });
        if row.get::<_, Option<i64>>(4)?.is_some() {
            records.push(Record::Cancelled { name, dropped: Vec::new(), at: time(row, 4)? });
        } else if let Some(paused) = from_json::<PausedSweep>(row, 5)? {
            records.push(Record::Paused { name, paused });
        }
    }
    let unlisted: Vec<NewJob> = jobs.iter().zip(unlisted).filter_map(|(job, is)| is.then_some(*job)).collect();
    if !unlisted.is_empty() {
        // No sweep lists these any more.
        records.insert(0, Record::Unlisted { cells: configurations(&unlisted), jobs: unlisted });
    }
    records.extend(restored);
    Ok(records)
}

/// Cells by row number, each with the cell of the parent jobs and the weights that are used of them.
type CellsByNumber = BTreeMap<i64, (CellId, Option<(CellId, EpochSelection)>)>;

/// The parent of a configuration's jobs. A configuration that this version cannot read has none; no worker could read it either.
fn origin(configuration: &str) -> Option<(CellId, EpochSelection)> {
    // Most configurations have no parent, and parsing all of them takes a while.
    let reads = configuration.contains(r#""parent":{"#);
    reads.then(|| serde_json::from_str::<Configuration>(configuration).ok()?.origin()).flatten()
}

/// All jobs, in the order of their row numbers.
#[derive(Default)]
struct StoredJobs {
    numbers: Vec<i64>,
    jobs: Vec<NewJob>,
    /// The states of the jobs that have had an attempt or were dropped.
    restored: Vec<Record>,
}

fn stored_jobs(connection: &Connection, version: u32, cells_by_number: &CellsByNumber) -> Result<StoredJobs> {
    let from = if version < 3 { older::states(version, "jobs") } else { "job_states".into() };
    let failed_on = if version < 4 { "NULL" } else { "failed_on" };
    let select = format!(
        "SELECT number, id, cell, seed, state, attempts, failures, reached_before, not_before, result, kept,
                failure_kind, failure, {failed_on}
         FROM {from} ORDER BY number"
    );
    let (mut statement, mut attempts) = (connection.prepare(&select)?, AttemptQueries::of(connection)?);
    let mut rows = statement.query([])?;
    let mut stored = StoredJobs::default();
    while let Some(row) = rows.next()? {
        let (number, cell, seed) = (row.get(0)?, row.get(2)?, row.get::<_, i64>(3)? as u64);
        let unknown = || rusqlite::Error::IntegralValueOutOfRange(2, cell);
        let (cell, parent) = cells_by_number.get(&cell).ok_or_else(unknown)?;
        let origin = parent.map(|(parent, at)| Origin { job: Job::id_of(parent, seed), at });
        let job = NewJob { id: JobId::from_bytes(row.get(1)?), cell: *cell, seed, origin };
        stored.numbers.push(number);
        stored.jobs.push(job);
        stored.restored.extend(restored(row, number, job.id, &mut attempts)?);
    }
    Ok(stored)
}

/// Queries that only few jobs need.
struct AttemptQueries<'c> {
    current: Statement<'c>,
    reached: Statement<'c>,
    reported: Statement<'c>,
}

impl<'c> AttemptQueries<'c> {
    fn of(connection: &'c Connection) -> Result<Self> {
        let current = "SELECT worker, started FROM attempts WHERE job = ?1 AND attempt = ?2";
        let reached = "SELECT coalesce(max(epoch), 0) FROM epochs WHERE job = ?1";
        // A value that is not finite is stored as null.
        let reported = r#"SELECT coalesce(max(epoch), 0),
                                 coalesce(max(instr(measurements, ':null') > 0), 0),
                                 coalesce(max(instr(measurements, '"test_accuracy"') = 0), 0),
                                 coalesce(max(instr(measurements, '"validation_accuracy"') = 0
                                              OR instr(measurements, '"validation_loss"') = 0), 0)
                          FROM epochs WHERE job = ?1 AND attempt = ?2"#;
        let [current, reached, reported] = [current, reached, reported].map(|query| connection.prepare(query));
        Ok(AttemptQueries { current: current?, reached: reached?, reported: reported? })
    }
}

/// The state of a job; nothing if it waits for its first attempt, as after its submission.
fn restored(row: &Row<'_>, number: i64, job: JobId, queries: &mut AttemptQueries<'_>) -> Result<Option<Record>> {
    let (attempts, failures) = (row.get(5)?, row.get(6)?);
    let state = match row.get_ref(4)?.as_str()? {
        "queued" if attempts == 0 => return Ok(None),
        "queued" => StoredState::Queued { not_before: time(row, 8)? },
        "running" => queries.current.query_row(params![number, attempts], |attempt| {
            Ok(StoredState::Running { worker: WorkerName(attempt.get(0)?), at: time(attempt, 1)? })
        })?,
        "finished" => StoredState::Finished { kept: from_json(row, 10)?.unwrap_or_default() },
        "failed" => {
            let kind = row.get_ref(11)?.as_str()?;
            let kind = FailureKind::ALL.iter().copied().find(|known| known.name() == kind);
            StoredState::Failed(Failure::new(kind.unwrap_or(FailureKind::Infrastructure), row.get::<_, String>(12)?))
        }
        _ => StoredState::Dropped,
    };
    // Only jobs that may be retried need their furthest epoch.
    let unneeded = attempts == 0 || matches!(state, StoredState::Finished { .. });
    let furthest = if unneeded { 0 } else { queries.reached.query_row([number], |row| row.get(0))? };
    let reached = Reached { furthest, at_last_failure: row.get(7)? };
    let reported = match state {
        StoredState::Running { .. } => queries.reported.query_row(params![number, attempts], |row| {
            let (epochs, diverging, untested, unvalidated) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Reported { epochs, diverging, untested, unvalidated })
        })?,
        _ => Reported::default(),
    };
    let is_open = matches!(state, StoredState::Queued { .. } | StoredState::Running { .. });
    let failed_on: Option<Vec<Place>> = if is_open { from_json(row, 13)? } else { None };
    let (result, failed_on) = (row.get(9)?, failed_on.unwrap_or_default());
    Ok(Some(Record::Restored { job, attempts, failures, failed_on, reached, reported, result, state }))
}

/// The jobs of a sweep in its order. `numbers` are the row numbers of all jobs, and `job` returns the job at an index of them.
fn jobs_of(
    connection: &Connection,
    sweep: i64,
    numbers: &[i64],
    mut job: impl FnMut(usize) -> NewJob,
) -> Result<Vec<NewJob>> {
    let select = "SELECT job FROM sweep_jobs WHERE sweep = ?1 ORDER BY position";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query([sweep])?;
    let mut jobs = Vec::new();
    // Mostly the next job of the sweep is also the next job of all.
    let mut next = 0;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let index = match numbers.get(next) {
            Some(same) if *same == number => Ok(next),
            _ => numbers.binary_search(&number),
        };
        let index = index.map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))?;
        jobs.push(job(index));
        next = index + 1;
    }
    Ok(jobs)
}

/// The value of a column with JSON; nothing if it is null.
fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let value = row.get_ref(column)?.as_str_or_null()?.map(serde_json::from_str).transpose();
    value.map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn time(row: &Row<'_>, column: usize) -> Result<WallTime> {
    Ok(WallTime(row.get::<_, i64>(column)? as u64))
}

//! Tables back into records, and into values for a report.

use super::migrate::older;
use super::{FILE, Store, StoreError, VERSION, open_to_read};
use plusminus_core::id::{CellId, JobId, SweepName, WorkerName};
use plusminus_core::job::{Configuration, Job};
use plusminus_core::metric::{EpochSelection, Measurements, Metric, selected};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::{NewCell, NewJob, Origin, Record, StoredState, WallTime};
use rusqlite::{Connection, Result, Row, Statement, params, types::Type};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

impl Store {
    /// The records that lead to what is stored.
    ///
    /// # Errors
    /// If the file cannot be read or holds what no store does.
    pub fn records(&self) -> std::result::Result<Vec<Record>, StoreError> {
        records(&self.connection, VERSION).map_err(|error| self.failed(error))
    }

    /// A second connection, which only reads.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn reader(&self) -> std::result::Result<Reader, StoreError> {
        Reader::at(self.path.clone())
    }
}

/// A store that is only read, beside the coordinator that writes it or where there is none.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// A store of an older version that no coordinator has opened since is read as it is.
    pub(super) version: u32,
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
        Reader::at(path)
    }

    pub(super) fn at(path: PathBuf) -> std::result::Result<Reader, StoreError> {
        match open_to_read(&path) {
            // Its coordinator was killed before it had made the tables.
            Ok((_, 0)) => Err(StoreError::Absent(path)),
            Ok((connection, version @ 1..=VERSION)) => Ok(Reader { connection, path, version }),
            Ok((_, found)) => Err(StoreError::TooNew { path, found, known: VERSION }),
            Err(error) => Err(StoreError::from_sqlite(path, error)),
        }
    }

    /// The records that lead to what is stored.
    ///
    /// # Errors
    /// If the file cannot be read or holds what no store does.
    pub fn records(&self) -> std::result::Result<Vec<Record>, StoreError> {
        // One transaction: a coordinator may be writing.
        let read = || records(&*self.connection.unchecked_transaction()?, self.version);
        read().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    /// The metric at the selection, for every job of the sweep that has it: that finished, or had it before it diverged.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn values(
        &self,
        sweep: &SweepName,
        metric: Metric,
        at: EpochSelection,
    ) -> std::result::Result<BTreeMap<JobId, f64>, StoreError> {
        let query = || match at {
            EpochSelection::Final | EpochSelection::Best | EpochSelection::BestValidation => {
                self.stored(sweep, metric, at)
            }
            // So many epochs as anybody may name, and of the lowest loss jobs know nothing that ended before it could be asked for.
            EpochSelection::BestValidationLoss | EpochSelection::LastMean(_) => self.computed(sweep, metric, at),
        };
        query().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    fn stored(&self, sweep: &SweepName, metric: Metric, at: EpochSelection) -> Result<BTreeMap<JobId, f64>> {
        let select = "SELECT jobs.id, results.value
                      FROM sweeps
                      JOIN sweep_jobs ON sweep_jobs.sweep = sweeps.ordinal
                      JOIN jobs ON jobs.number = sweep_jobs.job
                       AND (jobs.state = 'finished' OR jobs.state = 'failed' AND jobs.failure_kind = 'diverged')
                      JOIN results ON results.job = jobs.number
                      WHERE sweeps.name = ?1 AND results.metric = ?2 AND results.at = ?3 AND results.value IS NOT NULL";
        let mut statement = self.connection.prepare_cached(select)?;
        let rows = statement
            .query_map([sweep.as_str(), metric.name(), &at.name()], |row| Ok((parsed(row, 0)?, row.get(1)?)))?;
        rows.collect()
    }

    fn computed(&self, sweep: &SweepName, metric: Metric, at: EpochSelection) -> Result<BTreeMap<JobId, f64>> {
        let select = r#"SELECT jobs.id, epochs.epoch, json_extract(epochs.measurements, '$."' || ?2 || '"'),
                               json_extract(epochs.measurements, '$."' || ?3 || '"')
                        FROM sweeps
                        JOIN sweep_jobs ON sweep_jobs.sweep = sweeps.ordinal
                        JOIN jobs ON jobs.number = sweep_jobs.job
                         AND (jobs.state = 'finished' OR jobs.state = 'failed' AND jobs.failure_kind = 'diverged')
                        JOIN epochs ON epochs.job = jobs.number AND epochs.attempt = (
                          SELECT max(attempts.attempt) FROM attempts
                          WHERE attempts.job = jobs.number AND attempts.ending = coalesce(jobs.failure_kind, 'finished'))
                        WHERE sweeps.name = ?1 ORDER BY sweep_jobs.position, epochs.epoch"#;
        let by = Metric::ValidationLoss;
        let mut statement = self.connection.prepare_cached(select)?;
        let mut rows = statement.query([sweep.as_str(), metric.name(), by.name()])?;
        let mut jobs: BTreeMap<JobId, Vec<(u32, Measurements)>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let values: [(Metric, Option<f64>); 2] = [(metric, row.get(2)?), (by, row.get(3)?)];
            let values = values.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
            jobs.entry(parsed(row, 0)?).or_default().push((row.get(1)?, values.collect()));
        }
        let value = |epochs: Vec<_>| selected(&epochs, metric, at).map(|selected| selected.value);
        Ok(jobs.into_iter().filter_map(|(job, epochs)| Some((job, value(epochs)?))).collect())
    }
}

fn records(connection: &Connection, version: u32) -> Result<Vec<Record>> {
    let mut kinds = Kinds::new();
    let mut cells: BTreeMap<CellId, NewCell> = BTreeMap::new();
    let from = if version < 3 { older::CELLS } else { "cells" };
    let mut statement = connection.prepare(&format!("SELECT number, id, configuration FROM {from}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, configuration): (CellId, String) = (parsed(row, 1)?, row.get(2)?);
        kinds.insert(row.get(0)?, (id, origin(&configuration)));
        cells.insert(id, NewCell { id, configuration: configuration.into() });
    }
    let configurations = |jobs: &[NewJob]| {
        let mut named: Vec<CellId> = jobs.iter().map(|job| job.cell).collect();
        // Jobs of a cell mostly stand side by side.
        named.dedup();
        let named: BTreeSet<CellId> = named.into_iter().collect();
        named.iter().filter_map(|cell| cells.get(cell).cloned()).collect()
    };
    let StoredJobs { numbers, jobs, restored } = stored_jobs(connection, version, &kinds)?;
    let mut forgotten = vec![true; jobs.len()];
    let mut records = Vec::with_capacity(restored.len() + 1);
    let mut sweeps =
        connection.prepare("SELECT ordinal, name, source, submitted, cancelled FROM sweeps ORDER BY ordinal")?;
    let mut rows = sweeps.query([])?;
    while let Some(row) = rows.next()? {
        let jobs = jobs_of(connection, row.get(0)?, &numbers, |place| {
            forgotten[place] = false;
            jobs[place]
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
        }
    }
    let forgotten: Vec<NewJob> = jobs.iter().zip(forgotten).filter_map(|(job, is)| is.then_some(*job)).collect();
    if !forgotten.is_empty() {
        // No sweep names these any more.
        records.insert(0, Record::Remembered { cells: configurations(&forgotten), jobs: forgotten });
    }
    records.extend(restored);
    Ok(records)
}

/// Cells by their numbers, each with what its jobs build on, if they do: a cell, and which of its jobs' weights.
type Kinds = BTreeMap<i64, (CellId, Option<(CellId, EpochSelection)>)>;

/// What the jobs of a configuration build on. A configuration that this version cannot read is no worker's either.
fn origin(configuration: &str) -> Option<(CellId, EpochSelection)> {
    // Most have no parent, and to read them all takes a while.
    let reads = configuration.contains(r#""parent":{"#);
    reads.then(|| serde_json::from_str::<Configuration>(configuration).ok()?.origin()).flatten()
}

/// What one reading of all jobs gives, in the order of their numbers.
#[derive(Default)]
struct StoredJobs {
    numbers: Vec<i64>,
    jobs: Vec<NewJob>,
    /// Of those that do not stand as their submission made them.
    restored: Vec<Record>,
}

fn stored_jobs(connection: &Connection, version: u32, kinds: &Kinds) -> Result<StoredJobs> {
    let from = if version < 3 { older::states(version, "jobs") } else { "job_states".into() };
    let select = format!(
        "SELECT number, id, cell, seed, state, attempts, failures, reached_before, not_before, result, kept,
                failure_kind, failure
         FROM {from} ORDER BY number"
    );
    let (mut statement, mut attempts) = (connection.prepare(&select)?, Attempts::of(connection)?);
    let mut rows = statement.query([])?;
    let mut stored = StoredJobs::default();
    while let Some(row) = rows.next()? {
        let (number, cell, seed) = (row.get(0)?, row.get(2)?, row.get::<_, i64>(3)? as u64);
        let unknown = || rusqlite::Error::IntegralValueOutOfRange(2, cell);
        let (cell, parent) = kinds.get(&cell).ok_or_else(unknown)?;
        let origin = parent.map(|(parent, at)| Origin { job: Job::id_of(parent, seed), at });
        let job = NewJob { id: JobId::from_bytes(row.get(1)?), cell: *cell, seed, origin };
        stored.numbers.push(number);
        stored.jobs.push(job);
        stored.restored.extend(restored(row, number, job.id, &mut attempts)?);
    }
    Ok(stored)
}

/// What is looked up of few jobs only.
struct Attempts<'c> {
    current: Statement<'c>,
    reached: Statement<'c>,
}

impl<'c> Attempts<'c> {
    fn of(connection: &'c Connection) -> Result<Self> {
        let current = "SELECT worker, started FROM attempts WHERE job = ?1 AND attempt = ?2";
        let reached = "SELECT coalesce(max(epoch), 0) FROM epochs WHERE job = ?1";
        Ok(Attempts { current: connection.prepare(current)?, reached: connection.prepare(reached)? })
    }
}

/// How a job stands, unless it waits for its first attempt: then it is as its submission made it.
fn restored(row: &Row<'_>, number: i64, job: JobId, of: &mut Attempts<'_>) -> Result<Option<Record>> {
    let (attempts, failures) = (row.get(5)?, row.get(6)?);
    let state = match row.get_ref(4)?.as_str()? {
        "queued" if attempts == 0 => return Ok(None),
        "queued" => StoredState::Queued { not_before: time(row, 8)? },
        "running" => of.current.query_row(params![number, attempts], |attempt| {
            Ok(StoredState::Running { worker: WorkerName(attempt.get(0)?), at: time(attempt, 1)? })
        })?,
        "finished" => {
            let kept = row.get_ref(10)?.as_str_or_null()?.map(serde_json::from_str).transpose();
            let damaged = |error| rusqlite::Error::FromSqlConversionFailure(10, Type::Text, Box::new(error));
            StoredState::Finished { kept: kept.map_err(damaged)?.unwrap_or_default() }
        }
        "failed" => {
            let kind = row.get_ref(11)?.as_str()?;
            let kind = FailureKind::ALL.iter().copied().find(|known| known.name() == kind);
            StoredState::Failed(Failure::new(kind.unwrap_or(FailureKind::Infrastructure), row.get::<_, String>(12)?))
        }
        _ => StoredState::Dropped,
    };
    // How far a job came is wanted of those that may be tried again.
    let nowhere = attempts == 0 || matches!(state, StoredState::Finished { .. });
    let reached = if nowhere { 0 } else { of.reached.query_row([number], |row| row.get(0))? };
    let (reached, result) = ((reached, row.get(7)?), row.get(9)?);
    Ok(Some(Record::Restored { job, attempts, failures, reached, result, state }))
}

/// The jobs of a sweep, in its order; `job` gives the one that stands at a place of the jobs with these `numbers`.
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
    // They mostly stand one after another there too.
    let mut next = 0;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let place = match numbers.get(next) {
            Some(same) if *same == number => Ok(next),
            _ => numbers.binary_search(&number),
        };
        let place = place.map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))?;
        jobs.push(job(place));
        next = place + 1;
    }
    Ok(jobs)
}

fn time(row: &Row<'_>, column: usize) -> Result<WallTime> {
    Ok(WallTime(row.get::<_, i64>(column)? as u64))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

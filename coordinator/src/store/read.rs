//! Tables back into records, and into values for a report.

use super::{FILE, Store, StoreError, VERSION, open_to_read};
use plusminus_core::id::{CellId, JobId, SweepName, WorkerName};
use plusminus_core::job::{Configuration, Job};
use plusminus_core::metric::{At, Measurements, Metric, selected};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::schedule::{NewCell, NewJob, Origin, Record, StoredState, Time};
use rusqlite::{Connection, Result, Row, Rows, types::Type};
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
    version: u32,
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
        at: At,
    ) -> std::result::Result<BTreeMap<JobId, f64>, StoreError> {
        let query = || match at {
            At::Final | At::Best | At::BestValidation => self.stored(sweep, metric, at),
            // So many epochs as anybody may name, and of the lowest loss jobs know nothing that ended before it could be asked for.
            At::BestValidationLoss | At::LastMean(_) => self.computed(sweep, metric, at),
        };
        query().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))
    }

    fn stored(&self, sweep: &SweepName, metric: Metric, at: At) -> Result<BTreeMap<JobId, f64>> {
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

    fn computed(&self, sweep: &SweepName, metric: Metric, at: At) -> Result<BTreeMap<JobId, f64>> {
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
    let mut records = Vec::new();
    let mut statement = connection.prepare("SELECT id, configuration FROM cells")?;
    let cell = |row: &Row<'_>| {
        let configuration: String = row.get(1)?;
        Ok(NewCell { id: parsed(row, 0)?, configuration: configuration.into() })
    };
    let cells: BTreeMap<CellId, NewCell> =
        statement.query_map([], cell)?.map(|cell| cell.map(|cell| (cell.id, cell))).collect::<Result<_>>()?;
    let origins: Origins = cells.values().filter_map(|cell| Some((cell.id, origin(&cell.configuration)?))).collect();
    let configurations = |jobs: &[NewJob]| {
        let mut named: Vec<CellId> = jobs.iter().map(|job| job.cell).collect();
        // Jobs of a cell mostly stand side by side.
        named.dedup();
        let named: BTreeSet<CellId> = named.into_iter().collect();
        named.iter().filter_map(|cell| cells.get(cell).cloned()).collect()
    };
    let jobs = forgotten_jobs(connection, &origins)?;
    if !jobs.is_empty() {
        records.push(Record::Remembered { cells: configurations(&jobs), jobs });
    }
    let mut sweeps =
        connection.prepare("SELECT ordinal, name, source, submitted, cancelled FROM sweeps ORDER BY ordinal")?;
    let mut rows = sweeps.query([])?;
    while let Some(row) = rows.next()? {
        let jobs = jobs_of(connection, row.get(0)?, &origins)?;
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
    restored(connection, version, &mut records)?;
    Ok(records)
}

/// Where jobs build on others: their cell, the parent's cell, and which of its weights.
type Origins = BTreeMap<CellId, (CellId, At)>;

/// What the jobs of a configuration build on. A configuration that this version cannot read is no worker's either.
fn origin(configuration: &str) -> Option<(CellId, At)> {
    // Most have no parent, and to read them all takes a while.
    let reads = configuration.contains(r#""parent":{"#);
    reads.then(|| serde_json::from_str::<Configuration>(configuration).ok()?.origin()).flatten()
}

fn jobs_of(connection: &Connection, sweep: i64, origins: &Origins) -> Result<Vec<NewJob>> {
    let select = "SELECT jobs.id, jobs.cell, jobs.seed FROM sweep_jobs JOIN jobs ON jobs.number = sweep_jobs.job
                  WHERE sweep_jobs.sweep = ?1 ORDER BY sweep_jobs.position";
    let mut statement = connection.prepare_cached(select)?;
    jobs(statement.query([sweep])?, origins)
}

/// Jobs that no sweep names any more.
fn forgotten_jobs(connection: &Connection, origins: &Origins) -> Result<Vec<NewJob>> {
    let select = "SELECT id, cell, seed FROM jobs WHERE number NOT IN (SELECT job FROM sweep_jobs) ORDER BY number";
    jobs(connection.prepare(select)?.query([])?, origins)
}

fn jobs(mut rows: Rows<'_>, origins: &Origins) -> Result<Vec<NewJob>> {
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let (cell, seed) = (parsed(row, 1)?, row.get::<_, i64>(2)? as u64);
        let origin = origins.get(&cell).map(|(parent, at)| Origin { job: Job::id_of(*parent, seed), at: *at });
        jobs.push(NewJob { id: parsed(row, 0)?, cell, seed, origin });
    }
    Ok(jobs)
}

fn restored(connection: &Connection, version: u32, records: &mut Vec<Record>) -> Result<()> {
    // What version 1 did not count had not happened.
    let reached_before = if version < 2 { "0" } else { "jobs.reached_before" };
    // A job that waits for its first attempt is as its submission made it. What an attempt was is wanted of running jobs alone, and
    // how far a job came of those that have not finished.
    let select = format!(
        r#"SELECT jobs.id, jobs.state, jobs.attempts, jobs.failures, jobs.not_before, jobs.failure_kind, jobs.failure,
                attempts.worker, attempts.started,
                iif(instr(jobs.facts, '"kept"'), json_extract(jobs.facts, '$.kept'), NULL), jobs.facts IS NOT NULL,
                iif(jobs.state = 'finished', 0, coalesce((SELECT max(epoch) FROM epochs WHERE epochs.job = jobs.number), 0)),
                {reached_before}
         FROM jobs LEFT JOIN attempts
           ON jobs.state = 'running' AND attempts.job = jobs.number AND attempts.attempt = jobs.attempts
         WHERE jobs.state <> 'queued' OR jobs.attempts > 0 ORDER BY jobs.number"#
    );
    let mut statement = connection.prepare(&select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let state = match row.get_ref(1)?.as_str()? {
            "queued" => StoredState::Queued { not_before: time(row, 4)? },
            "running" => StoredState::Running { worker: WorkerName(row.get(7)?), at: time(row, 8)? },
            "finished" => {
                let kept: Option<String> = row.get(9)?;
                let kept = kept.as_deref().map(serde_json::from_str).transpose();
                let damaged = |error| rusqlite::Error::FromSqlConversionFailure(9, Type::Text, Box::new(error));
                StoredState::Finished { kept: kept.map_err(damaged)?.unwrap_or_default() }
            }
            "failed" => {
                let kind: String = row.get(5)?;
                let kind = FailureKind::ALL.iter().copied().find(|known| known.name() == kind);
                StoredState::Failed(Failure::new(kind.unwrap_or(FailureKind::Infrastructure), row.get::<_, String>(6)?))
            }
            _ => StoredState::Dropped,
        };
        let (attempts, failures, result) = (row.get(2)?, row.get(3)?, row.get(10)?);
        let reached = (row.get(11)?, row.get(12)?);
        records.push(Record::Restored { job: parsed(row, 0)?, attempts, failures, reached, result, state });
    }
    Ok(())
}

fn time(row: &Row<'_>, column: usize) -> Result<Time> {
    Ok(Time(row.get::<_, i64>(column)? as u64))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

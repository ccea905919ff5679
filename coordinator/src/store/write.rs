//! Writes records as rows.

use super::checksum::{self, EpochRow, ResultRow};
use super::database::Store;
use super::error::StoreError;
use plusminus_core::id::{AttemptId, CellId, JobId, SweepName};
use plusminus_core::metric::{Measurements, Metric, select};
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_core::scheduler::{Ending, NewCell, NewJob, Next, Place, Record, WallTime};
use rusqlite::{Connection, OptionalExtension, Result, params};
use serde::Serializer;
use std::collections::{BTreeMap, HashMap};

/// From this number of jobs on, the log of a submission is moved into the file after the submission has been answered.
pub(super) const LARGE_SUBMISSION: usize = 5_000;
/// The number of transactions after which the limit of the log follows the size of the file again.
const TRANSACTIONS_PER_RESIZE: u64 = 256;

impl Store {
    /// Writes `records` in one transaction. They are durable, and in the file that is on disk, when it returns. If it fails, the same call is
    /// to be repeated until it succeeds.
    ///
    /// # Errors
    /// If the disk is full or fails, or the files on disk are not the open ones.
    pub fn commit(&mut self, records: &[Record]) -> std::result::Result<(), StoreError> {
        if let Some(problem) = self.damage.get() {
            return Err(StoreError::Corrupt { path: self.path.clone(), problem: problem.clone() });
        }
        if !self.unconfirmed {
            self.check_log()?;
            self.tidy();
            let written = self.write(records);
            if written.is_err() {
                // The rows of jobs that the transaction inserted do not exist.
                self.numbers.clear();
            }
            self.files.note_length();
            written.map_err(|error| StoreError::from_sqlite(self.path.clone(), error))?;
            self.unconfirmed = true;
        }
        self.confirm()?;
        self.unconfirmed = false;
        Ok(())
    }

    fn write(&mut self, records: &[Record]) -> Result<()> {
        let is_large =
            |record: &Record| matches!(record, Record::Submitted { jobs, .. } if jobs.len() >= LARGE_SUBMISSION);
        if records.iter().any(is_large) {
            self.untidy = true;
            self.connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        }
        let transaction = self.connection.transaction()?;
        let mut writer = RecordWriter { connection: &transaction, numbers: &mut self.numbers };
        records.iter().try_for_each(|record| writer.record(record))?;
        transaction.commit()?;
        self.commits += 1;
        // An error here does not undo the commit.
        if self.commits.is_multiple_of(TRANSACTIONS_PER_RESIZE)
            && let Err(error) = self.keep_log_small()
        {
            tracing::debug!(%error, "cannot adapt the size of the store's log");
        }
        Ok(())
    }

    /// Moves the log of a large submission into the file. The log is as durable as the file, so no reply waits for this. It happens
    /// between two commits.
    pub fn tidy(&mut self) {
        if !std::mem::take(&mut self.untidy) {
            return;
        }
        let move_log = || self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = self.keep_log_small().and_then(|()| move_log()) {
            tracing::debug!(%error, "cannot move the store's log into its file");
        }
        self.files.note_length();
    }

    /// Moves the log into the file and truncates it, as far as possible now. A full disk may then have space for the next commit.
    pub fn make_room(&mut self) {
        // A log that was truncated by another program has pages of zeros, and a store that is not on disk needs no space.
        if self.unconfirmed || self.check_log().is_err() {
            return;
        }
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(%error, "cannot move the store's log into its file");
        }
        self.files.note_length();
    }
}

/// Writes records into an open transaction.
struct RecordWriter<'t> {
    connection: &'t Connection,
    /// The row numbers of running jobs.
    numbers: &'t mut HashMap<JobId, i64>,
}

impl RecordWriter<'_> {
    fn record(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Submitted { name, source, cells, jobs, requeued, dropped, at } => {
                self.submitted(name, source, cells, jobs, *at)?;
                requeued.iter().try_for_each(|job| self.requeue(*job))?;
                self.drop_jobs(dropped, *at)
            }
            Record::Cancelled { name, dropped, at } => {
                let cancel = "UPDATE sweeps SET cancelled = ?2, paused = NULL WHERE name = ?1 AND cancelled IS NULL";
                self.connection.prepare_cached(cancel)?.execute(params![name.as_str(), time(*at)])?;
                self.drop_jobs(dropped, *at)
            }
            Record::Assigned { attempt: AttemptId { job, attempt }, worker, at } => {
                let Some(number) = self.number(*job)? else { return Ok(()) };
                let begin = "UPDATE job_states SET state = 'running', attempts = ?2 WHERE number = ?1";
                self.connection.prepare_cached(begin)?.execute(params![number, attempt.0])?;
                let insert = "INSERT INTO attempts (job, attempt, worker, started) VALUES (?1, ?2, ?3, ?4)";
                self.connection.prepare_cached(insert)?.execute(params![number, attempt.0, worker.0, time(*at)])?;
                Ok(())
            }
            Record::Epoch { attempt: AttemptId { job, attempt }, epoch, measurements, at } => {
                let Some(number) = self.number(*job)? else { return Ok(()) };
                let insert = "INSERT OR REPLACE INTO epochs (job, attempt, epoch, at, measurements, checksum)
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let (attempt, epoch, at) = (i64::from(attempt.0), i64::from(*epoch), time(*at));
                let measurements = &*measurements_to_json(measurements)?;
                let checksum = EpochRow { attempt, epoch, at, measurements }.checksum(job.as_bytes());
                let row = params![number, attempt, epoch, at, measurements, checksum];
                self.connection.prepare_cached(insert)?.execute(row)?;
                Ok(())
            }
            Record::Ended { attempt: AttemptId { job, attempt }, ending, next, at } => {
                let Some(number) = self.number(*job)? else { return Ok(()) };
                let (how, message) = match ending {
                    Ending::Finished(_) => ("finished", None),
                    Ending::Failed(failure) => (failure.kind.name(), Some(&failure.message)),
                };
                let end = "UPDATE attempts SET ended = ?3, ending = ?4, message = ?5 WHERE job = ?1 AND attempt = ?2";
                self.connection.prepare_cached(end)?.execute(params![number, attempt.0, time(*at), how, message])?;
                self.ended(*job, number, attempt.0, ending, next)?;
                self.numbers.remove(job);
                Ok(())
            }
            Record::ParentUnavailable { jobs, failure, .. } => {
                jobs.iter().try_for_each(|job| match self.number(*job)? {
                    Some(number) => self.fail(number, failure),
                    None => Ok(()),
                })
            }
            Record::Requeued { job, .. } => self.requeue(*job),
            Record::DiedOn { job, failed_on } => {
                let update = "UPDATE job_states SET failed_on = ?2 WHERE id = ?1";
                let row = params![job.as_bytes(), places_to_json(failed_on)?];
                self.connection.prepare_cached(update)?.execute(row).map(drop)
            }
            Record::Paused { name, paused } => {
                let pause = "UPDATE sweeps SET paused = ?2 WHERE name = ?1";
                let row = params![name.as_str(), serde_json::to_string(paused).map_err(json)?];
                self.connection.prepare_cached(pause)?.execute(row).map(drop)
            }
            Record::Released { name } => {
                let release = "UPDATE sweeps SET paused = NULL WHERE name = ?1";
                self.connection.prepare_cached(release)?.execute([name.as_str()]).map(drop)
            }
            // The store returns these records and never receives them.
            Record::Unlisted { .. } | Record::Restored { .. } => Ok(()),
        }
    }

    /// The row number of the job. Records of unknown jobs are ignored, as in [`State::apply`].
    ///
    /// [`State::apply`]: plusminus_core::scheduler::State::apply
    fn number(&mut self, job: JobId) -> Result<Option<i64>> {
        if let Some(number) = self.numbers.get(&job) {
            return Ok(Some(*number));
        }
        let select = "SELECT number FROM job_states WHERE id = ?1";
        let number =
            self.connection.prepare_cached(select)?.query_row([job.as_bytes()], |row| row.get(0)).optional()?;
        if let Some(number) = number {
            self.numbers.insert(job, number);
        }
        Ok(number)
    }

    fn submitted(
        &mut self,
        name: &SweepName,
        source: &str,
        cells: &[NewCell],
        jobs: &[NewJob],
        at: WallTime,
    ) -> Result<()> {
        let insert = "INSERT OR IGNORE INTO cells (id, configuration) VALUES (?1, ?2)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for cell in cells {
            insert.execute(params![cell.id.to_string(), cell.configuration.as_ref()])?;
        }
        // A sweep that is submitted again keeps its rank.
        let sweep = "INSERT INTO sweeps (ordinal, name, source, submitted, checksum)
                     VALUES ((SELECT coalesce(max(ordinal) + 1, 0) FROM sweeps), ?1, ?2, ?3, ?4)
                     ON CONFLICT (name) DO UPDATE
                     SET source = ?2, submitted = ?3, cancelled = NULL, paused = NULL, checksum = ?4
                     RETURNING ordinal";
        let sweep = &mut self.connection.prepare_cached(sweep)?;
        let ordinal: i64 = {
            let checksum = checksum::of_sweep(name.as_str(), source);
            sweep.query_row(params![name.as_str(), source, time(at), checksum], |row| row.get(0))?
        };
        self.connection.prepare_cached("DELETE FROM sweep_jobs WHERE sweep = ?1")?.execute([ordinal])?;
        let mut cell_number = self.connection.prepare_cached("SELECT number FROM cells WHERE id = ?1")?;
        let job_row = "INSERT OR IGNORE INTO job_states (id, cell, seed) VALUES (?1, ?2, ?3)";
        let mut job_row = self.connection.prepare_cached(job_row)?;
        let mut known = self.connection.prepare_cached("SELECT number FROM job_states WHERE id = ?1")?;
        let place = "INSERT INTO sweep_jobs (sweep, position, job) VALUES (?1, ?2, ?3)";
        let mut place = self.connection.prepare_cached(place)?;
        // Jobs of a cell are mostly adjacent.
        let mut last: Option<(CellId, i64)> = None;
        for (position, job) in (0_i64..).zip(jobs) {
            let cell = match last {
                Some((cell, number)) if cell == job.cell => number,
                _ => cell_number.query_row([job.cell.to_string()], |row| row.get(0))?,
            };
            last = Some((job.cell, cell));
            let number: i64 = if job_row.execute(params![job.id.as_bytes(), cell, job.seed as i64])? > 0 {
                self.connection.last_insert_rowid()
            } else {
                known.query_row([job.id.as_bytes()], |row| row.get(0))?
            };
            place.execute([ordinal, position, number])?;
        }
        Ok(())
    }

    /// Queues a job. The facts of an earlier result stay, except for the weights that it saved.
    fn requeue(&mut self, job: JobId) -> Result<()> {
        let requeue =
            "UPDATE job_states SET state = 'queued', failures = 0, not_before = 0, failure_kind = NULL, failure = NULL,
                                   kept = NULL, failed_on = NULL
             WHERE id = ?1";
        self.connection.prepare_cached(requeue)?.execute([job.as_bytes()]).map(drop)
    }

    fn drop_jobs(&mut self, jobs: &[JobId], at: WallTime) -> Result<()> {
        let end = "UPDATE attempts SET ended = ?2, ending = 'cancelled', message = 'no sweep wanted it any more'
                   WHERE ended IS NULL AND (job, attempt) = (
                     SELECT number, attempts FROM job_states WHERE id = ?1 AND state = 'running')";
        let mut end = self.connection.prepare_cached(end)?;
        // A job with an earlier result keeps it, here and in `fail`.
        let drop_job = "UPDATE job_states SET state = iif(result, 'finished', 'dropped') WHERE id = ?1";
        let mut drop_job = self.connection.prepare_cached(drop_job)?;
        for job in jobs {
            end.execute(params![job.as_bytes(), time(at)])?;
            drop_job.execute([job.as_bytes()])?;
            self.numbers.remove(job);
        }
        Ok(())
    }

    fn ended(&self, job: JobId, number: i64, attempt: u32, ending: &Ending, next: &Next) -> Result<()> {
        match (next, ending) {
            (Next::Retry { not_before, failures, reached, failed_on }, _) => {
                let retry =
                    "UPDATE job_states SET state = 'queued', failures = ?2, not_before = ?3, reached_before = ?4,
                                                failed_on = ?5
                             WHERE number = ?1";
                let row = params![number, failures, time(*not_before), reached, places_to_json(failed_on)?];
                self.connection.prepare_cached(retry)?.execute(row)?;
            }
            (_, Ending::Failed(failure)) => {
                self.fail(number, failure)?;
                if failure.kind == FailureKind::Diverged && !self.has_result(number)? {
                    // A table may show the epochs before it diverged.
                    self.results(job, number, attempt)?;
                }
            }
            (_, Ending::Finished(facts)) => {
                let kept = (!facts.kept.is_empty()).then(|| serde_json::to_string(&facts.kept)).transpose();
                let finish = "UPDATE job_states SET state = 'finished', result = 1, kept = ?2 WHERE number = ?1";
                self.connection.prepare_cached(finish)?.execute(params![number, kept.map_err(json)?])?;
                let facts = match facts.kept.is_empty() {
                    true => serde_json::to_string(facts),
                    false => serde_json::to_string(&Facts { kept: BTreeMap::new(), ..Facts::clone(facts) }),
                };
                let facts = facts.map_err(json)?;
                let told = "INSERT OR REPLACE INTO job_facts (job, facts, checksum) VALUES (?1, ?2, ?3)";
                let row = params![number, facts, checksum::of_facts(job.as_bytes(), &facts)];
                self.connection.prepare_cached(told)?.execute(row)?;
                self.results(job, number, attempt)?;
            }
        }
        Ok(())
    }

    fn fail(&self, number: i64, failure: &Failure) -> Result<()> {
        let fail = "UPDATE job_states SET state = iif(result, 'finished', 'failed'),
                           failure_kind = iif(result, NULL, ?2), failure = iif(result, NULL, ?3)
                    WHERE number = ?1";
        let row = params![number, failure.kind.name(), failure.message];
        self.connection.prepare_cached(fail)?.execute(row).map(drop)
    }

    /// Whether the job has a result; it may have been retrained for its weights.
    fn has_result(&self, number: i64) -> Result<bool> {
        let select = "SELECT result FROM job_states WHERE number = ?1";
        self.connection.prepare_cached(select)?.query_row([number], |row| row.get(0))
    }

    /// Writes the value of each metric at each epoch selection for an attempt that has ended.
    fn results(&self, job: JobId, number: i64, attempt: u32) -> Result<()> {
        let select_epochs =
            "SELECT epoch, measurements, at, checksum FROM epochs WHERE job = ?1 AND attempt = ?2 ORDER BY epoch";
        let mut statement = self.connection.prepare_cached(select_epochs)?;
        let mut rows = statement.query(params![number, attempt])?;
        let mut epochs: Vec<(u32, Measurements)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (epoch, measurements) = (row.get::<_, u32>(0)?, row.get_ref(1)?.as_str()?);
            let content = EpochRow { attempt: attempt.into(), epoch: epoch.into(), at: row.get(2)?, measurements };
            content.check(job, row.get(3)?)?;
            epochs.push((epoch, measurements_from_json(measurements)?));
        }
        let insert =
            "INSERT OR REPLACE INTO results (job, at, metric, epoch, value, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for selected in select(&epochs) {
            let value = Some(selected.value).filter(|value| value.is_finite());
            let (at, metric, epoch) = (&*selected.at.name(), selected.metric.name(), i64::from(selected.epoch));
            let checksum = ResultRow { at, metric, epoch, value }.checksum(job.as_bytes());
            insert.execute(params![number, at, metric, epoch, value, checksum])?;
        }
        Ok(())
    }
}

fn time(time: WallTime) -> i64 {
    time.0 as i64
}

/// Null for no places.
fn places_to_json(places: &[Place]) -> Result<Option<String>> {
    (!places.is_empty()).then(|| serde_json::to_string(places)).transpose().map_err(json)
}

fn json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// A value that is not finite becomes null, since JSON has no other form for it.
fn measurements_to_json(measurements: &Measurements) -> Result<String> {
    let mut text = Vec::with_capacity(48 * measurements.len() + 2);
    let finite = measurements.iter().map(|(metric, value)| (metric.name(), Some(*value).filter(|v| v.is_finite())));
    serde_json::Serializer::new(&mut text).collect_map(finite).map_err(json)?;
    String::from_utf8(text).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(super) fn measurements_from_json(text: &str) -> Result<Measurements> {
    let values: BTreeMap<Metric, Option<f64>> = serde_json::from_str(text).map_err(json)?;
    Ok(values.into_iter().map(|(metric, value)| (metric, value.unwrap_or(f64::NAN))).collect())
}

//! Records into tables.

use super::{Store, StoreError};
use plusminus_core::id::JobId;
use plusminus_core::id::SweepName;
use plusminus_core::metric::{Measurements, select};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::schedule::{Ending, NewCell, NewJob, Next, Record, Time};
use rusqlite::{Result, Transaction, params};
use std::collections::BTreeMap;

impl Store {
    /// Writes `records` in one transaction. When it returns they are on the disk; if it fails, none is.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn commit(&mut self, records: &[Record]) -> std::result::Result<(), StoreError> {
        let path = self.path.clone();
        let mut write = || {
            let transaction = self.connection.transaction()?;
            records.iter().try_for_each(|record| write(&transaction, record))?;
            transaction.commit()
        };
        write().map_err(|error| StoreError::from_sqlite(path, error))
    }
}

fn write(transaction: &Transaction<'_>, record: &Record) -> Result<()> {
    match record {
        Record::Submitted { name, source, cells, jobs, requeued, dropped, at } => {
            submitted(transaction, name, source, cells, jobs, *at)?;
            requeued.iter().try_for_each(|job| requeue(transaction, *job))?;
            drop_jobs(transaction, dropped)
        }
        Record::Cancelled { name, dropped, at } => {
            let cancel = "UPDATE sweeps SET cancelled = ?2 WHERE name = ?1 AND cancelled IS NULL";
            transaction.prepare_cached(cancel)?.execute(params![name.as_str(), time(*at)])?;
            drop_jobs(transaction, dropped)
        }
        Record::Assigned { job, attempt, worker, at } => {
            let begin = "UPDATE jobs SET state = 'running', attempts = ?2 WHERE id = ?1";
            transaction.prepare_cached(begin)?.execute(params![job.to_string(), attempt.0])?;
            let insert = "INSERT INTO attempts (job, attempt, worker, started)
                          SELECT number, ?2, ?3, ?4 FROM jobs WHERE id = ?1";
            transaction.prepare_cached(insert)?.execute(params![job.to_string(), attempt.0, worker.0, time(*at)])?;
            Ok(())
        }
        Record::Epoch { job, attempt, epoch, measurements, at } => {
            let insert = "INSERT OR REPLACE INTO epochs (job, attempt, epoch, at, measurements)
                          SELECT number, ?2, ?3, ?4, ?5 FROM jobs WHERE id = ?1";
            let measurements = measurements_to_json(measurements);
            let row = params![job.to_string(), attempt.0, epoch, time(*at), measurements];
            transaction.prepare_cached(insert)?.execute(row)?;
            Ok(())
        }
        Record::Ended { job, attempt, ending, next, at } => {
            let (how, message) = match ending {
                Ending::Finished(_) => ("finished", None),
                Ending::Failed(failure) => (failure.kind.name(), Some(&failure.message)),
            };
            let end = "UPDATE attempts SET ended = ?3, ending = ?4, message = ?5
                       WHERE job = (SELECT number FROM jobs WHERE id = ?1) AND attempt = ?2";
            transaction.prepare_cached(end)?.execute(params![job.to_string(), attempt.0, time(*at), how, message])?;
            ended(transaction, *job, ending, *next)
        }
        Record::Stranded { jobs, failure, .. } => {
            jobs.iter().try_for_each(|job| fail(transaction, &job.to_string(), failure))
        }
        Record::Requeued { job, .. } => requeue(transaction, *job),
        // A store is never asked to take in what it gave out.
        Record::Remembered { .. } | Record::Restored { .. } => Ok(()),
    }
}

fn submitted(
    transaction: &Transaction<'_>,
    name: &SweepName,
    source: &str,
    cells: &[NewCell],
    jobs: &[NewJob],
    at: Time,
) -> Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO cells (id, configuration) VALUES (?1, ?2)")?;
    for cell in cells {
        insert.execute(params![cell.id.to_string(), cell.configuration.as_ref()])?;
    }
    // A sweep that is submitted again keeps its place.
    let sweep = "INSERT INTO sweeps (ordinal, name, source, submitted)
                 VALUES ((SELECT coalesce(max(ordinal) + 1, 0) FROM sweeps), ?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET source = ?2, submitted = ?3, cancelled = NULL
                 RETURNING ordinal";
    let ordinal: i64 =
        transaction.prepare_cached(sweep)?.query_row(params![name.as_str(), source, time(at)], |row| row.get(0))?;
    transaction.prepare_cached("DELETE FROM sweep_jobs WHERE sweep = ?1")?.execute([ordinal])?;
    let mut job_row = transaction.prepare_cached("INSERT OR IGNORE INTO jobs (id, cell, seed) VALUES (?1, ?2, ?3)")?;
    let place = "INSERT INTO sweep_jobs (sweep, position, job) SELECT ?1, ?2, number FROM jobs WHERE id = ?3";
    let mut place = transaction.prepare_cached(place)?;
    for (position, job) in jobs.iter().enumerate() {
        let id = job.id.to_string();
        job_row.execute(params![id, job.cell.to_string(), job.seed as i64])?;
        place.execute(params![ordinal, position as i64, id])?;
    }
    Ok(())
}

/// Queues a job, again perhaps: the facts of its result stay, but for the weights that it has left.
fn requeue(transaction: &Transaction<'_>, job: JobId) -> Result<()> {
    let requeue = "UPDATE jobs SET state = 'queued', failures = 0, not_before = 0, failure_kind = NULL, failure = NULL,
                          facts = json_remove(facts, '$.kept')
                   WHERE id = ?1";
    transaction.prepare_cached(requeue)?.execute([job.to_string()]).map(drop)
}

fn drop_jobs(transaction: &Transaction<'_>, jobs: &[JobId]) -> Result<()> {
    // What has a result from before keeps it, here and where a job fails.
    let drop_job = "UPDATE jobs SET state = iif(facts IS NULL, 'dropped', 'finished') WHERE id = ?1";
    let mut drop_job = transaction.prepare_cached(drop_job)?;
    jobs.iter().try_for_each(|job| drop_job.execute([job.to_string()]).map(drop))
}

fn ended(transaction: &Transaction<'_>, job: JobId, ending: &Ending, next: Next) -> Result<()> {
    let id = job.to_string();
    match (next, ending) {
        (Next::Retry { not_before, failures, reached }, _) => {
            let retry =
                "UPDATE jobs SET state = 'queued', failures = ?2, not_before = ?3, reached_before = ?4 WHERE id = ?1";
            transaction.prepare_cached(retry)?.execute(params![id, failures, time(not_before), reached])?;
        }
        (_, Ending::Failed(failure)) => {
            fail(transaction, &id, failure)?;
            if failure.kind == FailureKind::Diverged && !has_result(transaction, &id)? {
                // What it had reached may count.
                results(transaction, &id)?;
            }
        }
        (_, Ending::Finished(facts)) => {
            let facts = serde_json::to_string(facts).map_err(json)?;
            let finish = "UPDATE jobs SET state = 'finished', facts = ?2 WHERE id = ?1";
            transaction.prepare_cached(finish)?.execute(params![id, facts])?;
            results(transaction, &id)?;
        }
    }
    Ok(())
}

fn fail(transaction: &Transaction<'_>, id: &str, failure: &Failure) -> Result<()> {
    let fail = "UPDATE jobs SET state = iif(facts IS NULL, 'failed', 'finished'),
                       failure_kind = iif(facts IS NULL, ?2, NULL), failure = iif(facts IS NULL, ?3, NULL)
                WHERE id = ?1";
    transaction.prepare_cached(fail)?.execute(params![id, failure.kind.name(), failure.message]).map(drop)
}

/// Whether the job has its result, though it may have been trained again.
fn has_result(transaction: &Transaction<'_>, id: &str) -> Result<bool> {
    let select = "SELECT facts IS NOT NULL FROM jobs WHERE id = ?1";
    transaction.prepare_cached(select)?.query_row([id], |row| row.get(0))
}

/// Writes what each selection shows of the job's last attempt.
fn results(transaction: &Transaction<'_>, id: &str) -> Result<()> {
    let epochs = "SELECT epoch, measurements FROM epochs JOIN jobs ON jobs.number = epochs.job
                  WHERE jobs.id = ?1 AND epochs.attempt = jobs.attempts ORDER BY epoch";
    let mut epochs = transaction.prepare_cached(epochs)?;
    let rows = epochs.query_map([id], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?)))?;
    let epochs: Vec<(u32, Measurements)> = rows
        .map(|row| row.and_then(|(epoch, json)| Ok((epoch, measurements_from_json(&json)?))))
        .collect::<Result<_>>()?;
    let insert = "INSERT OR REPLACE INTO results (job, at, metric, epoch, value)
                  SELECT number, ?2, ?3, ?4, ?5 FROM jobs WHERE id = ?1";
    let mut insert = transaction.prepare_cached(insert)?;
    for selected in select(&epochs) {
        let value = Some(selected.value).filter(|value| value.is_finite());
        insert.execute(params![id, &*selected.at.name(), selected.metric.name(), selected.epoch, value])?;
    }
    Ok(())
}

fn time(time: Time) -> i64 {
    time.0 as i64
}

fn json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// A value that is not finite is written as null, which is all that JSON has for it.
fn measurements_to_json(measurements: &Measurements) -> String {
    let finite = measurements.iter().map(|(metric, value)| (metric.name(), Some(*value).filter(|v| v.is_finite())));
    serde_json::to_string(&finite.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

fn measurements_from_json(text: &str) -> Result<Measurements> {
    let values: BTreeMap<plusminus_core::metric::Metric, Option<f64>> = serde_json::from_str(text).map_err(json)?;
    Ok(values.into_iter().map(|(metric, value)| (metric, value.unwrap_or(f64::NAN))).collect())
}

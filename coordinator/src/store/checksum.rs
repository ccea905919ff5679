//! Checksums of the rows that tables are made from.
//!
//! SQLite does not notice a flipped bit in a value. Each row of `epochs`, `results`, `job_facts` and `sweeps` has a checksum over its content
//! and its job's id, so that a row of another job is noticed too: the first eight bytes of a BLAKE3 hash.

use super::error::DamagedRow;
use plusminus_core::id::JobId;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

/// The content of a row, as it is hashed.
struct Content(Vec<u8>);

impl Content {
    /// Different kinds of rows have different checksums.
    fn of(kind: u8, job: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(640);
        bytes.push(kind);
        Content(bytes).text(job)
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.0.extend_from_slice(text);
        self
    }

    fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn checksum(self) -> i64 {
        let hash = blake3::hash(&self.0);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        i64::from_le_bytes(first)
    }
}

/// A row of `epochs`.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochRow<'r> {
    pub attempt: i64,
    pub epoch: i64,
    pub at: i64,
    pub measurements: &'r str,
}

impl EpochRow<'_> {
    pub fn checksum(&self, job: &[u8]) -> i64 {
        let numbers = [self.attempt, self.epoch, self.at];
        let content = numbers.into_iter().fold(Content::of(b'e', job), Content::number);
        content.text(self.measurements.as_bytes()).checksum()
    }

    /// # Errors
    /// If the row has another checksum than its content.
    pub fn check(&self, job: JobId, stored: i64) -> std::result::Result<(), DamagedRow> {
        let name = || format!("epoch {} of attempt {} of job {job}", self.epoch, self.attempt);
        check(self.checksum(job.as_bytes()), stored, name)
    }
}

/// A row of `results`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResultRow<'r> {
    pub at: &'r str,
    pub metric: &'r str,
    pub epoch: i64,
    pub value: Option<f64>,
}

impl ResultRow<'_> {
    pub fn checksum(&self, job: &[u8]) -> i64 {
        let content = Content::of(b'r', job).text(self.at.as_bytes()).text(self.metric.as_bytes()).number(self.epoch);
        match self.value {
            // The sign of a zero is lost in SQLite, which keeps it as an integer.
            Some(value) => content.number((value + 0.0).to_bits().cast_signed()),
            None => content,
        }
        .checksum()
    }

    /// # Errors
    /// If the row has another checksum than its content.
    pub fn check(&self, job: JobId, stored: i64) -> std::result::Result<(), DamagedRow> {
        check(self.checksum(job.as_bytes()), stored, || format!("{} at `{}` of job {job}", self.metric, self.at))
    }
}

/// The checksum of a row of `job_facts`.
pub(super) fn of_facts(job: &[u8], facts: &str) -> i64 {
    Content::of(b'f', job).text(facts.as_bytes()).checksum()
}

/// The checksum of a row of `sweeps`.
pub(super) fn of_sweep(name: &str, source: &str) -> i64 {
    Content::of(b's', name.as_bytes()).text(source.as_bytes()).checksum()
}

/// # Errors
/// If the checksums differ. The error has the row's name.
pub(super) fn check(computed: i64, stored: i64, name: impl FnOnce() -> String) -> std::result::Result<(), DamagedRow> {
    if computed == stored { Ok(()) } else { Err(DamagedRow(name())) }
}

/// Gives SQLite functions that compute the checksums of rows of older versions.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("epoch_checksum", 5, flags, |row| {
        let [attempt, epoch, at] = [row.get(1)?, row.get(2)?, row.get(3)?];
        Ok(EpochRow { attempt, epoch, at, measurements: text(row, 4)? }.checksum(bytes(row, 0)))
    })?;
    connection.create_scalar_function("result_checksum", 5, flags, |row| {
        let [at, metric] = [text(row, 1)?, text(row, 2)?];
        Ok(ResultRow { at, metric, epoch: row.get(3)?, value: row.get(4)? }.checksum(bytes(row, 0)))
    })?;
    connection.create_scalar_function("facts_checksum", 2, flags, |row| Ok(of_facts(bytes(row, 0), text(row, 1)?)))?;
    connection.create_scalar_function("sweep_checksum", 2, flags, |row| Ok(of_sweep(text(row, 0)?, text(row, 1)?)))
}

fn text<'r>(row: &'r Context<'_>, argument: usize) -> Result<&'r str> {
    Ok(row.get_raw(argument).as_str()?)
}

/// The id of a job; empty if the row's job does not exist.
fn bytes<'r>(row: &'r Context<'_>, argument: usize) -> &'r [u8] {
    match row.get_raw(argument) {
        ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

//! Checks a whole state directory or backup, also beside a running coordinator.

use super::backup::WEIGHTS;
use super::backup_error::BackupError;
use super::connection::disk_failure;
use super::error::StoreError;
use super::manifest::{self, Manifest};
use super::read::Reader;
use super::rows::{self, Rows};
use plusminus_core::id::Digest;
use plusminus_core::scheduler::{Record, StoredState};
use plusminus_proto::weights;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// The most faults that are described.
const DESCRIBED: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The rows that were checked.
    pub rows: Rows,
    /// The weights files that were checked.
    pub weights: u64,
    /// Weights files that the store refers to and that do not exist. They are trained again if a child job needs them.
    pub missing_weights: u64,
    /// The number of files that the manifest of a backup lists; nothing if there is no manifest.
    pub manifest: Option<u64>,
    /// All faults.
    pub fault_count: u64,
    /// The first faults, each in one sentence.
    pub faults: Vec<String>,
    /// Whether the rows have checksums: those of older versions have none.
    pub has_checksums: bool,
}

impl Verified {
    fn fault(&mut self, fault: String) {
        self.fault_count += 1;
        if self.faults.len() < DESCRIBED {
            self.faults.push(fault);
        }
    }
}

/// Checks the state directory or backup `directory` without changing it.
///
/// # Errors
/// If there is no store, or it cannot be read at all.
pub fn verify(directory: &Path) -> Result<Verified, BackupError> {
    let mut verified = Verified::default();
    if let Some(manifest) = Manifest::read(directory)? {
        verified.manifest = Some(manifest.files.len() as u64);
        for (path, problem) in manifest.differences(directory) {
            verified.fault(format!("{}: {problem}", path.display()));
        }
    }
    let reader = Reader::open(directory)?;
    verified.has_checksums = reader.version >= 4;
    check_structure(&reader, &mut verified)?;
    let checked = rows::check(&reader.connection, reader.version, &mut |row| verified.fault(row));
    match checked {
        Ok(rows) => verified.rows = rows,
        Err(error) => verified.fault(damage(&reader, error)?),
    }
    match reader.records() {
        Ok(records) => check_weights(directory, &records, &mut verified)?,
        Err(error) if error.may_pass() => return Err(error.into()),
        Err(error) => verified.fault(error.to_string()),
    }
    Ok(verified)
}

/// SQLite's own checks.
fn check_structure(reader: &Reader, verified: &mut Verified) -> Result<(), StoreError> {
    let checks = || -> rusqlite::Result<Vec<String>> {
        let mut found = described(reader, "PRAGMA integrity_check(100)", |row| row.get(0))?;
        found.retain(|text| text != "ok");
        if let Some(error) = found.iter().find_map(|text| disk_failure(text)) {
            return Err(error);
        }
        found.extend(described(reader, "SELECT * FROM pragma_foreign_key_check LIMIT 100", |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of `{table}` refers to a row of `{parent}` that does not exist"))
        })?);
        Ok(found)
    };
    match checks() {
        Ok(found) => found.into_iter().for_each(|text| verified.fault(text)),
        Err(error) => verified.fault(damage(reader, error)?),
    }
    Ok(())
}

/// The rows of a statement as texts.
fn described(
    reader: &Reader,
    statement: &str,
    describe: fn(&rusqlite::Row<'_>) -> rusqlite::Result<String>,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = reader.connection.prepare(statement)?;
    let mut rows = statement.query([])?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next()? {
        texts.push(describe(row)?);
    }
    Ok(texts)
}

/// The damage that an error is about.
fn damage(reader: &Reader, error: rusqlite::Error) -> Result<String, StoreError> {
    match StoreError::from_sqlite(reader.path.clone(), error) {
        StoreError::Corrupt { problem, .. } => Ok(problem),
        other => Err(other),
    }
}

fn check_weights(directory: &Path, records: &[Record], verified: &mut Verified) -> Result<(), BackupError> {
    let kept = records.iter().filter_map(|record| match record {
        Record::Restored { state: StoredState::Finished { kept }, .. } => Some(kept.values().copied()),
        _ => None,
    });
    let digests: BTreeSet<Digest> = kept.flatten().collect();
    for expected in digests {
        let path = weights::path(&directory.join(WEIGHTS), expected);
        match manifest::digest(&path) {
            Ok(found) if found == expected => verified.weights += 1,
            Ok(found) => verified.fault(format!("{}: expected the digest {expected}, found {found}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => verified.missing_weights += 1,
            Err(error) => return Err(BackupError::Disk { path, error }),
        }
    }
    Ok(())
}

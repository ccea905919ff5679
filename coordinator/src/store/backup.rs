//! Backups of a state directory, and their restoration.
//!
//! A backup is itself a state directory, so `plusminus table` can read it. It can be taken while a coordinator runs. It is written under
//! another name and renamed when it is complete.

use super::connection::{FILE, VERSION, lock, version};
use super::error::StoreError;
use super::read::Reader;
use plusminus_core::id::Digest;
use plusminus_core::scheduler::{Record, StoredState};
use plusminus_proto::weights::{self, ReceiveError};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The directory of kept weights in a state directory.
pub const WEIGHTS: &str = "weights";
/// The suffix of an incomplete copy.
const UNFINISHED: &str = ".part";
/// The suffix of a store that a restoration replaced.
const REPLACED: &str = ".replaced";
/// The suffixes of the files in which SQLite keeps a store.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// The contents of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Sweeps in the store.
    pub sweeps: usize,
    /// Jobs with a result.
    pub finished: usize,
    /// Weights files.
    pub weights: usize,
    /// Weights files that the store refers to and that are missing or damaged. Their jobs are retrained if a child needs them.
    pub missing: usize,
    /// The new path of a store that was replaced.
    pub replaced: Option<PathBuf>,
}

/// Why a backup or a restoration failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One of the stores cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target of the backup exists.
    #[error("{0} already exists; give the backup the name of a new directory")]
    Exists(PathBuf),
    /// There is no backup.
    #[error("{0} is no backup: it contains no {FILE}; give a directory that `plusminus backup` wrote")]
    NoBackup(PathBuf),
    /// The state directory contains sweeps.
    #[error(
        "the state directory {path} contains sweeps ({names}); give another --state, or --force to replace them with the backup"
    )]
    HasSweeps {
        /// The directory.
        path: PathBuf,
        /// The names of its sweeps.
        names: String,
    },
    /// A file cannot be read or written.
    #[error("cannot copy to {path}: {error}")]
    Disk {
        /// The target.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
    move |error| BackupError::Disk { path: path.to_owned(), error }
}

/// Copies the state directory `state`, which a coordinator may have open, to a new directory `to`. The copy is durable when it returns.
///
/// # Errors
/// If there is no store, `to` exists, or the disk fails.
pub fn backup(state: &Path, to: &Path) -> Result<Copied, BackupError> {
    // Without a trailing slash, so that the suffix of the incomplete copy is appended to the name.
    let to = &to.components().collect::<PathBuf>();
    // Fails with the reason if there is no store.
    Reader::open(state)?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let incomplete = with(to, UNFINISHED);
    // Removes what an interrupted backup left.
    weights::if_there(fs::remove_dir_all(&incomplete)).map_err(disk(&incomplete))?;
    plusminus_files::create_dir(&incomplete).map_err(disk(&incomplete))?;
    let copied = copy(state, &incomplete);
    if copied.is_err() {
        // The first error matters more than a failed removal.
        let _ = fs::remove_dir_all(&incomplete);
    }
    let copied = copied?;
    fs::rename(&incomplete, to).map_err(disk(to))?;
    sync_parent(to)?;
    Ok(copied)
}

fn copy(state: &Path, to: &Path) -> Result<Copied, BackupError> {
    let store = to.join(FILE);
    vacuum(&state.join(FILE), &store)?;
    let (mut copied, named) = checked(&store)?;
    // Weights arrive at the coordinator before the report that refers to them, so all weights that this copy refers to existed when it
    // was made.
    copy_weights(&named, state, to, &mut copied)?;
    sync(to)?;
    Ok(copied)
}

/// Copies a consistent snapshot of a store.
fn vacuum(from: &Path, to: &Path) -> Result<(), BackupError> {
    // SQLite accepts an empty file and keeps its mode.
    plusminus_files::create(to).map_err(disk(to))?;
    let copied = open(from)?.execute("VACUUM INTO ?1", [to.to_string_lossy()]);
    copied.map_err(|error| StoreError::from_sqlite(to.to_owned(), error))?;
    sync(to)
}

/// Copies the weights files, and verifies the digest of each.
fn copy_weights(named: &BTreeSet<Digest>, from: &Path, to: &Path, copied: &mut Copied) -> Result<(), BackupError> {
    let (from, to) = (from.join(WEIGHTS), to.join(WEIGHTS));
    for digest in named {
        let parts = weights::if_there(weights::parts(&from, *digest)).map_err(disk(&from))?;
        let received = parts.map(|parts| weights::receive(&to, *digest, parts.map_while(Result::ok)));
        match received {
            Some(Ok(())) => copied.weights += 1,
            None | Some(Err(ReceiveError::Other { .. } | ReceiveError::TooLong)) => copied.missing += 1,
            Some(Err(ReceiveError::Disk { path, error })) => return Err(BackupError::Disk { path, error }),
        }
    }
    Ok(())
}

/// Restores the backup `from` to the state directory `state`, after a check of the backup. With `force` it replaces a store that has
/// sweeps; the old store is kept beside it.
///
/// # Errors
/// If the backup is damaged, a coordinator runs on the state directory, the directory contains sweeps, or the disk fails.
pub fn restore(from: &Path, state: &Path, force: bool) -> Result<Copied, BackupError> {
    let source = from.join(FILE);
    if !source.is_file() {
        return Err(BackupError::NoBackup(from.to_owned()));
    }
    let (mut copied, named) = checked(&source)?;
    plusminus_files::own_dir(state).map_err(disk(state))?;
    // From here on no coordinator can open the directory.
    let _lock = lock(state)?;
    let place = state.join(FILE);
    if !force && let Some(names) = sweeps(state, &place)? {
        return Err(BackupError::HasSweeps { path: state.to_owned(), names });
    }
    let incomplete = with(&place, UNFINISHED);
    weights::if_there(fs::remove_file(&incomplete)).map_err(disk(&incomplete))?;
    vacuum(&source, &incomplete)?;
    end_attempts(&incomplete)?;
    copy_weights(&named, from, state, &mut copied)?;
    // A log without its store would be taken for the log of the restored store.
    if FILES.iter().any(|suffix| with(&place, suffix).exists()) {
        copied.replaced = Some(rename_replaced(&place)?);
    }
    fs::rename(&incomplete, &place).map_err(disk(&place))?;
    sync(state)?;
    Ok(copied)
}

/// Ends the attempts that ran when the backup was made, and skips attempt numbers. Reports of these attempts, and of attempts that were
/// started after the backup, are then stale: a job that continued with them would lack the epochs in between.
fn end_attempts(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(path.to_owned(), error);
    let connection = open(path)?;
    // A backup of an older version is migrated when it is opened.
    let jobs = if version(&connection).map_err(failed)? < 3 { "jobs" } else { "job_states" };
    let end = format!(
        "UPDATE attempts SET ended = started, ending = 'preempted', message = 'a backup was put back'
               WHERE (job, attempt) IN (SELECT number, attempts FROM {jobs} WHERE state = 'running');
               UPDATE {jobs} SET state = 'queued', not_before = 0 WHERE state = 'running';
               UPDATE {jobs} SET attempts = attempts + 1000;"
    );
    connection.execute_batch(&format!("BEGIN; {end} COMMIT;")).map_err(failed)
}

/// The names of the sweeps of the store at `place`, if it has any. For a store that cannot be read, the error.
fn sweeps(state: &Path, place: &Path) -> Result<Option<String>, BackupError> {
    if !place.exists() {
        return Ok(None);
    }
    let names = match Reader::open(state).and_then(|reader| reader.records()) {
        Ok(records) => {
            let name = |record| if let Record::Submitted { name, .. } = record { Some(name.to_string()) } else { None };
            records.into_iter().filter_map(name).collect::<Vec<_>>().join(", ")
        }
        Err(StoreError::Absent(_)) => String::new(),
        Err(error) => error.to_string(),
    };
    Ok(Some(names).filter(|names| !names.is_empty()))
}

/// Renames the store at `place` with its log, and returns the new path.
fn rename_replaced(place: &Path) -> Result<PathBuf, BackupError> {
    let aside = with(place, REPLACED);
    if place.exists() {
        for suffix in FILES {
            weights::if_there(fs::remove_file(with(&aside, suffix))).map_err(disk(&aside))?;
        }
    }
    // The log is renamed last: a store without its log would have an older state.
    for suffix in FILES {
        weights::if_there(fs::rename(with(place, suffix), with(&aside, suffix))).map_err(disk(&aside))?;
    }
    Ok(aside)
}

/// Checks the store at `path`. Returns its contents and the weights that it refers to.
fn checked(path: &Path) -> Result<(Copied, BTreeSet<Digest>), StoreError> {
    let failed = |error| StoreError::from_sqlite(path.to_owned(), error);
    let connection = open(path)?;
    let problem = |found: &str| StoreError::Corrupt { path: path.to_owned(), problem: found.to_owned() };
    match version(&connection).map_err(failed)? {
        0 => return Err(problem("it contains no tables")),
        1..=VERSION => {}
        found => return Err(StoreError::TooNew { path: path.to_owned(), found, known: VERSION }),
    }
    let check = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    let found = check.map_err(failed)?;
    if found != "ok" {
        return Err(problem(&found));
    }
    drop(connection);
    let (mut copied, mut digests) = (Copied::default(), BTreeSet::new());
    for record in Reader::at(path.to_owned())?.records()? {
        match record {
            Record::Submitted { .. } => copied.sweeps += 1,
            Record::Restored { result, state, .. } => {
                copied.finished += usize::from(result);
                if let StoredState::Finished { kept } = state {
                    digests.extend(kept.values());
                }
            }
            _ => {}
        }
    }
    Ok((copied, digests))
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let open = |flags| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let opened = open(OpenFlags::SQLITE_OPEN_READ_WRITE).or_else(|_| open(OpenFlags::SQLITE_OPEN_READ_ONLY));
    opened.map_err(|error| StoreError::from_sqlite(path.to_owned(), error))
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(disk(path))
}

/// Makes a rename of `path` durable by syncing its directory.
fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

//! Backups of a state directory, and their restoration.
//!
//! A backup is itself a state directory, so `plusminus table` can read it. It can be taken while a coordinator runs. It is written under
//! another name and renamed when it is complete.

pub use super::backup_error::BackupError;
use super::connection::{FILE, VERSION, check_length, disk_failure, path_text, version};
use super::error::StoreError;
use super::lock::DirectoryLock;
use super::manifest::Manifest;
use super::read::Reader;
use super::rows;
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
    /// Whether the backup has no manifest, so that only its structure could be checked.
    pub unverified: bool,
    /// The new path of a store that was replaced.
    pub replaced: Option<PathBuf>,
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
    check_length(&incomplete)?;
    // SQLite fills an empty file, and keeps its permissions.
    plusminus_files::create(&incomplete.join(FILE)).map_err(disk(&incomplete))?;
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
    let (mut copied, named, version) = checked(&store)?;
    // Weights arrive at the coordinator before the report that refers to them, so all weights that this copy refers to existed when it
    // was made.
    let weights = copy_weights(&named, state, to, &mut copied)?;
    let names = weights.iter().map(|digest| format!("{WEIGHTS}/{}", digest.file_name()));
    let identity = Reader::at(store)?.identity()?;
    Manifest::of(to, identity, version, names.chain([FILE.to_owned()]))?.write(to)?;
    sync(to)?;
    Ok(copied)
}

/// Copies a consistent snapshot of a store.
fn vacuum(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copied = open(from)?.execute("VACUUM INTO ?1", [path_text(to)]);
    copied.map_err(|error| StoreError::from_sqlite(to.to_owned(), error))?;
    sync(to)
}

/// Copies the weights files, and verifies the digest of each. Returns those that are whole.
fn copy_weights(
    named: &BTreeSet<Digest>,
    from: &Path,
    to: &Path,
    copied: &mut Copied,
) -> Result<Vec<Digest>, BackupError> {
    let mut whole = Vec::new();
    let (from, to) = (from.join(WEIGHTS), to.join(WEIGHTS));
    for digest in named {
        let parts = weights::if_there(weights::parts(&from, *digest)).map_err(disk(&from))?;
        let received = parts.map(|parts| weights::receive(&to, *digest, parts.map_while(Result::ok)));
        match received {
            Some(Ok(())) => whole.push(*digest),
            None | Some(Err(ReceiveError::Other { .. } | ReceiveError::TooLong)) => copied.missing += 1,
            Some(Err(ReceiveError::Disk { path, error })) => return Err(BackupError::Disk { path, error }),
        }
    }
    copied.weights = whole.len();
    Ok(whole)
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
    let manifest = Manifest::read(from)?;
    if let Some((path, problem)) = manifest.as_ref().and_then(|manifest| manifest.differences(from).next()) {
        return Err(BackupError::Changed { path, problem });
    }
    let (mut copied, named, _) = checked(&source)?;
    verify_rows(&source)?;
    copied.unverified = manifest.is_none();
    plusminus_files::create_dir(state).map_err(disk(state))?;
    check_length(state)?;
    // From here on no coordinator can open the directory.
    let _lock = DirectoryLock::with_any_store(state)?;
    let place = state.join(FILE);
    if !force && let Some(names) = sweeps(state, &place)? {
        return Err(BackupError::HasSweeps { path: state.to_owned(), names });
    }
    let incomplete = with(&place, UNFINISHED);
    weights::if_there(fs::remove_file(&incomplete)).map_err(disk(&incomplete))?;
    plusminus_files::create(&incomplete).map_err(disk(&incomplete))?;
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

/// Checks the rows of the store at `path` against their checksums.
fn verify_rows(path: &Path) -> Result<(), StoreError> {
    let reader = Reader::at(path.to_owned())?;
    // Rows of older versions have no checksums.
    if reader.version < VERSION {
        return Ok(());
    }
    let mut first = None;
    rows::check(&reader.connection, reader.version, &mut |row| first = first.take().or(Some(row)))
        .map_err(|error| StoreError::from_sqlite(path.to_owned(), error))?;
    first.map_or(Ok(()), |row| Err(reader.damaged(row)))
}

/// Checks the store at `path`. Returns its contents, the weights that it refers to, and its version.
fn checked(path: &Path) -> Result<(Copied, BTreeSet<Digest>, u32), StoreError> {
    let failed = |error| StoreError::from_sqlite(path.to_owned(), error);
    let connection = open(path)?;
    let problem = |found: &str| StoreError::Corrupt { path: path.to_owned(), problem: found.to_owned() };
    let version = match version(&connection).map_err(failed)? {
        0 => return Err(problem("it contains no tables")),
        known @ 1..=VERSION => known,
        found => return Err(StoreError::TooNew { path: path.to_owned(), found, known: VERSION }),
    };
    let check = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    let found = check.map_err(failed)?;
    if let Some(error) = disk_failure(&found) {
        return Err(failed(error));
    }
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
    Ok((copied, digests, version))
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

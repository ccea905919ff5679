//! A copy of a state directory, and back.
//!
//! A backup is itself a state directory: tables can be had from it. It is taken while a coordinator runs, or of a directory at rest,
//! and made under another name until it is whole.

use super::{FILE, Reader, StoreError, VERSION, lock, version};
use plusminus_core::id::Digest;
use plusminus_core::scheduler::{Record, StoredState};
use plusminus_proto::weights::{self, ReceiveError};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where in a state directory weights lie that jobs have left for others.
pub const WEIGHTS: &str = "weights";
/// What is added to the name of what is not whole yet.
const UNFINISHED: &str = ".part";
/// What is added to the name of a store that another was put in the place of.
const REPLACED: &str = ".replaced";
/// The files that SQLite keeps a store in, by what is added to its name.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// What a copy holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Sweeps in the store.
    pub sweeps: usize,
    /// Jobs with a result.
    pub finished: usize,
    /// Files of weights.
    pub weights: usize,
    /// Files of weights that the store names and that are not there, or are damaged. The jobs that left them are trained again when
    /// they are wanted.
    pub missing: usize,
    /// Where the store lies that was there before.
    pub replaced: Option<PathBuf>,
}

/// Why a state directory cannot be copied or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One of the stores cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something lies where the backup is to be made.
    #[error("{0} is there already; give a backup the name of a directory that is yet to be made")]
    Exists(PathBuf),
    /// There is no backup.
    #[error("there is no backup in {0}: it has no {FILE}; give the directory that `plusminus backup` has made")]
    NoBackup(PathBuf),
    /// It would be put in the place of sweeps.
    #[error(
        "the state directory {path} has sweeps of its own ({names}); give another --state, or --force to put the backup in their place"
    )]
    HasSweeps {
        /// The directory.
        path: PathBuf,
        /// Their names.
        names: String,
    },
    /// A file cannot be read or written.
    #[error("cannot copy to {path}: {error}")]
    Disk {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
    move |error| BackupError::Disk { path: path.to_owned(), error }
}

/// Copies the state directory `state`, which a coordinator may be writing to, into a directory `to` that is yet to be made. When it
/// returns the copy is on the disk.
///
/// # Errors
/// If there is nothing to copy, something is there already, or the disk fails.
pub fn backup(state: &Path, to: &Path) -> Result<Copied, BackupError> {
    // Without a slash at its end, or what is unfinished would lie within.
    let to = &to.components().collect::<PathBuf>();
    // Says why, if there is no store.
    Reader::open(state)?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let unfinished = with(to, UNFINISHED);
    // What a backup that was cut off has left.
    weights::if_there(fs::remove_dir_all(&unfinished)).map_err(disk(&unfinished))?;
    fs::create_dir_all(&unfinished).map_err(disk(&unfinished))?;
    let copied = copy(state, &unfinished);
    if copied.is_err() {
        // The error says more than that this could not be removed.
        let _ = fs::remove_dir_all(&unfinished);
    }
    let copied = copied?;
    fs::rename(&unfinished, to).map_err(disk(to))?;
    sync_parent(to)?;
    Ok(copied)
}

fn copy(state: &Path, to: &Path) -> Result<Copied, BackupError> {
    let store = to.join(FILE);
    vacuum(&state.join(FILE), &store)?;
    let (mut copied, named) = checked(&store)?;
    // Weights are with the coordinator before an ending names them, so what this copy names was there when it was made.
    copy_weights(&named, state, to, &mut copied)?;
    sync(to)?;
    Ok(copied)
}

/// Copies a store as it is at one moment, whatever is written to it meanwhile.
fn vacuum(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copied = open(from)?.execute("VACUUM INTO ?1", [to.to_string_lossy()]);
    copied.map_err(|error| StoreError::from_sqlite(to.to_owned(), error))?;
    sync(to)
}

/// Copies the files of weights that are whole, each checked on its way.
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

/// Puts the backup `from` into the state directory `state`, once it has been found to be whole. With `force` also in the place of a
/// store that has sweeps, which is kept beside it.
///
/// # Errors
/// If the backup is damaged, a coordinator runs on the directory, it has sweeps, or the disk fails.
pub fn restore(from: &Path, state: &Path, force: bool) -> Result<Copied, BackupError> {
    let source = from.join(FILE);
    if !source.is_file() {
        return Err(BackupError::NoBackup(from.to_owned()));
    }
    let (mut copied, named) = checked(&source)?;
    fs::create_dir_all(state).map_err(disk(state))?;
    // Nobody else may use the directory from here on.
    let _lock = lock(state)?;
    let place = state.join(FILE);
    if !force && let Some(names) = sweeps(state, &place)? {
        return Err(BackupError::HasSweeps { path: state.to_owned(), names });
    }
    let unfinished = with(&place, UNFINISHED);
    weights::if_there(fs::remove_file(&unfinished)).map_err(disk(&unfinished))?;
    vacuum(&source, &unfinished)?;
    end_attempts(&unfinished)?;
    copy_weights(&named, from, state, &mut copied)?;
    // A log alone would be taken for that of the store that is put there.
    if FILES.iter().any(|suffix| with(&place, suffix).exists()) {
        copied.replaced = Some(set_aside(&place)?);
    }
    fs::rename(&unfinished, &place).map_err(disk(&place))?;
    sync(state)?;
    Ok(copied)
}

/// Ends the attempts that ran when the backup was made, and leaves out numbers: what they, and those that were made since, have still to say is
/// of a time that the store knows nothing of. A job that went on after that would lack the epochs between.
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

/// The names of the sweeps of the store at `place`, if it has any. One that cannot be read may have some.
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

/// Moves the store at `place` out of the way, with the log that belongs to it, and says where to.
fn set_aside(place: &Path) -> Result<PathBuf, BackupError> {
    let aside = with(place, REPLACED);
    if place.exists() {
        for suffix in FILES {
            weights::if_there(fs::remove_file(with(&aside, suffix))).map_err(disk(&aside))?;
        }
    }
    // Its log goes last: a store without its log would be an older one.
    for suffix in FILES {
        weights::if_there(fs::rename(with(place, suffix), with(&aside, suffix))).map_err(disk(&aside))?;
    }
    Ok(aside)
}

/// Reads the whole store at `path` and says what it holds, and which weights it names.
fn checked(path: &Path) -> Result<(Copied, BTreeSet<Digest>), StoreError> {
    let failed = |error| StoreError::from_sqlite(path.to_owned(), error);
    let connection = open(path)?;
    let problem = |found: &str| StoreError::Corrupt { path: path.to_owned(), problem: found.to_owned() };
    match version(&connection).map_err(failed)? {
        0 => return Err(problem("it has no tables")),
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

/// The new name of `path` is on the disk once its directory is.
fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

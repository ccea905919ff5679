//! Whether the open files of a store are still the files on disk.
//!
//! A purge of old files, a careless `rm` or a restored copy can remove or replace the files under a running coordinator. SQLite goes on
//! writing to the files that it has open, and these end with the process. So the names are compared with the open files after every
//! commit, before anything is acknowledged.

use super::error::StoreError;
use super::lock::DirectoryLock;
use super::platform::{FileId, metadata};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

const PUT_BACK: &str = "put the same file back, and the coordinator goes on; or stop the coordinator and restore a backup with `plusminus restore`";
const RESTORE: &str = "stop the coordinator and restore a backup with `plusminus restore BACKUP --state DIR --force`";
const RESTART: &str = "stop the coordinator and start it again; what it acknowledged is in the store";
const CUT_OFF: &str = "stop the coordinator and start it again: jobs whose latest results were in the log are trained again; or restore a backup";
const OTHER: &str = "stop the other process, and the coordinator goes on";

/// The files of an open store.
pub(super) struct OpenFiles {
    /// The store's path as it was opened.
    path: PathBuf,
    store: FileId,
    /// The longest length of the store's file so far. SQLite does not shorten it while a coordinator has it open.
    store_length: u64,
    /// Nothing on a file system where SQLite cannot share memory.
    log: Option<Companion>,
    index: Option<Companion>,
    lock: DirectoryLock,
    /// The length of the log after the last commit.
    log_length: u64,
}

/// A file that SQLite keeps beside the store as long as the store is open.
struct Companion {
    path: PathBuf,
    file: FileId,
}

impl Companion {
    fn of(store: &Path, suffix: &str) -> io::Result<Option<Companion>> {
        let mut path = OsString::from(store);
        path.push(suffix);
        let path = PathBuf::from(path);
        Ok(FileId::at(&path)?.map(|file| Companion { path, file }))
    }
}

/// What is wrong with the files.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store's file is missing or another one.
    Store(String),
    /// The store's file was made shorter.
    Truncated,
    /// The log is missing or another one. SQLite still has it open.
    Log(String),
    /// The index of the log is missing or another one.
    Index(String),
    /// Another process has the lock.
    Lock,
    /// The system does not answer.
    Failed(io::Error),
}

impl OpenFiles {
    /// The files of the store at `path`, which SQLite has open.
    pub fn of(path: PathBuf, lock: DirectoryLock) -> io::Result<Self> {
        // SQLite follows symbolic links.
        let real = path.canonicalize()?;
        let store = FileId::at(&path)?.ok_or(io::ErrorKind::NotFound)?;
        let [log, index] = ["-wal", "-shm"].map(|suffix| Companion::of(&real, suffix));
        let mut files = OpenFiles { path, store, store_length: 0, log: log?, index: index?, lock, log_length: 0 };
        files.note_length();
        Ok(files)
    }

    /// Notes the length of the log after a commit.
    pub fn note_length(&mut self) {
        self.log_length = self.current_length();
    }

    /// Whether the log is shorter than after the last commit: SQLite truncates it in commits and checkpoints only.
    pub fn is_log_shorter(&self) -> bool {
        self.current_length() < self.log_length
    }

    fn current_length(&self) -> u64 {
        // A missing log is found by `check`.
        let log = self.log.as_ref().and_then(|log| metadata(&log.path).ok().flatten());
        log.map_or(0, |log| log.len())
    }

    /// Compares the files on disk with the open ones.
    pub fn check(&mut self) -> Result<(), Fault> {
        let found = metadata(&self.path).map_err(Fault::Failed)?;
        let length = found.as_ref().map_or(0, Metadata::len);
        if let Some(found) = difference(found.as_ref(), self.store) {
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            return Err(Fault::Store(match directory {
                Some(directory) if !directory.exists() => {
                    format!("the state directory {} was deleted or moved away", directory.display())
                }
                _ => found.to_owned(),
            }));
        }
        if length < self.store_length {
            return Err(Fault::Truncated);
        }
        self.store_length = length;
        for (companion, fault) in [(&self.log, Fault::Log as fn(String) -> Fault), (&self.index, Fault::Index)] {
            let Some(companion) = companion else { continue };
            let found = metadata(&companion.path).map_err(Fault::Failed)?;
            if let Some(found) = difference(found.as_ref(), companion.file) {
                return Err(fault(format!("{}: {found}", companion.path.display())));
            }
        }
        match self.lock.renew() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Lock),
            Err(error) => Err(Fault::Failed(error)),
        }
    }

    /// The error of a fault.
    pub fn error(&self, fault: Fault) -> StoreError {
        let (problem, remedy) = match fault {
            Fault::Store(problem) => (problem, PUT_BACK),
            Fault::Truncated => ("the file was truncated by another program".to_owned(), RESTORE),
            Fault::Log(problem) | Fault::Index(problem) => (problem, RESTART),
            Fault::Lock => ("another process has locked the state directory".to_owned(), OTHER),
            Fault::Failed(error) => return StoreError::from_io(self.path.clone(), error),
        };
        StoreError::NotOnDisk { path: self.path.clone(), problem, remedy }
    }

    /// The error of a log that another program truncated.
    pub fn truncated(&self) -> StoreError {
        let problem = "its log was truncated by another program".to_owned();
        StoreError::NotOnDisk { path: self.path.clone(), problem, remedy: CUT_OFF }
    }
}

/// How the file on disk differs from the open one.
fn difference(found: Option<&Metadata>, open: FileId) -> Option<&'static str> {
    match found.map(FileId::of) {
        Some(found) if found == open => None,
        Some(_) => Some("the file was replaced by another one"),
        None => Some("the file was deleted or moved away"),
    }
}

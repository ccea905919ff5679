//! Why a state directory cannot be used.

use super::platform::is_device_failure;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

/// A row whose checksum is wrong, on its way through SQLite's functions.
#[derive(Debug, thiserror::Error)]
#[error("{0} does not match its checksum")]
pub(super) struct DamagedRow(pub String);

impl DamagedRow {
    /// The damaged row that the error is about; otherwise the error.
    fn from_sqlite(error: rusqlite::Error) -> Result<DamagedRow, rusqlite::Error> {
        match error {
            rusqlite::Error::FromSqlConversionFailure(column, kind, error) => match error.downcast() {
                Ok(row) => Ok(*row),
                Err(error) => Err(rusqlite::Error::FromSqlConversionFailure(column, kind, error)),
            },
            other => Err(other),
        }
    }
}

impl From<DamagedRow> for rusqlite::Error {
    fn from(row: DamagedRow) -> Self {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, Box::new(row))
    }
}

/// Whether a whole file can be read: whether its device works.
pub(super) fn can_be_read(file: &File) -> bool {
    read_through(file).is_ok()
}

fn read_through(mut file: &File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    file.rewind()?;
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator has it open.
    #[error("the state directory {0} is in use by another coordinator; stop that one, or give another --state")]
    InUse(PathBuf),
    /// There is no store yet.
    #[error("the state directory {0} contains no sweep; run or submit a sweep first, or give the right --state")]
    Absent(PathBuf),
    /// It cannot be created, read or written.
    #[error("cannot use the state directory {path}: {error}; give a writable directory with --state")]
    Unusable {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file or its file system is read-only.
    #[error(
        "cannot write the store {0}: the file or its file system is read-only; make it writable, or give another --state"
    )]
    ReadOnly(PathBuf),
    /// The disk is full.
    #[error("no space is left for the store {0}; free some disk space. Acknowledged results are safe")]
    Full(PathBuf),
    /// The disk fails, or another program has the file locked.
    #[error(
        "cannot read or write the store {path} ({error}); check its disk. The store may be intact, and acknowledged results are safe if it is"
    )]
    Failing {
        /// The file.
        path: PathBuf,
        /// SQLite's or the system's error.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The open store is not the one on disk any more.
    #[error(
        "the store {path} is not the one that the coordinator has open: {problem}; {remedy}. Nothing more is acknowledged until then"
    )]
    NotOnDisk {
        /// The file.
        path: PathBuf,
        /// What is missing or different.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The path is longer than SQLite takes.
    #[error(
        "the path of the state directory {path} has {length} bytes without symbolic links, and SQLite takes at most {limit}; give a shorter --state"
    )]
    PathTooLong {
        /// The directory.
        path: PathBuf,
        /// The length of its path.
        length: usize,
        /// The longest possible path.
        limit: usize,
    },
    /// A stored row is not what was written.
    #[error(
        "the store {path} is damaged: {row} does not match its checksum; `plusminus verify` lists every fault, and `plusminus restore BACKUP --state DIR --force` restores a backup"
    )]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, with its job.
        row: String,
    },
    /// The file is damaged.
    #[error(
        "the store {path} is damaged ({problem}); restore a backup with `plusminus restore BACKUP --state DIR --force`, or give another --state"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damage that was found.
        problem: String,
    },
    /// A newer version of plusminus wrote it.
    #[error(
        "the store {path} has version {found}, and this plusminus reads up to version {known}; use a newer plusminus"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version of the file.
        found: u32,
        /// The newest version that this plusminus reads.
        known: u32,
    },
    /// Any other error of SQLite.
    #[error("the store {path} failed: {error}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
    },
    /// The thread that writes has ended, which is a defect.
    #[error("the thread that writes the store has ended unexpectedly")]
    Gone,
}

impl StoreError {
    /// Classifies an error of SQLite.
    pub(super) fn from_sqlite(path: PathBuf, error: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        let error = match DamagedRow::from_sqlite(error) {
            Ok(DamagedRow(row)) => return StoreError::Row { path, row },
            Err(error) => error,
        };
        if let Error::IntegralValueOutOfRange(..)
        | Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows = error
        {
            return StoreError::Corrupt { path, problem: error.to_string() };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path),
            Some(ErrorCode::DiskFull) => StoreError::Full(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::damaged(path, error.to_string()),
            // SQLite does not tell the system's reason.
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                let reason = File::open(&path).err().unwrap_or_else(|| io::Error::other(error));
                StoreError::from_io(path, reason)
            }
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory,
            ) => StoreError::Failing { path, error: error.into() },
            _ => StoreError::Sqlite { path, error },
        }
    }

    /// Classifies an error of the system.
    pub(super) fn from_io(path: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            _ if is_device_failure(&error) => StoreError::Failing { path, error: error.into() },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(path),
            _ => StoreError::Unusable { path, error },
        }
    }

    /// The store is damaged, unless its file cannot even be read.
    pub(super) fn damaged(path: PathBuf, problem: String) -> Self {
        match File::open(&path).and_then(|file| read_through(&file)) {
            Err(error) if is_device_failure(&error) => StoreError::Failing { path, error: error.into() },
            _ => StoreError::Corrupt { path, problem },
        }
    }

    /// Whether a retry may succeed: somebody may free disk space or repair the disk.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::ReadOnly(_)
            | StoreError::Full(_)
            | StoreError::Failing { .. }
            | StoreError::NotOnDisk { .. }
            | StoreError::Unusable { .. } => true,
            StoreError::InUse(_)
            | StoreError::Absent(_)
            | StoreError::Corrupt { .. }
            | StoreError::Row { .. }
            | StoreError::PathTooLong { .. }
            | StoreError::TooNew { .. }
            | StoreError::Sqlite { .. }
            | StoreError::Gone => false,
        }
    }
}

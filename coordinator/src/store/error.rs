//! Why a state directory cannot be used.

use std::io;
use std::path::PathBuf;

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
    #[error("cannot read or write the store {path} ({error}); check its disk. Acknowledged results are safe")]
    Failing {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
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
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { path, problem: error.to_string() }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::Unusable { path, error: io::Error::other(error) }
            }
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory,
            ) => StoreError::Failing { path, error },
            _ => StoreError::Sqlite { path, error },
        }
    }

    /// Whether a retry may succeed: somebody may free disk space or repair the disk.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::ReadOnly(_)
            | StoreError::Full(_)
            | StoreError::Failing { .. }
            | StoreError::Unusable { .. } => true,
            StoreError::InUse(_)
            | StoreError::Absent(_)
            | StoreError::Corrupt { .. }
            | StoreError::TooNew { .. }
            | StoreError::Sqlite { .. }
            | StoreError::Gone => false,
        }
    }
}

//! What can be wrong with a state directory.

use std::io;
use std::path::PathBuf;

/// A state directory that cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator has it open.
    #[error(
        "the state directory {0} is in use by another coordinator; wait for it or stop it, or give another --state"
    )]
    InUse(PathBuf),
    /// There is nothing there yet.
    #[error("there is no sweep in the state directory {0}; run or submit one first, or give the right --state")]
    Absent(PathBuf),
    /// It cannot be made, read or written.
    #[error("cannot use the state directory {path}: {error}; give a directory that can be written with --state")]
    Unusable {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It, or the file system that it is on, cannot be written.
    #[error(
        "the store {0} cannot be written: it or its file system is read-only; make it writable, or give another --state"
    )]
    ReadOnly(PathBuf),
    /// There is no room left.
    #[error("no room is left for the store {0}; free some: everything that was acknowledged is kept")]
    Full(PathBuf),
    /// The disk, or whoever else has the file open, does not let it be read or written now.
    #[error(
        "the store {path} cannot be read or written ({error}); look at its disk: everything that was acknowledged is kept"
    )]
    Failing {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// It holds what no store does.
    #[error(
        "the store {path} is damaged ({problem}); put back a backup of it with `plusminus restore BACKUP --state DIR --force`, or give another --state"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A later version of plusminus wrote it.
    #[error("the store {path} has version {found} and this plusminus knows up to {known}; use a newer plusminus")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Anything else that SQLite reports.
    #[error("the store {path} failed: {error}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// The thread that writes has ended: a defect.
    #[error("the store's thread has ended")]
    Gone,
}

impl StoreError {
    /// Tells the errors apart that a user can do something about.
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

    /// Whether the same may succeed later, without anything being done here: somebody makes room, or mends the disk.
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

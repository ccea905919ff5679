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
    #[error("no room is left for the store {0}; free some and start again: everything that was acknowledged is kept")]
    Full(PathBuf),
    /// It holds what no store does.
    #[error("the store {path} is damaged ({problem}); put back a copy of the state directory, or give another --state")]
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
}

impl StoreError {
    /// Tells the errors apart that a user can do something about.
    pub(super) fn from_sqlite(path: PathBuf, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path),
            Some(ErrorCode::DiskFull) => StoreError::Full(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { path, problem: error.to_string() }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::Unusable { path, error: io::Error::other(error) }
            }
            _ => StoreError::Sqlite { path, error },
        }
    }
}

//! Why a backup, a restoration or a check failed.

use super::connection::FILE;
use super::error::StoreError;
use std::io;
use std::path::PathBuf;

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
    /// A file of the backup is not what the backup's manifest says.
    #[error(
        "the backup was damaged or changed after it was written: {path}: {problem}; restore another backup. A coordinator that ran on the backup changes it, too"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The difference.
        problem: String,
    },
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

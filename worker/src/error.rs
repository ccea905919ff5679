//! Errors that prevent a worker from starting.

use crate::probe::Unwritable;
use plusminus_proto::convert::Invalid;
use plusminus_proto::endpoint::BadUrl;
use std::io;
use std::path::PathBuf;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The coordinator's URL is malformed.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// No coordinator answers at the URL, or it refuses this worker.
    #[error(
        "cannot connect to a coordinator at {url}: {problem}; start one with `plusminus coordinator --listen ADDR`, or correct --coordinator"
    )]
    Unreachable {
        /// The URL.
        url: String,
        /// The error of the last try.
        problem: String,
    },
    /// The worker exceeds a limit, so every coordinator refuses it.
    #[error("a coordinator would refuse this worker: {0}; choose other --slots or another --name")]
    Limit(#[from] Invalid),
    /// The directory for weights cannot be used.
    #[error("cannot use the directory for weights {path}: {error}; give a writable one with --cache")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A directory that the worker must write cannot be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// The host cannot start the threads of the worker.
    #[error("{0}; raise the limit, or run fewer programs")]
    NoThreads(String),
    /// Another worker uses the state directory.
    #[error("the state directory {0} is in use by another worker; stop that worker, or give another --state")]
    StateInUse(PathBuf),
    /// The state directory cannot be used.
    #[error("cannot use the worker's state directory, at {path}: {error}; give a writable one with --state")]
    State {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The state directory belongs to a worker with another name.
    #[error(
        "the state directory {path} belongs to worker `{before}`, but --name is `{given}`; omit --name, or give another --state"
    )]
    OtherName {
        /// The directory.
        path: PathBuf,
        /// The stored name.
        before: String,
        /// The requested name.
        given: String,
    },
}

//! Why a worker cannot start.

use plusminus_proto::endpoint::BadUrl;
use std::io;
use std::path::PathBuf;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// That is no URL.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// Nobody answers there, or whoever does will not have this worker.
    #[error(
        "no coordinator takes this worker at {url}: {problem}; start one with `plusminus coordinator --listen ADDR`, or give the right --coordinator"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What the last try ended with.
        problem: String,
    },
    /// There is no room for weights that jobs build on.
    #[error("cannot use the directory for weights {path}: {error}; give one that can be written with --cache")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another worker has the state directory.
    #[error("the state directory {0} is in use by another worker; wait for it or stop it, or give another --state")]
    StateInUse(PathBuf),
    /// The state directory is of no use.
    #[error("cannot use the worker's state directory, at {path}: {error}; give one that can be written with --state")]
    State {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The state directory is another worker's.
    #[error(
        "the state directory {path} is that of worker `{before}`, and this one is called `{given}`; leave --name away, or give another --state"
    )]
    OtherName {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        before: String,
        /// Who wants it.
        given: String,
    },
}

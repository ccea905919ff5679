//! Why a worker cannot start.

use plusminus_proto::endpoint::BadUrl;
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
        error: std::io::Error,
    },
}

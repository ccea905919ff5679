//! Why a worker cannot start.

use plusminus_proto::endpoint::BadUrl;

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
}

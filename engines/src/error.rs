//! The error of every engine, and whether a retry may help.

/// An engine's failure, with the message of the library or device where it occurred.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub(crate) message: String,
    /// What caused it.
    pub cause: Cause,
}

/// What caused an [`EngineError`], from which a caller decides whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The device failed or the network is unsupported. A retry may succeed.
    Device,
    /// The device ran out of memory.
    Memory,
    /// This host lacks something that another host may have, such as a usable GPU.
    Host,
    /// The system cannot start the threads that the engine needs. The job is not at fault, and a retry may succeed.
    Threads,
}

impl EngineError {
    /// An error with the cause [`Cause::Device`].
    pub fn new(message: impl Into<String>) -> Self {
        EngineError { message: message.into(), cause: Cause::Device }
    }
}

/// The error if a pool of `threads` threads cannot be started. The cause is the host, whatever the system's reason.
pub(crate) fn no_threads(threads: usize, error: &rayon::ThreadPoolBuildError) -> EngineError {
    let what = if threads == 1 { "a thread".to_owned() } else { format!("{threads} threads") };
    EngineError { message: format!("cannot start {what}: {error}"), cause: Cause::Threads }
}

//! Errors of a run as a job's failure, whose kind decides whether the job is retried.

use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_engines::{Cause, EngineError};

/// A configuration that cannot be trained: a retry fails in the same way.
pub(super) fn user_error(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::UserError, error.to_string())
}

/// A loss, weight or measurement that is no longer finite.
pub(super) fn diverged(what: &str) -> Failure {
    Failure::new(FailureKind::Diverged, format!("{what}: lower optimizer.lr, or choose another loss or normalisation"))
}

/// A failure of the engine, by its cause.
pub(super) fn engine_failure(error: EngineError) -> Failure {
    let kind = match error.cause {
        Cause::Device => FailureKind::Infrastructure,
        Cause::Memory => FailureKind::OutOfMemory,
        // The host lacks something that another may have: the retry is free.
        Cause::Host | Cause::Threads => FailureKind::Preempted,
    };
    Failure::new(kind, format!("the engine failed: {error}"))
}

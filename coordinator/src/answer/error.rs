//! Why a query has no answer.

use crate::store::StoreError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The sweep does not exist.
    #[error("sweep `{name}` not found{}", known_sweeps(.known))]
    UnknownSweep {
        /// The requested name.
        name: String,
        /// The names of all sweeps.
        known: Vec<String>,
    },
    /// No job id starts with these digits.
    #[error("no job id starts with `{0}`; `plusminus status SWEEP` lists running jobs and an example of each failure")]
    UnknownJob(String),
    /// The text cannot be the start of a job id.
    #[error("expected a job id or its first digits (up to 32 hexadecimal digits), found `{0}`")]
    NoJobId(String),
    /// Several job ids start with these digits.
    #[error("several job ids start with `{found}`: {}; give more digits", .jobs.join(", "))]
    AmbiguousJob {
        /// The requested digits.
        found: String,
        /// Some of the ids, and `…` if there are more.
        jobs: Vec<String>,
    },
    /// The metric or epoch selection does not exist.
    #[error("unknown {what} `{found}`; choose one of {}", .known.join(", "))]
    UnknownName {
        /// `metric` or `selection`.
        what: &'static str,
        /// The requested name.
        found: String,
        /// All names.
        known: Vec<&'static str>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sweep file of the request has problems.
    #[error("the sweep file of the request has problems; check it with `plusminus check`")]
    WrongSource,
    /// This version cannot read the stored sweep file.
    #[error("this version of plusminus cannot read the stored sweep file of `{0}`; submit the sweep file again")]
    OldSource(String),
}

fn known_sweeps(known: &[String]) -> String {
    match known {
        [] => "; no sweep has been submitted".to_owned(),
        names => format!("; known sweeps: {}", names.join(", ")),
    }
}

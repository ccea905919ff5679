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
    /// A condition names a setting that no configuration of the sweep has.
    #[error("no configuration of `{sweep}` has a setting `{key}`; choose one of {}", few(.known))]
    UnknownKey {
        /// The sweep.
        sweep: String,
        /// The requested setting.
        key: String,
        /// The settings.
        known: Vec<String>,
    },
    /// No job of the sweep has the value that a condition asks for.
    #[error("no job of `{sweep}` has {key}={found}; its values are {}", few(.known))]
    UnknownValue {
        /// The sweep.
        sweep: String,
        /// The setting.
        key: String,
        /// The requested value.
        found: String,
        /// Its values in the sweep.
        known: Vec<String>,
    },
    /// The text of a condition is neither YAML nor a name.
    #[error("expected a value in YAML in `{key}={found}`: {problem}")]
    NoValue {
        /// The setting.
        key: String,
        /// The requested value.
        found: String,
        /// Why it is none.
        problem: String,
    },
    /// The sweep was submitted again while it was listed.
    #[error("the sweep `{0}` was submitted again meanwhile; list its jobs again")]
    Changed(String),
    /// Not even an abridged answer fits into one message.
    #[error(
        "the status does not fit into one message; ask for it in parts (`StatusInParts`), as this version's `plusminus status` does"
    )]
    TooLong,
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

/// The most names that an error lists. An error travels in the header of a reply, which has to be short.
const LISTED: usize = 20;

fn known_sweeps(known: &[String]) -> String {
    match known {
        [] => "; no sweep has been submitted".to_owned(),
        names => format!("; known sweeps: {}", few(names)),
    }
}

fn few(names: &[String]) -> String {
    match names.split_at_checked(LISTED) {
        Some((listed, rest)) if !rest.is_empty() => format!("{}, and {} more", listed.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

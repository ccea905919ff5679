//! Every error that a command ends with: its text, its remedy and its exit code.

use crate::exit::Exit;
use crate::text_file;
use plusminus_coordinator::answer::AnswerError;
use plusminus_coordinator::{BackupError, ForgetError, ResumeError, ServerError, StoreError};
use plusminus_core::input::Problem;
use plusminus_proto::endpoint::BadUrl;
use plusminus_worker::WorkerError;
use plusminus_worker::equipment::NoDevices;
use std::path::PathBuf;

/// Why a command failed.
///
/// Its text is `message; remedy; remedy`, as in the libraries' errors. [`crate::terminal`] prints each remedy as a hint.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The sweep file cannot be read.
    #[error("cannot read the sweep file {path}: {error}; {}", text_file::remedy(.error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The sweep file has problems, which are printed before the error.
    #[error("{}", problem_count(.problems.len()))]
    Problems {
        /// The file's name.
        file: String,
        /// The file's text.
        source_text: String,
        /// All problems, in the order of the text.
        problems: Vec<Problem>,
    },
    /// The sweep file has no such profile.
    #[error("{file} has no profile `{profile}`; {}", known_profiles(.known))]
    UnknownProfile {
        /// The file.
        file: String,
        /// The requested profile.
        profile: String,
        /// The file's profiles.
        known: Vec<String>,
    },
    /// The file of published results cannot be read.
    #[error("cannot read the published results {path}: {error}; {}", text_file::remedy(.error))]
    UnreadablePublished {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file of published results has problems, which are printed before the error.
    #[error("the published results in {file} cannot be used")]
    PublishedProblems {
        /// The file's name.
        file: String,
        /// The file's text.
        source_text: String,
        /// All problems, in the order of the text.
        problems: Vec<Problem>,
    },
    /// No published results have this name. The second field lists those that ship.
    #[error("no published results are called `{0}`; give one of {1}, or a file, with --reference")]
    UnknownPublished(String, String),
    /// Neither the sweep file nor `--reference` names published results. The second field lists those that ship.
    #[error(
        "the sweep {0} names no published results to compare with; give one of {1}, or a file, with --reference; \
         or name one in the sweep file: `table: {{reference: NAME}}`"
    )]
    NoReference(String, String),
    /// The command needs a coordinator, and none runs on this state directory.
    #[error(
        "no coordinator runs on the state directory {0}; start one with `plusminus coordinator --state {0}`, or give \
         the URL of another with --coordinator"
    )]
    NotRunning(String),
    /// The argument names neither a file nor a sweep of this state directory.
    #[error("`{0}` is neither a file nor a sweep in the state directory {1}; give a sweep file, or the right --state")]
    NeitherFileNorSweep(String, String),
    /// The URL is malformed.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// The coordinator does not answer.
    #[error(
        "no coordinator answers at {url}: {problem}; start it again (results are kept), or give the right URL with --coordinator"
    )]
    Unreachable {
        /// The coordinator's URL.
        url: String,
        /// The cause.
        problem: String,
    },
    /// The coordinator answers that it cannot do this now, mostly because it is stopping.
    #[error("the coordinator at {url} cannot answer now: {problem}; try again")]
    Unavailable {
        /// The coordinator's URL.
        url: String,
        /// Its reason.
        problem: String,
    },
    /// The coordinator answers with an error.
    #[error("the coordinator at {url} answers with an error ({code}): {problem}")]
    Answered {
        /// The coordinator's URL.
        url: String,
        /// The gRPC code.
        code: String,
        /// The coordinator's message.
        problem: String,
    },
    /// The coordinator does not know the request.
    #[error(
        "the coordinator at {0} does not know this request: it is another version of plusminus; use the same version for \
         both"
    )]
    OtherVersion(String),
    /// `--state` of `jobs` is neither a state of jobs nor a directory.
    #[error("`{0}` is neither a state of jobs nor a state directory; choose one of {1}, or give a directory")]
    NeitherStateNorDirectory(String, String),
    /// The coordinator refused the request: it is wrong, or names something that does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The coordinator failed.
    #[error("the coordinator reports: {0}")]
    Coordinator(String),
    /// The coordinator cannot write its store at present.
    #[error("{0}")]
    Stalled(String),
    /// A backup or restore failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Nothing was removed.
    #[error(transparent)]
    Forget(#[from] ForgetError),
    /// No job was queued in a state directory.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The coordinator cannot start or continue.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no answer to the query.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The worker cannot start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Jobs have a precision that only GPUs support, and no GPU is selected.
    #[error(
        "`precision: {0}` requires a GPU, and none is selected; remove `precision` from the sweep file; or train on hosts \
         with GPUs: `plusminus coordinator`, `plusminus worker`, `plusminus submit`"
    )]
    NoGpu(&'static str),
    /// A device that `--device` names is not on this host.
    #[error(transparent)]
    NoDevices(#[from] NoDevices),
    /// The worker process of `run` ended before its time.
    #[error("the worker process ended early ({0}); run again with -v to see its log")]
    WorkerEnded(String),
    /// Another process has the state directory of `run`. The second field is the sweep.
    #[error(
        "the state directory {0} is in use by another `plusminus run` or coordinator; wait until it ends; or watch this \
         sweep there, if it trains it: `plusminus watch {1} --state {0}`; or give another directory with --state"
    )]
    RunInUse(String, String),
    /// The host cannot start the threads of this command.
    #[error("{0}; raise the limit, or run fewer programs")]
    NoThreads(String),
    /// The system refused an operation.
    #[error("{what}: {error}")]
    Io {
        /// The operation, such as `cannot start the worker process`.
        what: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
}

fn known_profiles(known: &[String]) -> String {
    match known {
        [] => "it has none: its key `profiles` would define them".to_owned(),
        names => format!("its profiles: {}", names.join(", ")),
    }
}

fn problem_count(problems: usize) -> String {
    match problems {
        1 => "1 problem in the sweep file; nothing was submitted".to_owned(),
        many => format!("{many} problems in the sweep file; nothing was submitted"),
    }
}

impl CliError {
    /// Returns whether the same request may succeed once the coordinator is back.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            CliError::Unreachable { .. }
                | CliError::Unavailable { .. }
                | CliError::NotRunning(_)
                | CliError::Stalled(_)
        )
    }

    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Unreadable { .. } | CliError::Problems { .. } | CliError::NeitherFileNorSweep(..) => {
                Exit::SweepFile
            }
            CliError::UnreadablePublished { .. } | CliError::PublishedProblems { .. } => Exit::SweepFile,
            CliError::UnknownPublished(..) | CliError::NoReference(..) => Exit::Unknown,
            CliError::NoDevices(_) | CliError::NoGpu(_) => Exit::Unknown,
            CliError::NotRunning(_) | CliError::Unreachable { .. } | CliError::BadUrl(_) => Exit::NoCoordinator,
            CliError::Unavailable { .. } => Exit::NoCoordinator,
            CliError::NeitherStateNorDirectory(..) => Exit::Unknown,
            CliError::NotFound(_) | CliError::UnknownProfile { .. } => Exit::Unknown,
            CliError::Server(error) => match error {
                ServerError::NotLoopback(_) | ServerError::PortInUse(_) | ServerError::CannotListen { .. } => {
                    Exit::Address
                }
                ServerError::Store(_) => Exit::State,
                ServerError::Serve(_) => Exit::Internal,
            },
            CliError::Store(_) | CliError::Stalled(_) | CliError::Backup(_) | CliError::RunInUse(..) => Exit::State,
            CliError::Forget(ForgetError::UnknownSweep { .. }) | CliError::Resume(ResumeError::Refused(_)) => {
                Exit::Unknown
            }
            CliError::Forget(_) => Exit::State,
            CliError::Answer(error) | CliError::Resume(ResumeError::Answer(error)) => answer_exit(error),
            CliError::Worker(WorkerError::BadUrl(_) | WorkerError::Unreachable { .. }) => Exit::NoCoordinator,
            CliError::Worker(
                WorkerError::StateInUse(_)
                | WorkerError::State { .. }
                | WorkerError::OtherName { .. }
                | WorkerError::Limit(_),
            ) => Exit::State,
            CliError::Worker(WorkerError::Unwritable(place)) if place.option == "--state" => Exit::State,
            CliError::Worker(WorkerError::Unwritable(_) | WorkerError::Cache { .. }) => Exit::Usage,
            CliError::Worker(WorkerError::NoThreads(_))
            | CliError::NoThreads(_)
            | CliError::Coordinator(_)
            | CliError::Answered { .. }
            | CliError::OtherVersion(_)
            | CliError::WorkerEnded(_)
            | CliError::Io { .. } => Exit::Internal,
        }
    }
}

fn answer_exit(error: &AnswerError) -> Exit {
    match error {
        AnswerError::UnknownSweep { .. }
        | AnswerError::UnknownName { .. }
        | AnswerError::UnknownJob(_)
        | AnswerError::NoJobId(_)
        | AnswerError::AmbiguousJob { .. }
        | AnswerError::UnknownKey { .. }
        | AnswerError::UnknownValue { .. }
        | AnswerError::NoValue { .. } => Exit::Unknown,
        AnswerError::Changed(_) | AnswerError::TooLong => Exit::Internal,
        AnswerError::OldSource(_) | AnswerError::WrongSource => Exit::SweepFile,
        AnswerError::Store(_) => Exit::State,
    }
}

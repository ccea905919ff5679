//! Classes of error and their exit codes, which scripts may rely on.

use plusminus_coordinator::answer::AnswerError;
use plusminus_coordinator::{BackupError, ServerError, StoreError};
use plusminus_core::input::Problem;
use plusminus_proto::endpoint::BadUrl;
use plusminus_worker::WorkerError;
use plusminus_worker::equipment::NoDevices;
use std::path::PathBuf;
use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// The sweep has ended and jobs of it have failed or were cancelled, or diverged where its table says that this fails it.
    JobsFailed = 1,
    /// The command line is wrong (clap's own code).
    Usage = 2,
    /// The sweep file is wrong or cannot be read.
    SweepFile = 3,
    /// No coordinator answers.
    NoCoordinator = 4,
    /// The address cannot be listened on.
    Address = 5,
    /// The state directory cannot be used.
    State = 6,
    /// What was asked for is not there.
    Unknown = 7,
    /// Anything else: a defect, or a machine in trouble.
    Internal = 70,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file cannot be read.
    #[error("cannot read the sweep file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A sweep file has problems.
    #[error("{}", count(.problems.len()))]
    Problems {
        /// The file's name.
        file: String,
        /// Its text.
        source_text: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// A sweep file has no such profile.
    #[error("{file} has no profile `{profile}`{}", known_profiles(.known))]
    UnknownProfile {
        /// The file.
        file: String,
        /// What was asked for.
        profile: String,
        /// The profiles that there are.
        known: Vec<String>,
    },
    /// A file of published results cannot be read.
    #[error("cannot read the published results {path}: {error}")]
    UnreadablePublished {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file of published results has problems.
    #[error("the published results in {file} cannot be used")]
    PublishedProblems {
        /// The file's name.
        file: String,
        /// Its text.
        source_text: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// A name is not that of published results.
    #[error("there are no published results `{0}`; give one of {1}, or a file, with --reference")]
    UnknownPublished(String, String),
    /// Nothing says what a sweep is to be set beside.
    #[error(
        "the sweep {0} does not say which published results it belongs beside; give one of {1}, or a file, with --reference, or name one in the sweep file as `table: {{reference: NAME}}`"
    )]
    NoReference(String, String),
    /// No coordinator runs on the state directory, and the command needs one.
    #[error(
        "no coordinator runs on the state directory {0}; start one with `plusminus coordinator --state {0}`, or give the --coordinator URL of another"
    )]
    NotRunning(String),
    /// A name was taken for a sweep's, and there is none.
    #[error(
        "there is no file `{0}`, and no sweep of that name in the state directory {1}; give a sweep file, or the right --state"
    )]
    NeitherFileNorSweep(String, String),
    /// That is no URL.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// The coordinator does not answer.
    #[error(
        "no coordinator answers at {url}: {problem}; results are kept; start it again, or give the right --coordinator"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The coordinator says no.
    #[error("{0}")]
    NotFound(String),
    /// The coordinator has trouble.
    #[error("the coordinator reports: {0}")]
    Coordinator(String),
    /// The coordinator cannot write its store for now.
    #[error("{0}")]
    Stalled(String),
    /// A state directory cannot be copied or put back.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A coordinator cannot start or go on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A state directory cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A question has no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A worker cannot start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A sweep needs GPUs, and none is to train it.
    #[error(
        "the sweep has jobs of `precision: {0}`, in which GPUs alone train, and none is used here; take `precision` out of the sweep file, or let workers with GPUs train it: `plusminus coordinator`, `plusminus worker`, `plusminus submit`"
    )]
    NoGpu(&'static str),
    /// The devices that were asked for are not here.
    #[error(transparent)]
    NoDevices(#[from] NoDevices),
    /// The worker process of `run` has ended on its own.
    #[error("the worker process has ended ({0}); run it again with -v for its log")]
    WorkerEnded(String),
    /// The machine is in trouble.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
}

fn known_profiles(known: &[String]) -> String {
    match known {
        [] => "; it has none, which `profiles` would hold".to_owned(),
        names => format!("; there are {}", names.join(", ")),
    }
}

fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem in the sweep file; nothing was submitted".to_owned(),
        many => format!("{many} problems in the sweep file; nothing was submitted"),
    }
}

impl CliError {
    /// The exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Unreadable { .. } | CliError::Problems { .. } | CliError::NeitherFileNorSweep(..) => {
                Exit::SweepFile
            }
            CliError::UnreadablePublished { .. } | CliError::PublishedProblems { .. } => Exit::SweepFile,
            CliError::UnknownPublished(..) | CliError::NoReference(..) => Exit::Unknown,
            CliError::NoDevices(_) | CliError::NoGpu(_) => Exit::Unknown,
            CliError::NotRunning(_) | CliError::Unreachable { .. } | CliError::BadUrl(_) => Exit::NoCoordinator,
            CliError::NotFound(_) | CliError::UnknownProfile { .. } => Exit::Unknown,
            CliError::Server(error) => match error {
                ServerError::NotLoopback(_) | ServerError::PortInUse(_) | ServerError::CannotListen { .. } => {
                    Exit::Address
                }
                ServerError::Store(_) => Exit::State,
                ServerError::Serve(_) => Exit::Internal,
            },
            CliError::Store(_) | CliError::Stalled(_) | CliError::Backup(_) => Exit::State,
            CliError::Answer(error) => match error {
                AnswerError::UnknownSweep { .. }
                | AnswerError::UnknownName { .. }
                | AnswerError::UnknownJob(_)
                | AnswerError::NoJobId(_)
                | AnswerError::AmbiguousJob { .. } => Exit::Unknown,
                AnswerError::OldSource(_) => Exit::SweepFile,
                AnswerError::Store(_) => Exit::State,
            },
            CliError::Worker(WorkerError::BadUrl(_) | WorkerError::Unreachable { .. }) => Exit::NoCoordinator,
            CliError::Worker(
                WorkerError::StateInUse(_) | WorkerError::State { .. } | WorkerError::OtherName { .. },
            ) => Exit::State,
            CliError::Worker(WorkerError::Cache { .. })
            | CliError::Coordinator(_)
            | CliError::WorkerEnded(_)
            | CliError::Io { .. } => Exit::Internal,
        }
    }
}

//! Exit codes of the process, on which scripts may rely.
//!
//! Errors fall into three classes: a wrong command line (2, mostly printed by clap), a request that the user can correct (3 to 7), and
//! anything unexpected (70).

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what it was asked to do.
    Success = 0,
    /// The sweep has ended, and jobs failed or were cancelled, or diverged where `table.diverged` is `fail`.
    JobsFailed = 1,
    /// The command line is wrong, or names a directory that cannot be written.
    Usage = 2,
    /// The sweep file, or a file of published results, is wrong or cannot be read.
    SweepFile = 3,
    /// No coordinator answers.
    NoCoordinator = 4,
    /// The coordinator cannot listen on the address.
    Address = 5,
    /// The state directory cannot be used.
    State = 6,
    /// No such sweep, profile, job, metric, selection, device or reference.
    Unknown = 7,
    /// A defect, or a host in trouble.
    Internal = 70,
    /// Interrupted by Ctrl-C or another signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

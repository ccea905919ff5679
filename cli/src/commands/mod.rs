//! The commands, one file each.

pub mod backup;
mod cancel;
mod check;
pub mod compare;
mod coordinator;
pub mod explain;
mod memory;
pub mod resume;
mod run;
mod runner;
pub mod significance;
mod status;
mod submit;
mod table;
mod watch;
mod worker;

use crate::arguments::{Arguments, Command};
use crate::exit::{CliError, Exit};
use plusminus_proto::v1;
use std::future::Future;

/// Does what the command line asks for.
///
/// # Errors
/// Why it could not be done.
pub fn run(arguments: Arguments) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Run(run) => wait(run::run(run, arguments.verbose)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Coordinator(arguments) => wait(coordinator::run(arguments)),
        Command::Worker(arguments) => wait(worker::run(arguments)),
        Command::Submit(arguments) => wait(submit::run(arguments)),
        Command::Status(arguments) => wait(status::run(arguments)),
        Command::Watch(arguments) => wait(watch::run(arguments)),
        Command::Table(arguments) => wait(table::run(arguments)),
        Command::Compare(arguments) => wait(compare::run(arguments)),
        Command::Significance(arguments) => wait(significance::run(arguments)),
        Command::Resume(arguments) => wait(resume::run(arguments)),
        Command::Explain(arguments) => wait(explain::run(arguments)),
        Command::Backup(arguments) => backup::back_up(&arguments),
        Command::Restore(arguments) => backup::put_back(&arguments),
        Command::Cancel(arguments) => wait(cancel::run(arguments)),
        Command::Runner(arguments) => runner::run(arguments),
    }
}

fn wait(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Io { what: "cannot start the threads", error })?;
    let result = runtime.block_on(command);
    // A thread that waits for standard input cannot be ended.
    runtime.shutdown_background();
    result
}

/// Ends at Ctrl-C, SIGTERM, or when the terminal is closed. At the second of them the process ends at once.
async fn told_to_stop() {
    interrupted().await;
    tokio::spawn(async {
        interrupted().await;
        std::process::exit(Exit::Interrupted as i32);
    });
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
        (Ok(mut terminate), Ok(mut hangup)) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        }
        _ => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    drop(tokio::signal::ctrl_c().await);
}

/// How a command ends whose sweep has settled.
fn exit_of(status: &v1::SweepStatus) -> Exit {
    if status.cancelled || status.failed + status.dropped > 0 { Exit::JobsFailed } else { Exit::Success }
}

/// Says which jobs of a sweep have failed and why, the same reason once.
fn tell_failures(status: &v1::SweepStatus) {
    for failed in &status.failures {
        let Some(failure) = &failed.failure else { continue };
        let kind = plusminus_core::outcome::FailureKind::from(failure.kind()).name();
        let jobs = if failed.jobs == 1 { "1 job".to_owned() } else { format!("{} jobs", failed.jobs) };
        crate::terminal::complain(&format!("{jobs} failed ({kind}): {}", failure.message));
    }
    if status.other_failures > 0 {
        crate::terminal::complain(&format!("{} more jobs failed for other reasons", status.other_failures));
    }
}

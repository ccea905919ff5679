//! The commands, one file each.

pub mod backup;
mod cancel;
mod check;
pub mod compare;
mod coordinator;
pub mod explain;
mod hints;
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
use crate::terminal;
use plusminus_core::outcome::FailureKind;
use plusminus_core::sweep_file::Divergence;
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
    told_to_stop_or(std::future::pending()).await;
}

/// The same, where something else may tell it to stop too: then it is the first of them that ends the process at once.
async fn told_to_stop_or(otherwise: impl Future<Output = ()>) {
    tokio::select! {
        () = interrupted() => {}
        () = otherwise => {}
    }
    // A signal that nobody waits for any more is swallowed for good.
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
fn exit_of(status: &v1::SweepStatus, policy: Divergence) -> Exit {
    // A divergence is a result unless the sweep file says otherwise.
    let failed = match policy {
        Divergence::Exclude | Divergence::Count => status.failed_otherwise(),
        Divergence::Fail => status.failed,
    };
    if status.cancelled || failed + status.dropped > 0 { Exit::JobsFailed } else { Exit::Success }
}

/// Says which jobs of a sweep have failed and why, the same reason once; and how many diverged.
fn tell_failures(status: &v1::SweepStatus, policy: Divergence) {
    let kind = |failed: &v1::FailureCount| failed.failure.as_ref().map(|failure| FailureKind::from(failure.kind()));
    let (diverged, failures): (Vec<_>, Vec<_>) =
        status.failures.iter().partition(|failed| kind(failed) == Some(FailureKind::Diverged));
    for failed in failures {
        let Some(failure) = &failed.failure else { continue };
        let kind = FailureKind::from(failure.kind()).name();
        terminal::complain(&format!("{} failed ({kind}): {}", jobs(failed.jobs), failure.message));
    }
    // Some that diverged may be among those that are not listed.
    let listed: u64 = diverged.iter().map(|failed| failed.jobs).sum();
    let others = status.other_failures.saturating_sub(status.diverged.saturating_sub(listed));
    if others > 0 {
        terminal::complain(&format!("{others} more jobs failed for other reasons"));
    }
    let example = diverged.first().and_then(|failed| failed.failure.as_ref());
    tell_diverged(status.diverged, policy, example.map(|failure| failure.message.as_str()));
}

/// Says how many jobs diverged and what comes of it: an error where the sweep has failed by it.
fn tell_diverged(number: u64, policy: Divergence, example: Option<&str>) {
    let example = example.map(|message| format!(", such as: {message}")).unwrap_or_default();
    let said = |what: &str| format!("{} diverged (table.diverged is {}: {what}){example}", jobs(number), policy.name());
    match policy {
        _ if number == 0 => {}
        Divergence::Exclude => terminal::note(&said("left out of means")),
        Divergence::Count => terminal::note(&said("epochs finished before count")),
        Divergence::Fail => terminal::complain(&said("no mean in their cells")),
    }
}

/// "1 job", "2 jobs"
fn jobs(number: u64) -> String {
    if number == 1 { "1 job".to_owned() } else { format!("{number} jobs") }
}

//! The commands, one file each.

mod backup;
mod cancel;
mod check;
mod compare;
mod completions;
mod coordinator;
mod explain;
mod jobs;
mod man;
mod resume;
mod run;
mod runner;
mod schema;
mod significance;
mod status;
mod submit;
mod table;
mod watch;
mod worker;

use crate::arguments::{Arguments, Command};
use crate::error::CliError;
use crate::exit::Exit;
use std::future::Future;

/// Runs the command.
///
/// # Errors
/// Why the command failed.
pub fn run(arguments: Arguments) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Run(run) => block_on(run::run(run, arguments.verbose)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => schema::run(),
        Command::Coordinator(arguments) => block_on(coordinator::run(arguments)),
        Command::Worker(arguments) => block_on(worker::run(arguments)),
        Command::Submit(arguments) => block_on(submit::run(arguments)),
        Command::Status(arguments) => block_on(status::run(arguments)),
        Command::Watch(arguments) => block_on(watch::run(arguments)),
        Command::Table(arguments) => block_on(table::run(arguments)),
        Command::Compare(arguments) => block_on(compare::run(arguments)),
        Command::Significance(arguments) => block_on(significance::run(arguments)),
        Command::Resume(arguments) => block_on(resume::run(arguments)),
        Command::Jobs(arguments) => block_on(jobs::run(arguments)),
        Command::Explain(arguments) => block_on(explain::run(arguments)),
        Command::Backup(arguments) => backup::back_up(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Cancel(arguments) => block_on(cancel::run(arguments)),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Runner(arguments) => runner::run(arguments),
    }
}

fn block_on(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Io { what: "cannot start threads", error })?;
    let result = runtime.block_on(command);
    // A thread that reads standard input cannot be joined.
    runtime.shutdown_background();
    result
}

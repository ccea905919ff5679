//! The commands, one file each.

mod backup;
mod cancel;
mod check;
mod compare;
mod completions;
mod coordinator;
mod explain;
mod forget;
mod jobs;
mod man;
mod reinstate;
mod resume;
mod run;
mod runner;
mod runtime;
mod schema;
mod significance;
mod status;
mod submit;
mod table;
mod verify;
mod watch;
mod worker;

use crate::arguments::{Arguments, Command};
use crate::error::CliError;
use crate::exit::Exit;
use runtime::Threads;
use std::future::Future;

/// Runs the command.
///
/// # Errors
/// Why the command failed.
pub fn run(arguments: Arguments) -> Result<Exit, CliError> {
    match arguments.command {
        Command::Run(run) => block_on(Threads::PerCore, run::run(run, arguments.verbose)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => schema::run(),
        Command::Coordinator(arguments) => block_on(Threads::PerCore, coordinator::run(arguments)),
        Command::Worker(arguments) => block_on(Threads::Few, worker::run(arguments)),
        Command::Submit(arguments) => block_on(Threads::Few, submit::run(arguments)),
        Command::Status(arguments) => block_on(Threads::Few, status::run(arguments)),
        Command::Watch(arguments) => block_on(Threads::Few, watch::run(arguments)),
        Command::Table(arguments) => block_on(Threads::Few, table::run(arguments)),
        Command::Compare(arguments) => block_on(Threads::Few, compare::run(arguments)),
        Command::Significance(arguments) => block_on(Threads::Few, significance::run(arguments)),
        Command::Resume(arguments) => block_on(Threads::Few, resume::run(arguments)),
        Command::Reinstate(arguments) => block_on(Threads::Few, reinstate::run(arguments)),
        Command::Jobs(arguments) => block_on(Threads::Few, jobs::run(arguments)),
        Command::Explain(arguments) => block_on(Threads::Few, explain::run(arguments)),
        Command::Backup(arguments) => backup::back_up(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Forget(arguments) => forget::run(&arguments),
        Command::Gc(arguments) => forget::collect(&arguments),
        Command::Cancel(arguments) => block_on(Threads::Few, cancel::run(arguments)),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Runner(arguments) => runner::run(arguments),
    }
}

/// Runs a command on a runtime for it.
fn block_on(threads: Threads, command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = runtime::start(threads)?;
    let result = runtime.block_on(command);
    // A thread that reads standard input cannot be joined.
    runtime.shutdown_background();
    result
}

//! Log lines on standard error. Daemons log by default; other commands log only with `-v`.

use crate::arguments::{Arguments, Command};
use crate::terminal;
use tracing_subscriber::EnvFilter;

/// Starts logging at the level that `-v` or RUST_LOG selects.
pub fn start(arguments: &Arguments) {
    let daemon = matches!(arguments.command, Command::Coordinator(_) | Command::Worker(_));
    let level = match (daemon, arguments.verbose) {
        (false, 0) => "warn",
        (true, 0) | (false, 1) => "plusminus=info,plusminus_coordinator=info,plusminus_worker=info,runner=info,warn",
        (_, 1 | 2) => "plusminus=debug,plusminus_coordinator=debug,plusminus_worker=debug,plusminus_trainer=debug,info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal::stderr_has_colour())
        .with_target(arguments.verbose > 1)
        // Without a reader of standard error, log lines are lost; an error about them would end the process.
        .log_internal_errors(false)
        .init();
}

//! Log lines on standard error. Daemons log by default; other commands log only with `-v`.

use crate::arguments::{Arguments, Command};
use crate::terminal;
use plusminus_core::display_text;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format;

/// Returns the log levels that RUST_LOG sets; an empty variable counts as unset.
pub fn filter() -> Option<String> {
    std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty())
}

/// Starts logging at the level that `-v` or RUST_LOG selects.
pub fn start(arguments: &Arguments) {
    let daemon = matches!(arguments.command, Command::Coordinator(_) | Command::Worker(_));
    let level = match (daemon, arguments.verbose) {
        (false, 0) => "warn",
        (true, 0) | (false, 1) => "plusminus=info,plusminus_coordinator=info,plusminus_worker=info,runner=info,warn",
        (_, 1 | 2) => "plusminus=debug,plusminus_coordinator=debug,plusminus_worker=debug,plusminus_trainer=debug,info",
        _ => "trace",
    };
    let filter = filter().and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new(level));
    // One event is one line, whatever a worker or a file name contains.
    let fields = format::debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", display_text::line(&text)),
            name => write!(writer, "{name}={}", display_text::line(&text)),
        }
    });
    let lines = tracing_subscriber::fmt()
        .fmt_fields(fields.delimited(" "))
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal::stderr_has_colour())
        .with_target(arguments.verbose > 1)
        // Without a reader of standard error, or with a full disk behind it, log lines are lost. An error about them would end the process.
        .log_internal_errors(false);
    match arguments.command {
        // The daemon reads these lines and logs them again, with their level and a time.
        Command::Runner(_) => lines.without_time().with_ansi(false).with_target(false).init(),
        _ => lines.init(),
    }
}

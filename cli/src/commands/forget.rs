//! `plusminus forget SWEEP` and `plusminus gc`

use crate::arguments::{ForgetArgs, GcArgs, Output};
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use plusminus_coordinator::{ForgetError, Removed};
use serde_json::json;

pub fn run(arguments: &ForgetArgs) -> Result<Exit, CliError> {
    let (source, removal) = (SweepSource::resolve(&arguments.sweep)?, &arguments.removal);
    let unknown = || ForgetError::UnknownSweep { name: source.name().to_owned(), known: Vec::new() };
    let name = source.name().parse().map_err(|_| unknown())?;
    let removed = plusminus_coordinator::forget(&removal.state, &name, arguments.force, removal.dry_run)?;
    print(&format!("{name}: "), &removed, removal)
}

pub fn collect(arguments: &GcArgs) -> Result<Exit, CliError> {
    print("", &plusminus_coordinator::collect(&arguments.state, arguments.dry_run)?, arguments)
}

fn print(prefix: &str, removed: &Removed, arguments: &GcArgs) -> Result<Exit, CliError> {
    match arguments.output {
        Output::Text => terminal::note(&format!("{prefix}{}", describe(removed, arguments.dry_run))),
        Output::Json => {
            let removed = json!({
                "dry_run": arguments.dry_run,
                "jobs": removed.jobs,
                "epochs": removed.epochs,
                "results": removed.results,
                "weights": removed.weights,
                "bytes": removed.bytes,
            });
            terminal::data(&format!("{removed}\n"))?;
        }
    }
    Ok(Exit::Success)
}

fn describe(removed: &Removed, dry_run: bool) -> String {
    let Removed { jobs, epochs, results, weights, bytes } = removed;
    let what = if dry_run { "would remove" } else { "removed" };
    format!(
        "{what} {jobs} jobs with {epochs} epochs and {results} results, and {weights} weights files: {}",
        size(*bytes)
    )
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

//! `plusminus man DIR`: the man pages, for packages. `just man` runs it.

use crate::arguments::{Arguments, ManArgs};
use crate::error::CliError;
use crate::exit::Exit;
use clap::CommandFactory;
use std::fs;

/// Writes `plusminus.1` and a page `plusminus-COMMAND.1` for every command that `--help` lists.
pub fn run(arguments: &ManArgs) -> Result<Exit, CliError> {
    let failed = |error| CliError::Io { what: "cannot write the man pages", error };
    fs::create_dir_all(&arguments.directory).map_err(failed)?;
    // The pages name every command, `help` excepted: it has no page.
    clap_mangen::generate_to(Arguments::command().disable_help_subcommand(true), &arguments.directory)
        .map_err(failed)?;
    Ok(Exit::Success)
}

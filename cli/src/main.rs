//! `plusminus`: from a sweep file to a five-seed table.
//!
//! - [`arguments`]: the command line as typed.
//! - [`commands`]: one file a command.
//! - [`whose`]: which coordinator or state directory a command speaks to.
//! - [`published`]: the published results that a sweep can be set beside.
//! - [`exit`]: classes of error and their exit codes.
//! - [`terminal`]: everything that is drawn: progress, colours, the problems of a sweep file.
//!
//! *Architecture invariant:* data goes to standard output, the rest to standard error; only [`terminal`] writes to either.

mod arguments;
mod commands;
mod exit;
mod logging;
mod published;
mod terminal;
mod whose;

use arguments::Arguments;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments);
    match commands::run(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            terminal::error(&error);
            error.exit().into()
        }
    }
}

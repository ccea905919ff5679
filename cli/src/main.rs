//! `plusminus`: from a sweep file to a table of mean ± std over five seeds.
//!
//! - [`arguments`]: the command line.
//! - [`commands`]: one file per command.
//! - [`sweep_source`]: resolves the sweep that a command names. [`text_file`]: reads the files that users write.
//! - [`client`]: queries a coordinator, or the store of a state directory.
//! - [`published`]: published results, which `compare` reads.
//! - [`hints`], [`memory`], [`outcome`], [`signals`]: what several commands share.
//! - [`error`], [`exit`]: errors and exit codes.
//! - [`terminal`]: all output.
//!
//! *Architecture invariant:* data goes to standard output, everything else to standard error; only [`terminal`] writes to either.

mod arguments;
mod client;
mod commands;
mod error;
mod exit;
mod hints;
mod logging;
mod memory;
mod outcome;
mod published;
mod signals;
mod sweep_source;
mod terminal;
mod text_file;
mod trouble;

use arguments::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    logging::start(&arguments);
    match commands::run(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            terminal::report(&error);
            error.exit().into()
        }
    }
}

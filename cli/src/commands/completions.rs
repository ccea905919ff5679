//! `plusminus completions SHELL`

use crate::arguments::{Arguments, CompletionsArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use clap::CommandFactory;

pub fn run(arguments: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "plusminus", &mut script);
    terminal::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

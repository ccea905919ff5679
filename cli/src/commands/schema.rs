//! `plusminus schema`: the schema that core generates from the declarations of sweep files.

use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use plusminus_core::sweep_file;

pub fn run() -> Result<Exit, CliError> {
    terminal::data(&format!("{:#}\n", sweep_file::schema()))?;
    Ok(Exit::Success)
}

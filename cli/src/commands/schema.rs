//! `plusminus schema`

use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;

pub fn run() -> Result<Exit, CliError> {
    terminal::data(&format!("{:#}\n", schema()))?;
    Ok(Exit::Success)
}

// Stands in for `plusminus_core::sweep_file::schema`.
fn schema() -> serde_json::Value {
    serde_json::json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" })
}

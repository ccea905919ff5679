//! `plusminus significance SWEEP`

use crate::arguments::SignificanceArgs;
use crate::commands::table::{SweepTable, TableQuery};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use plusminus_core::report::Significance;

pub async fn run(arguments: SignificanceArgs) -> Result<Exit, CliError> {
    let SweepTable { sweep, table, .. } = TableQuery::new(&arguments.table)?.fetch().await?;
    terminal::data(&Significance::new(&sweep, &table, arguments.alpha).render(arguments.table.format))?;
    Ok(Exit::Success)
}

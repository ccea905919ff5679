//! `plusminus significance SWEEP`

use super::table::{Answer, Asked};
use crate::arguments::{Table, level};
use crate::exit::{CliError, Exit};
use crate::terminal;
use clap::Args;
use plusminus_core::report::Significance;

/// `significance`
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is compared.
    #[command(flatten)]
    pub table: Table,
    /// Level of the tests, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let Answer { sweep, table, .. } = Asked::new(&arguments.table)?.answered().await?;
    terminal::data(&Significance::new(&sweep, &table, arguments.alpha).render(arguments.table.format))?;
    Ok(Exit::Success)
}

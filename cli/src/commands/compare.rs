//! `plusminus compare SWEEP`

use super::table::{Answer, Asked};
use crate::arguments::{Table, level};
use crate::exit::{CliError, Exit};
use crate::{published, terminal};
use clap::Args;
use plusminus_core::report::Comparison;

/// `compare`
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is compared.
    #[command(flatten)]
    pub table: Table,
    /// Published results in place of the sweep file's `table.reference`: a name, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub reference: Option<String>,
    /// Level of the test, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let asked = Asked::new(&arguments.table)?;
    // What is wrong with the published results is told before anybody is asked for ours.
    let given = arguments.reference.as_deref().map(published::find).transpose()?;
    let Answer { sweep, table, .. } = asked.answered().await?;
    let published = match (given, &sweep.table.reference) {
        (Some(published), _) => published,
        (None, Some(reference)) => published::find(reference)?,
        (None, None) => return Err(CliError::NoReference(sweep.name.to_string(), published::listed())),
    };
    let comparison = Comparison::new(&sweep, &table, &published, arguments.alpha);
    terminal::data(&comparison.render(arguments.table.format))?;
    Ok(Exit::Success)
}

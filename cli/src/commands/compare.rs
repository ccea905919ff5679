//! `plusminus compare SWEEP`

use crate::arguments::CompareArgs;
use crate::commands::table::{SweepTable, TableQuery};
use crate::error::CliError;
use crate::exit::Exit;
use crate::{published, terminal};
use plusminus_core::report::Comparison;

pub async fn run(arguments: CompareArgs) -> Result<Exit, CliError> {
    let query = TableQuery::new(&arguments.table)?;
    // Problems of the published results are reported before any query.
    let given = arguments.reference.as_deref().map(published::find).transpose()?;
    let SweepTable { sweep, table, .. } = query.fetch().await?;
    let published = match (given, &sweep.table.reference) {
        (Some(published), _) => published,
        (None, Some(reference)) => published::find(reference)?,
        (None, None) => return Err(CliError::NoReference(sweep.name.to_string(), published::list())),
    };
    let comparison = Comparison::new(&sweep, &table, &published, arguments.alpha);
    terminal::data(&comparison.render(arguments.table.format))?;
    Ok(Exit::Success)
}

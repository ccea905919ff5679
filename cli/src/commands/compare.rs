//! `plusminus compare SWEEP`

use crate::arguments::{Whose, format_parser, level};
use crate::exit::{CliError, Exit};
use crate::whose::{Client, Named};
use crate::{published, terminal};
use clap::Args;
use plusminus_coordinator::answer::{at_named, metric_named};
use plusminus_core::report::{Comparison, Format};

/// `compare`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Sweep file, or the name of a sweep submitted before
    pub sweep: String,
    /// Profile of the sweep file, such as smoke
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// Published results in place of the sweep file's `table.reference`: a name, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub reference: Option<String>,
    /// Format
    #[arg(long, default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// Metric in place of the sweep file's
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Epoch in place of the sweep file's: final, best or best-validation
    #[arg(long, value_name = "WHICH")]
    pub at: Option<String>,
    /// Level of the test, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let metric = arguments.metric.as_deref().map(metric_named).transpose()?;
    let at = arguments.at.as_deref().map(at_named).transpose()?;
    // What is wrong with the published results is told before anybody is asked for ours.
    let given = arguments.reference.as_deref().map(published::find).transpose()?;
    let mut client = Client::of(&arguments.whose).await?;
    let (sweep, table) = super::table::with_sweep(&mut client, &named, metric, at).await?;
    let published = match (given, &sweep.table.reference) {
        (Some(published), _) => published,
        (None, Some(reference)) => published::find(reference)?,
        (None, None) => return Err(CliError::NoReference(sweep.name.to_string(), published::listed())),
    };
    let comparison = Comparison::new(&sweep, &table, &published, arguments.alpha);
    terminal::data(&comparison.render(arguments.format))?;
    Ok(Exit::Success)
}

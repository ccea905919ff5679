//! `plusminus significance SWEEP`

use crate::arguments::{Whose, format_parser, level};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{Client, Named};
use clap::Args;
use plusminus_coordinator::answer::{at_named, metric_named};
use plusminus_core::report::{Format, Significance};

/// `significance`
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
    /// Format
    #[arg(long, default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// Metric in place of the sweep file's
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Epoch in place of the sweep file's: final, best or best-validation
    #[arg(long, value_name = "WHICH")]
    pub at: Option<String>,
    /// Level of the tests, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}

pub async fn run(arguments: Arguments) -> Result<Exit, CliError> {
    let named = Named::new(&arguments.sweep, arguments.profile.as_deref())?;
    let metric = arguments.metric.as_deref().map(metric_named).transpose()?;
    let at = arguments.at.as_deref().map(at_named).transpose()?;
    let mut client = Client::of(&arguments.whose).await?;
    let (sweep, table) = super::table::with_sweep(&mut client, &named, metric, at).await?;
    terminal::data(&Significance::new(&sweep, &table, arguments.alpha).render(arguments.format))?;
    Ok(Exit::Success)
}

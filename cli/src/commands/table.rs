//! `plusminus table SWEEP`

use crate::arguments::{self, Whose};
use crate::exit::{CliError, Exit};
use crate::terminal;
use crate::whose::{Client, Named};
use plusminus_coordinator::answer::{as_submitted, epoch_selection_named, metric_named};
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::outcome::FailureKind;
use plusminus_core::report::{Format, Table, decisions, render};
use plusminus_core::sweep_file::{Divergence, Sweep};

pub async fn run(arguments: arguments::Table) -> Result<Exit, CliError> {
    let Answer { table, diverged, .. } = Asked::new(&arguments)?.answered().await?;
    print(&table, arguments.format)?;
    if diverged > 0 && table.diverged == Divergence::Fail {
        super::tell_diverged(diverged, table.diverged, None);
        return Ok(Exit::JobsFailed);
    }
    Ok(Exit::Success)
}

/// A table that a command line asks for: it makes sense, and nobody has been asked yet.
pub struct Asked<'a> {
    named: Named,
    metric: Option<Metric>,
    at: Option<EpochSelection>,
    whose: &'a Whose,
}

/// A table that was asked for.
pub struct Answer {
    /// Its sweep, whose table has the metric and the selection that were asked for.
    pub sweep: Sweep,
    /// The table.
    pub table: Table,
    /// How many jobs of the sweep diverged: candidates that lost are not in the table.
    pub diverged: u64,
}

impl Asked<'_> {
    /// What these arguments ask for.
    ///
    /// # Errors
    /// If the sweep file has problems, or there is no such metric or selection.
    pub fn new(arguments: &arguments::Table) -> Result<Asked<'_>, CliError> {
        Ok(Asked {
            named: Named::new(&arguments.sweep, arguments.profile.as_deref())?,
            metric: arguments.metric.as_deref().map(metric_named).transpose()?,
            at: arguments.at.as_deref().map(epoch_selection_named).transpose()?,
            whose: &arguments.whose,
        })
    }

    /// Asks.
    ///
    /// # Errors
    /// If nobody can be asked, or there is no such sweep.
    pub async fn answered(&self) -> Result<Answer, CliError> {
        let mut client = Client::of(self.whose).await?;
        with_sweep(&mut client, &self.named, self.metric, self.at).await
    }
}

/// The table of a sweep. A file's own layout counts, so that it can be changed without training anew.
///
/// # Errors
/// If there is no such sweep.
pub async fn of(
    client: &mut Client,
    named: &Named,
    metric: Option<Metric>,
    at: Option<EpochSelection>,
) -> Result<Table, CliError> {
    Ok(with_sweep(client, named, metric, at).await?.table)
}

/// As [`of`], with the sweep.
///
/// # Errors
/// If there is no such sweep.
async fn with_sweep(
    client: &mut Client,
    named: &Named,
    metric: Option<Metric>,
    at: Option<EpochSelection>,
) -> Result<Answer, CliError> {
    // What is not asked for is as the file says: this one, or the one that was submitted.
    let (metric, at) = match named {
        Named::File(file) => (metric.or(Some(file.sweep.table.metric)), at.or(Some(file.sweep.table.at))),
        Named::Name(_) => (metric, at),
    };
    let results = client.results(named.name(), metric, at).await?;
    let mut sweep = match named {
        Named::File(file) => file.sweep.clone(),
        Named::Name(name) => as_submitted(&results.source, name)?,
    };
    sweep.table.metric = metric.unwrap_or(sweep.table.metric);
    sweep.table.at = at.unwrap_or(sweep.table.at);
    let decisions = match &sweep.select {
        None => Vec::new(),
        Some(select) => {
            let candidates = client.results(named.name(), Some(select.by), Some(select.at)).await?;
            decisions(&sweep, &candidates.jobs)
        }
    };
    let diverged = results.jobs.iter().filter(|job| job.status.failure() == Some(FailureKind::Diverged)).count() as u64;
    let table = Table::given(&sweep, &decisions, results.jobs);
    Ok(Answer { sweep, table, diverged })
}

/// Prints a table.
///
/// # Errors
/// If standard output cannot be written.
pub fn print(table: &Table, format: Format) -> Result<(), CliError> {
    terminal::data(&render(table, format, terminal::emphasis()))
}

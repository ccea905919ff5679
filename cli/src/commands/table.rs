//! `plusminus table SWEEP`

use crate::arguments::{TableArgs, TableOfSweepArgs, TargetArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::{outcome, terminal};
use plusminus_coordinator::answer::{as_submitted, epoch_selection_named, metric_named};
use plusminus_core::id::CellId;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::outcome::FailureKind;
use plusminus_core::report::{Format, JobResult, Table, decisions, render};
use plusminus_core::sweep_file::{Divergence, Sweep};
use std::collections::BTreeSet;

pub async fn run(arguments: TableArgs) -> Result<Exit, CliError> {
    let SweepTable { table, diverged, .. } = TableQuery::new(&arguments.table)?.fetch().await?;
    print(&table, arguments.table.format)?;
    if diverged > 0 && table.diverged == Divergence::Fail {
        outcome::print_diverged(diverged, table.diverged, None);
        return Ok(Exit::JobsFailed);
    }
    Ok(Exit::Success)
}

/// A valid request for a table.
pub struct TableQuery<'a> {
    source: SweepSource,
    shown: Shown,
    target: &'a TargetArgs,
}

/// What the command line changes of a table; the sweep file decides the rest.
#[derive(Clone, Copy, Default)]
pub struct Shown {
    /// The metric.
    pub metric: Option<Metric>,
    /// The epoch selection.
    pub at: Option<EpochSelection>,
    /// The decimals of printed numbers.
    pub decimals: Option<u8>,
}

/// A sweep and its table.
pub struct SweepTable {
    /// The sweep; its table settings have the requested metric and epoch selection.
    pub sweep: Sweep,
    /// The table.
    pub table: Table,
    /// Number of diverged jobs of the sweep, including those of candidates that the table leaves out.
    pub diverged: u64,
}

impl TableQuery<'_> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the sweep file has problems, or there is no such metric or epoch selection.
    pub fn new(arguments: &TableOfSweepArgs) -> Result<TableQuery<'_>, CliError> {
        Ok(TableQuery {
            source: SweepSource::resolve(&arguments.sweep)?,
            shown: Shown {
                metric: arguments.metric.as_deref().map(metric_named).transpose()?,
                at: arguments.at.as_deref().map(epoch_selection_named).transpose()?,
                decimals: arguments.decimals,
            },
            target: &arguments.target,
        })
    }

    /// Fetches the results and builds the table.
    ///
    /// # Errors
    /// If there is no coordinator and no store, or no such sweep.
    pub async fn fetch(&self) -> Result<SweepTable, CliError> {
        let mut client = Client::open(self.target).await?;
        fetch(&mut client, &self.source, self.shown).await
    }
}

/// Builds the table of a sweep. If the source is a file, its own layout applies, which may have changed since the jobs trained, and its own
/// jobs: their results are found whichever sweep lists them.
///
/// # Errors
/// If there is no such sweep.
pub async fn fetch(
    client: &mut Client,
    source: &SweepSource,
    Shown { metric, at, decimals }: Shown,
) -> Result<SweepTable, CliError> {
    // The defaults are those of this file, or of the submitted one.
    let (file, metric, at) = match source {
        SweepSource::File(file) => {
            (&*file.text, metric.or(Some(file.sweep.table.metric)), at.or(Some(file.sweep.table.at)))
        }
        SweepSource::Name(_) => ("", metric, at),
    };
    let results = client.results(source.name(), file, metric, at).await?;
    let mut sweep = match source {
        SweepSource::File(file) => file.sweep.clone(),
        SweepSource::Name(name) => as_submitted(&results.source, name)?,
    };
    sweep.table.metric = metric.unwrap_or(sweep.table.metric);
    sweep.table.at = at.unwrap_or(sweep.table.at);
    sweep.table.decimals = decimals.or(sweep.table.decimals);
    let decisions = match &sweep.select {
        None => Vec::new(),
        Some(select) => {
            let candidates = client.results(source.name(), file, Some(select.by), Some(select.at)).await?;
            decisions(&sweep, &candidates.jobs)
        }
    };
    // The submitted sweep may have other jobs than the file.
    let cells: BTreeSet<CellId> = sweep.trained().into_iter().map(|cell| cell.id).collect();
    let has_diverged = |job: &&JobResult| job.status.failure() == Some(FailureKind::Diverged);
    let diverged = results.jobs.iter().filter(|job| cells.contains(&job.cell)).filter(has_diverged).count() as u64;
    let table = Table::with_decisions(&sweep, &decisions, results.jobs);
    Ok(SweepTable { sweep, table, diverged })
}

/// Prints a table to standard output.
///
/// # Errors
/// If standard output cannot be written.
pub fn print(table: &Table, format: Format) -> Result<(), CliError> {
    terminal::table(&render(table, format, terminal::emphasis()))
}

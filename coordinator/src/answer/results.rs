//! The jobs of a sweep with the metric that a table shows.

use super::error::AnswerError;
use super::status::find_sweep;
use crate::store::Reader;
use plusminus_core::id::{CellId, JobId, SweepName};
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::scheduler::{JobView, Scheduler};
use plusminus_core::sweep_file::{self, Sweep};
use plusminus_proto::{convert, v1};
use std::str::FromStr;
use std::sync::Arc;

/// Jobs in one chunk of results.
const CHUNK: usize = 1000;

/// A sweep and its jobs as the scheduler has them. The metrics come from the store.
pub struct SweepJobs {
    sweep: SweepName,
    source: Arc<str>,
    jobs: Vec<ListedJob>,
}

/// What a table needs of a job. A sweep may have a million, so this leaves out the texts of failures.
#[derive(Clone, Copy)]
struct ListedJob {
    id: JobId,
    cell: CellId,
    seed: u64,
    status: v1::JobStatus,
    failure: v1::FailureKind,
}

impl SweepJobs {
    /// Finds the sweep.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn of(scheduler: &Scheduler, name: &str) -> Result<Self, AnswerError> {
        let sweep = find_sweep(scheduler, name)?;
        let listed = |job: JobView| {
            let (status, failure) = convert::job_state(&job.state);
            ListedJob { id: job.id, cell: job.cell, seed: job.seed, status, failure }
        };
        let jobs = scheduler.view().jobs_of(&sweep.name).map(listed).collect();
        Ok(SweepJobs { sweep: sweep.name, source: sweep.source, jobs })
    }

    /// The jobs with the metric and epoch selection of `request`, which default to those of the sweep file's table.
    ///
    /// # Errors
    /// If the metric or selection does not exist, or the store cannot be read.
    pub fn results(
        self,
        reader: &Reader,
        request: &v1::ResultsRequest,
    ) -> Result<impl Iterator<Item = v1::ResultsChunk> + Send + use<>, AnswerError> {
        let given = |name| Some(name).filter(|name: &&String| !name.is_empty());
        let metric = given(&request.metric).map(|name| metric_named(name)).transpose()?;
        let at = given(&request.at).map(|name| epoch_selection_named(name)).transpose()?;
        let (metric, at) = match (metric, at) {
            (Some(metric), Some(at)) => (metric, at),
            (metric, at) => {
                let table = as_submitted(&self.source, &request.sweep)?.table;
                (metric.unwrap_or(table.metric), at.unwrap_or(table.at))
            }
        };
        let values = reader.values(&self.sweep, metric, at)?;
        let result = move |job: &ListedJob| v1::JobResult {
            job: job.id.to_string(),
            cell: job.cell.to_string(),
            seed: job.seed,
            status: job.status.into(),
            failure: job.failure.into(),
            value: values.get(&job.id).copied(),
        };
        // Only the first chunk carries the sweep file.
        let (mut source, jobs) = (Some(self.source.to_string()), self.jobs);
        let chunks = jobs.len().div_ceil(CHUNK).max(1);
        Ok((0..chunks).map(move |chunk| {
            let jobs = jobs.iter().skip(chunk * CHUNK).take(CHUNK).map(&result).collect();
            v1::ResultsChunk { source: source.take().unwrap_or_default(), jobs }
        }))
    }
}

/// The sweep that was submitted as `name` from the sweep file `source`; the name may be that of a profile.
///
/// # Errors
/// If this version cannot read the sweep file.
pub fn as_submitted(source: &str, name: &str) -> Result<Sweep, AnswerError> {
    let sweeps = sweep_file::read_all(source, sweep_file::MAX_JOBS).ok();
    sweeps.and_then(|sweeps| sweeps.called(name)).ok_or_else(|| AnswerError::OldSource(name.to_owned()))
}

/// The metric with this name.
///
/// # Errors
/// If there is none; the error lists all metrics.
pub fn metric_named(name: &str) -> Result<Metric, AnswerError> {
    parse_name("metric", name, || Metric::ALL.iter().map(|metric| metric.name()).collect())
}

/// The epoch selection with this name.
///
/// # Errors
/// If there is none; the error lists all epoch selections.
pub fn epoch_selection_named(name: &str) -> Result<EpochSelection, AnswerError> {
    parse_name("selection", name, || EpochSelection::NAMES.to_vec())
}

fn parse_name<T: FromStr>(what: &'static str, found: &str, known: fn() -> Vec<&'static str>) -> Result<T, AnswerError> {
    found.parse().map_err(|_| AnswerError::UnknownName { what, found: found.to_owned(), known: known() })
}

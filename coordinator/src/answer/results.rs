//! The jobs of a sweep with the metric that a table shows.

use super::error::AnswerError;
use super::status::find_sweep;
use crate::store::Reader;
use plusminus_core::id::{CellId, JobId, SweepName};
use plusminus_core::job::Job;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::scheduler::{JobView, Scheduler};
use plusminus_core::sweep_file::{self, Sweep, TableSpec};
use plusminus_proto::{convert, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

/// Jobs in one chunk of results.
const CHUNK: usize = 1000;

/// The jobs that a request asks for.
pub struct RequestedJobs {
    request: v1::ResultsRequest,
    /// Those of the request's sweep file, and the layout of its table.
    of_file: Option<(Vec<JobId>, TableSpec)>,
}

impl RequestedJobs {
    /// Reads the sweep file of a request, if it has one. This takes a while for a large file.
    ///
    /// # Errors
    /// If the file has problems, or no sweep of the requested name.
    pub fn new(request: v1::ResultsRequest, max_jobs: u64) -> Result<Self, AnswerError> {
        let read = |source: &str| {
            let sweep = sweep_file::read_all(source, max_jobs).ok()?.called(&request.sweep)?;
            // All that hyper-parameter selection may choose.
            let cells = sweep.trained().into_iter().map(|cell| cell.id);
            let jobs = cells.flat_map(|cell| sweep.seeds.iter().map(move |seed| Job::id_of(cell, *seed))).collect();
            Some((jobs, sweep.table))
        };
        let of_file = Some(&request.source).filter(|source| !source.is_empty());
        let of_file = of_file.map(|source| read(source).ok_or(AnswerError::WrongSource)).transpose()?;
        Ok(RequestedJobs { request, of_file })
    }
}

/// A sweep and its jobs as the scheduler has them. The metrics come from the store.
pub struct SweepJobs {
    request: v1::ResultsRequest,
    table: Option<TableSpec>,
    /// The submitted sweep.
    listed_by: Option<(SweepName, Arc<str>)>,
    jobs: Vec<ListedJob>,
    /// Jobs of the request's sweep file that the submitted sweep does not list. Other sweeps may, or none.
    others: Vec<ListedJob>,
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

impl From<JobView> for ListedJob {
    fn from(job: JobView) -> Self {
        let (status, failure) = convert::job_state(&job.state);
        ListedJob { id: job.id, cell: job.cell, seed: job.seed, status, failure }
    }
}

impl SweepJobs {
    /// Finds the sweep, and the jobs of the request's sweep file.
    ///
    /// # Errors
    /// If neither the sweep nor a job of the file exists.
    pub fn of(scheduler: &Scheduler, asked: RequestedJobs) -> Result<Self, AnswerError> {
        let RequestedJobs { request, of_file } = asked;
        let found = find_sweep(scheduler, &request.sweep);
        let listed = found.iter().flat_map(|sweep| scheduler.view().jobs_of(&sweep.name));
        let jobs: Vec<ListedJob> = listed.map(ListedJob::from).collect();
        let (ids, table) = of_file.unzip();
        let listed: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
        let ids = ids.into_iter().flatten().filter(|id| !listed.contains(id));
        let others: Vec<ListedJob> = ids.filter_map(|id| scheduler.view().find(id)).map(ListedJob::from).collect();
        let listed_by = match found {
            Ok(sweep) => Some((sweep.name, sweep.source)),
            Err(error) if others.is_empty() => return Err(error),
            Err(_) => None,
        };
        Ok(SweepJobs { request, table, listed_by, jobs, others })
    }

    /// The jobs with the metric and epoch selection of the request, which default to those of the sweep file's table.
    ///
    /// # Errors
    /// If the metric or selection does not exist, or the store cannot be read.
    pub fn results(
        self,
        reader: &Reader,
    ) -> Result<impl Iterator<Item = v1::ResultsChunk> + Send + use<>, AnswerError> {
        let (metric, at) = self.shown()?;
        let mut values = match &self.listed_by {
            Some((sweep, _)) => reader.values(sweep, metric, at)?,
            None => BTreeMap::new(),
        };
        let others = self.others.iter().map(|job| job.id);
        values.extend(reader.values_of_jobs(others, metric, at)?);
        // A value must not count for another cell or seed than its job's.
        let mismatched = |job: &&ListedJob| values.contains_key(&job.id) && Job::id_of(job.cell, job.seed) != job.id;
        if let Some(other) = self.jobs.iter().chain(&self.others).find(mismatched) {
            return Err(reader.damaged(format!("job {} (cell {}, seed {})", other.id, other.cell, other.seed)).into());
        }
        let result = move |job: &ListedJob| v1::JobResult {
            job: job.id.to_string(),
            cell: job.cell.to_string(),
            seed: job.seed,
            status: job.status.into(),
            failure: job.failure.into(),
            value: values.get(&job.id).copied(),
        };
        // Only the first chunk carries the sweep file.
        let mut source = self.listed_by.map(|(_, source)| source.to_string());
        let mut jobs = self.jobs;
        jobs.extend(self.others);
        let chunks = jobs.len().div_ceil(CHUNK).max(1);
        Ok((0..chunks).map(move |chunk| {
            let jobs = jobs.iter().skip(chunk * CHUNK).take(CHUNK).map(&result).collect();
            v1::ResultsChunk { source: source.take().unwrap_or_default(), jobs }
        }))
    }

    /// The metric and the epoch selection.
    fn shown(&self) -> Result<(Metric, EpochSelection), AnswerError> {
        let given = |name| Some(name).filter(|name: &&String| !name.is_empty());
        let metric = given(&self.request.metric).map(|name| metric_named(name)).transpose()?;
        let at = given(&self.request.at).map(|name| epoch_selection_named(name)).transpose()?;
        if let (Some(metric), Some(at)) = (metric, at) {
            return Ok((metric, at));
        }
        let submitted = |(_, source): &(SweepName, Arc<str>)| as_submitted(source, &self.request.sweep);
        let table = match (&self.table, &self.listed_by) {
            (Some(table), _) => Some(table.clone()),
            (None, listed_by) => listed_by.as_ref().map(submitted).transpose()?.map(|sweep| sweep.table),
        };
        let table = table.ok_or_else(|| AnswerError::OldSource(self.request.sweep.clone()))?;
        Ok((metric.unwrap_or(table.metric), at.unwrap_or(table.at)))
    }
}

/// The sweep that was submitted as `name` from the sweep file `source`; the name may be that of a profile.
///
/// # Errors
/// If this version cannot read the sweep file.
pub fn as_submitted(source: &str, name: &str) -> Result<Sweep, AnswerError> {
    let sweeps = sweep_file::read_stored(source, sweep_file::MAX_JOBS).ok();
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

//! The service for users: submitting, watching and querying sweeps.

use super::labels::LabelCache;
use super::pool::Pool;
use super::queries::Queries;
use super::status;
use super::streams::{self, Parts};
use super::watching::WatchedSweeps;
use crate::answer::{self, AnswerError, explain};
use crate::driver::{DriverHandle, UserRequest};
use crate::selection::SubmittedSweep;
use crate::server::limits::Limits;
use crate::store::Reader;
use plusminus_core::id::{IdError, SweepName, WorkerName};
use plusminus_core::input::Problem;
use plusminus_core::scheduler::{RetrySelection, SubmitSummary};
use plusminus_core::sweep_file;
use plusminus_proto::parts;
use plusminus_proto::v1::{self, sweep_service_server::SweepService};
use tonic::{Response, Status};

pub(crate) struct Sweeps {
    driver: DriverHandle,
    queries: Queries,
    watched: WatchedSweeps,
    max_jobs: u64,
    /// Sweep files that are read and expanded.
    expansions: Pool,
}

impl Sweeps {
    pub fn new(driver: DriverHandle, reader: Reader, max_jobs: u64, limits: &Limits) -> Self {
        let (reads, expansions) = (Pool::new(limits.reads), Pool::new(limits.expansions));
        let labels = LabelCache::default();
        let watched = WatchedSweeps::new(driver.clone(), labels.clone());
        let queries = Queries::new(driver.clone(), reader, labels, max_jobs, reads);
        Sweeps { driver, queries, watched, max_jobs, expansions }
    }

    async fn submit_to_driver(&self, submitted: SubmittedSweep) -> Result<SubmitSummary, Status> {
        let summary = self.driver.request(|reply| UserRequest::Submit(Box::new(submitted), reply)).await;
        summary.map_err(status::request_error)?.map_err(status::refusal)
    }
}

fn sweep_name(text: &str) -> Result<SweepName, Status> {
    text.parse().map_err(|error: IdError| Status::invalid_argument(error.to_string()))
}

/// Reads a sweep file, either strictly or as one from the store.
type ReadSweeps = fn(&str, u64) -> Result<sweep_file::Sweeps, Vec<Problem>>;

/// Validates a sweep file and returns the requested sweep of it.
fn read_submission(request: v1::SubmitRequest, max_jobs: u64, read: ReadSweeps) -> Result<SubmittedSweep, Status> {
    let v1::SubmitRequest { source, sweep: name } = request;
    let sweeps = read(&source, max_jobs).map_err(|problems| status::problems(&problems))?;
    let wanted = if name.is_empty() { Some(sweeps.main) } else { sweeps.called(&name) };
    let sweep = wanted.ok_or_else(|| Status::invalid_argument(format!("the sweep file has no sweep `{name}`")))?;
    Ok(SubmittedSweep::new(sweep, source.into()))
}

#[tonic::async_trait]
impl SweepService for Sweeps {
    async fn submit(&self, request: tonic::Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (request, max_jobs) = (request.into_inner(), self.max_jobs);
        let read = move || read_submission(request, max_jobs, sweep_file::read_all);
        let submitted = self.expansions.run(read).await??;
        let sweep = submitted.submission.name.to_string();
        let summary = self.submit_to_driver(submitted).await?;
        Ok(Response::new(v1::SubmitResponse {
            sweep,
            jobs: summary.jobs as u64,
            new: summary.new as u64,
            finished: summary.finished as u64,
            requeued: summary.requeued as u64,
            dropped: summary.dropped as u64,
            replaced: summary.replaced as u64,
            replaced_finished: summary.replaced_finished as u64,
        }))
    }

    async fn cancel(&self, request: tonic::Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        let name = sweep_name(&request.into_inner().sweep)?;
        let dropped = self.driver.request(|reply| UserRequest::Cancel(name, reply)).await;
        let dropped = dropped.map_err(status::request_error)?.map_err(status::refusal)?;
        Ok(Response::new(v1::CancelResponse { dropped: dropped as u64 }))
    }

    async fn resume(&self, request: tonic::Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeResponse>, Status> {
        let v1::ResumeRequest { sweep, failed, jobs } = request.into_inner();
        let name = sweep_name(&sweep)?;
        let selection = match (failed, jobs.is_empty()) {
            (true, false) => {
                return Err(Status::invalid_argument("expected either all failed jobs or job ids, found both"));
            }
            (true, true) => RetrySelection::AllFailed,
            (false, false) => {
                let found = self.driver.query(move |scheduler, _, _| explain::find_jobs(scheduler, &jobs)).await;
                RetrySelection::Jobs(found.map_err(status::request_error)?.map_err(status::answer)?)
            }
            // All jobs without a result: the same as submitting the sweep again.
            (false, true) => {
                let source = self.driver.query(move |scheduler, _, _| answer::source(scheduler, &sweep)).await;
                let source = source.map_err(status::request_error)?.map_err(status::answer)?;
                let (request, max_jobs) = (v1::SubmitRequest { source, sweep: name.to_string() }, self.max_jobs);
                let read = move || read_submission(request, max_jobs, sweep_file::read_stored);
                let submitted = self.expansions.run(read).await?;
                let submitted = submitted.map_err(|_| status::answer(AnswerError::OldSource(name.to_string())))?;
                let summary = self.submit_to_driver(submitted).await?;
                return Ok(Response::new(v1::ResumeResponse { queued: (summary.new + summary.requeued) as u64 }));
            }
        };
        let queued = self.driver.request(|reply| UserRequest::Resume(name, selection, reply)).await;
        let queued = queued.map_err(status::request_error)?.map_err(status::refusal)?;
        Ok(Response::new(v1::ResumeResponse { queued: queued as u64 }))
    }

    async fn reinstate(
        &self,
        request: tonic::Request<v1::ReinstateRequest>,
    ) -> Result<Response<v1::ReinstateResponse>, Status> {
        let worker = WorkerName(request.into_inner().worker);
        let reinstated = self.driver.request(|reply| UserRequest::Reinstate(worker, reply)).await;
        let was_in_quarantine = reinstated.map_err(status::request_error)?.map_err(status::refusal)?;
        Ok(Response::new(v1::ReinstateResponse { was_in_quarantine }))
    }

    async fn explain(
        &self,
        request: tonic::Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let mut explained = self.queries.explain(request.into_inner()).await?;
        explained.abridge();
        Ok(Response::new(explained))
    }

    type ExplainInPartsStream = Parts<v1::ExplainResponse>;

    async fn explain_in_parts(
        &self,
        request: tonic::Request<v1::ExplainRequest>,
    ) -> Result<Response<Self::ExplainInPartsStream>, Status> {
        let mut explained = self.queries.explain(request.into_inner()).await?;
        let mut attempts = parts::split(std::mem::take(&mut explained.attempts)).into_iter();
        explained.attempts = attempts.next().unwrap_or_default();
        let rest = attempts.map(|attempts| v1::ExplainResponse { attempts, ..v1::ExplainResponse::default() });
        let all = std::iter::once(explained).chain(rest).map(Ok);
        Ok(Response::new(streams::of(all)))
    }

    async fn status(&self, request: tonic::Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.queries.status(request.into_inner()).await?))
    }

    type StatusInPartsStream = Parts<v1::StatusResponse>;

    async fn status_in_parts(
        &self,
        request: tonic::Request<v1::StatusRequest>,
    ) -> Result<Response<Self::StatusInPartsStream>, Status> {
        Ok(Response::new(self.queries.status_in_parts(request.into_inner()).await?))
    }

    type JobsStream = Parts<v1::JobsPart>;

    async fn jobs(&self, request: tonic::Request<v1::JobsRequest>) -> Result<Response<Self::JobsStream>, Status> {
        Ok(Response::new(self.queries.jobs(request.into_inner()).await?))
    }

    type ResultsStream = Parts<v1::ResultsChunk>;

    async fn results(
        &self,
        request: tonic::Request<v1::ResultsRequest>,
    ) -> Result<Response<Self::ResultsStream>, Status> {
        Ok(Response::new(self.queries.results(request.into_inner()).await?))
    }

    type WatchStream = Parts<v1::WatchUpdate>;

    async fn watch(&self, request: tonic::Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let name = sweep_name(&request.into_inner().sweep)?;
        Ok(Response::new(self.watched.follow(name).await?))
    }
}

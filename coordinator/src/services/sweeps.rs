//! The service for users: submitting, watching and querying sweeps.

use super::pool::Pool;
use super::status;
use crate::answer::explain::{self, Explanation};
use crate::answer::{self, AnswerError, SweepJobs};
use crate::driver::{DriverHandle, RequestError, UserRequest};
use crate::selection::SubmittedSweep;
use crate::server::limits::Limits;
use crate::store::Reader;
use plusminus_core::id::{IdError, SweepName};
use plusminus_core::scheduler::{RetrySelection, SubmitSummary};
use plusminus_core::sweep_file;
use plusminus_proto::v1::{self, sweep_service_server::SweepService};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// The shortest time between two updates of a watch.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct Sweeps {
    driver: DriverHandle,
    reader: Arc<Mutex<Reader>>,
    max_jobs: u64,
    /// Reads of the store.
    reads: Pool,
    /// Sweep files that are read and expanded.
    expansions: Pool,
}

impl Sweeps {
    pub fn new(driver: DriverHandle, reader: Reader, max_jobs: u64, limits: &Limits) -> Self {
        let (reads, expansions) = (Pool::new(limits.reads), Pool::new(limits.expansions));
        Sweeps { driver, reader: Arc::new(Mutex::new(reader)), max_jobs, reads, expansions }
    }

    async fn submit_to_driver(&self, submitted: SubmittedSweep) -> Result<SubmitSummary, Status> {
        let summary = self.driver.request(|reply| UserRequest::Submit(Box::new(submitted), reply)).await;
        summary.map_err(status::request_error)?.map_err(status::refusal)
    }
}

fn sweep_name(text: &str) -> Result<SweepName, Status> {
    text.parse().map_err(|error: IdError| Status::invalid_argument(error.to_string()))
}

/// Validates a sweep file and returns the requested sweep of it.
fn read_submission(request: v1::SubmitRequest, max_jobs: u64) -> Result<SubmittedSweep, Status> {
    let v1::SubmitRequest { source, sweep: name } = request;
    let sweeps = sweep_file::read_all(&source, max_jobs).map_err(|problems| status::problems(&problems))?;
    let wanted = if name.is_empty() { Some(sweeps.main) } else { sweeps.called(&name) };
    let sweep = wanted.ok_or_else(|| Status::invalid_argument(format!("the sweep file has no sweep `{name}`")))?;
    Ok(SubmittedSweep::new(sweep, source.into()))
}

#[tonic::async_trait]
impl SweepService for Sweeps {
    async fn submit(&self, request: tonic::Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (request, max_jobs) = (request.into_inner(), self.max_jobs);
        let submitted = self.expansions.run(move || read_submission(request, max_jobs)).await??;
        let sweep = submitted.submission.name.to_string();
        let summary = self.submit_to_driver(submitted).await?;
        Ok(Response::new(v1::SubmitResponse {
            sweep,
            jobs: summary.jobs as u64,
            new: summary.new as u64,
            finished: summary.finished as u64,
            requeued: summary.requeued as u64,
            dropped: summary.dropped as u64,
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
                let submitted = self.expansions.run(move || read_submission(request, max_jobs)).await?;
                let submitted = submitted.map_err(|_| status::answer(AnswerError::OldSource(name.to_string())))?;
                let summary = self.submit_to_driver(submitted).await?;
                return Ok(Response::new(v1::ResumeResponse { queued: (summary.new + summary.requeued) as u64 }));
            }
        };
        let queued = self.driver.request(|reply| UserRequest::Resume(name, selection, reply)).await;
        let queued = queued.map_err(status::request_error)?.map_err(status::refusal)?;
        Ok(Response::new(v1::ResumeResponse { queued: queued as u64 }))
    }

    async fn explain(
        &self,
        request: tonic::Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let job = request.into_inner().job;
        let explained =
            self.driver.query(move |scheduler, progress, now| Explanation::of(scheduler, progress, now, &job)).await;
        let explained = explained.map_err(status::request_error)?.map_err(status::answer)?;
        let reader = Arc::clone(&self.reader);
        let read = move || explained.with_attempts(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Response::new(self.reads.run(read).await?.map_err(status::answer)?))
    }

    async fn status(&self, request: tonic::Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let sweep = request.into_inner().sweep;
        let status =
            self.driver.query(move |scheduler, progress, now| answer::status(scheduler, progress, now, &sweep)).await;
        Ok(Response::new(status.map_err(status::request_error)?.map_err(status::answer)?))
    }

    type ResultsStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ResultsChunk, Status>>>;

    async fn results(
        &self,
        request: tonic::Request<v1::ResultsRequest>,
    ) -> Result<Response<Self::ResultsStream>, Status> {
        let request = request.into_inner();
        let sweep = request.sweep.clone();
        let jobs = self.driver.query(move |scheduler, _, _| SweepJobs::of(scheduler, &sweep)).await;
        let jobs = jobs.map_err(status::request_error)?.map_err(status::answer)?;
        let reader = Arc::clone(&self.reader);
        let read = move || jobs.results(&reader.lock().unwrap_or_else(PoisonError::into_inner), &request);
        let chunks: Vec<_> = self.reads.run(read).await?.map_err(status::answer)?.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchUpdate, Status>>;

    async fn watch(&self, request: tonic::Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let sweep = request.into_inner().sweep;
        sweep_name(&sweep)?;
        let driver = self.driver.clone();
        let first = sweep_status(&driver, sweep.clone()).await.map_err(status::request_error)??;
        // The queue holds one update, so a slow client skips updates.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // The client may have gone, or the driver may have ended.
            let _ = watch(driver, sweep, first, sender).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// The current status of one sweep.
async fn sweep_status(driver: &DriverHandle, sweep: String) -> Result<Result<v1::SweepStatus, Status>, RequestError> {
    let status = driver.query(move |scheduler, progress, now| answer::status(scheduler, progress, now, &sweep)).await?;
    let one = |status: v1::StatusResponse| status.sweeps.into_iter().next();
    Ok(status
        .map_err(status::answer)
        .and_then(|status| one(status).ok_or_else(|| Status::not_found("sweep not found"))))
}

/// Sends the status whenever it may have changed, until the sweep is over.
async fn watch(
    mut driver: DriverHandle,
    sweep: String,
    first: v1::SweepStatus,
    sender: mpsc::Sender<Result<v1::WatchUpdate, Status>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut status = first;
    loop {
        let over = status.is_over();
        sender.send(Ok(v1::WatchUpdate { status: Some(status) })).await?;
        if over {
            return Ok(());
        }
        tokio::time::sleep(PACE).await;
        tokio::select! {
            changed = driver.changes.changed() => changed?,
            () = sender.closed() => return Ok(()),
        }
        status = loop {
            match sweep_status(&driver, sweep.clone()).await {
                Ok(status) => break status?,
                // While the store does not work, the watch waits.
                Err(RequestError::Stalled(_) | RequestError::NotSaved(_)) => tokio::time::sleep(PACE).await,
                Err(stopping) => return Err(stopping.into()),
            }
        };
    }
}

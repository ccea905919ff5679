//! The calls of users.

use super::status;
use crate::answer::{self, SweepJobs};
use crate::driver::{Handle, Request};
use crate::selection::Submitted;
use crate::store::Reader;
use plusminus_core::id::{IdError, SweepName};
use plusminus_core::spec;
use plusminus_proto::v1::{self, sweep_service_server::SweepService};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// The shortest time between two updates of a watch.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct Sweeps {
    handle: Handle,
    reader: Arc<Mutex<Reader>>,
    max_jobs: u64,
}

impl Sweeps {
    pub fn new(handle: Handle, reader: Reader, max_jobs: u64) -> Self {
        Sweeps { handle, reader: Arc::new(Mutex::new(reader)), max_jobs }
    }
}

fn sweep_name(text: &str) -> Result<SweepName, Status> {
    text.parse().map_err(|error: IdError| Status::invalid_argument(error.to_string()))
}

/// Checks a sweep file and takes the sweep of that name in it.
fn submitted(request: v1::SubmitRequest, max_jobs: u64) -> Result<Submitted, Status> {
    let v1::SubmitRequest { source, sweep: name } = request;
    let sweeps = spec::read_all(&source, max_jobs).map_err(|problems| status::problems(&problems))?;
    let wanted = if name.is_empty() { Some(sweeps.main) } else { sweeps.called(&name) };
    let sweep = wanted.ok_or_else(|| Status::invalid_argument(format!("the sweep file has no sweep `{name}`")))?;
    Ok(Submitted::new(sweep, source.into()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))
}

#[tonic::async_trait]
impl SweepService for Sweeps {
    async fn submit(&self, request: tonic::Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (request, max_jobs) = (request.into_inner(), self.max_jobs);
        let submitted = blocking(move || submitted(request, max_jobs)).await??;
        let sweep = submitted.submission.name.to_string();
        let (reply, answer) = oneshot::channel();
        self.handle.send(Request::Submit(Box::new(submitted), reply)).await.map_err(status::stopping)?;
        let summary = answer.await.map_err(|_| status::stopping(crate::driver::Stopping))?.map_err(status::refusal)?;
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
        let (reply, answer) = oneshot::channel();
        self.handle.send(Request::Cancel(name, reply)).await.map_err(status::stopping)?;
        let dropped = answer.await.map_err(|_| status::stopping(crate::driver::Stopping))?.map_err(status::refusal)?;
        Ok(Response::new(v1::CancelResponse { dropped: dropped as u64 }))
    }

    async fn status(&self, request: tonic::Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let sweep = request.into_inner().sweep;
        let status = self.handle.ask(move |machine, board, now| answer::status(machine, board, now, &sweep)).await;
        Ok(Response::new(status.map_err(status::stopping)?.map_err(status::answer)?))
    }

    type ResultsStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ResultsChunk, Status>>>;

    async fn results(
        &self,
        request: tonic::Request<v1::ResultsRequest>,
    ) -> Result<Response<Self::ResultsStream>, Status> {
        let request = request.into_inner();
        let sweep = request.sweep.clone();
        let jobs = self.handle.ask(move |machine, _, _| SweepJobs::of(machine, &sweep)).await;
        let jobs = jobs.map_err(status::stopping)?.map_err(status::answer)?;
        let reader = Arc::clone(&self.reader);
        let read = move || jobs.results(&reader.lock().unwrap_or_else(PoisonError::into_inner), &request);
        let chunks: Vec<_> = blocking(read).await?.map_err(status::answer)?.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchUpdate, Status>>;

    async fn watch(&self, request: tonic::Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let sweep = request.into_inner().sweep;
        sweep_name(&sweep)?;
        let handle = self.handle.clone();
        let first = look(&handle, sweep.clone()).await?;
        // One update may wait; a client that is slower misses those between.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // Whoever watches may have gone, and the driver may have ended.
            let _ = watch(handle, sweep, first, sender).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn look(handle: &Handle, sweep: String) -> Result<v1::SweepStatus, Status> {
    let status = handle.ask(move |machine, board, now| answer::status(machine, board, now, &sweep)).await;
    let status = status.map_err(status::stopping)?.map_err(status::answer)?;
    status.sweeps.into_iter().next().ok_or_else(|| Status::not_found("give the name of a sweep"))
}

async fn watch(
    mut handle: Handle,
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
            changed = handle.changes.changed() => changed?,
            () = sender.closed() => return Ok(()),
        }
        status = look(&handle, sweep.clone()).await?;
    }
}

//! The stream of a worker.

use super::status::{invalid, unanswered};
use crate::driver::{Beat, Handle, Request, Unanswered};
use plusminus_core::id::{AttemptId, WorkerName};
use plusminus_core::scheduler::{Event, Session};
use plusminus_proto::convert::{self, Invalid, attempts, required_attempt};
use plusminus_proto::session;
use plusminus_proto::v1::{self, from_worker, worker_service_server::WorkerService};
use plusminus_proto::weights::{self, ReceiveError};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};
use tracing::{info, warn};

/// Messages that may wait for a worker before it is cut off.
const OUTBOX: usize = 4096;
/// What a worker has said that may wait while nothing is taken in. Its heartbeats wait behind no less.
const INBOX: usize = 4096;
/// Parts of a file that may wait for the disk or the network.
const PARTS: usize = 4;
/// How long a worker may take to introduce itself.
const HELLO: Duration = Duration::from_secs(10);

pub(crate) struct Workers {
    handle: Handle,
    sessions: AtomicU64,
    /// The directory of the weights that jobs have left for others.
    weights: PathBuf,
}

impl Workers {
    pub fn new(handle: Handle, weights: PathBuf) -> Self {
        Workers { handle, sessions: AtomicU64::new(0), weights }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = ReceiverStream<Result<v1::ToWorker, Status>>;

    async fn session(
        &self,
        request: tonic::Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = tokio::time::timeout(HELLO, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("expected a Hello first"))??;
        let Some(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("expected a Hello first"));
        };
        let session = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        let (outbox, outbound) = mpsc::channel(OUTBOX);
        let worker = WorkerName(hello.worker);
        if hello.version != env!("CARGO_PKG_VERSION") {
            warn!(%worker, theirs = hello.version, ours = env!("CARGO_PKG_VERSION"), "another version of plusminus");
        }
        let holds = attempts(&hello.holds).map_err(invalid)?;
        let (instance, devices) = (hello.instance, hello.devices);
        let join = Request::Join { session, worker: worker.clone(), instance, devices, holds, outbox };
        self.handle.send(join).await.map_err(unanswered)?;
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let (sender, said) = mpsc::channel(INBOX);
            let passing = tokio::spawn(pass_on(handle.clone(), session, said));
            let ended = listen(&handle, session, inbound, sender).await;
            info!(%worker, reason = %ended.err().map_or_else(|| "it left".to_owned(), |e| e.message().to_owned()), "a worker is gone");
            let _ = passing.await;
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }

    async fn put_weights(
        &self,
        request: tonic::Request<Streaming<v1::WeightsPart>>,
    ) -> Result<Response<v1::PutWeightsResponse>, Status> {
        let mut inbound = request.into_inner();
        let mut part = inbound.message().await?.ok_or_else(|| Status::invalid_argument("expected a part first"))?;
        let digest = convert::digest(&part.digest).map_err(invalid)?;
        let (sender, mut parts) = mpsc::channel(PARTS);
        let directory = self.weights.clone();
        let written = tokio::task::spawn_blocking(move || {
            weights::receive(&directory, digest, std::iter::from_fn(|| parts.blocking_recv()))
        });
        // If writing has failed nobody takes any more, and why is told in the end.
        while sender.send(part.content).await.is_ok() {
            match inbound.message().await? {
                Some(next) => part = next,
                None => break,
            }
        }
        drop(sender);
        written.await.map_err(internal)?.map_err(|error| match error {
            ReceiveError::Other { .. } => Status::data_loss(error.to_string()),
            ReceiveError::TooLong => Status::resource_exhausted(error.to_string()),
            // There may be room later: the worker keeps the file and tries again.
            ReceiveError::Disk { .. } => {
                warn!("{error}; the worker tries again");
                Status::unavailable(error.to_string())
            }
        })?;
        Ok(Response::new(v1::PutWeightsResponse {}))
    }

    type GetWeightsStream = ReceiverStream<Result<v1::WeightsPart, Status>>;

    async fn get_weights(
        &self,
        request: tonic::Request<v1::GetWeightsRequest>,
    ) -> Result<Response<Self::GetWeightsStream>, Status> {
        let asked = request.into_inner().weights.ok_or_else(|| invalid(Invalid::Missing("weights")))?;
        let (job, digest) = asked.to_core().map_err(invalid)?;
        let directory = self.weights.clone();
        let opened = tokio::task::spawn_blocking(move || {
            if weights::is_whole(&directory, digest)? { weights::parts(&directory, digest).map(Some) } else { Ok(None) }
        });
        let opened = opened.await.map_err(internal)?;
        let opened = opened.or_else(|error| if is_lost(&error) { Ok(None) } else { Err(error) });
        let Some(parts) = opened.map_err(|error| Status::unavailable(error.to_string()))? else {
            self.handle.send(Request::Lost(job, digest)).await.map_err(unanswered)?;
            let why = format!("the weights of job {job} are not in the state directory any more; it is trained again");
            return Err(Status::not_found(why));
        };
        let (sender, receiver) = mpsc::channel(PARTS);
        tokio::task::spawn_blocking(move || {
            for part in parts {
                let part = part.map(|content| v1::WeightsPart { digest: String::new(), content });
                // Whoever asked may have gone.
                if sender.blocking_send(part.map_err(|error| Status::data_loss(error.to_string()))).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Whether a file that is there cannot be read, now or later: whoever waits for it would wait for ever.
fn is_lost(error: &io::Error) -> bool {
    /// EIO, on every system.
    const BROKEN_MEDIUM: i32 = 5;
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::IsADirectory)
        || error.raw_os_error() == Some(BROKEN_MEDIUM)
}

fn internal(error: tokio::task::JoinError) -> Status {
    Status::internal(error.to_string())
}

/// Listens to a worker until it says no more. Heartbeats go straight on, the rest by way of `said`.
async fn listen(
    handle: &Handle,
    session: Session,
    mut inbound: Streaming<v1::FromWorker>,
    said: mpsc::Sender<Request>,
) -> Result<(), Status> {
    let stopping = |_| unanswered(Unanswered::Stopping);
    while let Some(message) = inbound.message().await? {
        match message.message {
            Some(from_worker::Message::Progress(v1::ProgressReport { of, progress: Some(progress) })) => {
                let AttemptId { job, attempt } = required_attempt(of.as_ref()).map_err(invalid)?;
                // Where there is much to do, the next one will do: heartbeats wait behind reports, and those must have room.
                if said.capacity() > INBOX / 2 {
                    let _ = said.try_send(Request::Progress(job, attempt, progress));
                }
            }
            // The driver shows them to users, too.
            Some(from_worker::Message::Devices(v1::Devices { devices })) => {
                said.send(Request::Devices(session, devices)).await.map_err(stopping)?;
            }
            Some(message) => match session::event(session, message).map_err(invalid)? {
                Some(Event::Heartbeat { session, beat, holds }) => {
                    handle.beat(Beat { session, beat, holds }).await.map_err(unanswered)?;
                }
                Some(Event::Reported(session, report)) => {
                    said.send(Request::Report(session, report)).await.map_err(stopping)?;
                }
                Some(Event::Draining(session)) => said.send(Request::Drain(session)).await.map_err(stopping)?,
                _ => {}
            },
            // A message of a later version.
            None => {}
        }
    }
    Ok(())
}

/// Passes on what a worker has said, in order and for as long as the driver takes it, and in the end that it has gone.
async fn pass_on(handle: Handle, session: Session, mut said: mpsc::Receiver<Request>) -> Result<(), Unanswered> {
    while let Some(request) = said.recv().await {
        handle.send(request).await?;
    }
    handle.send(Request::Leave(session)).await
}

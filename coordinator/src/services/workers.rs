//! The service for workers: the session stream and the transfer of weights.

use super::status::{invalid, request_error};
use crate::driver::{DriverHandle, RequestError, WorkerMessage};
use plusminus_core::id::WorkerName;
use plusminus_core::scheduler::{Event, Session};
use plusminus_proto::convert::{self, Invalid, attempts, required_attempt};
use plusminus_proto::v1::{self, from_worker, worker_service_server::WorkerService};
use plusminus_proto::weights::{self, ReceiveError};
use plusminus_proto::{limits, session};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};
use tracing::{info, warn};

/// The most messages that wait for a worker. A worker with more is disconnected.
const OUTBOUND: usize = 4096;
/// The most messages of a worker that wait for the driver. When the queue is full, heartbeats wait too.
const INBOUND: usize = 4096;
/// The most parts of a weights file that wait for the disk or the network.
const PARTS: usize = 4;
/// How long a worker may take to send its `Hello`.
const HELLO: Duration = Duration::from_secs(10);

pub(crate) struct Workers {
    driver: DriverHandle,
    /// The number of the next session.
    next_session: AtomicU64,
    /// The directory with kept weights.
    weights: PathBuf,
}

impl Workers {
    pub fn new(driver: DriverHandle, weights: PathBuf) -> Self {
        Workers { driver, next_session: AtomicU64::new(0), weights }
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
            .map_err(|_| Status::deadline_exceeded("expected a `Hello` message first"))??;
        let Some(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("expected a `Hello` message first"));
        };
        limits::hello(&hello).map_err(invalid)?;
        let session = Session(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (sender, outbound) = mpsc::channel(OUTBOUND);
        let worker: WorkerName = hello
            .worker
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}; start the worker with another `--name`")))?;
        if hello.version != env!("CARGO_PKG_VERSION") {
            warn!(%worker, theirs = hello.version, ours = env!("CARGO_PKG_VERSION"), "the worker has another version of plusminus");
        }
        let holds = attempts(&hello.holds).map_err(invalid)?;
        let (instance, devices, host) = (hello.instance, hello.devices, hello.host);
        let (to_worker, name) = (sender.downgrade(), worker.clone());
        let connected = WorkerMessage::Connected { session, worker: name, host, instance, devices, holds, sender };
        self.driver.send(connected).await.map_err(request_error)?;
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let (queue, queued) = mpsc::channel(INBOUND);
            let forwarding = tokio::spawn(forward(driver.clone(), session, queued));
            let ended = receive(&driver, session, inbound, &queue).await;
            // The worker learns which limit it exceeded.
            if let (Err(error), Some(to_worker)) = (&ended, to_worker.upgrade()) {
                let _ = to_worker.try_send(Err(error.clone()));
            }
            drop(queue);
            let reason = ended.err().map_or_else(|| "it left".to_owned(), |error| error.message().to_owned());
            info!(%worker, %reason, "a worker disconnected");
            let _ = forwarding.await;
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }

    async fn put_weights(
        &self,
        request: tonic::Request<Streaming<v1::WeightsPart>>,
    ) -> Result<Response<v1::PutWeightsResponse>, Status> {
        let mut inbound = request.into_inner();
        let mut part =
            inbound.message().await?.ok_or_else(|| Status::invalid_argument("expected a part of the file first"))?;
        let digest = convert::digest(&part.digest).map_err(invalid)?;
        let (sender, mut parts) = mpsc::channel(PARTS);
        let directory = self.weights.clone();
        let written = tokio::task::spawn_blocking(move || {
            weights::receive(&directory, digest, std::iter::from_fn(|| parts.blocking_recv()))
        });
        // If writing fails, the queue closes; the error is returned below.
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
            // There may be space later: the worker keeps the file and retries.
            ReceiveError::Disk { .. } => {
                warn!("{error}; the worker will retry");
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
            self.driver.send(WorkerMessage::WeightsLost(job, digest)).await.map_err(request_error)?;
            let reason = format!("the weights of job {job} are missing from the state directory; the job is retrained");
            return Err(Status::not_found(reason));
        };
        let (sender, receiver) = mpsc::channel(PARTS);
        tokio::task::spawn_blocking(move || {
            for part in parts {
                let part = part.map(|content| v1::WeightsPart { digest: String::new(), content });
                // The worker may have gone.
                if sender.blocking_send(part.map_err(|error| Status::data_loss(error.to_string()))).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Whether a file exists and will never be readable. Waiting for it would not end.
fn is_lost(error: &io::Error) -> bool {
    /// EIO, on every system.
    const BROKEN_MEDIUM: i32 = 5;
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::IsADirectory)
        || error.raw_os_error() == Some(BROKEN_MEDIUM)
}

fn internal(error: tokio::task::JoinError) -> Status {
    Status::internal(error.to_string())
}

/// Receives a worker's messages until its stream ends. Heartbeats go to the driver at once, other messages through `queue`.
async fn receive(
    driver: &DriverHandle,
    session: Session,
    mut inbound: Streaming<v1::FromWorker>,
    queue: &mpsc::Sender<WorkerMessage>,
) -> Result<(), Status> {
    let stopping = |_| request_error(RequestError::Stopping);
    while let Some(message) = inbound.message().await? {
        match message.message {
            Some(from_worker::Message::Progress(v1::ProgressReport { of, progress: Some(progress) })) => {
                let attempt = required_attempt(of.as_ref()).map_err(invalid)?;
                // Under load, progress is dropped: reports need the room, and a full queue would delay heartbeats.
                if queue.capacity() > INBOUND / 2 {
                    let _ = queue.try_send(WorkerMessage::Progress(session, attempt, progress));
                }
            }
            // The driver also shows the devices to users.
            Some(from_worker::Message::Devices(v1::Devices { devices })) => {
                limits::devices(&devices).map_err(invalid)?;
                queue.send(WorkerMessage::Devices(session, devices)).await.map_err(stopping)?;
            }
            Some(message) => match session::event(session, message).map_err(invalid)? {
                Some(Event::Heartbeat(heartbeat)) => driver.heartbeat(heartbeat).await.map_err(request_error)?,
                Some(Event::Reported(session, report)) => {
                    queue.send(WorkerMessage::Report(session, report)).await.map_err(stopping)?;
                }
                Some(Event::Draining(session)) => {
                    queue.send(WorkerMessage::Draining(session)).await.map_err(stopping)?;
                }
                _ => {}
            },
            // A message of a newer version, which this one does not know.
            None => {}
        }
    }
    Ok(())
}

/// Forwards queued messages to the driver in order, and finally the end of the session.
async fn forward(
    driver: DriverHandle,
    session: Session,
    mut queued: mpsc::Receiver<WorkerMessage>,
) -> Result<(), RequestError> {
    while let Some(message) = queued.recv().await {
        driver.send(message).await?;
    }
    driver.send(WorkerMessage::Disconnected(session)).await
}

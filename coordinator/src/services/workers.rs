//! The service for workers: the session stream, and the transfer of weights (`weights`).

use super::status::{invalid, request_error};
use super::weights::Weights;
use crate::driver::{DriverHandle, RequestError, WorkerMessage};
use crate::server::limits::Limits;
use plusminus_core::id::WorkerName;
use plusminus_core::scheduler::{Event, Session};
use plusminus_proto::convert::{attempts, required_attempt};
use plusminus_proto::v1::{self, from_worker, worker_service_server::WorkerService};
use plusminus_proto::{limits, session};
use std::sync::Arc;
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

pub(crate) struct Workers {
    driver: DriverHandle,
    /// The number of the next session.
    next_session: AtomicU64,
    weights: Arc<Weights>,
    /// How long a worker may take to send its `Hello`.
    hello: Duration,
    /// How long it may be silent after that.
    silence: Duration,
}

impl Workers {
    pub fn new(driver: DriverHandle, weights: Arc<Weights>, limits: &Limits) -> Self {
        let (hello, silence) = (limits.first_bytes, limits.silence);
        Workers { driver, next_session: AtomicU64::new(0), weights, hello, silence }
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
        let hello = tokio::time::timeout(self.hello, inbound.message())
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
        let (driver, silence) = (self.driver.clone(), self.silence);
        tokio::spawn(async move {
            let (queue, queued) = mpsc::channel(INBOUND);
            let forwarding = tokio::spawn(forward(driver.clone(), session, queued));
            let ended = receive(&driver, session, inbound, silence, &queue).await;
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
        self.weights.put(request.into_inner()).await?;
        Ok(Response::new(v1::PutWeightsResponse {}))
    }

    type GetWeightsStream = ReceiverStream<Result<v1::WeightsPart, Status>>;

    async fn get_weights(
        &self,
        request: tonic::Request<v1::GetWeightsRequest>,
    ) -> Result<Response<Self::GetWeightsStream>, Status> {
        Ok(Response::new(self.weights.get(request.into_inner()).await?))
    }
}

/// Receives a worker's messages until its stream ends. Heartbeats go to the driver at once, other messages through `queue`.
async fn receive(
    driver: &DriverHandle,
    session: Session,
    mut inbound: Streaming<v1::FromWorker>,
    silence: Duration,
    queue: &mpsc::Sender<WorkerMessage>,
) -> Result<(), Status> {
    let stopping = |_| request_error(RequestError::Stopping);
    let silent = |_| Status::deadline_exceeded(format!("expected a heartbeat within {} s", silence.as_secs_f64()));
    while let Some(message) = tokio::time::timeout(silence, inbound.message()).await.map_err(silent)?? {
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

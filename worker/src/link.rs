//! The connection to the coordinator: made, and made again whenever it breaks.

use crate::agent::{Event, WorkerError};
use backon::{ExponentialBuilder, Retryable};
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, to_worker};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info};

/// Messages that may wait for the network; reports beyond them wait in the outbox.
const QUEUE: usize = 256;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One connection, to send over.
pub(crate) type Sender = mpsc::Sender<v1::FromWorker>;

/// Knows where the coordinator is, and tells the agent of every connection and of what comes over it.
pub(crate) struct Link {
    endpoint: Endpoint,
    url: String,
    events: mpsc::Sender<Event>,
}

/// What a broken attempt at a connection was stopped by.
enum Broken {
    Transport(tonic::transport::Error),
    Refused(tonic::Status),
}

impl Link {
    pub fn new(url: &str, events: mpsc::Sender<Event>) -> Result<Self, WorkerError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| WorkerError::BadUrl { url: url.to_owned(), problem: error.to_string() })?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(10));
        Ok(Link { endpoint, url: url.to_owned(), events })
    }

    /// Makes the first connection, trying for no longer than `patience`: a wrong URL is better told than waited for.
    pub async fn first(&self, hello: v1::Hello, patience: Duration) -> Result<Connection, WorkerError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times();
        let tried =
            (|| self.connect(hello.clone())).retry(pauses).when(|broken| matches!(broken, Broken::Transport(_)));
        let problem = match tokio::time::timeout(patience, tried).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(Broken::Refused(status))) => status.message().to_owned(),
            Ok(Err(Broken::Transport(error))) => describe(&error),
            Err(_) => match self.connect(hello).await {
                Ok(connection) => return Ok(connection),
                Err(Broken::Transport(error)) => describe(&error),
                Err(Broken::Refused(status)) => status.message().to_owned(),
            },
        };
        Err(WorkerError::Unreachable { url: self.url.clone(), problem, patience })
    }

    async fn connect(&self, hello: v1::Hello) -> Result<Connection, Broken> {
        let channel: Channel = self.endpoint.connect().await.map_err(Broken::Transport)?;
        let (sender, outbound) = mpsc::channel(QUEUE);
        // The queue is new, so there is room.
        let _ = sender.try_send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) });
        let mut client = WorkerServiceClient::new(channel);
        let inbound = client.session(ReceiverStream::new(outbound)).await.map_err(Broken::Refused)?.into_inner();
        Ok(Connection { sender, inbound })
    }

    /// Listens to `connection` until it breaks, then makes another, for ever. The agent says what it holds each time.
    pub async fn keep(self, mut connection: Connection) {
        let mut pauses = LONGEST_PAUSE / 64;
        loop {
            let Connection { sender, inbound } = connection;
            if self.events.send(Event::Connected(sender)).await.is_err() {
                return;
            }
            let reason = self.listen(inbound).await;
            info!(url = self.url, reason, "the connection to the coordinator is broken; training goes on");
            connection = loop {
                let (reply, hello) = tokio::sync::oneshot::channel();
                if self.events.send(Event::Disconnected(reply)).await.is_err() {
                    return;
                }
                let Ok(hello) = hello.await else { return };
                match self.connect(hello).await {
                    Ok(connection) => break connection,
                    Err(Broken::Transport(error)) => debug!(error = describe(&error), "no connection yet"),
                    Err(Broken::Refused(status)) => debug!(status = status.message(), "no connection yet"),
                }
                tokio::time::sleep(pauses).await;
                pauses = (pauses * 2).min(LONGEST_PAUSE);
            };
            pauses = LONGEST_PAUSE / 64;
            info!(url = self.url, "connected to the coordinator again");
        }
    }

    async fn listen(&self, mut inbound: Streaming<v1::ToWorker>) -> String {
        loop {
            match inbound.message().await {
                Ok(Some(v1::ToWorker { message: Some(message) })) => {
                    if self.events.send(Event::Told(message)).await.is_err() {
                        return "the worker is stopping".to_owned();
                    }
                }
                // A message of a later version.
                Ok(Some(v1::ToWorker { message: None })) => {}
                Ok(None) => return "the coordinator has ended it".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }
}

/// An open stream in both directions.
pub(crate) struct Connection {
    sender: Sender,
    inbound: Streaming<v1::ToWorker>,
}

/// What the coordinator says.
pub(crate) type Told = to_worker::Message;

/// An error and what caused it: tonic's own message is "transport error" and no more.
fn describe(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

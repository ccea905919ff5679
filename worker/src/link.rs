//! The connection to the coordinator: made, and made again whenever it breaks.

use crate::error::WorkerError;
use crate::event::{Event, Sender, Told};
use backon::{ExponentialBuilder, Retryable};
use plusminus_proto::endpoint::{endpoint, root_cause};
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker};
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

/// Messages that may wait for the network; reports beyond them wait in the outbox.
const QUEUE: usize = 256;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Knows where the coordinator is, and tells the agent of every connection and of what comes over it.
pub(crate) struct Link {
    endpoint: Endpoint,
    url: String,
    events: mpsc::Sender<Event>,
}

/// What a broken attempt at a connection was stopped by.
enum Broken {
    Transport(tonic::transport::Error),
    Refused(Status),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Transport(error) => f.write_str(&root_cause(error)),
            Broken::Refused(status) => f.write_str(status.message()),
        }
    }
}

impl Link {
    pub fn new(url: &str, events: mpsc::Sender<Event>) -> Result<Self, WorkerError> {
        Ok(Link { endpoint: endpoint(url)?, url: url.to_owned(), events })
    }

    /// How the coordinator is reached.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Makes the first connection, trying for no longer than `patience`: a wrong URL is better told than waited for.
    pub async fn first(&self, hello: v1::Hello, patience: Duration) -> Result<Connection, WorkerError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times();
        // A name that is taken may be this worker's own, from before a crash that the coordinator has not noticed yet.
        let again = |broken: &Broken| match broken {
            Broken::Transport(_) => true,
            Broken::Refused(status) => status.code() == Code::AlreadyExists,
        };
        let mut last = None;
        let tried = (|| self.connect(hello.clone()))
            .retry(pauses)
            .when(again)
            .notify(|broken, _| last = Some(broken.to_string()));
        let problem = match tokio::time::timeout(patience, tried).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(broken)) => broken.to_string(),
            Err(_) => last.unwrap_or_else(|| "no answer".to_owned()),
        };
        Err(WorkerError::Unreachable { url: self.url.clone(), problem })
    }

    async fn connect(&self, hello: v1::Hello) -> Result<Connection, Broken> {
        let channel: Channel = self.endpoint.connect().await.map_err(Broken::Transport)?;
        let (sender, outbound) = mpsc::channel(QUEUE);
        // The queue is new, so there is room.
        let _ = sender.try_send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) });
        let mut client = WorkerServiceClient::new(channel);
        let mut inbound = client.session(ReceiverStream::new(outbound)).await.map_err(Broken::Refused)?.into_inner();
        // The welcome, or why there is none.
        let first = inbound.message().await.map_err(Broken::Refused)?;
        let welcome = match first.and_then(|first| first.message) {
            Some(Told::Welcome(welcome)) => welcome,
            _ => return Err(Broken::Refused(Status::internal("expected a Welcome first"))),
        };
        Ok(Connection { sender, inbound, welcome })
    }

    /// Listens to `connection` until it breaks, then makes another, for ever. The agent says what it holds each time.
    pub async fn keep(self, mut connection: Connection) {
        let mut pauses = LONGEST_PAUSE / 64;
        loop {
            let Connection { sender, inbound, welcome } = connection;
            if self.events.send(Event::Connected(sender, welcome)).await.is_err() {
                return;
            }
            let reason = self.listen(inbound).await;
            info!(url = self.url, reason, "the connection to the coordinator is broken; training goes on");
            let mut complaint = String::new();
            connection = loop {
                tokio::time::sleep(pauses).await;
                pauses = (pauses * 2).min(LONGEST_PAUSE);
                let (reply, hello) = tokio::sync::oneshot::channel();
                if self.events.send(Event::Disconnected(reply)).await.is_err() {
                    return;
                }
                let Ok(hello) = hello.await else { return };
                match self.connect(hello).await {
                    Ok(connection) => break connection,
                    Err(broken) if broken.to_string() == complaint => {}
                    Err(broken) => {
                        complaint = broken.to_string();
                        warn!(url = self.url, "no connection yet: {complaint}");
                    }
                }
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
    welcome: v1::Welcome,
}

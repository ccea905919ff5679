//! The connection to the coordinator: opened, and reopened whenever it breaks.

use crate::agent::WINDOW;
use crate::error::WorkerError;
use crate::host;
use plusminus_proto::endpoint::{KEEPALIVE, KEEPALIVE_TIMEOUT, endpoint, root_cause};
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, to_worker};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

/// The room of a connection for messages other than reports.
const OTHER_MESSAGES: usize = 256;
/// The part of that room that progress messages must leave free for heartbeats and other short messages.
const RESERVED: usize = 64;
/// The first and the longest pause between two attempts to connect.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the coordinator may take to answer a Hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a lost connection may hold the worker's name: the time in which the coordinator detects the loss, plus a margin.
const NAME_RELEASE: Duration = KEEPALIVE.saturating_add(KEEPALIVE_TIMEOUT).saturating_add(Duration::from_secs(5));

/// An event of the link.
pub(crate) enum LinkEvent {
    /// A connection is being opened and needs a Hello.
    Connecting(oneshot::Sender<v1::Hello>),
    /// The Welcome has arrived; messages go to this sender from now on.
    Connected(Sender, v1::Welcome),
    /// A message of the coordinator.
    Received(to_worker::Message),
    /// The connection has ended.
    Disconnected,
    /// The first connection could not be opened; the link has stopped.
    Failed(WorkerError),
}

/// The sending half of a connection.
pub(crate) struct Sender(mpsc::Sender<v1::FromWorker>);

impl Sender {
    /// Queues a message. Progress is dropped when little room is left, and heartbeats when there is none. Returns false if the connection
    /// is closed or has no room for a message that must arrive: then the connection cannot be used any longer.
    pub fn send(&self, message: from_worker::Message) -> bool {
        let droppable = matches!(message, from_worker::Message::Progress(_)) && self.0.capacity() < WINDOW + RESERVED;
        let must_arrive = matches!(
            message,
            from_worker::Message::Report(_) | from_worker::Message::Devices(_) | from_worker::Message::Draining(_)
        );
        if droppable {
            return true;
        }
        let sent = self.0.try_send(v1::FromWorker { message: Some(message) });
        sent.is_ok() || !must_arrive
    }
}

/// Keeps a connection to the coordinator open and sends its events to the daemon.
pub(crate) struct Link {
    endpoint: Endpoint,
    url: String,
    link_events: mpsc::Sender<LinkEvent>,
}

/// Why a connection could not be opened.
enum ConnectError {
    Transport(tonic::transport::Error),
    Refused(Status),
    /// The daemon has stopped.
    Stopped,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Transport(error) => f.write_str(&root_cause(error)),
            ConnectError::Refused(status) => f.write_str(status.message()),
            ConnectError::Stopped => f.write_str("the worker is stopping"),
        }
    }
}

impl ConnectError {
    /// How long after the first try it is worth to retry the first connection; `None` if a retry cannot help.
    fn retry_limit(&self, patience: Duration) -> Option<Duration> {
        match self {
            ConnectError::Transport(_) => Some(patience),
            // A lost connection of this worker may still hold the name, for example after a power cut.
            ConnectError::Refused(status) if status.code() == Code::AlreadyExists => Some(patience.max(NAME_RELEASE)),
            ConnectError::Refused(status) if status.code() == Code::Unavailable => Some(patience),
            ConnectError::Refused(_) | ConnectError::Stopped => None,
        }
    }
}

impl Link {
    pub fn new(url: &str, link_events: mpsc::Sender<LinkEvent>) -> Result<Self, WorkerError> {
        Ok(Link { endpoint: endpoint(url)?, url: url.to_owned(), link_events })
    }

    /// The coordinator's endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connects, receives messages until the connection breaks, and reconnects without limit. The first connection is given up after
    /// `patience`, because the URL may be wrong; if the worker's name is taken, not before a coordinator detects a lost connection.
    pub async fn run(self, patience: Duration) {
        let Some(mut connection) = self.first_connection(patience).await else { return };
        loop {
            let Connection { sender, inbound, welcome } = connection;
            if self.link_events.send(LinkEvent::Connected(sender, welcome)).await.is_err() {
                return;
            }
            let reason = self.receive(inbound).await;
            if self.link_events.send(LinkEvent::Disconnected).await.is_err() {
                return;
            }
            info!(
                url = self.url,
                reason, "lost the connection to the coordinator; training continues while the lease is valid"
            );
            connection = match self.reconnect().await {
                Some(connection) => connection,
                None => return,
            };
            info!(url = self.url, "reconnected to the coordinator");
        }
    }

    async fn first_connection(&self, patience: Duration) -> Option<Connection> {
        let started = Instant::now();
        let mut until = started + patience;
        let (mut pause, mut last) = (SHORTEST_PAUSE, "no answer".to_owned());
        loop {
            match timeout_at(until, self.connect()).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(error)) => {
                    let limit = error.retry_limit(patience).map(|limit| started + limit);
                    let name_taken = limit.is_some_and(|limit| limit > until);
                    last = error.to_string();
                    match limit {
                        Some(limit) if Instant::now() + pause < limit => until = until.max(limit),
                        _ => break,
                    }
                    if name_taken {
                        info!(
                            url = self.url,
                            "the worker's name is taken, perhaps by its own lost connection; retrying"
                        );
                    }
                }
                Err(_) => break,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let failed = WorkerError::Unreachable { url: self.url.clone(), problem: last };
        // The daemon may have stopped.
        let _ = self.link_events.send(LinkEvent::Failed(failed)).await;
        None
    }

    async fn reconnect(&self) -> Option<Connection> {
        let (mut pause, mut reported) = (SHORTEST_PAUSE, String::new());
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.connect().await {
                Ok(connection) => return Some(connection),
                Err(ConnectError::Stopped) => return None,
                Err(error) if error.to_string() == reported => {}
                Err(error) => {
                    reported = error.to_string();
                    warn!(url = self.url, "cannot reconnect to the coordinator, retrying: {reported}");
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let channel: Channel = self.endpoint.connect().await.map_err(ConnectError::Transport)?;
        // The lease runs from the Hello, so it is requested only when it can be sent.
        let (reply, hello) = oneshot::channel();
        self.link_events.send(LinkEvent::Connecting(reply)).await.map_err(|_| ConnectError::Stopped)?;
        let mut hello: v1::Hello = hello.await.map_err(|_| ConnectError::Stopped)?;
        hello.host = host::identity();
        let (sender, outbound) = mpsc::channel(WINDOW + OTHER_MESSAGES);
        // The new queue is empty.
        let _ = sender.try_send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) });
        let mut client = WorkerServiceClient::new(channel);
        let introduction = async {
            let mut inbound = client.session(ReceiverStream::new(outbound)).await?.into_inner();
            // The Welcome, or the reason for a refusal.
            match inbound.message().await?.and_then(|first| first.message) {
                Some(to_worker::Message::Welcome(welcome)) => Ok((inbound, welcome)),
                _ => Err(Status::internal("expected a Welcome first")),
            }
        };
        let introduced = tokio::time::timeout(WELCOME_TIMEOUT, introduction).await;
        let introduced =
            introduced.unwrap_or_else(|_| Err(Status::unavailable("the coordinator did not answer the Hello")));
        let (inbound, welcome) = introduced.map_err(ConnectError::Refused)?;
        Ok(Connection { sender: Sender(sender), inbound, welcome })
    }

    async fn receive(&self, mut inbound: Streaming<v1::ToWorker>) -> String {
        loop {
            match inbound.message().await {
                Ok(Some(v1::ToWorker { message: Some(message) })) => {
                    if self.link_events.send(LinkEvent::Received(message)).await.is_err() {
                        return ConnectError::Stopped.to_string();
                    }
                }
                // A kind of message of a later version.
                Ok(Some(v1::ToWorker { message: None })) => {}
                Ok(None) => return "the coordinator closed it".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }
}

/// An open connection in both directions.
struct Connection {
    sender: Sender,
    inbound: Streaming<v1::ToWorker>,
    welcome: v1::Welcome,
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
    use std::sync::atomic::{AtomicU32, Ordering};
    use tonic::{Request, Response};

    fn progress() -> from_worker::Message {
        from_worker::Message::Progress(v1::ProgressReport::default())
    }

    #[tokio::test]
    async fn progress_leaves_room_and_a_report_that_does_not_fit_is_fatal() {
        let (sender, _outbound) = mpsc::channel(WINDOW + RESERVED + 1);
        let sender = Sender(sender);
        for _ in 0..10 {
            assert!(sender.send(progress()), "progress that does not fit is dropped");
        }
        assert_eq!(sender.0.capacity(), WINDOW + RESERVED - 1);
        for _ in 1..WINDOW + RESERVED {
            assert!(sender.send(from_worker::Message::Report(v1::Report::default())));
        }
        assert!(
            sender.send(from_worker::Message::Heartbeat(v1::Heartbeat::default())),
            "a heartbeat that does not fit is dropped"
        );
        assert!(!sender.send(from_worker::Message::Report(v1::Report::default())));
    }

    #[tokio::test]
    async fn the_first_connection_is_given_up_after_the_patience() {
        let (link_events, mut inbox) = mpsc::channel(8);
        // No server listens on this port.
        let link = Link::new("http://127.0.0.1:1", link_events).unwrap();
        tokio::spawn(link.run(Duration::from_millis(200)));
        let Some(LinkEvent::Failed(error)) = inbox.recv().await else { panic!("connected") };
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    }

    /// A coordinator that refuses the name as taken this many times.
    struct SlowToForget(AtomicU32);

    #[tonic::async_trait]
    impl WorkerService for SlowToForget {
        type SessionStream = ReceiverStream<Result<v1::ToWorker, Status>>;
        type GetWeightsStream = ReceiverStream<Result<v1::WeightsPart, Status>>;

        async fn session(
            &self,
            _: Request<Streaming<v1::FromWorker>>,
        ) -> Result<Response<Self::SessionStream>, Status> {
            let (sender, outbound) = mpsc::channel(1);
            let welcome = to_worker::Message::Welcome(v1::Welcome::default());
            let taken = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let answer = if taken {
                Err(Status::already_exists("the name is taken"))
            } else {
                Ok(v1::ToWorker { message: Some(welcome) })
            };
            sender.try_send(answer).unwrap();
            Ok(Response::new(ReceiverStream::new(outbound)))
        }

        async fn get_weights(
            &self,
            _: Request<v1::GetWeightsRequest>,
        ) -> Result<Response<Self::GetWeightsStream>, Status> {
            Err(Status::unimplemented("not used in this test"))
        }

        async fn put_weights(
            &self,
            _: Request<Streaming<v1::WeightsPart>>,
        ) -> Result<Response<v1::PutWeightsResponse>, Status> {
            Err(Status::unimplemented("not used in this test"))
        }
    }

    #[tokio::test]
    async fn a_name_held_by_a_lost_connection_is_retried_beyond_the_patience() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = WorkerServiceServer::new(SlowToForget(AtomicU32::new(5)));
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let (link_events, mut inbox) = mpsc::channel(8);
        // Long enough for one try, too short for all pauses.
        tokio::spawn(Link::new(&url, link_events).unwrap().run(Duration::from_secs(1)));
        let mut tries = 0;
        loop {
            match inbox.recv().await.unwrap() {
                LinkEvent::Connecting(reply) => {
                    tries += 1;
                    reply.send(v1::Hello::default()).unwrap();
                }
                LinkEvent::Connected(..) => break,
                LinkEvent::Failed(error) => panic!("{error}"),
                LinkEvent::Received(_) | LinkEvent::Disconnected => panic!("not connected"),
            }
        }
        assert_eq!(tries, 6);
    }

    #[test]
    fn a_taken_name_is_retried_until_the_coordinator_detects_the_loss() {
        let detection = KEEPALIVE + KEEPALIVE_TIMEOUT;
        let taken = ConnectError::Refused(Status::already_exists("the name is taken"));
        for patience in [0, 1, 10] {
            assert!(taken.retry_limit(Duration::from_secs(patience)).is_some_and(|limit| limit > detection));
        }
        let long = Duration::from_secs(300);
        assert_eq!(taken.retry_limit(long), Some(long));
        let short = Duration::from_millis(300);
        let unavailable = ConnectError::Refused(Status::unavailable("the coordinator did not answer the Hello"));
        assert_eq!(unavailable.retry_limit(short), Some(short));
        assert_eq!(ConnectError::Refused(Status::invalid_argument("no name")).retry_limit(long), None);
    }
}

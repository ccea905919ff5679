//! The connection to the coordinator: made, and made again whenever it breaks.

use crate::agent::WINDOW;
use crate::error::WorkerError;
use plusminus_proto::endpoint::{endpoint, root_cause};
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

/// Messages beside reports for which a connection has room.
const BESIDE: usize = 256;
/// Of these, as many as only heartbeats and the like may take.
const RESERVED: usize = 64;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the coordinator may take to answer a Hello.
const WELCOME: Duration = Duration::from_secs(20);

/// What the link tells of a connection and of what comes over it.
pub(crate) enum News {
    /// A connection is about to be made, and wants a Hello.
    Connecting(oneshot::Sender<v1::Hello>),
    /// It is there: this goes over it from now on, and the welcome has come.
    Connected(Sender, v1::Welcome),
    /// The coordinator says something.
    Told(to_worker::Message),
    /// The connection has ended.
    Disconnected,
    /// There never was one, and this is why there will be none.
    GaveUp(WorkerError),
}

/// One connection to the coordinator, to send over.
pub(crate) struct Sender(mpsc::Sender<v1::FromWorker>);

impl Sender {
    /// Sends what there is room for; progress leaves some for what matters. Says whether the connection is of any use still.
    pub fn send(&self, message: from_worker::Message) -> bool {
        let needless = matches!(message, from_worker::Message::Progress(_)) && self.0.capacity() < WINDOW + RESERVED;
        let must_arrive = matches!(message, from_worker::Message::Report(_));
        if needless {
            return true;
        }
        let sent = self.0.try_send(v1::FromWorker { message: Some(message) });
        sent.is_ok() || !must_arrive
    }
}

/// Knows where the coordinator is, and tells of every connection and of what comes over it.
pub(crate) struct Link {
    endpoint: Endpoint,
    url: String,
    news: mpsc::Sender<News>,
}

/// Why there is no connection.
enum Broken {
    Transport(tonic::transport::Error),
    Refused(Status),
    /// Whoever would be told of it has gone.
    Alone,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Transport(error) => f.write_str(&root_cause(error)),
            Broken::Refused(status) => f.write_str(status.message()),
            Broken::Alone => f.write_str("the worker is stopping"),
        }
    }
}

impl Broken {
    /// Whether a first connection may come yet. A name that is taken may be this worker's own, from before a crash that the coordinator
    /// has not noticed.
    fn is_passing(&self) -> bool {
        match self {
            Broken::Transport(_) => true,
            Broken::Refused(status) => matches!(status.code(), Code::AlreadyExists | Code::Unavailable),
            Broken::Alone => false,
        }
    }
}

impl Link {
    pub fn new(url: &str, news: mpsc::Sender<News>) -> Result<Self, WorkerError> {
        Ok(Link { endpoint: endpoint(url)?, url: url.to_owned(), news })
    }

    /// How the coordinator is reached.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connects, listens until the connection breaks, and connects again, for ever; only the first connection is given up after
    /// `patience`, for a wrong URL is better told than waited for.
    pub async fn keep(self, patience: Duration) {
        let Some(mut connection) = self.first(patience).await else { return };
        loop {
            let Connection { sender, inbound, welcome } = connection;
            if self.news.send(News::Connected(sender, welcome)).await.is_err() {
                return;
            }
            let reason = self.listen(inbound).await;
            if self.news.send(News::Disconnected).await.is_err() {
                return;
            }
            info!(url = self.url, reason, "the connection to the coordinator is broken; training goes on");
            connection = match self.again().await {
                Some(connection) => connection,
                None => return,
            };
            info!(url = self.url, "connected to the coordinator again");
        }
    }

    async fn first(&self, patience: Duration) -> Option<Connection> {
        let until = Instant::now() + patience;
        let (mut pause, mut last) = (SHORTEST_PAUSE, "no answer".to_owned());
        loop {
            match timeout_at(until, self.connect()).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(broken)) if broken.is_passing() && Instant::now() + pause < until => last = broken.to_string(),
                Ok(Err(broken)) => {
                    last = broken.to_string();
                    break;
                }
                Err(_) => break,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let gave_up = WorkerError::Unreachable { url: self.url.clone(), problem: last };
        // Nobody may be left to hear it.
        let _ = self.news.send(News::GaveUp(gave_up)).await;
        None
    }

    async fn again(&self) -> Option<Connection> {
        let (mut pause, mut complaint) = (SHORTEST_PAUSE, String::new());
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.connect().await {
                Ok(connection) => return Some(connection),
                Err(Broken::Alone) => return None,
                Err(broken) if broken.to_string() == complaint => {}
                Err(broken) => {
                    complaint = broken.to_string();
                    warn!(url = self.url, "no connection yet: {complaint}");
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Broken> {
        let channel: Channel = self.endpoint.connect().await.map_err(Broken::Transport)?;
        // The lease runs from the Hello, so it is made no earlier than it can be sent.
        let (reply, hello) = oneshot::channel();
        self.news.send(News::Connecting(reply)).await.map_err(|_| Broken::Alone)?;
        let hello = hello.await.map_err(|_| Broken::Alone)?;
        let (sender, outbound) = mpsc::channel(WINDOW + BESIDE);
        // The queue is new, so there is room.
        let _ = sender.try_send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) });
        let mut client = WorkerServiceClient::new(channel);
        let introduction = async {
            let mut inbound = client.session(ReceiverStream::new(outbound)).await?.into_inner();
            // The welcome, or why there is none.
            match inbound.message().await?.and_then(|first| first.message) {
                Some(to_worker::Message::Welcome(welcome)) => Ok((inbound, welcome)),
                _ => Err(Status::internal("expected a Welcome first")),
            }
        };
        let introduced = tokio::time::timeout(WELCOME, introduction).await;
        let introduced = introduced.unwrap_or_else(|_| Err(Status::unavailable("no Welcome has come")));
        let (inbound, welcome) = introduced.map_err(Broken::Refused)?;
        Ok(Connection { sender: Sender(sender), inbound, welcome })
    }

    async fn listen(&self, mut inbound: Streaming<v1::ToWorker>) -> String {
        loop {
            match inbound.message().await {
                Ok(Some(v1::ToWorker { message: Some(message) })) => {
                    if self.news.send(News::Told(message)).await.is_err() {
                        return Broken::Alone.to_string();
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
struct Connection {
    sender: Sender,
    inbound: Streaming<v1::ToWorker>,
    welcome: v1::Welcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> from_worker::Message {
        from_worker::Message::Progress(v1::ProgressReport::default())
    }

    #[tokio::test]
    async fn progress_leaves_room_for_what_matters_and_a_report_that_does_not_fit_ends_the_connection() {
        let (sender, _outbound) = mpsc::channel(WINDOW + RESERVED + 1);
        let sender = Sender(sender);
        for _ in 0..10 {
            assert!(sender.send(progress()), "what does not fit may be dropped");
        }
        assert_eq!(sender.0.capacity(), WINDOW + RESERVED - 1);
        for _ in 1..WINDOW + RESERVED {
            assert!(sender.send(from_worker::Message::Report(v1::Report::default())));
        }
        assert!(sender.send(from_worker::Message::Heartbeat(v1::Heartbeat::default())), "and so may this");
        assert!(!sender.send(from_worker::Message::Report(v1::Report::default())));
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_given_up_in_the_end() {
        let (news, mut inbox) = mpsc::channel(8);
        // Of the addresses for documentation, where nobody is; or refused at once.
        let link = Link::new("http://127.0.0.1:1", news).unwrap();
        tokio::spawn(link.keep(Duration::from_millis(200)));
        let Some(News::GaveUp(error)) = inbox.recv().await else { panic!("it has connected") };
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    }
}

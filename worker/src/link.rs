//! The connection to the coordinator: made, and made again whenever it breaks.

use crate::agent::WINDOW;
use crate::error::WorkerError;
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

/// Messages beside reports for which a connection has room.
const BESIDE: usize = 256;
/// Of these, as many as only heartbeats and the like may take.
const RESERVED: usize = 64;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the coordinator may take to answer a Hello.
const WELCOME: Duration = Duration::from_secs(20);

/// How long a name may be taken for by a connection whose other end is gone: so long a coordinator may take to notice, and a while more.
const NAME_TAKEN: Duration = KEEPALIVE.saturating_add(KEEPALIVE_TIMEOUT).saturating_add(Duration::from_secs(5));

/// What the link tells of a connection and of what comes over it.
pub(crate) enum LinkEvent {
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
        let must_arrive = matches!(
            message,
            from_worker::Message::Report(_) | from_worker::Message::Devices(_) | from_worker::Message::Draining(_)
        );
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
    link_events: mpsc::Sender<LinkEvent>,
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
    /// How long after the first try a first connection may come yet, where others wait for `patience`; nothing if none will come.
    fn may_pass_within(&self, patience: Duration) -> Option<Duration> {
        match self {
            Broken::Transport(_) => Some(patience),
            // The name may be this worker's own, from before a power cut that the coordinator has not noticed.
            Broken::Refused(status) if status.code() == Code::AlreadyExists => Some(patience.max(NAME_TAKEN)),
            Broken::Refused(status) if status.code() == Code::Unavailable => Some(patience),
            Broken::Refused(_) | Broken::Alone => None,
        }
    }
}

impl Link {
    pub fn new(url: &str, link_events: mpsc::Sender<LinkEvent>) -> Result<Self, WorkerError> {
        Ok(Link { endpoint: endpoint(url)?, url: url.to_owned(), link_events })
    }

    /// How the coordinator is reached.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connects, listens until the connection breaks, and connects again, for ever; only the first connection is given up after
    /// `patience`, for a wrong URL is better told than waited for; where it is the worker's name that is taken, no sooner than a coordinator
    /// may take to notice that a machine is gone.
    pub async fn keep(self, patience: Duration) {
        let Some(mut connection) = self.first(patience).await else { return };
        loop {
            let Connection { sender, inbound, welcome } = connection;
            if self.link_events.send(LinkEvent::Connected(sender, welcome)).await.is_err() {
                return;
            }
            let reason = self.listen(inbound).await;
            if self.link_events.send(LinkEvent::Disconnected).await.is_err() {
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
        let begun = Instant::now();
        let mut until = begun + patience;
        let (mut pause, mut last) = (SHORTEST_PAUSE, "no answer".to_owned());
        loop {
            match timeout_at(until, self.connect()).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(broken)) => {
                    let within = broken.may_pass_within(patience).map(|within| begun + within);
                    let taken = within.is_some_and(|within| within > until);
                    last = broken.to_string();
                    match within {
                        Some(within) if Instant::now() + pause < within => until = until.max(within),
                        _ => break,
                    }
                    if taken {
                        info!(
                            url = self.url,
                            "the name is taken, perhaps by a lost connection of this worker's own: waiting"
                        );
                    }
                }
                Err(_) => break,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let gave_up = WorkerError::Unreachable { url: self.url.clone(), problem: last };
        // Nobody may be left to hear it.
        let _ = self.link_events.send(LinkEvent::GaveUp(gave_up)).await;
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
        self.link_events.send(LinkEvent::Connecting(reply)).await.map_err(|_| Broken::Alone)?;
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
                    if self.link_events.send(LinkEvent::Told(message)).await.is_err() {
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
    use plusminus_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
    use std::sync::atomic::{AtomicU32, Ordering};
    use tonic::{Request, Response};

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
        let (link_events, mut inbox) = mpsc::channel(8);
        // Of the addresses for documentation, where nobody is; or refused at once.
        let link = Link::new("http://127.0.0.1:1", link_events).unwrap();
        tokio::spawn(link.keep(Duration::from_millis(200)));
        let Some(LinkEvent::GaveUp(error)) = inbox.recv().await else { panic!("it has connected") };
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    }

    /// A coordinator that finds the name taken a number of times.
    struct Forgetful(AtomicU32);

    #[tonic::async_trait]
    impl WorkerService for Forgetful {
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
            Err(Status::unimplemented("nobody asks"))
        }

        async fn put_weights(
            &self,
            _: Request<Streaming<v1::WeightsPart>>,
        ) -> Result<Response<v1::PutWeightsResponse>, Status> {
            Err(Status::unimplemented("nobody asks"))
        }
    }

    #[tokio::test]
    async fn a_name_that_a_lost_connection_still_has_is_waited_for_whatever_the_patience() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = WorkerServiceServer::new(Forgetful(AtomicU32::new(5)));
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let (link_events, mut inbox) = mpsc::channel(8);
        // Long enough for a try, and not for so many pauses.
        tokio::spawn(Link::new(&url, link_events).unwrap().keep(Duration::from_secs(1)));
        let mut tries = 0;
        loop {
            match inbox.recv().await.unwrap() {
                LinkEvent::Connecting(reply) => {
                    tries += 1;
                    reply.send(v1::Hello::default()).unwrap();
                }
                LinkEvent::Connected(..) => break,
                LinkEvent::GaveUp(error) => panic!("{error}"),
                LinkEvent::Told(_) | LinkEvent::Disconnected => panic!("there is no connection"),
            }
        }
        assert_eq!(tries, 6);
    }

    #[test]
    fn a_taken_name_is_waited_for_longer_than_a_coordinator_takes_to_notice_that_a_worker_is_gone() {
        let notices = KEEPALIVE + KEEPALIVE_TIMEOUT;
        let taken = Broken::Refused(Status::already_exists("the name is taken"));
        for patience in [0, 1, 10] {
            assert!(taken.may_pass_within(Duration::from_secs(patience)).is_some_and(|within| within > notices));
        }
        let long = Duration::from_secs(300);
        assert_eq!(taken.may_pass_within(long), Some(long));
        let brief = Duration::from_millis(300);
        let away = Broken::Refused(Status::unavailable("no Welcome has come"));
        assert_eq!(away.may_pass_within(brief), Some(brief));
        assert_eq!(Broken::Refused(Status::invalid_argument("no name")).may_pass_within(long), None);
    }
}

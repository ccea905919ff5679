//! The queues between the gRPC services and the driver. Workers' messages, heartbeats and users' requests each have a bounded queue of
//! their own, so that none waits behind the others.

use crate::progress::LiveProgress;
use crate::selection::SubmittedSweep;
use plusminus_core::id::{AttemptId, Digest, JobId, SweepName, WorkerName};
use plusminus_core::scheduler::{
    Heartbeat, Refusal, Report, RetrySelection, Scheduler, Session, SubmitSummary, WallTime,
};
use plusminus_proto::v1;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// The most events of one kind in a round.
pub(super) const BATCH: usize = 1024;

/// What a worker's session passes to the driver, except heartbeats.
pub(crate) enum WorkerMessage {
    Connected {
        session: Session,
        worker: WorkerName,
        host: String,
        instance: u64,
        devices: Vec<v1::Device>,
        holds: Vec<AttemptId>,
        sender: WorkerSender,
    },
    Disconnected(Session),
    Draining(Session),
    /// The worker's current devices.
    Devices(Session, Vec<v1::Device>),
    Report(Session, Report),
    Progress(Session, AttemptId, v1::Progress),
    /// A weights file that the job saved is missing or damaged.
    WeightsLost(JobId, Digest),
}

/// A user's request.
pub(crate) enum UserRequest {
    Submit(Box<SubmittedSweep>, ReplySender<SubmitSummary>),
    Cancel(SweepName, ReplySender<usize>),
    Resume(SweepName, RetrySelection, ReplySender<usize>),
    /// Ends the quarantine of a worker.
    Reinstate(WorkerName, ReplySender<bool>),
    /// A query that is answered from committed state.
    Query(Query),
}

/// Where the reply to a user's request goes. If it is dropped, the user gets the current trouble with the store as the reason.
pub(crate) type ReplySender<T> = oneshot::Sender<Result<Result<T, Refusal>, RequestError>>;
/// Sends messages to one worker. An error ends its stream.
pub(crate) type WorkerSender = mpsc::Sender<Result<v1::ToWorker, tonic::Status>>;
/// Reads the scheduler and the progress of running attempts at the current time.
pub(crate) type Query = Box<dyn FnOnce(&Scheduler, &LiveProgress, WallTime) + Send>;

/// The services' end of the queues.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    worker_messages: mpsc::Sender<WorkerMessage>,
    heartbeats: mpsc::Sender<Heartbeat>,
    user_requests: mpsc::Sender<UserRequest>,
    /// Notified after each round that may have changed what users see.
    pub changes: watch::Receiver<u64>,
    trouble: watch::Receiver<StoreTrouble>,
}

/// The driver's end of the queues.
pub(crate) struct Inbox {
    pub worker_messages: mpsc::Receiver<WorkerMessage>,
    pub heartbeats: mpsc::Receiver<Heartbeat>,
    pub user_requests: mpsc::Receiver<UserRequest>,
}

/// Trouble with the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreTrouble {
    /// When the store stopped working; nothing while it works.
    pub since: Option<Instant>,
    /// The current or the last error; empty if there was none.
    pub reason: String,
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The driver has ended.
    #[error("the coordinator is stopping")]
    Stopping,
    /// The store cannot be used, and the request was not accepted.
    #[error("the coordinator accepts no requests for now: {0}. It retries every second and continues by itself")]
    Stalled(String),
    /// The store cannot be used, and the request was accepted before.
    #[error(
        "accepted but not yet saved: {0}. The coordinator retries every second; check `plusminus status` before submitting again"
    )]
    NotSaved(String),
}

/// Makes the queues.
pub(super) fn queues(changes: watch::Receiver<u64>, trouble: watch::Receiver<StoreTrouble>) -> (DriverHandle, Inbox) {
    let (worker_messages, worker_messages_in) = mpsc::channel(4 * BATCH);
    let (heartbeats, heartbeats_in) = mpsc::channel(BATCH);
    let (user_requests, user_requests_in) = mpsc::channel(BATCH);
    let handle = DriverHandle { worker_messages, heartbeats, user_requests, changes, trouble };
    let inbox =
        Inbox { worker_messages: worker_messages_in, heartbeats: heartbeats_in, user_requests: user_requests_in };
    (handle, inbox)
}

impl DriverHandle {
    /// Passes on a worker's message. It waits while the store does not work.
    pub async fn send(&self, message: WorkerMessage) -> Result<(), RequestError> {
        self.worker_messages.send(message).await.map_err(|_| RequestError::Stopping)
    }

    /// Passes on a heartbeat. The driver takes heartbeats even while the store does not work.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<(), RequestError> {
        self.heartbeats.send(heartbeat).await.map_err(|_| RequestError::Stopping)
    }

    /// Passes on a user's request and waits for the reply.
    pub async fn request<T>(
        &self,
        request: impl FnOnce(ReplySender<T>) -> UserRequest,
    ) -> Result<Result<T, Refusal>, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.user_requests.send(request(reply)).await.map_err(|_| RequestError::Stopping)?;
        answer.await.unwrap_or_else(|_| Err(self.reason()))
    }

    /// Runs a query on committed state.
    pub async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Scheduler, &LiveProgress, WallTime) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (sender, receiver) = oneshot::channel();
        let query = Box::new(move |scheduler: &Scheduler, progress: &LiveProgress, now: WallTime| {
            // The user may have stopped waiting.
            let _ = sender.send(query(scheduler, progress, now));
        });
        self.user_requests.send(UserRequest::Query(query)).await.map_err(|_| RequestError::Stopping)?;
        receiver.await.map_err(|_| self.reason())
    }

    /// Why a request was dropped without a reply.
    fn reason(&self) -> RequestError {
        let trouble = self.trouble.borrow();
        if self.user_requests.is_closed() || trouble.reason.is_empty() {
            return RequestError::Stopping;
        }
        RequestError::Stalled(trouble.reason.clone())
    }
}

//! The services' way to the driver: what workers say, their heartbeats, and users' calls, each in a bounded queue of its own, so that
//! none waits behind the others.

use super::{BATCH, Trouble};
use crate::answer::Board;
use crate::selection::Submitted;
use plusminus_core::id::{Attempt, AttemptId, Digest, JobId, SweepName, WorkerName};
use plusminus_core::scheduler::{Again, Refusal, Report, Scheduler, Session, SubmitSummary, WallTime};
use plusminus_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

/// What the services tell the driver of workers.
pub(crate) enum Request {
    Join {
        session: Session,
        worker: WorkerName,
        instance: u64,
        devices: Vec<v1::Device>,
        holds: Vec<AttemptId>,
        outbox: Outbox,
    },
    Leave(Session),
    Drain(Session),
    /// A worker's devices as they are now.
    Devices(Session, Vec<v1::Device>),
    Report(Session, Report),
    Progress(JobId, Attempt, v1::Progress),
    /// A file of weights that a job left is not there any more.
    Lost(JobId, Digest),
}

/// A heartbeat. It overtakes what its worker reports, which changes nothing: whatever has yet to be acknowledged is in hand.
pub(crate) struct Beat {
    pub session: Session,
    pub beat: u64,
    pub holds: Vec<AttemptId>,
}

/// What a user asks for.
pub(crate) enum Call {
    Submit(Box<Submitted>, Reply<SubmitSummary>),
    Cancel(SweepName, Reply<usize>),
    Resume(SweepName, Again, Reply<usize>),
    /// A question that is answered from committed state.
    Ask(Question),
}

/// Where a call is answered. Dropped, it is answered with what keeps the coordinator from it.
pub(crate) type Reply<T> = oneshot::Sender<Result<Result<T, Refusal>, Unanswered>>;
/// What is sent to a worker.
pub(crate) type Outbox = mpsc::Sender<Result<v1::ToWorker, tonic::Status>>;
/// A question to the machine and to what is known of running attempts, at a time.
pub(crate) type Question = Box<dyn FnOnce(&Scheduler, &Board, WallTime) + Send>;

/// The sending ends.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
    beats: mpsc::Sender<Beat>,
    calls: mpsc::Sender<Call>,
    /// Changes whenever something may have that users are shown.
    pub changes: watch::Receiver<u64>,
    trouble: watch::Receiver<Trouble>,
}

/// The receiving ends.
pub(crate) struct Inbox {
    pub requests: mpsc::Receiver<Request>,
    pub beats: mpsc::Receiver<Beat>,
    pub calls: mpsc::Receiver<Call>,
}

/// Why a call is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The driver has ended, so nothing can be answered.
    #[error("the coordinator is stopping")]
    Stopping,
    /// Nothing can be written down.
    #[error("the coordinator takes nothing in for now: {0}. It tries again every second and goes on by itself")]
    Stalled(String),
    /// It has been taken in and cannot be written down yet.
    #[error(
        "this has been taken in and is done as soon as it can be written down, if the coordinator is not stopped before; it cannot be now: {0}. \
         It is tried again every second: look how it stands before you ask for it again"
    )]
    Pending(String),
}

/// The queues.
pub(super) fn queues(changes: watch::Receiver<u64>, trouble: watch::Receiver<Trouble>) -> (Handle, Inbox) {
    let (requests, requests_in) = mpsc::channel(4 * BATCH);
    let (beats, beats_in) = mpsc::channel(BATCH);
    let (calls, calls_in) = mpsc::channel(BATCH);
    let handle = Handle { requests, beats, calls, changes, trouble };
    (handle, Inbox { requests: requests_in, beats: beats_in, calls: calls_in })
}

impl Handle {
    /// Passes on what a worker says; while nothing can be written down this waits.
    pub async fn send(&self, request: Request) -> Result<(), Unanswered> {
        self.requests.send(request).await.map_err(|_| Unanswered::Stopping)
    }

    /// Passes on a heartbeat, for which there is always time.
    pub async fn beat(&self, beat: Beat) -> Result<(), Unanswered> {
        self.beats.send(beat).await.map_err(|_| Unanswered::Stopping)
    }

    /// Asks for something to be done.
    pub async fn call<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<Result<T, Refusal>, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| Unanswered::Stopping)?;
        answer.await.unwrap_or_else(|_| Err(self.why()))
    }

    /// Asks something of committed state.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scheduler, &Board, WallTime) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (sender, receiver) = oneshot::channel();
        let question = Box::new(move |machine: &Scheduler, board: &Board, now: WallTime| {
            // Whoever asked may have gone.
            let _ = sender.send(question(machine, board, now));
        });
        self.calls.send(Call::Ask(question)).await.map_err(|_| Unanswered::Stopping)?;
        receiver.await.map_err(|_| self.why())
    }

    /// Why there was no answer.
    fn why(&self) -> Unanswered {
        let trouble = self.trouble.borrow();
        if self.calls.is_closed() || trouble.reason.is_empty() {
            return Unanswered::Stopping;
        }
        Unanswered::Stalled(trouble.reason.clone())
    }
}

//! The one task that owns the state machine: it takes events, hands them to `handle`, commits what is to be written down, and only
//! then does what else was asked for.

use crate::answer::Board;
use crate::selection::{Selections, Submitted};
use crate::store::{Store, StoreError};
use plusminus_core::id::{Attempt, Digest, JobId, SweepName, WorkerName};
use plusminus_core::schedule::{
    Effect, Event, Machine, News, Policy, Record, Refusal, Report, Session, SubmitSummary, Ticket, Time,
};
use plusminus_proto::convert::{attempt_id, parent_weights};
use plusminus_proto::v1::{self, to_worker::Message};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

/// Most events that are committed together.
const BATCH: usize = 1024;
/// How often leases and pauses are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What the services ask of the driver.
pub(crate) enum Request {
    Join {
        session: Session,
        worker: WorkerName,
        instance: u64,
        slots: u32,
        holds: Vec<(JobId, Attempt)>,
        outbox: Outbox,
    },
    Leave(Session),
    Drain(Session),
    Heartbeat(Session, u64, Vec<(JobId, Attempt)>),
    Report(Session, Report),
    Progress(JobId, Attempt, v1::Progress),
    Submit(Box<Submitted>, oneshot::Sender<Result<SubmitSummary, Refusal>>),
    /// A file of weights that a job left is not there any more.
    Lost(JobId, Digest),
    Cancel(SweepName, oneshot::Sender<Result<usize, Refusal>>),
    /// A question that is answered from committed state.
    Ask(Question),
}

/// What is sent to a worker.
pub(crate) type Outbox = mpsc::Sender<Result<v1::ToWorker, tonic::Status>>;
/// A question to the machine and to what is known of running attempts, at a time.
pub(crate) type Question = Box<dyn FnOnce(&Machine, &Board, Time) + Send>;

/// The services' way to the driver.
#[derive(Clone)]
pub(crate) struct Handle {
    pub requests: mpsc::Sender<Request>,
    /// Changes whenever something may have that users are shown.
    pub changes: watch::Receiver<u64>,
}

/// The driver has ended, so nothing can be answered.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the coordinator is stopping")]
pub(crate) struct Stopping;

impl Handle {
    pub async fn send(&self, request: Request) -> Result<(), Stopping> {
        self.requests.send(request).await.map_err(|_| Stopping)
    }

    /// Asks something of committed state.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine, &Board, Time) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (sender, receiver) = oneshot::channel();
        let question = Box::new(move |machine: &Machine, board: &Board, now: Time| {
            // Whoever asked may have gone.
            let _ = sender.send(question(machine, board, now));
        });
        self.send(Request::Ask(question)).await?;
        receiver.await.map_err(|_| Stopping)
    }
}

/// Wall-clock time that never goes back: read once, then counted on.
struct Clock {
    began: Instant,
    at: u64,
}

impl Clock {
    fn new() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Clock { began: Instant::now(), at }
    }

    fn now(&self) -> Time {
        Time(self.at + self.began.elapsed().as_millis() as u64)
    }
}

pub(crate) struct Driver {
    machine: Machine,
    board: Board,
    selections: Selections,
    clock: Clock,
    /// In milliseconds.
    lease: u64,
    writer: mpsc::Sender<Commit>,
    store_thread: thread::JoinHandle<()>,
    outboxes: BTreeMap<Session, Outbox>,
    submissions: BTreeMap<Ticket, oneshot::Sender<Result<SubmitSummary, Refusal>>>,
    cancellations: BTreeMap<Ticket, oneshot::Sender<Result<usize, Refusal>>>,
    tickets: u64,
    changes: watch::Sender<u64>,
}

/// Records to be written in one transaction, and who waits for it.
type Commit = (Vec<Record>, oneshot::Sender<Result<(), StoreError>>);

impl Driver {
    /// Starts from what is stored. The store moves to a thread of its own, which ends when the driver does.
    pub fn new(store: Store, policy: Policy) -> Result<(Driver, Handle, mpsc::Receiver<Request>), StoreError> {
        let (clock, lease) = (Clock::new(), policy.lease);
        let only = policy.only.clone();
        let machine = Machine::restart(policy, store.records()?, clock.now());
        let selections = Selections::of(&machine, only, store.reader()?);
        let (writer, commits) = mpsc::channel(1);
        let store_thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || write(store, commits))
            .map_err(|error| StoreError::Unusable { path: "store thread".into(), error })?;
        let (changes, watched) = watch::channel(0);
        let (requests, receiver) = mpsc::channel(4 * BATCH);
        let driver = Driver {
            machine,
            board: Board::default(),
            selections,
            clock,
            lease,
            writer,
            store_thread,
            outboxes: BTreeMap::new(),
            submissions: BTreeMap::new(),
            cancellations: BTreeMap::new(),
            tickets: 0,
            changes,
        };
        Ok((driver, Handle { requests, changes: watched }, receiver))
    }

    /// Runs until `stop` or until the store fails. When it returns the store is closed.
    pub async fn run(
        mut self,
        requests: mpsc::Receiver<Request>,
        stop: oneshot::Receiver<()>,
    ) -> Result<(), StoreError> {
        let ended = self.serve(requests, stop).await;
        drop(self.writer);
        // The thread ends by itself now; whether it panicked has been told by the commit that it did not answer.
        let _ = tokio::task::spawn_blocking(|| self.store_thread.join()).await;
        ended
    }

    async fn serve(
        &mut self,
        mut requests: mpsc::Receiver<Request>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), StoreError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        // What was decided when the last coordinator ended may not have been acted on.
        self.finish(Round::default()).await?;
        loop {
            let mut round = Round::default();
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                _ = tick.tick() => self.handle(Event::Tick, &mut round),
                received = requests.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                    for request in batch.drain(..) {
                        self.take(request, &mut round);
                    }
                }
            }
            self.finish(round).await?;
        }
    }

    fn take(&mut self, request: Request, round: &mut Round) {
        let event = match request {
            Request::Join { session, worker, instance, slots, holds, outbox } => {
                info!(%worker, slots, "a worker has connected");
                self.outboxes.insert(session, outbox);
                Event::Joined { session, worker, instance, slots, holds }
            }
            Request::Leave(session) => {
                self.outboxes.remove(&session);
                Event::Left(session)
            }
            Request::Drain(session) => Event::Draining(session),
            Request::Heartbeat(session, beat, holds) => Event::Heartbeat { session, beat, holds },
            Request::Report(session, report) => {
                if let News::Epoch(epoch, measurements) = &report.news
                    && self.machine.state().is_running(report.job, report.attempt)
                {
                    self.board.epoch(report.job, report.attempt, *epoch, measurements);
                }
                Event::Reported(session, report)
            }
            Request::Progress(job, attempt, progress) => {
                if self.machine.state().is_running(job, attempt) {
                    self.board.progress(job, attempt, progress);
                    round.changed = true;
                }
                return;
            }
            Request::Submit(submitted, reply) => {
                let ticket = self.ticket();
                self.submissions.insert(ticket, reply);
                Event::Submit(ticket, self.selections.submitted(*submitted))
            }
            Request::Cancel(name, reply) => {
                let ticket = self.ticket();
                self.cancellations.insert(ticket, reply);
                Event::Cancel(ticket, name)
            }
            Request::Lost(job, file) => {
                warn!(%job, %file, "weights that the job left are not there: it is trained again where they are wanted");
                Event::Lost(job, file)
            }
            Request::Ask(question) => {
                round.questions.push(question);
                return;
            }
        };
        self.handle(event, round);
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn handle(&mut self, event: Event, round: &mut Round) {
        for effect in self.machine.handle(self.clock.now(), event) {
            match effect {
                Effect::Record(record) => {
                    self.selections.note(&record);
                    round.records.push(record);
                }
                other => round.effects.push(other),
            }
            round.changed = true;
        }
    }

    /// Commits a round, then acts on it. What a sweep chooses now that jobs have ended is a part of the round: nobody is told that the
    /// sweep is over in between.
    async fn finish(&mut self, mut round: Round) -> Result<(), StoreError> {
        self.settle(&mut round).await?;
        loop {
            let decided = self.selections.decided(&self.machine).await?;
            if decided.is_empty() {
                break;
            }
            decided.into_iter().for_each(|submission| self.handle(Event::Continue(submission), &mut round));
            self.settle(&mut round).await?;
        }
        round.effects.into_iter().for_each(|effect| self.act(effect));
        let now = self.clock.now();
        round.questions.into_iter().for_each(|question| question(&self.machine, &self.board, now));
        if round.changed {
            self.changes.send_modify(|change| *change += 1);
        }
        Ok(())
    }

    /// Commits the records of a round that are not yet committed.
    async fn settle(&mut self, round: &mut Round) -> Result<(), StoreError> {
        if round.records.is_empty() {
            return Ok(());
        }
        for record in &round.records {
            match record {
                Record::Ended { job, .. } => self.board.forget(*job),
                Record::Submitted { dropped, .. } | Record::Cancelled { dropped, .. } => {
                    dropped.iter().for_each(|job| self.board.forget(*job));
                }
                _ => {}
            }
        }
        self.commit(std::mem::take(&mut round.records)).await
    }

    async fn commit(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let gone =
            || StoreError::Unusable { path: "store thread".into(), error: std::io::Error::other("it has ended") };
        self.writer.send((records, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            // Committed already.
            Effect::Record(_) => {}
            Effect::Assign { session, job, attempt, configuration, seed, origin, keeps } => {
                debug!(%job, %attempt, "assigned");
                let assignment = v1::Assignment {
                    of: Some(attempt_id(job, attempt)),
                    configuration: configuration.to_string(),
                    seed,
                    parent: origin.map(|(parent, file)| parent_weights(parent, file)),
                    keeps: keeps.into_iter().map(|at| at.to_string()).collect(),
                };
                self.send(session, Message::Assignment(assignment));
            }
            Effect::Stop { session, job, attempt } => {
                self.send(session, Message::Stop(v1::Stop { of: Some(attempt_id(job, attempt)) }));
            }
            Effect::Acknowledge(session, sequence) => {
                self.send(session, Message::Acknowledgement(v1::Acknowledgement { sequence }));
            }
            Effect::Renew(session, beat) => self.send(session, Message::Renewed(v1::Renewed { beat })),
            Effect::Welcome(session) => {
                let welcome = v1::Welcome { heartbeat_milliseconds: self.lease / 5, lease_milliseconds: self.lease };
                self.send(session, Message::Welcome(welcome));
            }
            Effect::Disconnect(session) => {
                self.outboxes.remove(&session);
            }
            Effect::Reject(session) => {
                if let Some(outbox) = self.outboxes.remove(&session) {
                    let why = "another worker of that name is connected; give this one another --name";
                    // It is new, so there is room.
                    let _ = outbox.try_send(Err(tonic::Status::already_exists(why)));
                }
            }
            Effect::Submitted(ticket, summary) => {
                if let Some(reply) = self.submissions.remove(&ticket) {
                    let _ = reply.send(Ok(summary));
                }
            }
            Effect::Cancelled(ticket, dropped) => {
                if let Some(reply) = self.cancellations.remove(&ticket) {
                    let _ = reply.send(Ok(dropped));
                }
            }
            // Nobody can ask for it yet.
            Effect::Resumed(..) => {}
            Effect::Refuse(ticket, refusal) => {
                if let Some(reply) = self.submissions.remove(&ticket) {
                    let _ = reply.send(Err(refusal));
                } else if let Some(reply) = self.cancellations.remove(&ticket) {
                    let _ = reply.send(Err(refusal));
                }
            }
        }
    }

    /// Sends to a worker. One that does not take its messages is cut off: it comes back and claims what it holds.
    fn send(&mut self, session: Session, message: Message) {
        let Some(outbox) = self.outboxes.get(&session) else { return };
        if outbox.try_send(Ok(v1::ToWorker { message: Some(message) })).is_err() {
            warn!(session = session.0, "a worker does not take its messages: disconnecting it");
            self.outboxes.remove(&session);
        }
    }
}

/// What a batch of requests comes to.
#[derive(Default)]
struct Round {
    records: Vec<Record>,
    effects: Vec<Effect>,
    questions: Vec<Question>,
    changed: bool,
}

fn write(mut store: Store, mut commits: mpsc::Receiver<Commit>) {
    while let Some((records, reply)) = commits.blocking_recv() {
        let _ = reply.send(store.commit(&records));
    }
}

//! The one task that owns the state machine: it takes events, hands them to `handle`, commits what is to be written down, and only
//! then does what else was asked for.
//!
//! - `handle`: the queues by which the services reach it.
//! - `commit`: the store's thread, and what is done while it fails.

mod commit;
mod handle;
#[cfg(test)]
mod tests;

pub(crate) use handle::{Beat, Call, Handle, Inbox, Outbox, Question, Reply, Request, Unanswered};

use crate::answer::Board;
use crate::selection::Selections;
use crate::store::{Store, StoreError};
use commit::{Batch, Commit, Halt, Trouble};
use plusminus_core::scheduler::{
    Effect, Event, Policy, Record, Refusal, ReportBody, Scheduler, Session, SubmitSummary, Ticket, WallTime,
};
use plusminus_proto::session::{self, Terms};
use plusminus_proto::v1::{self, to_worker::Message};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

/// Most events of a kind that are committed together.
const BATCH: usize = 1024;
/// How often leases and pauses are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long after a failed commit it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// After how long a commit is one that heartbeats do not wait for.
const SLOW: Duration = Duration::from_millis(500);
/// After how much longer the disk is one that does not answer. A sweep of a million jobs takes some seconds to write.
const PATIENCE: Duration = Duration::from_secs(30);

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

    fn now(&self) -> WallTime {
        WallTime(self.at + self.began.elapsed().as_millis() as u64)
    }
}

pub(crate) struct Driver {
    machine: Scheduler,
    board: Board,
    selections: Selections,
    clock: Clock,
    terms: Terms,
    writer: mpsc::Sender<Batch>,
    store_thread: thread::JoinHandle<()>,
    /// How long after a failed commit it is tried again.
    pause: Duration,
    /// How long a slow disk may take until users are told.
    patience: Duration,
    stop: oneshot::Receiver<()>,
    outboxes: BTreeMap<Session, Outbox>,
    calls: Calls,
    tickets: u64,
    /// Heartbeats that came while nothing could be written, the latest of each session.
    held: BTreeMap<Session, Beat>,
    changes: watch::Sender<u64>,
    trouble: watch::Sender<Trouble>,
}

/// Users who wait for an answer.
#[derive(Default)]
struct Calls {
    submissions: BTreeMap<Ticket, Reply<SubmitSummary>>,
    /// Of cancellations and resumptions.
    counts: BTreeMap<Ticket, Reply<usize>>,
}

impl Calls {
    /// Tells everybody that what they asked for is decided and cannot be written down yet.
    fn pending(&mut self, reason: &str) {
        // Whoever asked may have gone.
        for reply in std::mem::take(&mut self.submissions).into_values() {
            let _ = reply.send(Err(Unanswered::Pending(reason.to_owned())));
        }
        for reply in std::mem::take(&mut self.counts).into_values() {
            let _ = reply.send(Err(Unanswered::Pending(reason.to_owned())));
        }
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        // Whoever asked may have gone.
        if let Some(reply) = self.submissions.remove(&ticket) {
            let _ = reply.send(Ok(Err(refusal)));
        } else if let Some(reply) = self.counts.remove(&ticket) {
            let _ = reply.send(Ok(Err(refusal)));
        }
    }
}

impl Driver {
    /// Starts from what is stored; it ends when `stop` is used or dropped. The store moves to a thread of its own, which ends when the
    /// driver does.
    pub fn new(
        store: Store,
        policy: Policy,
        stop: oneshot::Receiver<()>,
    ) -> Result<(Driver, Handle, Inbox), StoreError> {
        let clock = Clock::new();
        let (only, terms) = (policy.only.clone(), Terms { lease: policy.lease, store: store.identity()? });
        let machine = Scheduler::restart(policy, store.records()?, clock.now());
        let selections = Selections::of(&machine, only, store.reader()?);
        Driver::with(machine, selections, store, clock, terms, stop)
    }

    fn with(
        machine: Scheduler,
        selections: Selections,
        store: impl Commit,
        clock: Clock,
        terms: Terms,
        stop: oneshot::Receiver<()>,
    ) -> Result<(Driver, Handle, Inbox), StoreError> {
        let (writer, batches) = mpsc::channel(1);
        let store_thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || commit::write(store, batches))
            .map_err(|error| StoreError::Unusable { path: "store thread".into(), error })?;
        let (changes, watched) = watch::channel(0);
        let (trouble, troubled) = watch::channel(Trouble::default());
        let (handle, inbox) = handle::queues(watched, troubled);
        let driver = Driver {
            machine,
            board: Board::default(),
            selections,
            clock,
            terms,
            writer,
            store_thread,
            pause: PAUSE,
            patience: PATIENCE,
            stop,
            outboxes: BTreeMap::new(),
            calls: Calls::default(),
            tickets: 0,
            held: BTreeMap::new(),
            changes,
            trouble,
        };
        Ok((driver, handle, inbox))
    }

    /// Runs until it is told to stop or the store fails for good. When it returns the store is closed.
    pub async fn run(mut self, mut inbox: Inbox) -> Result<(), StoreError> {
        let ended = match self.serve(&mut inbox).await {
            Ok(()) | Err(Halt::Stopped) => Ok(()),
            Err(Halt::Failed(error)) => Err(error),
        };
        drop(self.writer);
        // The thread ends by itself now; whether it panicked has been told by the commit that it did not answer.
        let _ = tokio::task::spawn_blocking(|| self.store_thread.join()).await;
        ended
    }

    async fn serve(&mut self, inbox: &mut Inbox) -> Result<(), Halt> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        // What was decided when the last coordinator ended may not have been acted on.
        self.finish(Round::default(), inbox).await?;
        loop {
            let mut round = Round::default();
            tokio::select! {
                biased;
                _ = &mut self.stop => return Err(Halt::Stopped),
                _ = tick.tick() => self.handle(Event::Tick, &mut round),
                Some(beat) = inbox.beats.recv() => self.beat(beat, &mut round),
                Some(call) = inbox.calls.recv() => self.call(call, &mut round),
                received = inbox.requests.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
            }
            // Whatever else has come is a part of the same round, of each kind as much as of the others.
            for _ in 0..BATCH {
                let Ok(beat) = inbox.beats.try_recv() else { break };
                self.beat(beat, &mut round);
            }
            for _ in 0..BATCH {
                let Ok(call) = inbox.calls.try_recv() else { break };
                self.call(call, &mut round);
            }
            while batch.len() < BATCH {
                let Ok(request) = inbox.requests.try_recv() else { break };
                batch.push(request);
            }
            batch.drain(..).for_each(|request| self.take(request, &mut round));
            self.finish(round, inbox).await?;
            while !self.held.is_empty() {
                let mut round = Round::default();
                std::mem::take(&mut self.held).into_values().for_each(|beat| self.beat(beat, &mut round));
                self.finish(round, inbox).await?;
                // What workers had to say comes before time passes.
                tick.reset();
            }
        }
    }

    fn beat(&mut self, Beat { session, beat, holds }: Beat, round: &mut Round) {
        self.handle(Event::Heartbeat { session, beat, holds }, round);
    }

    fn call(&mut self, call: Call, round: &mut Round) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let event = match call {
            Call::Submit(submitted, reply) => {
                self.calls.submissions.insert(ticket, reply);
                Event::Submit(ticket, self.selections.submitted(*submitted))
            }
            Call::Cancel(name, reply) => {
                self.calls.counts.insert(ticket, reply);
                Event::Cancel(ticket, name)
            }
            Call::Resume(name, again, reply) => {
                self.calls.counts.insert(ticket, reply);
                Event::Resume(ticket, name, again)
            }
            Call::Ask(question) => return round.questions.push(question),
        };
        self.handle(event, round);
    }

    fn take(&mut self, request: Request, round: &mut Round) {
        let event = match request {
            // Whoever it was has given up waiting.
            Request::Join { outbox, .. } if outbox.is_closed() => return,
            Request::Join { session, worker, instance, devices, holds, outbox } => {
                let (slots, gpu) = (session::slots(&devices), session::are_gpus(&devices));
                info!(%worker, slots, "a worker has connected");
                self.outboxes.insert(session, outbox);
                self.board.devices(session, devices);
                Event::Joined { session, worker, instance, slots, gpu, holds }
            }
            Request::Leave(session) => {
                self.outboxes.remove(&session);
                self.board.no_devices(session);
                Event::Left(session)
            }
            Request::Drain(session) => Event::Draining(session),
            Request::Devices(session, devices) => {
                let slots = session::slots(&devices);
                self.board.devices(session, devices);
                Event::Resized(session, slots)
            }
            Request::Report(session, report) => {
                if let ReportBody::Epoch(epoch, measurements) = &report.body
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
            Request::Lost(job, file) => {
                warn!(%job, %file, "weights that the job left are not there: it is trained again where they are wanted");
                Event::Lost(job, file)
            }
        };
        self.handle(event, round);
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
    async fn finish(&mut self, mut round: Round, inbox: &mut Inbox) -> Result<(), Halt> {
        self.settle(&mut round, inbox).await?;
        loop {
            let Some(mut reading) = self.selections.due(&self.machine) else { break };
            let values = self.meanwhile(&mut reading.values, &mut round, inbox).await?;
            match values.map_err(|_| StoreError::Gone)? {
                Ok(values) => {
                    self.recovered();
                    if let Some(submission) = self.selections.decide(&self.machine, reading.of, &values) {
                        self.handle(Event::Continue(submission), &mut round);
                        self.settle(&mut round, inbox).await?;
                    }
                }
                Err(error) => self.stall(error, &mut round, inbox).await?,
            }
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
    async fn settle(&mut self, round: &mut Round, inbox: &mut Inbox) -> Result<(), Halt> {
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
        self.commit(std::mem::take(&mut round.records), round, inbox).await
    }

    fn act(&mut self, effect: Effect) {
        if let Some((session, message)) = session::message(&effect, self.terms) {
            return self.send(session, message);
        }
        match effect {
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
                if let Some(reply) = self.calls.submissions.remove(&ticket) {
                    let _ = reply.send(Ok(Ok(summary)));
                }
            }
            Effect::Cancelled(ticket, jobs) | Effect::Resumed(ticket, jobs) => {
                if let Some(reply) = self.calls.counts.remove(&ticket) {
                    let _ = reply.send(Ok(Ok(jobs)));
                }
            }
            Effect::Refuse(ticket, refusal) => self.calls.refuse(ticket, refusal),
            // Committed already, or sent.
            Effect::Record(_)
            | Effect::Assign { .. }
            | Effect::Stop { .. }
            | Effect::Acknowledge(..)
            | Effect::Renew(..)
            | Effect::Welcome(..) => {}
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

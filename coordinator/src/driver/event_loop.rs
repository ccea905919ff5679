//! The driver's task: collects events into rounds, commits each round, and performs its effects.

use super::commit_gate::CommitGate;
use super::delivery::Delivery;
use super::queues::{self, BATCH, DriverHandle, Inbox, Query, StoreTrouble, UserRequest, WorkerMessage};
use super::store_link::{Shutdown, StoreLink, Waiting};
use super::store_thread::Commit;
use crate::progress::{LiveProgress, is_plausible};
use crate::selection::Selections;
use crate::store::{Store, StoreError};
use plusminus_core::scheduler::{Event, Policy, Record, Scheduler, WallTime};
use plusminus_proto::session::{self, Terms};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{oneshot, watch};
use tokio::time::Interval;
use tracing::{info, warn};

/// How often expired leases and ended back-offs are looked for.
const TICK: Duration = Duration::from_millis(100);

/// A submission of this many jobs has a round of its own, since its commit takes long.
const LARGE: usize = 5_000;

/// Wall-clock time that never goes backwards: the system's clock is read once and then continued with the monotonic one.
pub(super) struct Clock {
    started: Instant,
    /// Milliseconds since the Unix epoch at the start.
    at: u64,
}

impl Clock {
    pub fn new() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Clock { started: Instant::now(), at }
    }

    pub fn now(&self) -> WallTime {
        WallTime(self.at).after(self.started.elapsed())
    }
}

/// What a round collects besides the effects that the gate holds.
#[derive(Default)]
struct Round {
    queries: Vec<Query>,
    /// Whether something may have changed that users see.
    changed: bool,
}

pub(crate) struct Driver {
    gate: CommitGate,
    delivery: Delivery,
    pub(super) store: StoreLink,
    progress: LiveProgress,
    selections: Selections,
    clock: Clock,
    changes: watch::Sender<u64>,
    /// Large submissions that wait for a round of their own. Other requests are answered between two of them.
    large: VecDeque<UserRequest>,
}

impl Driver {
    /// A driver that continues from the store. It ends when `stop` is used or dropped. The store moves to a thread of its own, which
    /// ends with the driver.
    pub fn new(
        store: Store,
        policy: Policy,
        stop: oneshot::Receiver<()>,
    ) -> Result<(Driver, DriverHandle, Inbox), StoreError> {
        let clock = Clock::new();
        let lease = policy.lease.as_millis() as u64;
        let (only, terms) = (policy.only.clone(), Terms { lease, store: store.identity()? });
        let scheduler = Scheduler::restart(policy, store.records()?, clock.now());
        let selections = Selections::of(&scheduler, only, store.reader()?);
        Driver::with(scheduler, selections, store, clock, terms, stop)
    }

    pub(super) fn with(
        scheduler: Scheduler,
        selections: Selections,
        store: impl Commit,
        clock: Clock,
        terms: Terms,
        stop: oneshot::Receiver<()>,
    ) -> Result<(Driver, DriverHandle, Inbox), StoreError> {
        let (changes, watched) = watch::channel(0);
        let (trouble, watched_trouble) = watch::channel(StoreTrouble::default());
        let (handle, inbox) = queues::queues(watched, watched_trouble);
        let driver = Driver {
            gate: CommitGate::new(scheduler),
            delivery: Delivery::new(terms),
            store: StoreLink::start(store, stop, trouble)?,
            progress: LiveProgress::default(),
            selections,
            clock,
            changes,
            large: VecDeque::new(),
        };
        Ok((driver, handle, inbox))
    }

    /// Runs until it is stopped or the store fails for good. The store is closed when it returns, unless its disk takes longer than
    /// `closing`.
    pub async fn run(mut self, mut inbox: Inbox, closing: Duration) -> Result<(), StoreError> {
        let ended = match self.serve(&mut inbox).await {
            Ok(()) | Err(Shutdown::Requested) => Ok(()),
            Err(Shutdown::StoreFailed(error)) => Err(error),
        };
        self.store.close(closing).await;
        ended
    }

    async fn serve(&mut self, inbox: &mut Inbox) -> Result<(), Shutdown> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut messages = Vec::with_capacity(BATCH);
        // Selections that were due when the last coordinator ended are made first.
        self.finish(Round::default(), inbox).await?;
        loop {
            let mut round = Round::default();
            tokio::select! {
                biased;
                _ = &mut self.store.stop => return Err(Shutdown::Requested),
                _ = tick.tick() => self.accept(Event::Tick, &mut round),
                Some(heartbeat) = inbox.heartbeats.recv() => self.accept(Event::Heartbeat(heartbeat), &mut round),
                Some(request) = inbox.user_requests.recv() => self.sort(request, &mut round),
                received = inbox.worker_messages.recv_many(&mut messages, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = std::future::ready(()), if !self.large.is_empty() => {}
            }
            // Everything else that has arrived joins the round, up to the same number of each kind.
            for _ in 0..BATCH {
                let Ok(heartbeat) = inbox.heartbeats.try_recv() else { break };
                self.accept(Event::Heartbeat(heartbeat), &mut round);
            }
            for _ in 0..BATCH {
                let Ok(request) = inbox.user_requests.try_recv() else { break };
                self.sort(request, &mut round);
            }
            while messages.len() < BATCH {
                let Ok(message) = inbox.worker_messages.try_recv() else { break };
                messages.push(message);
            }
            messages.drain(..).for_each(|message| self.worker_message(message, &mut round));
            self.finish(round, inbox).await?;
            self.accept_held(inbox, &mut tick).await?;
            if let Some(submission) = self.large.pop_front() {
                let mut round = Round::default();
                self.user_request(submission, &mut round);
                self.finish(round, inbox).await?;
                self.accept_held(inbox, &mut tick).await?;
            }
        }
    }

    /// Accepts the heartbeats that were held during a commit, in rounds of their own.
    async fn accept_held(&mut self, inbox: &mut Inbox, tick: &mut Interval) -> Result<(), Shutdown> {
        while self.gate.held_heartbeats() > 0 {
            let mut round = Round::default();
            for event in self.gate.take_held_heartbeats() {
                self.accept(event, &mut round);
            }
            self.finish(round, inbox).await?;
            // The next tick comes after the messages that workers sent meanwhile.
            tick.reset();
        }
        Ok(())
    }

    /// Hands an event to the scheduler.
    fn accept(&mut self, event: Event, round: &mut Round) {
        let accepted = self.gate.accept(self.clock.now(), event);
        accepted.records.iter().for_each(|record| self.selections.note(record));
        round.changed |= accepted.has_effects;
    }

    /// Takes a request into the round, or lets it wait for a round of its own.
    fn sort(&mut self, request: UserRequest, round: &mut Round) {
        match request {
            UserRequest::Submit(sweep, reply) if sweep.submission.jobs.len() >= LARGE => {
                self.large.push_back(UserRequest::Submit(sweep, reply));
            }
            other => self.user_request(other, round),
        }
    }

    fn user_request(&mut self, request: UserRequest, round: &mut Round) {
        let replies = &mut self.delivery.replies;
        let event = match request {
            UserRequest::Submit(sweep, reply) => {
                Event::Submit(replies.add_submission(reply), self.selections.submitted(*sweep))
            }
            UserRequest::Cancel(name, reply) => Event::Cancel(replies.add_count(reply), name),
            UserRequest::Resume(name, selection, reply) => Event::Resume(replies.add_count(reply), name, selection),
            UserRequest::Reinstate(worker, reply) => Event::Reinstate(replies.add_reinstatement(reply), worker),
            UserRequest::Query(query) => return round.queries.push(query),
        };
        self.accept(event, round);
    }

    fn worker_message(&mut self, message: WorkerMessage, round: &mut Round) {
        let event = match message {
            // The worker has given up waiting.
            WorkerMessage::Connected { sender, .. } if sender.is_closed() => return,
            WorkerMessage::Connected { session, worker, host, instance, devices, holds, sender } => {
                let (slots, device) = (session::slots(&devices), session::device_class(&devices));
                info!(%worker, slots, "a worker connected");
                self.delivery.connect(session, sender);
                self.progress.set_devices(session, devices);
                Event::Connected { session, worker, host, instance, slots, device, holds }
            }
            WorkerMessage::Disconnected(session) => {
                self.delivery.disconnect(session);
                self.progress.remove_devices(session);
                Event::Disconnected(session)
            }
            WorkerMessage::Draining(session) => Event::Draining(session),
            WorkerMessage::Devices(session, devices) => {
                let slots = session::slots(&devices);
                self.progress.set_devices(session, devices);
                Event::Resized(session, slots)
            }
            WorkerMessage::Report(session, report) => Event::Reported(session, report),
            WorkerMessage::Progress(session, attempt, progress) => {
                let scheduler = self.gate.scheduler();
                let epochs = scheduler.state().epochs_of_running(attempt.job);
                if scheduler.runs(session, attempt) && is_plausible(progress, epochs) {
                    self.progress.set_progress(attempt, progress);
                    round.changed = true;
                }
                return;
            }
            WorkerMessage::WeightsLost(job, file) => {
                warn!(%job, %file, "weights of the job are missing or damaged; it is retrained if a child needs them");
                Event::WeightsLost(job, file)
            }
        };
        self.accept(event, round);
    }

    /// Commits a round and performs its effects. Hyper-parameter selections that the round made possible are part of it, so that no
    /// watcher sees the sweep as ended in between.
    async fn finish(&mut self, mut round: Round, inbox: &mut Inbox) -> Result<(), Shutdown> {
        self.commit(&mut round, inbox).await?;
        while let Some(mut reading) = self.selections.read_due(self.gate.scheduler()) {
            let (gate, delivery, large) = (&mut self.gate, &mut self.delivery, &mut self.large);
            let mut waiting = Waiting { gate, delivery, queries: &mut round.queries, inbox, large };
            let values = self.store.wait_for(&mut reading.values, &mut waiting).await?;
            match values.map_err(|_| StoreError::Gone)? {
                Ok(values) => {
                    self.store.recovered(&self.gate);
                    let chosen = self.selections.decide(self.gate.scheduler(), reading.undecided, &values);
                    if let Some(submission) = chosen {
                        self.accept(Event::Extend(submission), &mut round);
                        self.commit(&mut round, inbox).await?;
                    }
                }
                Err(error) => self.store.wait_to_retry(error, &mut waiting).await?,
            }
        }
        self.gate.committed().into_iter().for_each(|effect| self.delivery.perform(effect));
        let now = self.clock.now();
        round.queries.into_iter().for_each(|query| query(self.gate.scheduler(), &self.progress, now));
        if round.changed {
            self.changes.send_modify(|change| *change += 1);
        }
        Ok(())
    }

    /// Commits the records of a round that are not committed yet. Without any, the store is checked from time to time.
    async fn commit(&mut self, round: &mut Round, inbox: &mut Inbox) -> Result<(), Shutdown> {
        let records = self.gate.begin_commit();
        if records.is_empty() && !self.store.is_check_due() {
            return Ok(());
        }
        for record in &records {
            match record {
                Record::Epoch { attempt, epoch, measurements, .. } => {
                    self.progress.set_epoch(*attempt, *epoch, measurements);
                }
                Record::Ended { attempt, .. } => self.progress.remove(attempt.job),
                Record::Submitted { dropped, .. } | Record::Cancelled { dropped, .. } => {
                    dropped.iter().for_each(|job| self.progress.remove(*job));
                }
                _ => {}
            }
        }
        let (gate, delivery, large) = (&mut self.gate, &mut self.delivery, &mut self.large);
        let mut waiting = Waiting { gate, delivery, queries: &mut round.queries, inbox, large };
        self.store.commit(records, &mut waiting).await
    }
}

//! The driver and its store: commits on a thread of their own, and what is done while they fail.
//!
//! A failed commit may pass: somebody makes room, or mends the disk. What was to be written is held back and tried again, and with it
//! everything that follows from it. Until then users are told why they are not answered, workers' reports wait, and heartbeats are
//! answered, so that no worker loses its leases for the coordinator's trouble.

use super::handle::{Beat, Inbox};
use super::{Driver, Round, SLOW};
use crate::store::{Store, StoreError};
use plusminus_core::scheduler::{Effect, Record, Session};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

/// What records are written to.
pub(crate) trait Commit: Send + 'static {
    /// Writes the records in one transaction: all, durably, or none.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Gives back what room on the disk it can.
    fn make_room(&mut self) {}

    /// Does what could wait until the commit had been answered.
    fn tidy(&mut self) {}
}

impl Commit for Store {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        Store::commit(self, records)
    }

    fn make_room(&mut self) {
        Store::make_room(self);
    }

    fn tidy(&mut self) {
        Store::tidy(self);
    }
}

/// Records to be written in one transaction, and who waits for it.
pub(super) struct Batch {
    records: Arc<Vec<Record>>,
    /// It has failed before.
    again: bool,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Writes what comes, until nobody can ask for it any more.
pub(super) fn write(mut store: impl Commit, mut batches: mpsc::Receiver<Batch>) {
    while let Some(Batch { records, again, reply }) = batches.blocking_recv() {
        if again {
            store.make_room();
        }
        let _ = reply.send(store.commit(&records));
        store.tidy();
    }
}

/// What is known of trouble with the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// Since when nothing can be written, if it cannot.
    since: Option<Instant>,
    /// What it is, or was last.
    pub reason: String,
}

/// Why the driver does not go on.
pub(super) enum Halt {
    /// It was told to stop.
    Stopped,
    /// The store has failed for good.
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Halt::Failed(error)
    }
}

/// Whose worker is told to stop something.
fn stopped(effect: &Effect) -> Option<Session> {
    if let Effect::Stop { session, .. } = effect { Some(*session) } else { None }
}

impl Driver {
    /// Commits records, however often it takes; `round` has what is held back until then.
    pub(super) async fn commit(
        &mut self,
        records: Vec<Record>,
        round: &mut Round,
        inbox: &mut Inbox,
    ) -> Result<(), Halt> {
        let records = Arc::new(records);
        let mut again = false;
        loop {
            let (reply, mut written) = oneshot::channel();
            let batch = Batch { records: Arc::clone(&records), again, reply };
            self.writer.send(batch).await.map_err(|_| StoreError::Gone)?;
            match self.meanwhile(&mut written, round, inbox).await?.map_err(|_| StoreError::Gone)? {
                Ok(()) => {
                    self.recovered();
                    return Ok(());
                }
                Err(error) => self.stall(error, round, inbox).await?,
            }
            again = true;
        }
    }

    /// Waits for what the disk does. One that is slow costs nobody a lease, and of one that does not answer users are told.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: &mut (impl Future<Output = T> + Unpin),
        round: &mut Round,
        inbox: &mut Inbox,
    ) -> Result<T, Halt> {
        if let Ok(done) = tokio::time::timeout(SLOW, &mut *work).await {
            return Ok(done);
        }
        self.renew_meanwhile(round);
        let patience = tokio::time::sleep(self.patience);
        tokio::pin!(patience);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                done = &mut *work => return Ok(done),
                _ = &mut self.stop => return Err(Halt::Stopped),
                () = &mut patience, if !told => {
                    told = true;
                    let seconds = (SLOW + self.patience).as_secs();
                    self.in_trouble(format!("the disk with the store has not answered for {seconds} s"), round);
                }
                Some(beat) = inbox.beats.recv() => self.answer_meanwhile(beat, round),
                Some(call) = inbox.calls.recv(), if told => drop(call),
            }
        }
    }

    /// Takes down that nothing can be written or read for now, and tells whoever waits for an answer. What they asked for and is decided is
    /// done when it can be written.
    fn in_trouble(&mut self, reason: String, round: &mut Round) {
        let known = self.trouble.borrow().clone();
        if known.since.is_none() || known.reason != reason {
            error!("{reason}. Until then nothing is taken in or acknowledged; it is tried again every second");
        }
        let since = known.since.or_else(|| Some(Instant::now()));
        self.trouble.send_replace(Trouble { since, reason: reason.clone() });
        round.questions.clear();
        self.calls.pending(&reason);
    }

    /// Waits a little after `error`, if it may pass.
    pub(super) async fn stall(&mut self, error: StoreError, round: &mut Round, inbox: &mut Inbox) -> Result<(), Halt> {
        if !error.may_pass() {
            return Err(Halt::Failed(error));
        }
        self.in_trouble(error.to_string(), round);
        self.renew_meanwhile(round);
        let pause = tokio::time::sleep(self.pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                _ = &mut self.stop => return Err(Halt::Stopped),
                () = &mut pause => return Ok(()),
                Some(beat) = inbox.beats.recv() => self.answer_meanwhile(beat, round),
                Some(call) = inbox.calls.recv() => drop(call),
            }
        }
    }

    /// Answers the heartbeats that are held back with a round.
    fn renew_meanwhile(&mut self, round: &mut Round) {
        let stopped: BTreeSet<Session> = round.effects.iter().filter_map(stopped).collect();
        let may = |effect: &Effect| matches!(effect, Effect::Renew(session, _) if !stopped.contains(session));
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut round.effects).into_iter().partition(may);
        round.effects = later;
        now.into_iter().for_each(|effect| self.act(effect));
    }

    /// Answers a heartbeat before the machine has heard of it, which it does as soon as it can go on. A worker that is about to be told
    /// to stop something is not answered: it may be somebody else's by then.
    fn answer_meanwhile(&mut self, beat: Beat, round: &Round) {
        if !round.effects.iter().filter_map(stopped).any(|session| session == beat.session) {
            self.act(Effect::Renew(beat.session, beat.beat));
        }
        self.held.insert(beat.session, beat);
    }

    /// The store has been written.
    pub(super) fn recovered(&mut self) {
        let Some(since) = self.trouble.borrow().since else { return };
        self.trouble.send_modify(|trouble| trouble.since = None);
        warn!("the store can be written again: going on after {} s, with nothing lost", since.elapsed().as_secs());
        debug!("heartbeats of {} workers came meanwhile", self.held.len());
    }
}

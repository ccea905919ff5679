//! The driver's link to the store thread, and what continues while the store is slow or fails.
//!
//! A failed commit may succeed later: somebody frees disk space, repairs the disk or puts a deleted file back. The records are kept and committed again every
//! second, and all effects behind them wait. Meanwhile users get an error with the reason, workers' reports wait, and heartbeats are
//! answered, so that no worker loses a lease because of the coordinator's disk.

use super::commit_gate::CommitGate;
use super::delivery::Delivery;
use super::queues::{Inbox, Query, StoreTrouble, UserRequest};
use super::store_thread::{self, Commit, CommitRequest};
use crate::store::StoreError;
use plusminus_core::scheduler::Record;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, warn};

/// How long after a failed commit it is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long after the last commit the store is checked although nothing is committed: its files may have been deleted.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// How long heartbeats wait for a commit before they are answered early.
const SLOW: Duration = Duration::from_millis(500);
/// How much longer a commit may take before users get an error. A sweep of a million jobs takes some seconds to write.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the driver ends.
pub(super) enum Shutdown {
    /// The server asked it to stop.
    Requested,
    /// The store failed for good.
    StoreFailed(StoreError),
}

impl From<StoreError> for Shutdown {
    fn from(error: StoreError) -> Self {
        Shutdown::StoreFailed(error)
    }
}

/// The parts of the driver that continue while it waits for the store.
pub(super) struct Waiting<'d> {
    pub gate: &'d mut CommitGate,
    pub delivery: &'d mut Delivery,
    /// Queries of the current round.
    pub queries: &'d mut Vec<Query>,
    pub inbox: &'d mut Inbox,
    /// Large submissions that wait for a round of their own.
    pub large: &'d mut VecDeque<UserRequest>,
}

impl Waiting<'_> {
    /// Performs the renewals that are held back with the round.
    fn renew_early(&mut self) {
        self.gate.early_renewals().into_iter().for_each(|effect| self.delivery.perform(effect));
    }
}

pub(super) struct StoreLink {
    requests: mpsc::Sender<CommitRequest>,
    /// Closed when the thread has closed the store.
    closed: oneshot::Receiver<()>,
    /// How long after a failed commit it is retried.
    pub retry_pause: Duration,
    /// How long a slow disk may take before users get an error.
    pub patience: Duration,
    /// Used or dropped when the driver has to end.
    pub stop: oneshot::Receiver<()>,
    trouble: watch::Sender<StoreTrouble>,
    /// The time of the last commit or check.
    checked: Instant,
}

impl StoreLink {
    /// Moves the store to a thread of its own, which ends with [`close`](StoreLink::close).
    pub fn start(
        store: impl Commit,
        stop: oneshot::Receiver<()>,
        trouble: watch::Sender<StoreTrouble>,
    ) -> Result<Self, StoreError> {
        let (requests, received) = mpsc::channel(1);
        let (closing, closed) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                store_thread::run(store, received);
                drop(closing);
            })
            .map_err(|error| StoreError::Unusable { path: "store thread".into(), error })?;
        Ok(StoreLink {
            requests,
            closed,
            retry_pause: RETRY_PAUSE,
            patience: PATIENCE,
            stop,
            trouble,
            checked: Instant::now(),
        })
    }

    /// Ends the store thread, which closes the store. A disk that hangs is left behind after `limit`: what was acknowledged is durable.
    pub async fn close(self, limit: Duration) {
        drop(self.requests);
        // A panic of the thread has already failed the commit that it did not answer.
        if tokio::time::timeout(limit, self.closed).await.is_err() {
            warn!("the disk with the store has not answered for {} s: stopping without it", limit.as_secs_f64());
        }
    }

    /// Whether the last commit or check was a while ago.
    pub fn is_check_due(&self) -> bool {
        self.checked.elapsed() >= CHECK_PAUSE
    }

    /// Commits records, or without any checks the store, retrying as long as the error may pass.
    pub async fn commit(&mut self, records: Vec<Record>, waiting: &mut Waiting<'_>) -> Result<(), Shutdown> {
        let records = Arc::new(records);
        let mut is_retry = false;
        loop {
            let (reply, mut written) = oneshot::channel();
            let request = CommitRequest { records: Arc::clone(&records), is_retry, reply };
            self.requests.send(request).await.map_err(|_| StoreError::Gone)?;
            match self.wait_for(&mut written, waiting).await?.map_err(|_| StoreError::Gone)? {
                Ok(()) => {
                    self.checked = Instant::now();
                    self.recovered(waiting.gate);
                    return Ok(());
                }
                Err(error) => self.wait_to_retry(error, waiting).await?,
            }
            is_retry = true;
        }
    }

    /// Waits for work on the disk. If it is slow, heartbeats are answered early; if it takes very long, users get an error.
    pub async fn wait_for<T>(
        &mut self,
        work: &mut (impl Future<Output = T> + Unpin),
        waiting: &mut Waiting<'_>,
    ) -> Result<T, Shutdown> {
        if let Ok(done) = tokio::time::timeout(SLOW, &mut *work).await {
            return Ok(done);
        }
        waiting.renew_early();
        let patience = tokio::time::sleep(self.patience);
        tokio::pin!(patience);
        let mut in_trouble = false;
        loop {
            tokio::select! {
                biased;
                done = &mut *work => return Ok(done),
                _ = &mut self.stop => return Err(Shutdown::Requested),
                () = &mut patience, if !in_trouble => {
                    in_trouble = true;
                    let seconds = (SLOW + self.patience).as_secs();
                    self.enter_trouble(format!("the disk with the store has not answered for {seconds} s"), waiting);
                }
                Some(heartbeat) = waiting.inbox.heartbeats.recv() => {
                    waiting.gate.hold_heartbeat(heartbeat).into_iter().for_each(|effect| waiting.delivery.perform(effect));
                }
                // Dropping the request replies to it with the reason of the trouble.
                Some(request) = waiting.inbox.user_requests.recv(), if in_trouble => drop(request),
            }
        }
    }

    /// Waits for a moment after `error`, if it may pass.
    pub async fn wait_to_retry(&mut self, error: StoreError, waiting: &mut Waiting<'_>) -> Result<(), Shutdown> {
        if !error.may_pass() {
            return Err(Shutdown::StoreFailed(error));
        }
        self.enter_trouble(error.to_string(), waiting);
        waiting.renew_early();
        let pause = tokio::time::sleep(self.retry_pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                _ = &mut self.stop => return Err(Shutdown::Requested),
                () = &mut pause => return Ok(()),
                Some(heartbeat) = waiting.inbox.heartbeats.recv() => {
                    waiting.gate.hold_heartbeat(heartbeat).into_iter().for_each(|effect| waiting.delivery.perform(effect));
                }
                Some(request) = waiting.inbox.user_requests.recv() => drop(request),
            }
        }
    }

    /// Notes that the store cannot be used for now, and replies to all users who wait. What they asked for has been decided and is done
    /// once it can be committed.
    fn enter_trouble(&mut self, reason: String, waiting: &mut Waiting<'_>) {
        let known = self.trouble.borrow().clone();
        if known.since.is_none() || known.reason != reason {
            error!(
                "{reason}. Until the store works again no request is accepted and no report acknowledged; retrying every second"
            );
        }
        let since = known.since.or_else(|| Some(Instant::now()));
        self.trouble.send_replace(StoreTrouble { since, reason: reason.clone() });
        waiting.queries.clear();
        waiting.large.clear();
        waiting.delivery.replies.fail_all(&reason);
    }

    /// Notes that the store works.
    pub fn recovered(&mut self, gate: &CommitGate) {
        let Some(since) = self.trouble.borrow().since else { return };
        self.trouble.send_modify(|trouble| trouble.since = None);
        warn!("the store works again after {} s; nothing was lost", since.elapsed().as_secs());
        debug!("answered heartbeats of {} workers meanwhile", gate.held_heartbeats());
    }
}

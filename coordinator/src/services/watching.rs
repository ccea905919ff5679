//! The sweeps that clients follow. One task per sweep keeps its status, and all clients of the sweep share it: ten watchers cost what one
//! costs.

use super::labels::LabelCache;
use super::status::{answer as answer_error, request_error};
use super::streams::{self, Gone, Parts, send};
use crate::answer::{self, AnswerError};
use crate::driver::{DriverHandle, RequestError};
use plusminus_core::id::SweepName;
use plusminus_proto::v1;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;

/// The shortest time between two updates of a watch.
const PACE: Duration = Duration::from_millis(100);
/// How much longer it is for each running job: updates about thousands are as large as they are many.
const PACE_PER_JOB: Duration = Duration::from_millis(1);

/// A status, in parts of bounded size.
#[derive(Debug)]
struct Snapshot {
    parts: Vec<v1::SweepStatus>,
}

impl Snapshot {
    /// Whether the sweep is over, so that this is the last status.
    fn is_last(&self) -> bool {
        self.parts.first().is_none_or(v1::SweepStatus::is_over)
    }

    /// The time until the next status.
    fn pause(&self) -> Duration {
        let running = self.parts.iter().map(|part| part.running_jobs.len()).sum::<usize>();
        PACE + PACE_PER_JOB * running as u32
    }
}

/// Where the statuses of one sweep are published.
type Published = watch::Sender<Arc<Snapshot>>;

/// The followed sweeps.
#[derive(Clone)]
pub(super) struct WatchedSweeps {
    driver: DriverHandle,
    labels: LabelCache,
    /// The tasks own what they publish.
    sweeps: Arc<Mutex<BTreeMap<SweepName, Weak<Published>>>>,
}

impl WatchedSweeps {
    pub fn new(driver: DriverHandle, labels: LabelCache) -> Self {
        WatchedSweeps { driver, labels, sweeps: Arc::default() }
    }

    /// The updates of a sweep until it is over. A client that reads slowly misses updates, never the last one.
    pub async fn follow(&self, name: SweepName) -> Result<Parts<v1::WatchUpdate>, Status> {
        let statuses = match self.subscribed(&name) {
            Some(statuses) => statuses,
            None => {
                let first = self.snapshot(&name).await.map_err(request_error)??;
                self.publish(name, first)
            }
        };
        Ok(streams::made_by(|sender| show(statuses, sender)))
    }

    fn subscribed(&self, name: &SweepName) -> Option<watch::Receiver<Arc<Snapshot>>> {
        let sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        Some(sweeps.get(name)?.upgrade()?.subscribe())
    }

    /// Publishes the statuses of a sweep from now on, unless another client's request has begun to.
    fn publish(&self, name: SweepName, first: Snapshot) -> watch::Receiver<Arc<Snapshot>> {
        let mut sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(published) = sweeps.get(&name).and_then(Weak::upgrade) {
            return published.subscribe();
        }
        let (published, statuses) = watch::channel(Arc::new(first));
        let published = Arc::new(published);
        sweeps.insert(name.clone(), Arc::downgrade(&published));
        drop(sweeps);
        tokio::spawn(self.clone().keep(name, published));
        statuses
    }

    /// Publishes each status of a sweep, until it is over or nobody follows it.
    async fn keep(self, name: SweepName, published: Arc<Published>) {
        let mut changes = self.driver.changes.clone();
        loop {
            let (last, pause) = {
                let status = published.borrow();
                (status.is_last(), status.pause())
            };
            if last {
                return self.remove(&name, &published);
            }
            tokio::time::sleep(pause).await;
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return self.remove(&name, &published);
                    }
                }
                () = published.closed() => {
                    if self.remove_unfollowed(&name, &published) {
                        return;
                    }
                    continue;
                }
            }
            let snapshot = loop {
                match self.snapshot(&name).await {
                    Ok(Ok(snapshot)) => break snapshot,
                    // While the store does not work, the clients wait.
                    Err(RequestError::Stalled(_) | RequestError::NotSaved(_)) => tokio::time::sleep(PACE).await,
                    // The sweep was removed, or the driver has ended. The streams end, and clients ask again.
                    _ => return self.remove(&name, &published),
                }
            };
            published.send_replace(Arc::new(snapshot));
        }
    }

    async fn snapshot(&self, name: &SweepName) -> Result<Result<Snapshot, Status>, RequestError> {
        let asked = name.clone();
        let status = self.driver.query(move |scheduler, progress, now| {
            let sweep = answer::find_sweep(scheduler, asked.as_str())?;
            let parts = answer::sweep_parts(scheduler, progress, now, &sweep);
            Ok::<_, AnswerError>((parts, sweep))
        });
        match status.await? {
            Ok((mut parts, sweep)) => {
                self.labels.label(&sweep, &mut parts).await;
                Ok(Ok(Snapshot { parts }))
            }
            Err(error) => Ok(Err(answer_error(error))),
        }
    }

    fn remove(&self, name: &SweepName, published: &Arc<Published>) {
        let mut sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        // A newer task may have taken the place.
        if sweeps.get(name).is_some_and(|other| other.ptr_eq(&Arc::downgrade(published))) {
            sweeps.remove(name);
        }
    }

    /// Removes a sweep unless a client follows it again.
    fn remove_unfollowed(&self, name: &SweepName, published: &Arc<Published>) -> bool {
        let mut sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        let unfollowed = published.receiver_count() == 0;
        if unfollowed {
            sweeps.remove(name);
        }
        unfollowed
    }
}

/// Sends the current status whenever it has changed since the last one, until the last one.
async fn show(
    mut statuses: watch::Receiver<Arc<Snapshot>>,
    sender: streams::Sender<v1::WatchUpdate>,
) -> Result<Result<(), Status>, Gone> {
    loop {
        let status = Arc::clone(&statuses.borrow_and_update());
        let last = status.parts.len() - 1;
        for (nth, part) in status.parts.iter().enumerate() {
            send(&sender, v1::WatchUpdate { status: Some(part.clone()), continues: nth < last }).await?;
        }
        if status.is_last() {
            return Ok(Ok(()));
        }
        drop(status);
        tokio::select! {
            changed = statuses.changed() => {
                if changed.is_err() {
                    return Ok(Err(Status::unavailable("the coordinator is stopping, or the sweep was removed")));
                }
            }
            () = sender.closed() => return Err(Gone),
        }
    }
}

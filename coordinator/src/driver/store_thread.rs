//! The thread that writes to the store, one commit at a time.

use crate::store::{Store, StoreError};
use plusminus_core::scheduler::Record;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What the thread writes to.
pub(crate) trait Commit: Send + 'static {
    /// Writes the records in one transaction: durably all of them, or none.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Checks that what was committed is still on disk.
    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Frees disk space if possible.
    fn make_room(&mut self) {}

    /// Does work that can wait until the commit has been answered.
    fn tidy(&mut self) {}
}

impl Commit for Store {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        Store::commit(self, records)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Store::confirm(self)
    }

    fn make_room(&mut self) {
        Store::make_room(self);
    }

    fn tidy(&mut self) {
        Store::tidy(self);
    }
}

/// Records to write in one transaction; without records, a check of the store.
pub(super) struct CommitRequest {
    pub records: Arc<Vec<Record>>,
    /// Whether these records failed to commit before.
    pub is_retry: bool,
    pub reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Serves requests until the sending end is dropped.
pub(super) fn run(mut store: impl Commit, mut requests: mpsc::Receiver<CommitRequest>) {
    while let Some(CommitRequest { records, is_retry, reply }) = requests.blocking_recv() {
        if records.is_empty() {
            let _ = reply.send(store.check());
            continue;
        }
        if is_retry {
            store.make_room();
        }
        let _ = reply.send(store.commit(&records));
        store.tidy();
    }
}

//! Work that blocks, a few pieces at a time.

use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::Status;

/// Runs blocking work of one kind, so that other kinds always find a thread.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Semaphore>);

impl Pool {
    /// A pool that runs `most` pieces of work at a time. Further ones wait in order.
    pub fn new(most: usize) -> Self {
        Pool(Arc::new(Semaphore::new(most)))
    }

    /// Runs `work` when it is its turn. The work ends even if nobody waits for it any longer.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let internal = |error: String| Status::internal(error);
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|error| internal(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|error| internal(error.to_string()))
    }
}

//! Starts the threads of a command.
//!
//! tokio panics when the system refuses it a thread, and a blocking call waits for ever if there is none for it. So the threads are tested
//! first, and those for blocking calls are started here and stay.

use crate::error::CliError;
use plusminus_worker::shortage::{self, probe_threads};
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How many threads a command is worth.
#[derive(Clone, Copy, Debug)]
pub enum Threads {
    /// It serves others.
    PerCore,
    /// It waits most of the time: cores are for training.
    Few,
}

/// How long a thread may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to mean for ever.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Starts a runtime. If the system allows only few threads, it has only few.
///
/// # Errors
/// If not even two threads can be started.
pub fn start(threads: Threads) -> Result<Runtime, CliError> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let (workers, blocking) = match threads {
        Threads::PerCore => (cores, 2),
        Threads::Few => (cores.min(2), 1),
    };
    build(workers, blocking)
        .or_else(|_| build(1, 1))
        .map_err(|error| CliError::NoThreads(shortage::describe("threads", &error)))
}

fn build(workers: usize, blocking: usize) -> io::Result<Runtime> {
    probe_threads(workers + blocking)?;
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().worker_threads(workers).thread_keep_alive(FOREVER);
    // The threads may have been taken since the test.
    let built = catch_unwind(AssertUnwindSafe(|| {
        let runtime = builder.build()?;
        start_blocking(&runtime, blocking)?;
        Ok(runtime)
    }));
    built.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
}

/// Starts threads for blocking calls. Each is busy until all are there: otherwise one would serve for two.
fn start_blocking(runtime: &Runtime, number: usize) -> io::Result<()> {
    let (release, released) = mpsc::channel::<()>();
    let (arrive, arrived) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..number {
        let (arrive, released) = (arrive.clone(), Arc::clone(&released));
        runtime.spawn_blocking(move || {
            let _ = arrive.send(());
            let _ = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
        });
    }
    let waited = (0..number).try_for_each(|_| arrived.recv_timeout(PATIENCE));
    drop(release);
    waited.map_err(|_| io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_calls_find_a_thread_beside_those_of_the_runtime() {
        for threads in [Threads::PerCore, Threads::Few] {
            let runtime = start(threads).unwrap();
            assert_eq!(runtime.block_on(runtime.spawn_blocking(|| 5)).unwrap(), 5);
            runtime.shutdown_background();
        }
    }
}

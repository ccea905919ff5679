//! Prefetches batches: a thread makes the inputs of the next batches during the work on the current one.
//!
//! *Architecture invariant:* one thread makes all batches of a pass, in their order. Random draws therefore happen in the same order as
//! without prefetching, and no result depends on which thread is faster.

use std::io;
use std::panic;
use std::sync::mpsc;
use std::thread;

/// The number of batches that are made ahead.
const AHEAD: usize = 2;

/// The number of batches in memory: those ahead, and the current one.
pub(crate) const BUFFERS: usize = AHEAD + 1;

/// Divides `samples` into batches of `size`; the last batch takes the rest. `make` writes the inputs of each batch, in order, on another
/// thread. `work` receives each batch with its inputs, in the same order, on this thread. The first error of either ends the pass.
///
/// [`BUFFERS`] buffers circulate: if all are full, the other thread sleeps until `work` has finished with one. The thread ends before
/// this function returns. If it panics, so does this function. If the system cannot start the thread, this thread makes the batches.
///
/// # Errors
/// The first error of `make` or `work`, in the order of the batches. `work` has received the batches before it and none after it.
pub(crate) fn for_each_batch<'s, E: Send>(
    samples: &'s [usize],
    size: usize,
    mut make: impl FnMut(&[usize], &mut Vec<f32>) -> Result<(), E> + Send,
    mut work: impl FnMut(&'s [usize], &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (full, made) = mpsc::channel();
        let (emptied, empty) = mpsc::channel();
        for _ in 0..BUFFERS {
            // Cannot fail: the receiver is alive.
            let _ = emptied.send(Vec::new());
        }
        let making = &mut make;
        let maker = move || {
            for batch in samples.chunks(size) {
                // The channel is closed if `work` failed.
                let Ok(mut inputs) = empty.recv() else { return };
                let made = making(batch, &mut inputs);
                let failed = made.is_err();
                if full.send(made.map(|()| inputs)).is_err() || failed {
                    return;
                }
            }
        };
        let Ok(maker) = spawn_maker(scope, maker) else {
            return Ok(Pass::NotStarted);
        };
        for batch in samples.chunks(size) {
            // The channel closes before the last batch only if the maker panicked.
            let Ok(inputs) = made.recv() else { break };
            let inputs = inputs?;
            work(batch, &inputs)?;
            // Fails once the maker has made the last batch.
            let _ = emptied.send(inputs);
        }
        maker.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        Ok(Pass::Done)
    })
    .and_then(|pass| match pass {
        Pass::Done => Ok(()),
        Pass::NotStarted => on_this_thread(samples, size, make, work),
    })
}

/// Whether the thread that makes the batches was started.
enum Pass {
    Done,
    NotStarted,
}

/// Starts the thread that makes the batches.
fn spawn_maker<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    maker: impl FnOnce() + Send + 'scope,
) -> io::Result<thread::ScopedJoinHandle<'scope, ()>> {
    #[cfg(test)]
    if tests::NO_THREADS.get() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    thread::Builder::new().spawn_scoped(scope, maker)
}

/// Makes each batch just before the work on it.
fn on_this_thread<'s, E>(
    samples: &'s [usize],
    size: usize,
    mut make: impl FnMut(&[usize], &mut Vec<f32>) -> Result<(), E>,
    mut work: impl FnMut(&'s [usize], &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut inputs = Vec::new();
    samples.chunks(size).try_for_each(|batch| {
        make(batch, &mut inputs)?;
        work(batch, &inputs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    thread_local! {
        /// The system starts no thread for passes of this thread.
        pub(super) static NO_THREADS: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes each sample's number its input.
    fn copy<E>(batch: &[usize], inputs: &mut Vec<f32>) -> Result<(), E> {
        inputs.clear();
        inputs.extend(batch.iter().map(|sample| *sample as f32));
        Ok(())
    }

    /// The batches and inputs that `work` receives.
    fn seen(samples: &[usize], size: usize) -> Vec<(Vec<usize>, Vec<f32>)> {
        let mut seen = Vec::new();
        let Ok(()) = for_each_batch(samples, size, copy, |batch, inputs| {
            seen.push((batch.to_vec(), inputs.to_vec()));
            Ok::<_, Infallible>(())
        });
        seen
    }

    #[test]
    fn batches_arrive_once_and_in_order_with_their_own_inputs() {
        let samples: Vec<usize> = (0..47).rev().collect();
        let seen = seen(&samples, 5);
        assert_eq!(seen.iter().map(|(batch, _)| batch.len()).collect::<Vec<_>>(), [[5; 9].as_slice(), &[2]].concat());
        assert_eq!(seen.iter().flat_map(|(batch, _)| batch.clone()).collect::<Vec<_>>(), samples);
        assert_eq!(seen.iter().flat_map(|(_, inputs)| inputs.clone()).map(|i| i as usize).collect::<Vec<_>>(), samples);
    }

    #[test]
    fn a_host_without_threads_makes_the_same_batches() {
        let samples: Vec<usize> = (0..47).rev().collect();
        let expected = seen(&samples, 5);
        NO_THREADS.set(true);
        assert_eq!(seen(&samples, 5), expected);
        let failed = for_each_batch(&samples, 5, |_, _| Err("no input"), |_, _| Ok(()));
        NO_THREADS.set(false);
        assert_eq!(failed, Err("no input"));
    }

    #[test]
    fn a_large_batch_takes_all_samples_and_no_samples_make_no_batch() {
        assert_eq!(seen(&[3, 1], 100), [(vec![3, 1], vec![3.0, 1.0])]);
        assert!(seen(&[], 100).is_empty());
    }

    #[test]
    fn at_most_as_many_batches_are_made_ahead_as_there_are_buffers() {
        let (made, mut done) = (AtomicUsize::new(0), 0);
        let make = |batch: &[usize], inputs: &mut Vec<f32>| {
            made.fetch_add(1, Ordering::SeqCst);
            copy(batch, inputs)
        };
        let Ok(()) = for_each_batch(&[0; 40], 1, make, |_, _| {
            // Gives the maker time to get ahead.
            thread::sleep(Duration::from_millis(1));
            done += 1;
            let made = made.load(Ordering::SeqCst);
            assert!(made <= done + AHEAD, "{made} made, {done} worked on");
            Ok::<_, Infallible>(())
        });
        assert_eq!((made.into_inner(), done), (40, 40));
    }

    #[test]
    fn an_error_of_the_work_ends_the_making_of_batches() {
        for stop in [1, 2, 7, 40] {
            let (made, mut done) = (AtomicUsize::new(0), 0);
            let make = |_: &[usize], _: &mut Vec<f32>| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            let stopped = for_each_batch(&[0; 40], 1, make, |_, _| {
                done += 1;
                if done == stop { Err("enough") } else { Ok(()) }
            });
            assert_eq!((stopped, done), (Err("enough"), stop));
            let made = made.into_inner();
            assert!(made <= stop + AHEAD, "{made} made, {stop} worked on");
        }
    }

    #[test]
    fn an_error_of_the_maker_arrives_after_the_batches_before_it() {
        let (made, mut done) = (AtomicUsize::new(0), Vec::new());
        let make = |batch: &[usize], _: &mut Vec<f32>| {
            made.fetch_add(1, Ordering::SeqCst);
            if batch[0] < 7 { Ok(()) } else { Err(format!("no {}", batch[0])) }
        };
        let samples: Vec<usize> = (0..40).collect();
        let failed = for_each_batch(&samples, 1, make, |batch, _| {
            done.push(batch[0]);
            Ok(())
        });
        assert_eq!(failed, Err("no 7".to_owned()));
        assert_eq!((done, made.into_inner()), ((0..7).collect::<Vec<_>>(), 8));
    }

    #[test]
    fn a_panic_on_either_thread_reaches_the_caller() {
        let caught = |making: usize, working: usize| {
            let make = |batch: &[usize], _: &mut Vec<f32>| {
                assert!(batch[0] != making, "made {making}");
                Ok(())
            };
            let work = |batch: &[usize], _: &[f32]| {
                assert!(batch[0] != working, "worked on {working}");
                Ok::<_, Infallible>(())
            };
            let samples: Vec<usize> = (0..40).collect();
            let call = AssertUnwindSafe(|| for_each_batch(&samples, 1, make, work));
            *panic::catch_unwind(call).unwrap_err().downcast::<String>().unwrap()
        };
        assert_eq!(caught(20, 99), "made 20");
        assert_eq!(caught(99, 20), "worked on 20");
        assert_eq!(caught(99, 0), "worked on 0");
    }
}

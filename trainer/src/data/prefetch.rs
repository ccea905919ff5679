//! Batches made beside the work on them: a thread makes the inputs of the next ones while this one is worked on, so that a step
//! waits for none but the first.
//!
//! *Architecture invariant:* one thread makes all batches of a pass, in their order, so what is drawn for them at random is drawn as if
//! they were made in between, and no result depends on which thread was faster.

use std::panic;
use std::sync::mpsc;
use std::thread;

/// Batches that wait for the work on the one at hand.
const AHEAD: usize = 2;

/// Batches in memory: those, and the one that is worked on.
pub(crate) const BUFFERS: usize = AHEAD + 1;

/// Cuts `samples` into batches of `size`, of which the last takes what is left; has `make` write the inputs of each, one after
/// another on a thread of its own; and has `work` take each with its inputs, in the same order on this thread, until one of either
/// fails.
///
/// There are as many buffers as batches may be in memory, and they go round: where all are full the other thread sleeps until
/// one has been worked on. It ends with this call, however this ends; if it panics, so does this.
///
/// # Errors
/// The first failure, in the order of the batches, of making or of work: the batches before it have been worked on, and none after it.
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
            // The other end is still in this function.
            let _ = emptied.send(Vec::new());
        }
        let maker = scope.spawn(move || {
            for batch in samples.chunks(size) {
                // Where the work has ended early there is nobody at the other end.
                let Ok(mut inputs) = empty.recv() else { return };
                let made = make(batch, &mut inputs);
                let failed = made.is_err();
                if full.send(made.map(|()| inputs)).is_err() || failed {
                    return;
                }
            }
        });
        for batch in samples.chunks(size) {
            // The maker goes away without the last batch, and without saying why, only where it panics.
            let Ok(inputs) = made.recv() else { break };
            let inputs = inputs?;
            work(batch, &inputs)?;
            // Once the last batch has been made nobody takes them back.
            let _ = emptied.send(inputs);
        }
        maker.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// A sample's input is its number.
    fn copy<E>(batch: &[usize], inputs: &mut Vec<f32>) -> Result<(), E> {
        inputs.clear();
        inputs.extend(batch.iter().map(|sample| *sample as f32));
        Ok(())
    }

    /// What the work on every batch sees.
    fn seen(samples: &[usize], size: usize) -> Vec<(Vec<usize>, Vec<f32>)> {
        let mut seen = Vec::new();
        let Ok(()) = for_each_batch(samples, size, copy, |batch, inputs| {
            seen.push((batch.to_vec(), inputs.to_vec()));
            Ok::<_, Infallible>(())
        });
        seen
    }

    #[test]
    fn every_batch_comes_once_in_its_order_with_its_own_inputs_and_the_last_takes_what_is_left() {
        let samples: Vec<usize> = (0..47).rev().collect();
        let seen = seen(&samples, 5);
        assert_eq!(seen.iter().map(|(batch, _)| batch.len()).collect::<Vec<_>>(), [[5; 9].as_slice(), &[2]].concat());
        assert_eq!(seen.iter().flat_map(|(batch, _)| batch.clone()).collect::<Vec<_>>(), samples);
        assert_eq!(seen.iter().flat_map(|(_, inputs)| inputs.clone()).map(|i| i as usize).collect::<Vec<_>>(), samples);
    }

    #[test]
    fn a_batch_that_is_larger_than_all_samples_takes_them_and_no_samples_make_no_batch() {
        assert_eq!(seen(&[3, 1], 100), [(vec![3, 1], vec![3.0, 1.0])]);
        assert!(seen(&[], 100).is_empty());
    }

    #[test]
    fn no_more_batches_are_made_ahead_than_there_are_buffers() {
        let (made, mut done) = (AtomicUsize::new(0), 0);
        let make = |batch: &[usize], inputs: &mut Vec<f32>| {
            made.fetch_add(1, Ordering::SeqCst);
            copy(batch, inputs)
        };
        let Ok(()) = for_each_batch(&[0; 40], 1, make, |_, _| {
            // Time to get ahead.
            thread::sleep(Duration::from_millis(1));
            done += 1;
            let made = made.load(Ordering::SeqCst);
            assert!(made <= done + AHEAD, "{made} made with {done} at work");
            Ok::<_, Infallible>(())
        });
        assert_eq!((made.into_inner(), done), (40, 40));
    }

    #[test]
    fn work_that_stops_early_ends_the_making_of_batches() {
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
            assert!(made <= stop + AHEAD, "{made} made when {stop} had been worked on");
        }
    }

    #[test]
    fn a_batch_that_cannot_be_made_fails_after_those_before_it_have_been_worked_on() {
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
    fn a_panic_on_either_thread_ends_both_and_reaches_the_caller() {
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

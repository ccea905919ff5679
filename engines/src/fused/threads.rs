//! The thread pool of one engine.

use super::buffer::Scratch;
use crate::error::{EngineError, no_threads};
use plusminus_kernels::Instructions;
use rayon::ThreadPool;
use rayon::prelude::*;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Parts of a step without weights.
const PARTS: usize = 16;

/// Threads that share the parts of a step.
///
/// The division of a step into parts does not depend on the number of threads, and sums of parts are added in the order of the parts. So
/// results do not depend on the number of threads either.
pub(super) struct Threads {
    /// `None` if the caller's thread is the only one.
    pool: Option<ThreadPool>,
    pub(super) scratch: Mutex<Vec<Scratch>>,
    /// The vector instructions that the kernels use.
    pub instructions: Instructions,
}

impl Threads {
    /// A pool of this many threads.
    pub fn new(threads: NonZeroUsize, instructions: Instructions) -> Result<Self, EngineError> {
        let pool = (threads.get() > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build());
        let pool = pool.transpose().map_err(|error| no_threads(threads.get(), &error))?;
        Ok(Threads { pool, scratch: Mutex::default(), instructions })
    }

    /// Calls `work` on every part, in any order.
    pub fn for_each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T, &mut Scratch) + Sync) {
        let with_scratch = |part| {
            let kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut scratch = kept.unwrap_or_default();
            work(part, &mut scratch);
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        };
        match &self.pool {
            Some(pool) if parts.len() > 1 => pool.install(|| parts.into_par_iter().for_each(with_scratch)),
            _ => parts.into_iter().for_each(with_scratch),
        }
    }

    /// Calls `work` with the index and the `size` values of every sample in `values`.
    pub fn for_each_sample(
        &self,
        samples: usize,
        size: usize,
        values: &mut [f32],
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let part = samples.div_ceil(PARTS);
        let parts = sample_chunks(values, size, samples, part).into_iter().enumerate().collect();
        self.for_each(parts, |(i, values): (usize, &mut [f32]), _| {
            for (sample, values) in values.chunks_mut(size).enumerate() {
                work(i * part + sample, values);
            }
        });
    }
}

/// What a step with weights needs in either pass.
#[derive(Clone, Copy)]
pub(super) struct StepContext<'a> {
    pub threads: &'a Threads,
    pub samples: usize,
    /// The stored weights of the whole network.
    pub weights: &'a [f32],
}

/// Splits the values of `samples` samples, `size` each, into chunks of `part` samples. With a size of 0 every chunk is empty.
pub(super) fn sample_chunks(values: &mut [f32], size: usize, samples: usize, part: usize) -> Vec<&mut [f32]> {
    if size == 0 {
        return (0..samples.div_ceil(part)).map(|_| &mut [][..]).collect();
    }
    values[..size * samples].chunks_mut(size * part).collect()
}

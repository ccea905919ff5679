//! The threads of one engine.

use super::memory::Scratch;
use crate::EngineError;
use plusminus_kernels::Instructions;
use rayon::ThreadPool;
use rayon::prelude::*;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Threads that share the parts of a step.
///
/// How a step is cut into parts never depends on how many threads there are, and a part's sums are added to another's in the order of
/// the parts: so neither do the results.
pub(super) struct Team {
    /// None where there is but the caller's thread.
    pool: Option<ThreadPool>,
    pub(super) scratch: Mutex<Vec<Scratch>>,
    /// What they compute with.
    pub instructions: Instructions,
}

impl Team {
    /// So many threads.
    pub fn new(threads: NonZeroUsize, instructions: Instructions) -> Result<Self, EngineError> {
        let pool = (threads.get() > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build());
        let pool = pool.transpose().map_err(|error| {
            EngineError::new(format!("cannot start {threads} threads: {error}; ask for fewer with --threads"))
        })?;
        Ok(Team { pool, scratch: Mutex::default(), instructions })
    }

    /// Does `work` on every part, in any order.
    pub fn each<T: Send>(&self, parts: Vec<T>, work: impl Fn(T, &mut Scratch) + Sync) {
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
}

/// What a step with weights works with on either way.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub team: &'a Team,
    pub samples: usize,
    /// The stored weights of the whole network.
    pub weights: &'a [f32],
}

/// Cuts the values of some samples into pieces of `part` samples. Where a sample has no values, every piece is empty.
pub(super) fn pieces(values: &mut [f32], sample: usize, samples: usize, part: usize) -> Vec<&mut [f32]> {
    if sample == 0 {
        return (0..samples.div_ceil(part)).map(|_| &mut [][..]).collect();
    }
    values[..sample * samples].chunks_mut(sample * part).collect()
}

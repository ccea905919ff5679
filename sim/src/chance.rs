//! What is drawn from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A cluster's only source of chance.
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.next_u64() % (most.saturating_sub(least) + 1)
    }

    /// True one time in so many.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.0.next_u64().is_multiple_of(times)
    }

    /// One of them.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let last = choices.len().checked_sub(1)?;
        choices.get(self.between(0, last as u64) as usize).copied()
    }

    /// Mostly short, now and then long: in milliseconds.
    pub fn delay(&mut self, short: u64, long: u64) -> u64 {
        let most = if self.one_in(20) { long } else { short };
        self.between(1, most)
    }
}

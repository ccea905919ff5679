//! The random number generator of a simulation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// The only source of randomness of a simulation, seeded once.
pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number from `least` to `most`, inclusive.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.next_u64() % (most.saturating_sub(least) + 1)
    }

    /// True with probability 1 / `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.0.next_u64().is_multiple_of(times)
    }

    /// A random element; `None` if there is none.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let last = choices.len().checked_sub(1)?;
        choices.get(self.between(0, last as u64) as usize).copied()
    }

    /// A delay in milliseconds: usually up to `short`, with probability 1/20 up to `long`.
    pub fn delay(&mut self, short: u64, long: u64) -> u64 {
        let most = if self.one_in(20) { long } else { short };
        self.between(1, most)
    }
}

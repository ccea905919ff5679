//! What the host says to every step: a few kilobytes at a fixed place of the device's memory, so that a recorded step finds them.

use crate::data::{Moves, NUMBERS};
use crate::engine::EngineError;
use plusminus_cuda::DeviceMemory;
use plusminus_cuda::ops::STREAM_LEN;
use rand_chacha::ChaCha8Rng;

/// Which of the losses the step's is, and whether the loss finds its matrix anew.
const STEP: usize = 2;

/// What comes before the samples.
const HEAD: usize = STEP + 2 * STREAM_LEN;

/// How many numbers the orders for so many samples are.
pub(super) const fn length(samples: usize) -> usize {
    HEAD + samples * (1 + NUMBERS)
}

/// Orders for a step, as they are made and as they lie on the device.
#[derive(Debug, Default)]
pub(super) struct Orders {
    numbers: Vec<i32>,
}

impl Orders {
    /// Begins the orders for a step that draws from these streams.
    pub fn begin(&mut self, slot: usize, refresh: bool, streams: [[i32; STREAM_LEN]; 2]) {
        self.numbers.clear();
        self.numbers.extend([slot as i32, i32::from(refresh)]);
        self.numbers.extend(streams.as_flattened());
    }

    /// Which samples it takes, and how they are moved, if they are.
    pub fn samples(&mut self, samples: impl Iterator<Item = i32>, moves: &[Moves]) {
        self.numbers.extend(samples);
        self.numbers.extend(moves.iter().flat_map(Moves::numbers));
    }

    pub fn numbers(&self) -> &[i32] {
        &self.numbers
    }
}

/// The parts of the memory in which orders lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places(pub DeviceMemory);

impl Places {
    pub fn step(self) -> DeviceMemory {
        self.0.part(0, STEP)
    }

    pub fn dropout(self) -> DeviceMemory {
        self.0.part(STEP, STREAM_LEN)
    }

    pub fn latent(self) -> DeviceMemory {
        self.0.part(STEP + STREAM_LEN, STREAM_LEN)
    }

    pub fn samples(self, samples: usize) -> DeviceMemory {
        self.0.part(HEAD, samples)
    }

    pub fn moves(self, samples: usize) -> DeviceMemory {
        self.0.part(HEAD + samples, NUMBERS * samples)
    }
}

/// Words of the stream that a number in 0..1 takes.
const WORDS: u128 = 2;

/// Where a generator stands, as the device's kernels take it.
pub(super) fn stream(generator: &ChaCha8Rng) -> Result<[i32; STREAM_LEN], EngineError> {
    let words = generator.get_word_pos();
    let numbers = u64::try_from(words / WORDS);
    let (Ok(numbers), true) = (numbers, generator.get_stream() == 0 && words.is_multiple_of(WORDS)) else {
        return Err(EngineError::new(format!(
            "a step on the device draws whole numbers from the first stream of a seed, found one that stands at word {words} of \
             stream {}",
            generator.get_stream()
        )));
    };
    let mut found = [0; STREAM_LEN];
    for (word, bytes) in found.iter_mut().zip(generator.get_seed().as_chunks::<4>().0) {
        *word = i32::from_le_bytes(*bytes);
    }
    found[8] = (numbers as u32).cast_signed();
    found[9] = ((numbers >> 32) as u32).cast_signed();
    Ok(found)
}

/// Leaves a generator where it stands after so many numbers.
pub(super) fn skip(generator: &mut ChaCha8Rng, numbers: usize) {
    generator.set_word_pos(generator.get_word_pos() + WORDS * numbers as u128);
}

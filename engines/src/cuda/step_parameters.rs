//! The numbers that the host sends for every step: a few kilobytes at a fixed address, where a recorded step reads them.
//!
//! Layout: the index of the loss and whether to refresh the transition matrix; the positions of dropout's and the loss's random streams;
//! the indices of the samples; their transforms.

use crate::error::EngineError;
use crate::transform::{ImageTransform, TRANSFORM_NUMBERS};
use plusminus_cuda::DeviceMemory;
use plusminus_cuda::ops::STREAM_LEN;
use rand_chacha::ChaCha8Rng;

/// The index of the step's loss, and whether the loss refreshes its transition matrix.
const STEP: usize = 2;

/// Numbers before the samples.
const HEAD: usize = STEP + 2 * STREAM_LEN;

/// The number of parameters for a step of `samples` samples.
pub(super) const fn length(samples: usize) -> usize {
    HEAD + samples * (1 + TRANSFORM_NUMBERS)
}

/// The parameters of a step on the host.
#[derive(Debug, Default)]
pub(super) struct StepParameters {
    numbers: Vec<i32>,
}

impl StepParameters {
    /// Starts the parameters of a step with these random streams, for dropout and for the loss.
    pub fn start(&mut self, loss_index: usize, refresh: bool, streams: [[i32; STREAM_LEN]; 2]) {
        self.numbers.clear();
        self.numbers.extend([loss_index as i32, i32::from(refresh)]);
        self.numbers.extend(streams.as_flattened());
    }

    /// Appends the indices of the samples and their transforms, if any.
    pub fn append_samples(&mut self, samples: impl Iterator<Item = i32>, transforms: &[ImageTransform]) {
        self.numbers.extend(samples);
        self.numbers.extend(transforms.iter().flat_map(ImageTransform::numbers));
    }

    pub fn numbers(&self) -> &[i32] {
        &self.numbers
    }
}

/// The parameters of a step in device memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceStepParameters(pub DeviceMemory);

impl DeviceStepParameters {
    /// The index of the loss, and whether to refresh the transition matrix.
    pub fn step(self) -> DeviceMemory {
        self.0.part(0, STEP)
    }

    /// The position of dropout's random stream.
    pub fn dropout(self) -> DeviceMemory {
        self.0.part(STEP, STREAM_LEN)
    }

    /// The position of the loss's random stream.
    pub fn latent(self) -> DeviceMemory {
        self.0.part(STEP + STREAM_LEN, STREAM_LEN)
    }

    /// The indices of the samples.
    pub fn samples(self, samples: usize) -> DeviceMemory {
        self.0.part(HEAD, samples)
    }

    /// The transforms of the samples.
    pub fn transforms(self, samples: usize) -> DeviceMemory {
        self.0.part(HEAD + samples, TRANSFORM_NUMBERS * samples)
    }
}

/// Words of a random stream per number in 0..1.
const WORDS: u128 = 2;

/// A generator's seed and position in the form that the device's kernels read: eight words of the seed, then two of the position.
pub(super) fn stream(generator: &ChaCha8Rng) -> Result<[i32; STREAM_LEN], EngineError> {
    let words = generator.get_word_pos();
    let numbers = u64::try_from(words / WORDS);
    let (Ok(numbers), true) = (numbers, generator.get_stream() == 0 && words.is_multiple_of(WORDS)) else {
        return Err(EngineError::new(format!(
            "a step on the device expects a generator on stream 0 at an even word, found word {words} of stream {}",
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

/// Advances a generator by this many numbers in 0..1.
pub(super) fn skip(generator: &mut ChaCha8Rng, numbers: usize) {
    generator.set_word_pos(generator.get_word_pos() + WORDS * numbers as u128);
}

//! The inputs of a step, computed on the device: samples from a data set in device memory, and dropout masks.

use super::{check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Float, Int};

/// Integers per sample that describe its augmentation: {first, step, from, to} for the rows, then for the columns. Output row i reads
/// input row first + step · i for from ≤ i < to, and is zero elsewhere; likewise for the columns.
pub const AUGMENTATION_LEN: usize = 8;

/// Integers that describe a stream of random numbers: the eight words of the key, then the low and the high word of the number of `f64`
/// values drawn so far.
pub const STREAM_LEN: usize = 10;

/// Gathers images and converts their bytes to inputs, NHWC.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Images of channels × height × width bytes each.
    pub pixels: DeviceMemory,
    /// The input for each byte value, 256 per channel.
    pub table: DeviceMemory,
    /// Values to subtract from the inputs, channels × height × width.
    pub centre: Option<DeviceMemory>,
    /// Indices of the images.
    pub samples: DeviceMemory,
    /// [`AUGMENTATION_LEN`] integers per sample; none leaves the images as they are.
    pub moves: Option<DeviceMemory>,
    /// `[samples, height, width, channels]`
    pub to: DeviceMemory,
    /// Channels, rows and columns.
    pub shape: [usize; 3],
}

impl Gather {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (length, samples) = (self.shape.iter().product::<usize>(), self.samples.len());
        let images = count_samples("pixels", self.pixels, length)?;
        check_min_len("table of inputs", self.table, 256 * self.shape[0])?;
        self.centre.map_or(Ok(()), |centre| check_len("centre", centre, length))?;
        self.moves.map_or(Ok(()), |moves| check_len("augmentations", moves, AUGMENTATION_LEN * samples))?;
        check_len("gathered inputs", self.to, samples * length)?;
        let memories = [
            Buffer(self.pixels),
            Buffer(self.table),
            optional(self.centre),
            Buffer(self.samples),
            optional(self.moves),
        ];
        let numbers = [samples * length, images, self.shape[0], self.shape[1], self.shape[2]];
        let numbers = numbers.into_iter().map(int).collect::<Result<Vec<_>, _>>()?;
        launch_over(device, "gather", samples * length, memories.into_iter().chain([Buffer(self.to)]).chain(numbers))
    }
}

/// Gathers tokens.
#[derive(Clone, Copy, Debug)]
pub struct GatherTokens {
    /// Token numbers, `length` per sample.
    pub tokens: DeviceMemory,
    /// Indices of the samples.
    pub samples: DeviceMemory,
    /// `[samples, length]`
    pub to: DeviceMemory,
    /// Tokens per sample.
    pub length: usize,
}

impl GatherTokens {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (all, count) = (count_samples("tokens", self.tokens, self.length)?, self.samples.len() * self.length);
        check_len("gathered tokens", self.to, count)?;
        let memories = [self.tokens, self.samples, self.to].map(Buffer);
        launch_over(
            device,
            "gather_tokens",
            count,
            memories.into_iter().chain([int(count)?, int(all)?, int(self.length)?]),
        )
    }
}

/// Returns the number of samples of `length` values.
fn count_samples(what: &str, memory: DeviceMemory, length: usize) -> Result<usize, DeviceError> {
    if length == 0 || !memory.len().is_multiple_of(length) {
        return Err(DeviceError::InvalidArgument(format!(
            "expected samples of {length} {what}, found {} values",
            memory.len()
        )));
    }
    Ok(memory.len() / length)
}

/// Draws a dropout mask: one random number per value of the network, in the order of samples, channels and pixels.
#[derive(Clone, Copy, Debug)]
pub struct DropoutMask {
    /// [`STREAM_LEN`] integers.
    pub stream: DeviceMemory,
    /// Numbers that earlier masks of the step take from the stream.
    pub before: usize,
    /// `[samples, pixels, stored]`; padding channels keep their values.
    pub mask: DeviceMemory,
    /// Share of values to drop, in 0..1.
    pub share: f64,
    /// Channels of the network.
    pub channels: usize,
    /// Pixels per sample.
    pub pixels: usize,
    /// Stored channels.
    pub stored: usize,
}

impl DropoutMask {
    /// Number of random numbers that a mask takes.
    pub fn draws(samples: usize, channels: usize, pixels: usize) -> usize {
        samples * channels * pixels
    }

    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let DropoutMask { channels, pixels, stored, .. } = self;
        if !(0.0..1.0).contains(&self.share) || stored < channels {
            return Err(DeviceError::InvalidArgument(format!(
                "a dropout mask requires a share in 0..1 and stored ≥ channels, found share {}, channels {channels}, stored {stored}",
                self.share
            )));
        }
        let samples = count_samples("values of a dropout mask", self.mask, pixels * stored)?;
        let draws = DropoutMask::draws(samples, channels, pixels);
        check_len("random stream", self.stream, STREAM_LEN)?;
        // A random number is k/2⁵³. It is below the share if and only if k is below ⌈share · 2⁵³⌉.
        let bound = (self.share * (1u64 << 53) as f64).ceil() as u64;
        let [high, low] = [(bound >> 32) as u32, bound as u32].map(|word| Int(word.cast_signed()));
        let kept = Float((1.0 / (1.0 - self.share)) as f32);
        let start = [Buffer(self.stream), Buffer(self.mask), int(draws)?, int(self.before)?, high, low, kept];
        let end = [int(channels)?, int(pixels)?, int(stored)?];
        // Each thread computes one block of eight numbers.
        launch_over(device, "dropout_mask", draws.div_ceil(8), start.into_iter().chain(end))
    }
}

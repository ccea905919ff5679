//! What a step begins with, made on the device: inputs from a data set that lies there, and dropout's masks.

use super::{check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Float, Int};

/// Numbers that say where the rows and columns of a sample come from: {first, step, from, to} for the rows, and for the columns. Place i
/// of what comes out is place first + step · i of the image for from ≤ i < to, and shows nothing elsewhere.
pub const MOVES: usize = 8;

/// Numbers that stand for a stream of random numbers: the key's eight words, and low and high word of how many `f64` were drawn.
pub const STREAM: usize = 10;

/// Inputs of images, NHWC.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Bytes, an image after the other, channels × height × width each.
    pub pixels: Memory,
    /// The input of each byte, 256 a channel.
    pub table: Memory,
    /// What is taken from each input, a value a pixel, channels × height × width.
    pub centre: Option<Memory>,
    /// Numbers of images.
    pub samples: Memory,
    /// [`MOVES`] a sample; nothing where images stay as they are.
    pub moves: Option<Memory>,
    /// `[samples, height, width, channels]`
    pub to: Memory,
    /// Channels, rows and columns.
    pub shape: [usize; 3],
}

impl Gather {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (length, samples) = (self.shape.iter().product::<usize>(), self.samples.len());
        let images = count_samples("pixels", self.pixels, length)?;
        check_min_len("inputs of bytes", self.table, 256 * self.shape[0])?;
        self.centre.map_or(Ok(()), |centre| check_len("a centre", centre, length))?;
        self.moves.map_or(Ok(()), |moves| check_len("moves", moves, MOVES * samples))?;
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

/// Tokens as they are.
#[derive(Clone, Copy, Debug)]
pub struct GatherTokens {
    /// Numbers of tokens, a sample after the other.
    pub tokens: Memory,
    /// Numbers of samples.
    pub samples: Memory,
    /// `[samples, length]`
    pub to: Memory,
    /// Tokens of a sample.
    pub length: usize,
}

impl GatherTokens {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
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

/// How many samples of a length some values are.
fn count_samples(what: &str, memory: Memory, length: usize) -> Result<usize, DeviceError> {
    if length == 0 || !memory.len().is_multiple_of(length) {
        return Err(DeviceError::Unfit(format!("{} {what} are no samples of {length}", memory.len())));
    }
    Ok(memory.len() / length)
}

/// A mask of dropout: one number a value of the network, in the order of samples, channels and pixels.
#[derive(Clone, Copy, Debug)]
pub struct Masks {
    /// [`STREAM`] numbers.
    pub stream: Memory,
    /// Numbers of the step that earlier masks take.
    pub before: usize,
    /// `[samples, pixels, stored]`; channels behind the network's stay as they are.
    pub mask: Memory,
    /// The share that is dropped, in 0..1.
    pub share: f64,
    /// Channels of the network.
    pub channels: usize,
    /// Pixels of a sample.
    pub pixels: usize,
    /// Channels that are stored.
    pub stored: usize,
}

impl Masks {
    /// Numbers that a mask of so many samples takes.
    pub fn draws(samples: usize, channels: usize, pixels: usize) -> usize {
        samples * channels * pixels
    }

    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Masks { channels, pixels, stored, .. } = self;
        if !(0.0..1.0).contains(&self.share) || stored < channels {
            return Err(DeviceError::Unfit(format!("no mask: a share of {}, {channels} of {stored}", self.share)));
        }
        let samples = count_samples("values of a mask", self.mask, pixels * stored)?;
        let draws = Masks::draws(samples, channels, pixels);
        check_len("a stream", self.stream, STREAM)?;
        // A number is k/2⁵³, and below the share where k is below the least whole number that is not below share · 2⁵³.
        let bound = (self.share * (1u64 << 53) as f64).ceil() as u64;
        let [high, low] = [(bound >> 32) as u32, bound as u32].map(|word| Int(word.cast_signed()));
        let kept = Float((1.0 / (1.0 - self.share)) as f32);
        let start = [Buffer(self.stream), Buffer(self.mask), int(draws)?, int(self.before)?, high, low, kept];
        let end = [int(channels)?, int(pixels)?, int(stored)?];
        // A thread has a block of eight numbers.
        launch_over(device, "dropout_mask", draws.div_ceil(8), start.into_iter().chain(end))
    }
}

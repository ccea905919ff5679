//! Batch norm: statistics, what they make of every channel, and the sums on the way back.

use super::{Seen, at_least, exactly, int, maybe, over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::Memory;
use Argument::{Float, Memory as At};

/// Channels come in whole blocks of so many: `LANES` of the kernels.
pub const BLOCK: usize = 16;

/// Threads of a block that adds up chunks: `LANES` × `ROWS` of the kernels.
pub(super) const THREADS: u32 = 256;

/// Chunks at most, and pixels of a chunk at least.
const CHUNKS: usize = 1024;
const LEAST: usize = 32;

/// Pixels of a chunk: of so many pixels, whatever the device.
fn chunk(pixels: usize) -> usize {
    pixels.div_ceil(CHUNKS).max(LEAST)
}

/// Values that the chunks of an image of so many pixels leave: two a chunk and channel.
pub fn partials(pixels: usize, channels: usize) -> usize {
    2 * pixels.div_ceil(chunk(pixels)) * channels
}

fn blocks(channels: usize) -> Result<u32, DeviceError> {
    match u32::try_from(channels / BLOCK) {
        Ok(blocks) if channels.is_multiple_of(BLOCK) && blocks > 0 => Ok(blocks),
        _ => Err(DeviceError::Unfit(format!("expected channels in blocks of {BLOCK}, found {channels}"))),
    }
}

/// Launches a kernel of which a block takes so many channels.
fn adds_up(
    device: &mut dyn Device,
    kernel: &'static str,
    channels: usize,
    arguments: Vec<Argument>,
) -> Result<(), DeviceError> {
    device.launch(&Launch { kernel, blocks: blocks(channels)?, threads: THREADS, arguments })
}

/// What batch norm has of its own, a value a channel each.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// The trained factor γ.
    pub gamma: Memory,
    /// The trained offset β.
    pub beta: Memory,
    /// The bias of the step before, if it has one.
    pub bias: Option<Memory>,
    /// The factor that values are read through.
    pub scale: Memory,
    /// The offset that values are read through.
    pub shift: Memory,
    /// Means.
    pub mean: Memory,
    /// 1/√(variance + ε), in `f64`.
    pub inverse: Memory,
    /// ε
    pub epsilon: f32,
}

impl Norm {
    fn check(&self, channels: usize) -> Result<(), DeviceError> {
        let Norm { gamma, beta, scale, shift, mean, inverse, .. } = *self;
        [gamma, beta, scale, shift, mean, inverse]
            .into_iter()
            .chain(self.bias)
            .try_for_each(|memory| at_least("batch norm's channels", memory, channels))
    }
}

/// Running statistics, a value a channel of the network's.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// Means.
    pub mean: Memory,
    /// Unbiased variances.
    pub variance: Memory,
}

/// A scale and a shift for every channel from the batch's own moments, and the running statistics moved.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// Stored values of all samples, the pixels one after the other.
    pub values: Memory,
    /// Where chunks leave their moments: [`partials`] values or more.
    pub partial: Memory,
    /// Batch norm's own.
    pub norm: Norm,
    /// What moves.
    pub running: Running,
    /// The share that a batch replaces.
    pub momentum: f32,
    /// Values of a pixel.
    pub channels: usize,
}

impl Settle {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Settle { values, partial, norm, running, momentum, channels } = self;
        let pixels = pixels(values, channels)?;
        norm.check(channels)?;
        at_least("moments of chunks", partial, partials(pixels, channels))?;
        let real = running.mean.len();
        exactly("running variances", running.variance, real)?;
        let numbers = [int(pixels)?, int(channels)?, int(chunk(pixels))?];
        let threads = pixels.div_ceil(chunk(pixels)) * channels;
        over(device, "moments", threads, [At(values), At(partial)].into_iter().chain(numbers))?;
        let mut arguments = vec![At(partial)];
        arguments.extend(numbers);
        arguments.extend([int(real.min(channels))?, Float(norm.epsilon), Float(momentum)]);
        arguments.extend([At(norm.gamma), At(norm.beta), maybe(norm.bias), At(running.mean), At(running.variance)]);
        arguments.extend([norm.scale, norm.shift, norm.mean, norm.inverse].map(At));
        adds_up(device, "settle", channels, arguments)
    }
}

/// A scale and a shift for every channel from the running statistics.
#[derive(Clone, Copy, Debug)]
pub struct SettleRunning {
    /// Batch norm's own.
    pub norm: Norm,
    /// What is known of earlier batches.
    pub running: Running,
    /// Values of a pixel.
    pub channels: usize,
}

impl SettleRunning {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let SettleRunning { norm, running, channels } = self;
        norm.check(channels)?;
        let real = running.mean.len();
        exactly("running variances", running.variance, real)?;
        let mut arguments = vec![int(channels)?, int(real.min(channels))?, Float(norm.epsilon)];
        arguments.extend([At(norm.gamma), At(norm.beta), maybe(norm.bias), At(running.mean), At(running.variance)]);
        arguments.extend([norm.scale, norm.shift, norm.mean, norm.inverse].map(At));
        over(device, "settle_running", channels, arguments)
    }
}

/// Σ g and Σ g · (x − mean) of every chunk and channel, where g is the gradient that gets through.
#[derive(Clone, Copy, Debug)]
pub struct GradientSums {
    /// The gradient with respect to what is read.
    pub gradient: Memory,
    /// What it is read from.
    pub seen: Seen,
    /// What is taken from x, a value a channel; nothing where no product is asked for.
    pub mean: Option<Memory>,
    /// Where the sums go: [`partials`] values or more.
    pub partial: Memory,
    /// Values of a pixel.
    pub channels: usize,
}

impl GradientSums {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let GradientSums { gradient, seen, mean, partial, channels } = self;
        let pixels = pixels(gradient, channels)?;
        seen.check("what a gradient is summed over", gradient.len(), channels)?;
        mean.map_or(Ok(()), |mean| at_least("means", mean, channels))?;
        at_least("sums of chunks", partial, partials(pixels, channels))?;
        let [scale, shift, rectify] = seen.view();
        let end = [maybe(mean), At(partial), int(pixels)?, int(channels)?, int(chunk(pixels))?];
        let threads = pixels.div_ceil(chunk(pixels)) * channels;
        let start = [At(gradient), At(seen.values), scale, shift, rectify];
        over(device, "gradient_sums", threads, start.into_iter().chain(end))
    }
}

/// From [`GradientSums`] the gradients of γ and β, and the factors of [`Apply`](super::Apply).
#[derive(Clone, Copy, Debug)]
pub struct Unsettle {
    /// The sums of every chunk.
    pub partial: Memory,
    /// Pixels of all samples.
    pub pixels: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Batch norm's own.
    pub norm: Norm,
    /// The gradients of γ and β.
    pub gradients: [Memory; 2],
    /// α, β and γ of every channel.
    pub factors: [Memory; 3],
}

impl Unsettle {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Unsettle { partial, pixels, channels, norm, gradients, factors } = self;
        norm.check(channels)?;
        at_least("sums of chunks", partial, partials(pixels, channels))?;
        for memory in gradients.into_iter().chain(factors) {
            at_least("batch norm's gradients", memory, channels)?;
        }
        let mut arguments = vec![At(partial), int(pixels.div_ceil(chunk(pixels)))?, int(pixels)?, int(channels)?];
        arguments.extend([norm.gamma, norm.mean, norm.inverse].into_iter().chain(gradients).chain(factors).map(At));
        adds_up(device, "unsettle", channels, arguments)
    }
}

/// From [`GradientSums`] the gradient of a bias.
#[derive(Clone, Copy, Debug)]
pub struct UnsettleBias {
    /// The sums of every chunk.
    pub partial: Memory,
    /// Pixels of all samples.
    pub pixels: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// The gradient.
    pub gradient: Memory,
}

impl UnsettleBias {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let UnsettleBias { partial, pixels, channels, gradient } = self;
        at_least("sums of chunks", partial, partials(pixels, channels))?;
        at_least("a bias's gradient", gradient, channels)?;
        let arguments = vec![At(partial), int(pixels.div_ceil(chunk(pixels)))?, int(channels)?, At(gradient)];
        adds_up(device, "unsettle_bias", channels, arguments)
    }
}

fn pixels(values: Memory, channels: usize) -> Result<usize, DeviceError> {
    blocks(channels)?;
    if values.is_empty() || !values.len().is_multiple_of(channels) {
        return Err(DeviceError::Unfit(format!("{} values are no pixels of {channels} channels", values.len())));
    }
    int(values.len())?;
    Ok(values.len() / channels)
}

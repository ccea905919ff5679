//! Batch norm: statistics, what they make of every channel, and the sums on the way back.

use super::{Seen, check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::Memory;
use Argument::{Buffer, Float};

/// Channels come in whole blocks of so many: `LANES` of the kernels.
pub const BLOCK: usize = 16;

/// Threads of a block that adds up chunks: `LANES` × `ROWS` of the kernels.
pub(super) const THREADS: u32 = 256;

/// Chunks at most, and pixels of a chunk at least.
const MAX_CHUNKS: usize = 1024;
const MIN_CHUNK: usize = 32;

/// Pixels of a chunk: of so many pixels, whatever the device.
fn chunk_pixels(pixels: usize) -> usize {
    pixels.div_ceil(MAX_CHUNKS).max(MIN_CHUNK)
}

/// Values that the chunks of an image of so many pixels leave: two a chunk and channel.
pub fn partials(pixels: usize, channels: usize) -> usize {
    2 * pixels.div_ceil(chunk_pixels(pixels)) * channels
}

fn channel_blocks(channels: usize) -> Result<u32, DeviceError> {
    match u32::try_from(channels / BLOCK) {
        Ok(blocks) if channels.is_multiple_of(BLOCK) && blocks > 0 => Ok(blocks),
        _ => Err(DeviceError::Unfit(format!("expected channels in blocks of {BLOCK}, found {channels}"))),
    }
}

/// Launches a kernel of which a block takes so many channels.
fn launch_channel_blocks(
    device: &mut dyn Device,
    kernel: &'static str,
    channels: usize,
    arguments: Vec<Argument>,
) -> Result<(), DeviceError> {
    device.launch(&Launch { kernel, blocks: channel_blocks(channels)?, threads: THREADS, arguments })
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
            .try_for_each(|memory| check_min_len("batch norm's channels", memory, channels))
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
        let pixels = count_pixels(values, channels)?;
        norm.check(channels)?;
        check_min_len("moments of chunks", partial, partials(pixels, channels))?;
        let real = running.mean.len();
        check_len("running variances", running.variance, real)?;
        let numbers = [int(pixels)?, int(channels)?, int(chunk_pixels(pixels))?];
        let threads = pixels.div_ceil(chunk_pixels(pixels)) * channels;
        launch_over(device, "moments", threads, [Buffer(values), Buffer(partial)].into_iter().chain(numbers))?;
        let mut arguments = vec![Buffer(partial)];
        arguments.extend(numbers);
        arguments.extend([int(real.min(channels))?, Float(norm.epsilon), Float(momentum)]);
        arguments.extend([
            Buffer(norm.gamma),
            Buffer(norm.beta),
            optional(norm.bias),
            Buffer(running.mean),
            Buffer(running.variance),
        ]);
        arguments.extend([norm.scale, norm.shift, norm.mean, norm.inverse].map(Buffer));
        launch_channel_blocks(device, "settle", channels, arguments)
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
        check_len("running variances", running.variance, real)?;
        let mut arguments = vec![int(channels)?, int(real.min(channels))?, Float(norm.epsilon)];
        arguments.extend([
            Buffer(norm.gamma),
            Buffer(norm.beta),
            optional(norm.bias),
            Buffer(running.mean),
            Buffer(running.variance),
        ]);
        arguments.extend([norm.scale, norm.shift, norm.mean, norm.inverse].map(Buffer));
        launch_over(device, "settle_running", channels, arguments)
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
        let pixels = count_pixels(gradient, channels)?;
        seen.check("what a gradient is summed over", gradient.len(), channels)?;
        mean.map_or(Ok(()), |mean| check_min_len("means", mean, channels))?;
        check_min_len("sums of chunks", partial, partials(pixels, channels))?;
        let [scale, shift, rectify] = seen.arguments();
        let end = [optional(mean), Buffer(partial), int(pixels)?, int(channels)?, int(chunk_pixels(pixels))?];
        let threads = pixels.div_ceil(chunk_pixels(pixels)) * channels;
        let start = [Buffer(gradient), Buffer(seen.values), scale, shift, rectify];
        launch_over(device, "gradient_sums", threads, start.into_iter().chain(end))
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
        check_min_len("sums of chunks", partial, partials(pixels, channels))?;
        for memory in gradients.into_iter().chain(factors) {
            check_min_len("batch norm's gradients", memory, channels)?;
        }
        let mut arguments =
            vec![Buffer(partial), int(pixels.div_ceil(chunk_pixels(pixels)))?, int(pixels)?, int(channels)?];
        arguments.extend([norm.gamma, norm.mean, norm.inverse].into_iter().chain(gradients).chain(factors).map(Buffer));
        launch_channel_blocks(device, "unsettle", channels, arguments)
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
        check_min_len("sums of chunks", partial, partials(pixels, channels))?;
        check_min_len("a bias's gradient", gradient, channels)?;
        let arguments =
            vec![Buffer(partial), int(pixels.div_ceil(chunk_pixels(pixels)))?, int(channels)?, Buffer(gradient)];
        launch_channel_blocks(device, "unsettle_bias", channels, arguments)
    }
}

fn count_pixels(values: Memory, channels: usize) -> Result<usize, DeviceError> {
    channel_blocks(channels)?;
    if values.is_empty() || !values.len().is_multiple_of(channels) {
        return Err(DeviceError::Unfit(format!("{} values are no pixels of {channels} channels", values.len())));
    }
    int(values.len())?;
    Ok(values.len() / channels)
}

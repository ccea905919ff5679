//! Batch norm: batch statistics, the scale and shift per channel that follow from them, and the sums of its gradient.

use super::{TensorView, check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::DeviceMemory;
use Argument::{Buffer, Float};

/// Channels are stored in whole blocks of this size: `LANES` of the kernels.
pub const BLOCK: usize = 16;

/// Threads per block of the kernels that add up chunks: `LANES` × `ROWS`.
pub(super) const THREADS: u32 = 256;

/// Maximum number of chunks; `MIN_CHUNK` is the minimum number of pixels per chunk.
const MAX_CHUNKS: usize = 1024;
const MIN_CHUNK: usize = 32;

/// Pixels per chunk. It follows from the number of pixels alone, so sums have the same order on every device.
fn chunk_pixels(pixels: usize) -> usize {
    pixels.div_ceil(MAX_CHUNKS).max(MIN_CHUNK)
}

/// Length of the partial sums of a batch, in values: two per chunk and channel.
pub fn partials(pixels: usize, channels: usize) -> usize {
    2 * pixels.div_ceil(chunk_pixels(pixels)) * channels
}

fn channel_blocks(channels: usize) -> Result<u32, DeviceError> {
    match u32::try_from(channels / BLOCK) {
        Ok(blocks) if channels.is_multiple_of(BLOCK) && blocks > 0 => Ok(blocks),
        _ => Err(DeviceError::InvalidArgument(format!("expected channels in blocks of {BLOCK}, found {channels}"))),
    }
}

/// Launches a kernel whose blocks each handle [`BLOCK`] channels.
fn launch_channel_blocks(
    device: &mut dyn Device,
    kernel: &'static str,
    channels: usize,
    arguments: Vec<Argument>,
) -> Result<(), DeviceError> {
    device.launch(&Launch { kernel, blocks: channel_blocks(channels)?, threads: THREADS, arguments })
}

/// Parameters and outputs of a batch norm, one value per channel each.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Trained scale γ.
    pub gamma: DeviceMemory,
    /// Trained offset β.
    pub beta: DeviceMemory,
    /// Bias of the preceding step, if it has one.
    pub bias: Option<DeviceMemory>,
    /// Output: the scale under which values are read.
    pub scale: DeviceMemory,
    /// Output: the shift under which values are read.
    pub shift: DeviceMemory,
    /// Output: means.
    pub mean: DeviceMemory,
    /// Output: 1/√(variance + ε), in `f64`.
    pub inverse: DeviceMemory,
    /// Stabiliser ε.
    pub epsilon: f32,
}

impl Norm {
    fn check(&self, channels: usize) -> Result<(), DeviceError> {
        let Norm { gamma, beta, scale, shift, mean, inverse, .. } = *self;
        [gamma, beta, scale, shift, mean, inverse]
            .into_iter()
            .chain(self.bias)
            .try_for_each(|memory| check_min_len("batch norm parameters", memory, channels))
    }
}

/// Running statistics, one value per channel of the network.
#[derive(Clone, Copy, Debug)]
pub struct RunningStatistics {
    /// Running means.
    pub mean: DeviceMemory,
    /// Running unbiased variances.
    pub variance: DeviceMemory,
}

/// Computes scale and shift per channel from the statistics of the batch, and updates the running statistics.
#[derive(Clone, Copy, Debug)]
pub struct NormFromBatch {
    /// Stored values of all pixels of all samples.
    pub values: DeviceMemory,
    /// Scratch memory for the statistics of the chunks, at least [`partials`] values.
    pub partial: DeviceMemory,
    /// Parameters and outputs of the batch norm.
    pub norm: Norm,
    /// Statistics to update.
    pub running: RunningStatistics,
    /// Weight of the batch in the update.
    pub momentum: f32,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl NormFromBatch {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let NormFromBatch { values, partial, norm, running, momentum, channels } = self;
        let pixels = count_pixels(values, channels)?;
        norm.check(channels)?;
        check_min_len("partial statistics", partial, partials(pixels, channels))?;
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

/// Computes scale and shift per channel from the running statistics.
#[derive(Clone, Copy, Debug)]
pub struct NormFromRunning {
    /// Parameters and outputs of the batch norm.
    pub norm: Norm,
    /// Statistics of earlier batches.
    pub running: RunningStatistics,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl NormFromRunning {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let NormFromRunning { norm, running, channels } = self;
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

/// Computes Σ g and Σ g · (x − mean) per chunk and channel, where g is the gradient that rectification passes.
#[derive(Clone, Copy, Debug)]
pub struct GradientSums {
    /// Gradient with respect to the values as they are read.
    pub gradient: DeviceMemory,
    /// The stored values and how they are read.
    pub input: TensorView,
    /// Mean per channel; none leaves the second sum without a meaning.
    pub mean: Option<DeviceMemory>,
    /// Output: at least [`partials`] values.
    pub partial: DeviceMemory,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl GradientSums {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let GradientSums { gradient, input, mean, partial, channels } = self;
        let pixels = count_pixels(gradient, channels)?;
        input.check("stored values of a gradient", gradient.len(), channels)?;
        mean.map_or(Ok(()), |mean| check_min_len("means", mean, channels))?;
        check_min_len("partial sums", partial, partials(pixels, channels))?;
        let [scale, shift, rectify] = input.arguments();
        let end = [optional(mean), Buffer(partial), int(pixels)?, int(channels)?, int(chunk_pixels(pixels))?];
        let threads = pixels.div_ceil(chunk_pixels(pixels)) * channels;
        let start = [Buffer(gradient), Buffer(input.values), scale, shift, rectify];
        launch_over(device, "gradient_sums", threads, start.into_iter().chain(end))
    }
}

/// Computes the gradients of γ and β and the factors of [`GradientApply`](super::GradientApply) from [`GradientSums`].
#[derive(Clone, Copy, Debug)]
pub struct NormGradient {
    /// Sums per chunk, as [`GradientSums`] leaves them.
    pub partial: DeviceMemory,
    /// Number of pixels over all samples.
    pub pixels: usize,
    /// Stored channels per pixel.
    pub channels: usize,
    /// Parameters and outputs of the batch norm.
    pub norm: Norm,
    /// Output: the gradients of γ and β.
    pub gradients: [DeviceMemory; 2],
    /// α, β and γ, one value per channel each.
    pub factors: [DeviceMemory; 3],
}

impl NormGradient {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let NormGradient { partial, pixels, channels, norm, gradients, factors } = self;
        norm.check(channels)?;
        check_min_len("partial sums", partial, partials(pixels, channels))?;
        for memory in gradients.into_iter().chain(factors) {
            check_min_len("batch norm gradients", memory, channels)?;
        }
        let mut arguments =
            vec![Buffer(partial), int(pixels.div_ceil(chunk_pixels(pixels)))?, int(pixels)?, int(channels)?];
        arguments.extend([norm.gamma, norm.mean, norm.inverse].into_iter().chain(gradients).chain(factors).map(Buffer));
        launch_channel_blocks(device, "unsettle", channels, arguments)
    }
}

/// Computes the gradient of a bias from [`GradientSums`].
#[derive(Clone, Copy, Debug)]
pub struct BiasGradient {
    /// Sums per chunk, as [`GradientSums`] leaves them.
    pub partial: DeviceMemory,
    /// Number of pixels over all samples.
    pub pixels: usize,
    /// Stored channels per pixel.
    pub channels: usize,
    /// Output: the gradient.
    pub gradient: DeviceMemory,
}

impl BiasGradient {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let BiasGradient { partial, pixels, channels, gradient } = self;
        check_min_len("partial sums", partial, partials(pixels, channels))?;
        check_min_len("bias gradient", gradient, channels)?;
        let arguments =
            vec![Buffer(partial), int(pixels.div_ceil(chunk_pixels(pixels)))?, int(channels)?, Buffer(gradient)];
        launch_channel_blocks(device, "unsettle_bias", channels, arguments)
    }
}

fn count_pixels(values: DeviceMemory, channels: usize) -> Result<usize, DeviceError> {
    channel_blocks(channels)?;
    if values.is_empty() || !values.len().is_multiple_of(channels) {
        return Err(DeviceError::InvalidArgument(format!(
            "expected pixels of {channels} channels, found {} values",
            values.len()
        )));
    }
    int(values.len())?;
    Ok(values.len() / channels)
}

//! Operations over device memory. Each operation checks that its memory has the lengths that its kernels access, then queues them.
//!
//! Images are NHWC in `f32`. Batch norm requires the channels in whole blocks of [`BLOCK`].

mod convolution;
mod elementwise;
mod gather;
mod loss;
mod norm;
mod pool;
mod precision;
mod text;
mod update;

pub use elementwise::{
    ChannelsLast, CopyOrAdd, Dropout, DropoutGradient, GatherRows, GradientApply, Join, Mask, SpreadRows, Subsample,
};
pub use gather::{AUGMENTATION_LEN, DropoutMask, Gather, GatherTokens, STREAM_LEN};
pub use loss::{
    Determinant, ForwardCorrection, Imae, LatentLabels, LatentState, LossBatch, MeanLoss, PowerLoss, SquaredError,
};
pub use norm::{
    BLOCK, BiasGradient, GradientSums, Norm, NormFromBatch, NormFromRunning, NormGradient, RunningStatistics, partials,
};
pub use pool::{Average, MaxPool, Windows};
pub use precision::{Narrow, Widen};
pub use text::{ConcatPart, Embedding, Tanh};
pub use update::{Adam, MAX_RATES, Sgd};

use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::DeviceMemory;

/// Threads per block of kernels without barriers.
const THREADS: u32 = 256;

/// Threads that a GPU runs in lockstep.
const WARP: usize = 32;

/// Upper limit for the number of blocks: enough to occupy every multiprocessor, few enough to keep the launch cheap.
const BLOCKS: u32 = 1 << 14;

/// Stored values with the transformation under which kernels read them: x, x + shift or scale · x + shift per channel, followed by a
/// ReLU if `rectify` is set.
#[derive(Clone, Copy, Debug)]
pub struct TensorView {
    /// The stored values.
    pub values: DeviceMemory,
    /// One factor per channel. Requires `shift`.
    pub scale: Option<DeviceMemory>,
    /// One offset per channel.
    pub shift: Option<DeviceMemory>,
    /// Reads negative values as 0.
    pub rectify: bool,
}

impl TensorView {
    /// Reads values as they are stored.
    pub fn plain(values: DeviceMemory) -> Self {
        TensorView { values, scale: None, shift: None, rectify: false }
    }

    /// Returns true if values are read as they are stored.
    pub fn is_plain(&self) -> bool {
        self.shift.is_none() && !self.rectify
    }

    fn check(&self, what: &str, count: usize, channels: usize) -> Result<(), DeviceError> {
        check_len(what, self.values, count)?;
        if self.scale.is_some() && self.shift.is_none() {
            return Err(DeviceError::InvalidArgument(format!("{what}: a scale requires a shift")));
        }
        [self.scale, self.shift].into_iter().flatten().try_for_each(|affine| check_min_len(what, affine, channels))
    }

    /// The transformation as kernel arguments: scale, shift, rectify.
    fn arguments(&self) -> [Argument; 3] {
        [optional(self.scale), optional(self.shift), Argument::Int(self.rectify.into())]
    }
}

fn optional(memory: Option<DeviceMemory>) -> Argument {
    memory.map_or(Argument::Null, Argument::Buffer)
}

/// Returns an error unless the memory has `count` values.
pub(crate) fn check_len(what: &str, memory: DeviceMemory, count: usize) -> Result<(), DeviceError> {
    if memory.len() == count {
        return Ok(());
    }
    Err(DeviceError::InvalidArgument(format!("{what}: expected {count} values, found {}", memory.len())))
}

/// Returns an error if the memory has fewer than `count` values.
pub(crate) fn check_min_len(what: &str, memory: DeviceMemory, count: usize) -> Result<(), DeviceError> {
    if memory.len() >= count {
        return Ok(());
    }
    Err(DeviceError::InvalidArgument(format!("{what}: expected at least {count} values, found {}", memory.len())))
}

/// A number as a kernel argument.
pub(crate) fn int(value: usize) -> Result<Argument, DeviceError> {
    let fits = i32::try_from(value).map(Argument::Int);
    fits.map_err(|_| {
        DeviceError::InvalidArgument(format!("{value} exceeds the index range of kernels; use a smaller batch"))
    })
}

/// Launches a kernel over `count` elements. Its threads stride over the elements, so any grid computes all of them.
pub(crate) fn launch_over(
    device: &mut dyn Device,
    kernel: &'static str,
    count: usize,
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<(), DeviceError> {
    launch_blocks(device, kernel, [count, THREADS as usize], arguments)
}

/// Launches a kernel over few elements with much work each: one warp per block, so that several multiprocessors share them.
fn launch_warps(
    device: &mut dyn Device,
    kernel: &'static str,
    count: usize,
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<(), DeviceError> {
    launch_blocks(device, kernel, [count, WARP], arguments)
}

fn launch_blocks(
    device: &mut dyn Device,
    kernel: &'static str,
    [count, threads]: [usize; 2],
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<(), DeviceError> {
    if count == 0 {
        return Ok(());
    }
    // Kernels index elements with `int`.
    int(count)?;
    let blocks = count.div_ceil(threads).min(BLOCKS as usize) as u32;
    let arguments = arguments.into_iter().collect();
    device.launch(&Launch { kernel, blocks, threads: threads as u32, arguments })
}

#[cfg(test)]
mod tests;

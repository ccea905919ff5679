//! What kernels compute, over a device's memory. Each operation checks that what it is given has the lengths that its kernel goes
//! through, and puts it into the device's queue.
//!
//! Images are NHWC in `f32`, with channels in whole blocks where batch norm is concerned.

mod convolution;
mod elementwise;
mod gather;
mod loss;
mod norm;
mod pool;
mod precision;
mod text;
mod update;

pub use elementwise::{Apply, Arrange, Drop, DropGradient, GatherRows, Give, Join, Mask, SpreadRows, Subsample};
pub use gather::{Gather, GatherTokens, MOVES, Masks, STREAM};
pub use loss::{Batch, Determinant, Forward, Imae, Latent, LatentState, Powers, Squares, Total};
pub use norm::{BLOCK, GradientSums, Norm, Running, Settle, SettleRunning, Unsettle, UnsettleBias, partials};
pub use pool::{Average, MaxPool, Windows};
pub use precision::{Narrow, Widen};
pub use text::{Embedding, Place, Tanh};
pub use update::{Adam, RATES, Sgd};

use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::Memory;

/// Threads of a block, where threads do not wait for one another.
const THREADS: u32 = 256;

/// Threads that a GPU runs together.
const WARP: usize = 32;

/// Blocks at most: enough for every multiprocessor, few enough to cost little each.
const BLOCKS: u32 = 1 << 14;

/// Stored values, and how they are read: x, x + shift or scale · x + shift of every channel, and of that, where it rectifies, what is
/// not below 0.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The stored values.
    pub values: Memory,
    /// A factor a channel; with a shift only.
    pub scale: Option<Memory>,
    /// An offset a channel.
    pub shift: Option<Memory>,
    /// Whether values below 0 read as 0.
    pub rectify: bool,
}

impl Seen {
    /// Values that are read as they are stored.
    pub fn plain(values: Memory) -> Self {
        Seen { values, scale: None, shift: None, rectify: false }
    }

    /// Whether they are read as they are stored.
    pub fn is_plain(&self) -> bool {
        self.shift.is_none() && !self.rectify
    }

    fn check(&self, what: &str, count: usize, channels: usize) -> Result<(), DeviceError> {
        check_len(what, self.values, count)?;
        if self.scale.is_some() && self.shift.is_none() {
            return Err(DeviceError::Unfit(format!("{what}: a scale without a shift")));
        }
        [self.scale, self.shift].into_iter().flatten().try_for_each(|affine| check_min_len(what, affine, channels))
    }

    /// As a kernel takes it, without the values.
    fn arguments(&self) -> [Argument; 3] {
        [optional(self.scale), optional(self.shift), Argument::Int(self.rectify.into())]
    }
}

fn optional(memory: Option<Memory>) -> Argument {
    memory.map_or(Argument::Null, Argument::Buffer)
}

/// Checks that there are so many values.
pub(crate) fn check_len(what: &str, memory: Memory, count: usize) -> Result<(), DeviceError> {
    if memory.len() == count {
        return Ok(());
    }
    Err(DeviceError::Unfit(format!("{what}: expected {count} values, found {}", memory.len())))
}

/// Checks that there are so many values or more.
pub(crate) fn check_min_len(what: &str, memory: Memory, count: usize) -> Result<(), DeviceError> {
    if memory.len() >= count {
        return Ok(());
    }
    Err(DeviceError::Unfit(format!("{what}: expected at least {count} values, found {}", memory.len())))
}

/// A number as kernels take it.
pub(crate) fn int(value: usize) -> Result<Argument, DeviceError> {
    let fits = i32::try_from(value).map(Argument::Int);
    fits.map_err(|_| DeviceError::Unfit(format!("{value} is more than a kernel counts: use a smaller batch")))
}

/// Launches a kernel whose threads each take any number of `count` elements.
pub(crate) fn launch_over(
    device: &mut dyn Device,
    kernel: &'static str,
    count: usize,
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<(), DeviceError> {
    launch_blocks(device, kernel, [count, THREADS as usize], arguments)
}

/// The same for few elements with much to do each: a block has a warp's threads, so that several multiprocessors have their share.
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
    // Every kernel counts in `int`.
    int(count)?;
    let blocks = count.div_ceil(threads).min(BLOCKS as usize) as u32;
    let arguments = arguments.into_iter().collect();
    device.launch(&Launch { kernel, blocks, threads: threads as u32, arguments })
}

#[cfg(test)]
mod tests;

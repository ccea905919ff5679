//! Conversions between `f32` and bfloat16.

use super::{check_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Int};

/// Rounds values to bfloat16 (7 mantissa bits), to nearest, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// Values of 32 bits.
    pub from: DeviceMemory,
    /// Values of 16 bits.
    pub to: DeviceMemory,
}

impl Narrow {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length or element type does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("bfloat16 values", self.to, count)?;
        launch_over(device, "narrow", count, [Buffer(self.from), Buffer(self.to), int(count)?])
    }
}

/// Converts bfloat16 values to `f32`, which is exact.
#[derive(Clone, Copy, Debug)]
pub struct Widen {
    /// Values of 16 bits.
    pub from: DeviceMemory,
    /// Values of 32 bits.
    pub to: DeviceMemory,
    /// Adds to `to`; otherwise overwrites it.
    pub add: bool,
}

impl Widen {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length or element type does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("f32 values", self.to, count)?;
        launch_over(device, "widen", count, [Buffer(self.from), Buffer(self.to), Int(self.add.into()), int(count)?])
    }
}

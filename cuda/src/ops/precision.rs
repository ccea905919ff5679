//! Values of 16 bits.

use super::{check_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Int};

/// Values rounded to bfloat16: 7 bits after the leading one, to nearest, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// In `f32`.
    pub from: Memory,
    /// In 16 bits.
    pub to: Memory,
}

impl Narrow {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths or kinds differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("narrow values", self.to, count)?;
        launch_over(device, "narrow", count, [Buffer(self.from), Buffer(self.to), int(count)?])
    }
}

/// The same values in `f32`, written or added.
#[derive(Clone, Copy, Debug)]
pub struct Widen {
    /// In 16 bits.
    pub from: Memory,
    /// In `f32`.
    pub to: Memory,
    /// Whether they are added to what is there.
    pub add: bool,
}

impl Widen {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths or kinds differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("widened values", self.to, count)?;
        launch_over(device, "widen", count, [Buffer(self.from), Buffer(self.to), Int(self.add.into()), int(count)?])
    }
}

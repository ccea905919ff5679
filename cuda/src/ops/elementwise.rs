//! Passes over values, one by one.

use super::{Seen, check_len, check_min_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Int};

/// Samples as data sets have them, channels × height × width, to pixels with their channels together.
#[derive(Clone, Copy, Debug)]
pub struct Arrange {
    /// `[samples, channels, pixels]`
    pub from: Memory,
    /// `[samples, pixels, channels]`
    pub to: Memory,
    /// Channels of a pixel.
    pub channels: usize,
    /// Pixels of a sample.
    pub pixels: usize,
}

impl Arrange {
    /// Computes it.
    ///
    /// # Errors
    /// If the lengths differ or are no whole samples, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("samples to be arranged", self.to, count)?;
        if self.channels * self.pixels == 0 || !count.is_multiple_of(self.channels * self.pixels) {
            return Err(DeviceError::Unfit(format!(
                "{count} values are no samples of {}×{}",
                self.channels, self.pixels
            )));
        }
        let arguments = [Buffer(self.from), Buffer(self.to), int(count)?, int(self.channels)?, int(self.pixels)?];
        launch_over(device, "arrange", count, arguments)
    }
}

/// The sum of two images, or a copy of one, each as it is seen; rectified where asked for.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// What there always is.
    pub first: Seen,
    /// What is added, if anything is.
    pub second: Option<Seen>,
    /// Whether a sum below 0 counts as 0.
    pub rectify: bool,
    /// What comes out.
    pub output: Memory,
    /// Values of a pixel.
    pub channels: usize,
}

impl Join {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.first.check("the first of a sum", count, self.channels)?;
        if let Some(second) = &self.second {
            second.check("the second of a sum", count, self.channels)?;
        }
        let [scale, shift, rectify] = self.second.map_or([Argument::Null, Argument::Null, Int(0)], |b| b.arguments());
        let second = super::optional(self.second.map(|second| second.values));
        let [a_scale, a_shift, a_rectify] = self.first.arguments();
        let end = [Int(self.rectify.into()), Buffer(self.output), int(count)?, int(self.channels)?];
        let start = [Buffer(self.first.values), a_scale, a_shift, a_rectify, second, scale, shift, rectify];
        launch_over(device, "join", count, start.into_iter().chain(end))
    }
}

/// Zeroes the gradient where what came out of a rectified [`Join`] is 0.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// What came out.
    pub output: Memory,
    /// The gradient with respect to it, and then to the sum before rectification.
    pub gradient: Memory,
}

impl Mask {
    /// Computes it.
    ///
    /// # Errors
    /// If the lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        check_len("a gradient to be masked", self.gradient, count)?;
        launch_over(device, "mask", count, [Buffer(self.output), Buffer(self.gradient), int(count)?])
    }
}

/// total = values, or total += values.
#[derive(Clone, Copy, Debug)]
pub struct Give {
    /// What is given.
    pub values: Memory,
    /// To what.
    pub total: Memory,
    /// Whether it is added.
    pub add: bool,
}

impl Give {
    /// Computes it.
    ///
    /// # Errors
    /// If the lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.values.len();
        check_len("a total", self.total, count)?;
        launch_over(device, "give", count, [Buffer(self.values), Buffer(self.total), Int(self.add.into()), int(count)?])
    }
}

/// The gradient with respect to stored values x where readers have g: g where it gets through, or α g + β x + γ with three factors a
/// channel.
#[derive(Clone, Copy, Debug)]
pub struct Apply {
    /// The gradient with respect to what is read.
    pub gradient: Memory,
    /// What it is read from.
    pub seen: Seen,
    /// α, β and γ of every channel.
    pub factors: Option<[Memory; 3]>,
    /// What comes out.
    pub output: Memory,
    /// Values of a pixel.
    pub channels: usize,
}

impl Apply {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.seen.check("what a gradient is applied to", count, self.channels)?;
        check_len("a gradient to be applied", self.gradient, count)?;
        for factor in self.factors.iter().flatten() {
            check_min_len("a gradient's factors", *factor, self.channels)?;
        }
        let factors = self.factors.map_or([Argument::Null; 3], |factors| factors.map(Buffer));
        let [scale, shift, rectify] = self.seen.arguments();
        let start = [Buffer(self.gradient), Buffer(self.seen.values), scale, shift, rectify];
        let end = [Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "apply", count, start.into_iter().chain(factors).chain(end))
    }
}

/// Values times a mask: dropout.
#[derive(Clone, Copy, Debug)]
pub struct Drop {
    /// The values.
    pub seen: Seen,
    /// A factor a value.
    pub mask: Memory,
    /// What comes out.
    pub output: Memory,
    /// Values of a pixel.
    pub channels: usize,
}

impl Drop {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.seen.check("what dropout reads", count, self.channels)?;
        check_len("a mask", self.mask, count)?;
        let [scale, shift, rectify] = self.seen.arguments();
        let end = [Buffer(self.mask), Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "drop", count, [Buffer(self.seen.values), scale, shift, rectify].into_iter().chain(end))
    }
}

/// The gradient of a [`Drop`], written or added.
#[derive(Clone, Copy, Debug)]
pub struct DropGradient {
    /// The gradient with respect to what came out.
    pub gradient: Memory,
    /// A factor a value.
    pub mask: Memory,
    /// Where it goes.
    pub total: Memory,
    /// Whether it is added.
    pub add: bool,
}

impl DropGradient {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.total.len();
        check_len("a gradient of dropout", self.gradient, count)?;
        check_len("a mask", self.mask, count)?;
        let arguments =
            [Buffer(self.gradient), Buffer(self.mask), Buffer(self.total), Int(self.add.into()), int(count)?];
        launch_over(device, "drop_gradient", count, arguments)
    }
}

/// Every `stride`-th pixel, with channels of zeroes after its own.
#[derive(Clone, Copy, Debug)]
pub struct Subsample {
    /// How many images.
    pub samples: usize,
    /// Rows, columns and channels of what is read.
    pub from: [usize; 3],
    /// Rows, columns and channels of what comes out: as many channels or more.
    pub to: [usize; 3],
    /// From a pixel to the next.
    pub stride: usize,
}

impl Subsample {
    fn counts(&self) -> Result<[usize; 2], DeviceError> {
        let reach = |i: usize| self.to[i].saturating_sub(1) * self.stride < self.from[i];
        if self.stride == 0 || !reach(0) || !reach(1) || self.to[2] < self.from[2] {
            return Err(DeviceError::Unfit(format!(
                "{:?} are no pixels of {:?}, {} apart",
                self.to, self.from, self.stride
            )));
        }
        Ok([self.from, self.to].map(|extent| self.samples * extent.iter().product::<usize>()))
    }

    fn extent_arguments(&self) -> Result<Vec<Argument>, DeviceError> {
        self.to.into_iter().chain(self.from).chain([self.stride]).map(int).collect()
    }

    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, seen: Seen, output: Memory) -> Result<(), DeviceError> {
        let [from, to] = self.counts()?;
        seen.check("what is subsampled", from, self.from[2])?;
        check_len("subsampled values", output, to)?;
        let [scale, shift, rectify] = seen.arguments();
        let start = [Buffer(seen.values), scale, shift, rectify, Buffer(output), int(to)?];
        launch_over(device, "subsample", to, start.into_iter().chain(self.extent_arguments()?))
    }

    /// The gradient with respect to what is read, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let [from, to] = self.counts()?;
        check_len("a gradient of subsampled values", gradient, to)?;
        check_len("a gradient of what is subsampled", total, from)?;
        int(to)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(from)?];
        launch_over(device, "subsample_gradient", from, start.into_iter().chain(self.extent_arguments()?))
    }
}

/// Logits without the zeroes that are stored behind them.
#[derive(Clone, Copy, Debug)]
pub struct GatherRows {
    /// A row of `stored` values a sample.
    pub seen: Seen,
    /// A row of `classes` values a sample.
    pub output: Memory,
    /// Values of a row that count.
    pub classes: usize,
    /// Values of a row.
    pub stored: usize,
}

impl GatherRows {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (count, samples) = (self.output.len(), rows(self.classes, self.stored, self.output)?);
        self.seen.check("rows", samples * self.stored, self.stored)?;
        let [scale, shift, rectify] = self.seen.arguments();
        let end = [Buffer(self.output), int(count)?, int(self.classes)?, int(self.stored)?];
        launch_over(
            device,
            "gather_rows",
            count,
            [Buffer(self.seen.values), scale, shift, rectify].into_iter().chain(end),
        )
    }
}

/// Rows with zeroes behind them: the reverse.
#[derive(Clone, Copy, Debug)]
pub struct SpreadRows {
    /// A row of `classes` values a sample.
    pub from: Memory,
    /// A row of `stored` values a sample.
    pub to: Memory,
    /// Values of a row that count.
    pub classes: usize,
    /// Values of a row.
    pub stored: usize,
}

impl SpreadRows {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = rows(self.classes, self.stored, self.from)? * self.stored;
        check_len("spread rows", self.to, count)?;
        let arguments = [Buffer(self.from), Buffer(self.to), int(count)?, int(self.classes)?, int(self.stored)?];
        launch_over(device, "spread_rows", count, arguments)
    }
}

/// How many rows of `classes` values there are.
fn rows(classes: usize, stored: usize, memory: Memory) -> Result<usize, DeviceError> {
    if classes == 0 || stored < classes || !memory.len().is_multiple_of(classes) {
        return Err(DeviceError::Unfit(format!("{} values are no rows of {classes} of {stored}", memory.len())));
    }
    Ok(memory.len() / classes)
}

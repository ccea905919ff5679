//! Element-wise operations and changes of layout.

use super::{TensorView, check_len, check_min_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Int};

/// Converts samples from channels × height × width to channels-last pixels.
#[derive(Clone, Copy, Debug)]
pub struct ChannelsLast {
    /// `[samples, channels, pixels]`
    pub from: DeviceMemory,
    /// `[samples, pixels, channels]`
    pub to: DeviceMemory,
    /// Channels per pixel.
    pub channels: usize,
    /// Pixels per sample.
    pub pixels: usize,
}

impl ChannelsLast {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if the lengths differ or are not whole samples, or if the launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.from.len();
        check_len("arranged samples", self.to, count)?;
        if self.channels * self.pixels == 0 || !count.is_multiple_of(self.channels * self.pixels) {
            return Err(DeviceError::InvalidArgument(format!(
                "expected samples of {}×{} values, found {count} values",
                self.channels, self.pixels
            )));
        }
        let arguments = [Buffer(self.from), Buffer(self.to), int(count)?, int(self.channels)?, int(self.pixels)?];
        launch_over(device, "arrange", count, arguments)
    }
}

/// Adds two images, or copies one, each as it is read; then applies a ReLU if `rectify` is set.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The first image.
    pub first: TensorView,
    /// The image to add, if any.
    pub second: Option<TensorView>,
    /// Replaces negative sums by 0.
    pub rectify: bool,
    /// The output.
    pub output: DeviceMemory,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl Join {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.first.check("first input of a sum", count, self.channels)?;
        if let Some(second) = &self.second {
            second.check("second input of a sum", count, self.channels)?;
        }
        let [scale, shift, rectify] = self.second.map_or([Argument::Null, Argument::Null, Int(0)], |b| b.arguments());
        let second = super::optional(self.second.map(|second| second.values));
        let [a_scale, a_shift, a_rectify] = self.first.arguments();
        let end = [Int(self.rectify.into()), Buffer(self.output), int(count)?, int(self.channels)?];
        let start = [Buffer(self.first.values), a_scale, a_shift, a_rectify, second, scale, shift, rectify];
        launch_over(device, "join", count, start.into_iter().chain(end))
    }
}

/// Sets the gradient to zero wherever the output of a rectified [`Join`] is 0.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The output of the [`Join`].
    pub output: DeviceMemory,
    /// On input the gradient with respect to `output`; afterwards the gradient with respect to the sum before rectification.
    pub gradient: DeviceMemory,
}

impl Mask {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        check_len("gradient of a ReLU", self.gradient, count)?;
        launch_over(device, "mask", count, [Buffer(self.output), Buffer(self.gradient), int(count)?])
    }
}

/// Copies values, or adds them: total = values, or total += values.
#[derive(Clone, Copy, Debug)]
pub struct CopyOrAdd {
    /// The values to copy or add.
    pub values: DeviceMemory,
    /// The destination.
    pub total: DeviceMemory,
    /// Adds to `total`; otherwise overwrites it.
    pub add: bool,
}

impl CopyOrAdd {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.values.len();
        check_len("total", self.total, count)?;
        launch_over(device, "give", count, [Buffer(self.values), Buffer(self.total), Int(self.add.into()), int(count)?])
    }
}

/// Computes the gradient with respect to stored values x from the gradient g with respect to the values as they are read: g where
/// rectification passes it, or α g + β x + γ with three factors per channel.
#[derive(Clone, Copy, Debug)]
pub struct GradientApply {
    /// Gradient with respect to the values as they are read.
    pub gradient: DeviceMemory,
    /// The stored values and how they are read.
    pub input: TensorView,
    /// α, β and γ, one value per channel each.
    pub factors: Option<[DeviceMemory; 3]>,
    /// The output.
    pub output: DeviceMemory,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl GradientApply {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.input.check("stored values of a gradient", count, self.channels)?;
        check_len("gradient of the values as read", self.gradient, count)?;
        for factor in self.factors.iter().flatten() {
            check_min_len("factors of a gradient", *factor, self.channels)?;
        }
        let factors = self.factors.map_or([Argument::Null; 3], |factors| factors.map(Buffer));
        let [scale, shift, rectify] = self.input.arguments();
        let start = [Buffer(self.gradient), Buffer(self.input.values), scale, shift, rectify];
        let end = [Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "apply", count, start.into_iter().chain(factors).chain(end))
    }
}

/// Multiplies values by a dropout mask.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The values.
    pub input: TensorView,
    /// One factor per value.
    pub mask: DeviceMemory,
    /// The output.
    pub output: DeviceMemory,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl Dropout {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.output.len();
        self.input.check("input of dropout", count, self.channels)?;
        check_len("dropout mask", self.mask, count)?;
        let [scale, shift, rectify] = self.input.arguments();
        let end = [Buffer(self.mask), Buffer(self.output), int(count)?, int(self.channels)?];
        launch_over(device, "drop", count, [Buffer(self.input.values), scale, shift, rectify].into_iter().chain(end))
    }
}

/// Computes the gradient of a [`Dropout`].
#[derive(Clone, Copy, Debug)]
pub struct DropoutGradient {
    /// Gradient with respect to the output.
    pub gradient: DeviceMemory,
    /// One factor per value.
    pub mask: DeviceMemory,
    /// Gradient with respect to the input.
    pub total: DeviceMemory,
    /// Adds to `total`; otherwise overwrites it.
    pub add: bool,
}

impl DropoutGradient {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.total.len();
        check_len("output gradient of dropout", self.gradient, count)?;
        check_len("dropout mask", self.mask, count)?;
        let arguments =
            [Buffer(self.gradient), Buffer(self.mask), Buffer(self.total), Int(self.add.into()), int(count)?];
        launch_over(device, "drop_gradient", count, arguments)
    }
}

/// Reads every `stride`-th pixel and pads its channels with zeros.
#[derive(Clone, Copy, Debug)]
pub struct Subsample {
    /// Number of images.
    pub samples: usize,
    /// Rows, columns and channels of the input.
    pub from: [usize; 3],
    /// Rows, columns and channels of the output, with at least as many channels.
    pub to: [usize; 3],
    /// Distance between the pixels that are read.
    pub stride: usize,
}

impl Subsample {
    fn counts(&self) -> Result<[usize; 2], DeviceError> {
        let reach = |i: usize| self.to[i].saturating_sub(1) * self.stride < self.from[i];
        if self.stride == 0 || !reach(0) || !reach(1) || self.to[2] < self.from[2] {
            return Err(DeviceError::InvalidArgument(format!(
                "an output of {:?} does not match an input of {:?} at stride {}",
                self.to, self.from, self.stride
            )));
        }
        Ok([self.from, self.to].map(|extent| self.samples * extent.iter().product::<usize>()))
    }

    fn extent_arguments(&self) -> Result<Vec<Argument>, DeviceError> {
        self.to.into_iter().chain(self.from).chain([self.stride]).map(int).collect()
    }

    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, input: TensorView, output: DeviceMemory) -> Result<(), DeviceError> {
        let [from, to] = self.counts()?;
        input.check("input of subsampling", from, self.from[2])?;
        check_len("output of subsampling", output, to)?;
        let [scale, shift, rectify] = input.arguments();
        let start = [Buffer(input.values), scale, shift, rectify, Buffer(output), int(to)?];
        launch_over(device, "subsample", to, start.into_iter().chain(self.extent_arguments()?))
    }

    /// Computes the gradient with respect to the input. `add` adds it to `total`; otherwise it overwrites `total`.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn back(
        self,
        device: &mut dyn Device,
        gradient: DeviceMemory,
        total: DeviceMemory,
        add: bool,
    ) -> Result<(), DeviceError> {
        let [from, to] = self.counts()?;
        check_len("output gradient of subsampling", gradient, to)?;
        check_len("input gradient of subsampling", total, from)?;
        int(to)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(from)?];
        launch_over(device, "subsample_gradient", from, start.into_iter().chain(self.extent_arguments()?))
    }
}

/// Copies the logits without the zero padding behind them.
#[derive(Clone, Copy, Debug)]
pub struct GatherRows {
    /// One row of `stored` values per sample.
    pub input: TensorView,
    /// One row of `classes` values per sample.
    pub output: DeviceMemory,
    /// Logits per row.
    pub classes: usize,
    /// Stored values per row.
    pub stored: usize,
}

impl GatherRows {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (count, samples) = (self.output.len(), rows(self.classes, self.stored, self.output)?);
        self.input.check("padded rows", samples * self.stored, self.stored)?;
        let [scale, shift, rectify] = self.input.arguments();
        let end = [Buffer(self.output), int(count)?, int(self.classes)?, int(self.stored)?];
        launch_over(
            device,
            "gather_rows",
            count,
            [Buffer(self.input.values), scale, shift, rectify].into_iter().chain(end),
        )
    }
}

/// Copies rows and pads them with zeros; the inverse of [`GatherRows`].
#[derive(Clone, Copy, Debug)]
pub struct SpreadRows {
    /// One row of `classes` values per sample.
    pub from: DeviceMemory,
    /// One row of `stored` values per sample.
    pub to: DeviceMemory,
    /// Logits per row.
    pub classes: usize,
    /// Stored values per row.
    pub stored: usize,
}

impl SpreadRows {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = rows(self.classes, self.stored, self.from)? * self.stored;
        check_len("padded rows", self.to, count)?;
        let arguments = [Buffer(self.from), Buffer(self.to), int(count)?, int(self.classes)?, int(self.stored)?];
        launch_over(device, "spread_rows", count, arguments)
    }
}

/// Returns the number of rows of `classes` values.
fn rows(classes: usize, stored: usize, memory: DeviceMemory) -> Result<usize, DeviceError> {
    if classes == 0 || stored < classes || !memory.len().is_multiple_of(classes) {
        return Err(DeviceError::InvalidArgument(format!(
            "expected rows of {classes} values, stored as {stored}; found {} values",
            memory.len()
        )));
    }
    Ok(memory.len() / classes)
}

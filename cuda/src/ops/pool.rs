//! Windows of images to one value a channel: the largest, or the mean of all.

use super::{Seen, check_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Float, Int};

/// The windows of a pool over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// How many images.
    pub samples: usize,
    /// Rows and columns of an image.
    pub extent: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// From a window to the next.
    pub stride: usize,
    /// How far windows reach over every side of the image, where there is nothing to be the largest.
    pub padding: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Windows {
    /// Rows and columns of windows.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| (self.extent[i] + 2 * self.padding).saturating_sub(self.kernel[i]) / self.stride.max(1) + 1)
    }

    fn counts(&self) -> Result<[usize; 2], DeviceError> {
        let fits = |i: usize| {
            let (extent, kernel) = (self.extent[i], self.kernel[i]);
            // A window that is half within the image covers a pixel.
            kernel > 0 && extent > 0 && kernel <= extent + 2 * self.padding && self.padding <= kernel / 2
        };
        if self.stride == 0 || self.channels == 0 || !fits(0) || !fits(1) {
            return Err(DeviceError::Unfit(format!("windows that do not fit their images: {self:?}")));
        }
        Ok([self.extent, self.output()].map(|[rows, columns]| self.samples * rows * columns * self.channels))
    }

    fn extent_arguments(&self) -> Result<Vec<Argument>, DeviceError> {
        let ([height, width], [rows, columns]) = (self.output(), self.kernel);
        let [from_height, from_width] = self.extent;
        [height, width, self.channels, from_height, from_width, rows, columns, self.stride, self.padding]
            .into_iter()
            .map(int)
            .collect()
    }
}

/// The largest value of each window, and where in its image it stands.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// The windows.
    pub windows: Windows,
    /// The place of the first of the largest values of every window, as `int`.
    pub places: Memory,
}

impl MaxPool {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, seen: Seen, output: Memory) -> Result<(), DeviceError> {
        let [from, to] = self.windows.counts()?;
        seen.check("what is pooled", from, self.windows.channels)?;
        check_len("pooled values", output, to)?;
        check_len("places of pooled values", self.places, to)?;
        let [scale, shift, rectify] = seen.arguments();
        let start = [Buffer(seen.values), scale, shift, rectify, Buffer(output), Buffer(self.places), int(to)?];
        int(from)?;
        launch_over(device, "max_pool", to, start.into_iter().chain(self.windows.extent_arguments()?))
    }

    /// The gradient with respect to what is read, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let [from, to] = self.windows.counts()?;
        check_len("a gradient of pooled values", gradient, to)?;
        check_len("places of pooled values", self.places, to)?;
        check_len("a gradient of what is pooled", total, from)?;
        int(to)?;
        let start = [Buffer(gradient), Buffer(self.places), Buffer(total), Int(add.into()), int(from)?];
        launch_over(device, "max_pool_gradient", from, start.into_iter().chain(self.windows.extent_arguments()?))
    }
}

/// The mean of every channel of an image.
#[derive(Clone, Copy, Debug)]
pub struct Average {
    /// How many images.
    pub samples: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Average {
    fn extent_arguments(&self) -> Result<[Argument; 3], DeviceError> {
        if self.pixels == 0 || self.channels == 0 {
            return Err(DeviceError::Unfit(format!("no pixels to take the mean of: {self:?}")));
        }
        Ok([int(self.channels)?, int(self.pixels)?, Float((self.pixels as f32).recip())])
    }

    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, seen: Seen, output: Memory) -> Result<(), DeviceError> {
        let count = self.samples * self.channels;
        seen.check("what is averaged", count * self.pixels, self.channels)?;
        check_len("means", output, count)?;
        int(count * self.pixels)?;
        let [scale, shift, rectify] = seen.arguments();
        let start = [Buffer(seen.values), scale, shift, rectify, Buffer(output), int(count)?];
        launch_over(device, "average", count, start.into_iter().chain(self.extent_arguments()?))
    }

    /// The gradient with respect to what is read, written to `total` or added.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn back(self, device: &mut dyn Device, gradient: Memory, total: Memory, add: bool) -> Result<(), DeviceError> {
        let count = self.samples * self.channels;
        check_len("a gradient of means", gradient, count)?;
        check_len("a gradient of what is averaged", total, count * self.pixels)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(total.len())?];
        launch_over(device, "average_gradient", total.len(), start.into_iter().chain(self.extent_arguments()?))
    }
}

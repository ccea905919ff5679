//! Pooling: the largest value of each window, or the mean of all pixels.

use super::{TensorView, check_len, int, launch_over};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Float, Int};

/// The windows of a max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Number of images.
    pub samples: usize,
    /// Rows and columns of an image.
    pub extent: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// Padding on every side of the image. It never holds the largest value.
    pub padding: usize,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl Windows {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| (self.extent[i] + 2 * self.padding).saturating_sub(self.kernel[i]) / self.stride.max(1) + 1)
    }

    fn counts(&self) -> Result<[usize; 2], DeviceError> {
        let fits = |i: usize| {
            let (extent, kernel) = (self.extent[i], self.kernel[i]);
            // At least half of each window lies within the image, so every window covers a pixel.
            kernel > 0 && extent > 0 && kernel <= extent + 2 * self.padding && self.padding <= kernel / 2
        };
        if self.stride == 0 || self.channels == 0 || !fits(0) || !fits(1) {
            return Err(DeviceError::InvalidArgument(format!("pooling windows do not match their images: {self:?}")));
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

/// Max pooling, which stores where the largest value of each window is.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// The windows.
    pub windows: Windows,
    /// Per window the position of its first largest value within the image, as `int`.
    pub places: DeviceMemory,
}

impl MaxPool {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, input: TensorView, output: DeviceMemory) -> Result<(), DeviceError> {
        let [from, to] = self.windows.counts()?;
        input.check("input of max pooling", from, self.windows.channels)?;
        check_len("output of max pooling", output, to)?;
        check_len("positions of max pooling", self.places, to)?;
        let [scale, shift, rectify] = input.arguments();
        let start = [Buffer(input.values), scale, shift, rectify, Buffer(output), Buffer(self.places), int(to)?];
        int(from)?;
        launch_over(device, "max_pool", to, start.into_iter().chain(self.windows.extent_arguments()?))
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
        let [from, to] = self.windows.counts()?;
        check_len("output gradient of max pooling", gradient, to)?;
        check_len("positions of max pooling", self.places, to)?;
        check_len("input gradient of max pooling", total, from)?;
        int(to)?;
        let start = [Buffer(gradient), Buffer(self.places), Buffer(total), Int(add.into()), int(from)?];
        launch_over(device, "max_pool_gradient", from, start.into_iter().chain(self.windows.extent_arguments()?))
    }
}

/// Average pooling: the mean of every channel over all pixels of an image.
#[derive(Clone, Copy, Debug)]
pub struct Average {
    /// Number of images.
    pub samples: usize,
    /// Pixels per image.
    pub pixels: usize,
    /// Stored channels per pixel.
    pub channels: usize,
}

impl Average {
    fn extent_arguments(&self) -> Result<[Argument; 3], DeviceError> {
        if self.pixels == 0 || self.channels == 0 {
            return Err(DeviceError::InvalidArgument(format!(
                "average pooling requires pixels and channels, found {self:?}"
            )));
        }
        Ok([int(self.channels)?, int(self.pixels)?, Float((self.pixels as f32).recip())])
    }

    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, input: TensorView, output: DeviceMemory) -> Result<(), DeviceError> {
        let count = self.samples * self.channels;
        input.check("input of average pooling", count * self.pixels, self.channels)?;
        check_len("output of average pooling", output, count)?;
        int(count * self.pixels)?;
        let [scale, shift, rectify] = input.arguments();
        let start = [Buffer(input.values), scale, shift, rectify, Buffer(output), int(count)?];
        launch_over(device, "average", count, start.into_iter().chain(self.extent_arguments()?))
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
        let count = self.samples * self.channels;
        check_len("output gradient of average pooling", gradient, count)?;
        check_len("input gradient of average pooling", total, count * self.pixels)?;
        let start = [Buffer(gradient), Buffer(total), Int(add.into()), int(total.len())?];
        launch_over(device, "average_gradient", total.len(), start.into_iter().chain(self.extent_arguments()?))
    }
}

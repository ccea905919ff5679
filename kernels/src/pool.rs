//! Windows of an image to one value a channel: the largest, or the mean of all.

use crate::lanes::{BLOCK, Instructions, Kernel, Lanes};
use crate::view::View;
use std::ops::Range;

/// The windows of a pool over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of the image.
    pub extent: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// How far windows reach over every side of the image, where there is nothing to be the largest.
    pub padding: usize,
    /// Channels per pixel.
    pub channels: usize,
}

impl Windows {
    /// Rows and columns of windows.
    pub fn output(&self) -> [usize; 2] {
        let along = |i: usize| (self.extent[i] + 2 * self.padding - self.kernel[i]) / self.stride + 1;
        [along(0), along(1)]
    }

    fn check(&self, image: usize, output: usize) {
        assert!(self.stride > 0 && self.kernel[0] > 0 && self.kernel[1] > 0, "windows with an extent and a step");
        // So every window covers a pixel.
        assert!(self.kernel.iter().all(|kernel| self.padding <= kernel / 2), "windows that are half within the image");
        let fits = |i: usize| self.kernel[i] <= self.extent[i] + 2 * self.padding;
        assert!(self.extent[0] > 0 && self.extent[1] > 0 && fits(0) && fits(1), "a window within the image");
        assert_eq!(self.channels % BLOCK, 0, "channels in blocks of {BLOCK}");
        assert_eq!(image, self.extent[0] * self.extent[1] * self.channels, "a whole image");
        let [rows, columns] = self.output();
        assert_eq!(output, rows * columns * self.channels, "a pixel for every window");
    }

    /// Calls `f` with the place of every output pixel and with the rows and columns of the image that its window covers.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let [rows, columns] = self.output();
        let covered = |i: usize, window: usize| {
            let start = window * self.stride;
            let end = (start + self.kernel[i]).min(self.extent[i] + self.padding);
            start.saturating_sub(self.padding)..end - self.padding
        };
        for row in 0..rows {
            let down = covered(0, row);
            for column in 0..columns {
                f((row * columns + column) * self.channels, down.clone(), covered(1, column));
            }
        }
    }
}

/// The largest value of each window. NaN only where the first value that a window covers is.
#[derive(Debug)]
pub struct MaxPool<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// How its values are read.
    pub view: View<'a>,
    /// The windows.
    pub windows: Windows,
    /// The output.
    pub output: &'a mut [f32],
}

impl MaxPool<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths do not match the windows.
    pub fn run(self, instructions: Instructions) {
        self.windows.check(self.image.len(), self.output.len());
        self.view.check(self.windows.channels);
        instructions.run(self);
    }
}

impl Kernel for MaxPool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Windows { extent, channels, .. } = self.windows;
        for channel in (0..channels).step_by(L::COUNT) {
            let lane_view = self.view.lane_view(lanes, channel);
            self.windows.each(|to, rows, columns| {
                let first = (rows.start * extent[1] + columns.start) * channels + channel;
                let mut best = lane_view.read(lanes, lanes.load(&self.image[first..]));
                for row in rows {
                    for column in columns.clone() {
                        let at = (row * extent[1] + column) * channels + channel;
                        let value = lane_view.read(lanes, lanes.load(&self.image[at..]));
                        best = lanes.select_less(best, value, value, best);
                    }
                }
                lanes.store(&mut self.output[to + channel..], best);
            });
        }
    }
}

/// The gradient of a [`MaxPool`], which goes to the first of the largest values of a window.
#[derive(Debug)]
pub struct MaxPoolGradient<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// How its values are read.
    pub view: View<'a>,
    /// The windows.
    pub windows: Windows,
    /// What came out.
    pub output: &'a [f32],
    /// The gradient with respect to that.
    pub gradient: &'a [f32],
    /// The gradient with respect to what was read of the image, which this is added to.
    pub image_gradient: &'a mut [f32],
}

impl MaxPoolGradient<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths do not match the windows.
    pub fn run(self, instructions: Instructions) {
        self.windows.check(self.image.len(), self.output.len());
        self.windows.check(self.image_gradient.len(), self.gradient.len());
        self.view.check(self.windows.channels);
        instructions.run(self);
    }
}

impl Kernel for MaxPoolGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Windows { extent, channels, .. } = self.windows;
        let zero = lanes.splat(0.0);
        for channel in (0..channels).step_by(L::COUNT) {
            let lane_view = self.view.lane_view(lanes, channel);
            self.windows.each(|at, rows, columns| {
                let best = lanes.load(&self.output[at + channel..]);
                let mut left = lanes.load(&self.gradient[at + channel..]);
                for row in rows {
                    for column in columns.clone() {
                        let at = (row * extent[1] + column) * channels + channel;
                        let value = lane_view.read(lanes, lanes.load(&self.image[at..]));
                        let to = &mut self.image_gradient[at..];
                        let taken = lanes.select_less(value, best, zero, left);
                        left = lanes.select_less(value, best, left, zero);
                        lanes.store(to, lanes.add(lanes.load(to), taken));
                    }
                }
            });
        }
    }
}

/// The mean of every channel of an image.
#[derive(Debug)]
pub struct Average<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// How its values are read.
    pub view: View<'a>,
    /// A value a channel.
    pub output: &'a mut [f32],
}

impl Average<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the image is empty or its length is not a multiple of the number of channels.
    pub fn run(self, instructions: Instructions) {
        let channels = self.output.len();
        self.view.check(channels);
        assert!(
            channels > 0 && !self.image.is_empty() && self.image.len().is_multiple_of(channels),
            "pixels of {channels} channels"
        );
        instructions.run(self);
    }
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let channels = self.output.len();
        let share = lanes.splat(((self.image.len() / channels) as f32).recip());
        for channel in (0..channels).step_by(L::COUNT) {
            let lane_view = self.view.lane_view(lanes, channel);
            let mut sum = lanes.splat(0.0);
            for pixel in self.image.chunks_exact(channels) {
                sum = lanes.add(sum, lane_view.read(lanes, lanes.load(&pixel[channel..])));
            }
            lanes.store(&mut self.output[channel..], lanes.multiply(sum, share));
        }
    }
}

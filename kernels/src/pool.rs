//! Pooling: the largest value of each window, or the mean of all pixels.

use crate::lanes::{BLOCK, Instructions, Kernel, Lanes};
use crate::view::View;
use std::ops::Range;

/// The windows of a max pooling over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of the image.
    pub extent: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// Padding on every side of the image. It never holds the largest value.
    pub padding: usize,
    /// Channels per pixel.
    pub channels: usize,
}

impl Windows {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        let along = |i: usize| (self.extent[i] + 2 * self.padding - self.kernel[i]) / self.stride + 1;
        [along(0), along(1)]
    }

    fn check(&self, image: usize, output: usize) {
        assert!(
            self.stride > 0 && self.kernel[0] > 0 && self.kernel[1] > 0,
            "windows have a positive extent and stride"
        );
        // Every window covers a pixel then.
        assert!(self.kernel.iter().all(|kernel| self.padding <= kernel / 2), "the padding is at most half a window");
        let fits = |i: usize| self.kernel[i] <= self.extent[i] + 2 * self.padding;
        assert!(self.extent[0] > 0 && self.extent[1] > 0 && fits(0) && fits(1), "a window fits into the padded image");
        assert_eq!(self.channels % BLOCK, 0, "the channels are in blocks of {BLOCK}");
        assert_eq!(image, self.extent[0] * self.extent[1] * self.channels, "the image has all its pixels");
        let [rows, columns] = self.output();
        assert_eq!(output, rows * columns * self.channels, "one output pixel per window");
    }

    /// Calls `f` with the index of every output pixel and with the rows and columns of the image that its window covers.
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

/// The largest value of each window. NaN only if the first value of the window is NaN.
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

/// The gradient of a [`MaxPool`]. The first of the largest values of a window receives the window's gradient.
#[derive(Debug)]
pub struct MaxPoolGradient<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// How its values are read.
    pub view: View<'a>,
    /// The windows.
    pub windows: Windows,
    /// Output of the [`MaxPool`].
    pub output: &'a [f32],
    /// Gradient with respect to the output.
    pub gradient: &'a [f32],
    /// Gradient with respect to the image as it is read; the result is added to it.
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

/// The mean of every channel over all pixels of an image.
#[derive(Debug)]
pub struct Average<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// How its values are read.
    pub view: View<'a>,
    /// One value per channel.
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
            "the image has whole pixels of {channels} channels"
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

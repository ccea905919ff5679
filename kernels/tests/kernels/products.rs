//! Products of windows and weights, and the gradient of the weights.

use crate::{DRAWS, Random, everywhere, place, same};
use plusminus_kernels::{BLOCK, Correlation, Extents, Instructions, OuterSum, Strides};

/// A convolution without padding over contiguous images.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    kernel: usize,
    stride: usize,
    channels: usize,
    outputs: usize,
    /// Extents of the output.
    extents: Extents,
    /// Unused blocks between panels.
    gap: usize,
    accumulate: bool,
}

impl Convolution {
    fn plain(outputs: usize, extents: Extents) -> Self {
        Convolution { kernel: 1, stride: 1, channels: 16, outputs, extents, gap: 0, accumulate: false }
    }

    /// Values per row of a window.
    fn length(&self) -> usize {
        self.kernel * self.channels
    }

    /// Distance between panels of weights.
    fn panel(&self) -> usize {
        (self.kernel * self.length() + self.gap) * BLOCK
    }

    fn weights(&self) -> usize {
        self.panel() * self.outputs / BLOCK
    }

    /// Rows and columns of an input image.
    fn input(&self) -> [usize; 2] {
        [self.extents.rows, self.extents.columns].map(|extent| (extent.max(1) - 1) * self.stride + self.kernel)
    }

    fn x_row(&self) -> usize {
        self.input()[1] * self.channels
    }

    fn x_strides(&self) -> Strides {
        let image = self.input()[0] * self.x_row();
        Strides { image, row: self.stride * self.x_row(), column: self.stride * self.channels }
    }

    fn x(&self) -> usize {
        self.extents.images * self.x_strides().image
    }

    /// Output images have an extra row, column and block of channels, which must keep their values.
    fn y_strides(&self) -> Strides {
        Strides::dense(self.extents.rows + 1, self.extents.columns + 1, self.outputs + BLOCK)
    }

    fn y(&self) -> usize {
        self.extents.images * self.y_strides().image
    }

    /// Calls `f` with the indices in x, weights and y of every product.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (x, y, length) = (self.x_strides(), self.y_strides(), self.length());
        for image in 0..self.extents.images {
            for row in 0..self.extents.rows {
                for column in 0..self.extents.columns {
                    let [x, y] = [x, y].map(|s| image * s.image + row * s.row + column * s.column);
                    for value in 0..self.kernel * length {
                        let x = x + value / length * self.x_row() + value % length;
                        for output in 0..self.outputs {
                            f(x, place(self.panel(), value, output), y + output);
                        }
                    }
                }
            }
        }
    }

    fn correlate(&self, x: &[f32], weights: &[f32], y: &[f32], instructions: Instructions) -> Vec<f32> {
        let mut y = y.to_vec();
        Correlation {
            extents: self.extents,
            x,
            x_strides: self.x_strides(),
            rows: self.kernel,
            row: self.x_row(),
            length: self.length(),
            weights,
            panel: self.panel(),
            outputs: self.outputs,
            y: &mut y,
            y_strides: self.y_strides(),
            accumulate: self.accumulate,
        }
        .run(instructions);
        y
    }

    fn sum(&self, x: &[f32], d: &[f32], weights: &[f32], instructions: Instructions) -> Vec<f32> {
        let mut weights = weights.to_vec();
        OuterSum {
            extents: self.extents,
            x,
            x_strides: self.x_strides(),
            rows: self.kernel,
            row: self.x_row(),
            length: self.length(),
            d,
            d_strides: self.y_strides(),
            weights: &mut weights,
            panel: self.panel(),
            outputs: self.outputs,
        }
        .run(instructions);
        weights
    }

    /// Compares both kernels with their definitions.
    fn check(&self) {
        for (draw, exact) in DRAWS {
            let mut random = Random(self.weights() as u64);
            let (x, weights, y) =
                (draw(&mut random, self.x()), draw(&mut random, self.weights()), draw(&mut random, self.y()));
            let forward = everywhere(self, |instructions| self.correlate(&x, &weights, &y, instructions));
            let backward = everywhere(self, |instructions| self.sum(&x, &y, &weights, instructions));
            if exact {
                let (mut outputs, mut sums) = (y.clone(), weights.clone());
                if !self.accumulate {
                    self.each(|_, _, at| outputs[at] = 0.0);
                }
                self.each(|x_at, weight, at| {
                    outputs[at] += x[x_at] * weights[weight];
                    sums[weight] += x[x_at] * y[at];
                });
                same(self, &forward, &outputs);
                same(("sum", self), &backward, &sums);
            }
        }
    }
}

const OUTPUTS: [usize; 6] = [16, 32, 48, 64, 80, 112];

#[test]
fn products_match_their_definition_for_all_kernels_strides_and_channels() {
    let mut random = Random(1);
    for kernel in [1, 3, 5] {
        for stride in 1..=3 {
            for channels in [1, 3, 16, 20, 48] {
                for outputs in OUTPUTS {
                    let [images, rows, columns] = [1 + random.below(2), 1 + random.below(3), 1 + random.below(6)];
                    let (gap, accumulate) = (random.below(2), random.below(2) == 1);
                    let extents = Extents { images, rows, columns };
                    Convolution { kernel, stride, channels, outputs, extents, gap, accumulate }.check();
                }
            }
        }
    }
}

#[test]
fn products_match_their_definition_for_all_numbers_of_pixels() {
    for outputs in OUTPUTS {
        for pixels in 1..=40 {
            Convolution::plain(outputs, Extents::matrix(pixels)).check();
            let accumulate = pixels % 3 == 0;
            // The same number of pixels in several images and rows, so that tiles span their ends.
            for parts in (2..=4).filter(|parts| pixels % parts == 0) {
                let extents = Extents { images: parts, rows: 1, columns: pixels / parts };
                Convolution { accumulate, ..Convolution::plain(outputs, extents) }.check();
                let extents = Extents { images: 1, rows: parts, columns: pixels / parts };
                Convolution { accumulate, ..Convolution::plain(outputs, extents) }.check();
            }
        }
    }
}

#[test]
fn products_match_their_definition_for_all_window_lengths() {
    for channels in 1..=40 {
        for outputs in [16, 48, 64] {
            Convolution { channels, ..Convolution::plain(outputs, Extents::matrix(3)) }.check();
        }
    }
}

/// Windows long enough to be processed in parts, and images large enough to be processed in strips.
#[test]
fn products_match_their_definition_for_long_windows_and_large_images() {
    for (kernel, channels) in [(1, 767), (1, 768), (1, 769), (1, 1536), (1, 1600), (3, 300)] {
        for accumulate in [false, true] {
            let plain = Convolution::plain(80, Extents::matrix(13));
            Convolution { kernel, channels, accumulate, gap: 1, ..plain }.check();
        }
    }
    for (kernel, extents) in [(1, [2, 40, 40]), (3, [2, 30, 31]), (5, [1, 17, 90])] {
        let [images, rows, columns] = extents;
        let extents = Extents { images, rows, columns };
        Convolution { kernel, channels: 20, ..Convolution::plain(48, extents) }.check();
    }
}

#[test]
fn empty_products_change_nothing() {
    for extents in [Extents { images: 0, rows: 2, columns: 2 }, Extents { images: 1, rows: 1, columns: 0 }] {
        Convolution { kernel: 3, ..Convolution::plain(16, extents) }.check();
    }
    Convolution::plain(0, Extents::matrix(3)).check();
}

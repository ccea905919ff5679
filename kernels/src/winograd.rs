//! 3×3 convolutions with stride 1 by Winograd's minimal filtering F(2×2, 3×3): Lavin & Gray 2016, §4.1.
//!
//! A tile of 2×2 outputs takes 16 multiplications per pair of channels, the definition 36. With kernel g, the 4×4 inputs d of a tile and
//! its outputs Y, Y = Aᵀ \[(G g Gᵀ) ⊙ (Bᵀ d B)\] A. The product ⊙, summed over input channels, is 16 matrix products, one for each of the
//! 4×4 places f (a [`crate::Correlation`]). The gradients are the adjoints of the steps:
//! dM = A dY Aᵀ, dU = Vᵀ dM and dV = dM Uᵀ for each place, dg = Gᵀ dU G and dd = B dV Bᵀ.
//!
//! Transforms are stored as \[place f, tile, channel\], with [`Tiles::place`] values per place.

use crate::lanes::{BLOCK, Instructions, Kernel, Lanes, array};
use std::ops::Range;

/// Places of a transformed 4×4 tile.
pub const PLACES: usize = 16;

/// A range of rows of an image's tiles, and their position in the transform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Rows of tiles. Tile row r computes the output rows 2r and 2r + 1.
    pub rows: Range<usize>,
    /// Tiles per row.
    pub columns: usize,
    /// Index of the first tile in the transform.
    pub first: usize,
    /// Values per place of the transform.
    pub place: usize,
}

impl Tiles {
    fn count(&self) -> usize {
        self.rows.len() * self.columns
    }

    /// Panics unless an image of `image` values, including its border, contains the inputs of every tile.
    fn check_inputs(&self, image: usize, row: usize, channels: usize) {
        let within = (2 * self.columns + 2) * channels <= row && (2 * self.rows.end + 2) * row <= image;
        assert!(within, "every tile lies within the image and its border");
    }

    /// Panics unless every tile has an output in an image of this extent.
    fn check_outputs(&self, [height, width]: [usize; 2]) {
        let within = 2 * self.columns <= width + 1 && 2 * self.rows.end <= height + 1;
        assert!(within, "every tile lies within the image");
    }

    fn check(&self, transform: usize, channels: usize) {
        assert_eq!(channels % BLOCK, 0, "the channels are in blocks of {BLOCK}");
        assert!((self.first + self.count()) * channels <= self.place, "every tile lies within its place");
        assert!(PLACES * self.place <= transform, "every place lies within the transform");
    }
}

type Four<B> = [B; 4];

/// Applies f to every column and then to every row of a 4×4 matrix.
#[inline(always)]
fn both<L: Lanes>(x: [Four<L::Vector>; 4], f: impl Fn(Four<L::Vector>) -> Four<L::Vector>) -> [Four<L::Vector>; 4] {
    let columns: [Four<L::Vector>; 4] = array(|j| f([x[0][j], x[1][j], x[2][j], x[3][j]]));
    array(|i| f([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]))
}

/// Computes Bᵀ d B for tiles of an image whose rows have at least 2 · columns + 2 pixels. The tile in row r and column c reads the pixels
/// from (2r, 2c) on.
#[derive(Debug)]
pub struct InputTransform<'a> {
    /// The image, including its border of zeros.
    pub image: &'a [f32],
    /// Distance between rows, in values.
    pub row: usize,
    /// Channels per pixel.
    pub channels: usize,
    /// The tiles to transform.
    pub tiles: Tiles,
    /// The output.
    pub transform: &'a mut [f32],
}

impl InputTransform<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a tile lies outside the image or the transform.
    pub fn run(self, instructions: Instructions) {
        self.tiles.check(self.transform.len(), self.channels);
        self.tiles.check_inputs(self.image.len(), self.row, self.channels);
        instructions.run(self);
    }
}

impl Kernel for InputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tiles { rows, columns, first, place } = self.tiles;
        let width = (2 * columns + 2) * self.channels;
        let mut at = first * self.channels;
        for row in rows {
            let image: [&[f32]; 4] = array(|i| &self.image[(2 * row + i) * self.row..][..width]);
            for column in 0..columns {
                for channel in (0..self.channels).step_by(L::COUNT) {
                    let from = 2 * column * self.channels + channel;
                    let d: [Four<L::Vector>; 4] =
                        array(|i| array(|j| lanes.load(&image[i][from + j * self.channels..])));
                    let v = both::<L>(d, |[a, b, c, d]| {
                        [lanes.subtract(a, c), lanes.add(b, c), lanes.subtract(c, b), lanes.subtract(b, d)]
                    });
                    scatter(lanes, v, self.transform, at, place);
                    at += L::COUNT;
                }
            }
        }
    }
}

/// The gradient of an [`InputTransform`]: adds B dV Bᵀ to the image, where tiles overlap.
#[derive(Debug)]
pub struct InputGradient<'a> {
    /// Gradient with respect to the transform.
    pub transform: &'a [f32],
    /// The tiles to transform.
    pub tiles: Tiles,
    /// Channels per pixel.
    pub channels: usize,
    /// Gradient with respect to the image including its border; the result is added to it.
    pub image: &'a mut [f32],
    /// Distance between rows, in values.
    pub row: usize,
}

impl InputGradient<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a tile lies outside the image or the transform.
    pub fn run(self, instructions: Instructions) {
        self.tiles.check(self.transform.len(), self.channels);
        self.tiles.check_inputs(self.image.len(), self.row, self.channels);
        instructions.run(self);
    }
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tiles { rows, columns, first, place } = self.tiles;
        let mut at = first * self.channels;
        for row in rows {
            for column in 0..columns {
                for channel in (0..self.channels).step_by(L::COUNT) {
                    let v = gather(lanes, self.transform, at, place);
                    let d = both::<L>(v, |[a, b, c, d]| {
                        let middle = lanes.add(lanes.subtract(b, c), d);
                        [a, middle, lanes.subtract(lanes.add(b, c), a), lanes.subtract(lanes.splat(0.0), d)]
                    });
                    for (i, d) in d.iter().enumerate() {
                        let from = (2 * row + i) * self.row + 2 * column * self.channels + channel;
                        for (j, d) in d.iter().enumerate() {
                            let to = &mut self.image[from + j * self.channels..];
                            lanes.store(to, lanes.add(lanes.load(to), *d));
                        }
                    }
                    at += L::COUNT;
                }
            }
        }
    }
}

/// Computes Aᵀ M A, the outputs of tiles. A tile at the edge may exceed the image by one row or column.
#[derive(Debug)]
pub struct OutputTransform<'a> {
    /// The sums of products per place.
    pub transform: &'a [f32],
    /// The tiles to transform.
    pub tiles: Tiles,
    /// Rows and columns of the output image.
    pub extent: [usize; 2],
    /// Channels per pixel.
    pub channels: usize,
    /// The output image, contiguous.
    pub image: &'a mut [f32],
}

impl OutputTransform<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a tile lies outside the image or the transform.
    pub fn run(self, instructions: Instructions) {
        self.tiles.check(self.transform.len(), self.channels);
        self.tiles.check_outputs(self.extent);
        assert_eq!(self.image.len(), self.extent[0] * self.extent[1] * self.channels, "the image has all its pixels");
        instructions.run(self);
    }
}

impl Kernel for OutputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tiles { rows, columns, first, place } = self.tiles;
        let [height, width] = self.extent;
        let mut at = first * self.channels;
        for row in rows {
            for column in 0..columns {
                for channel in (0..self.channels).step_by(L::COUNT) {
                    let m = gather(lanes, self.transform, at, place);
                    let halve = |[a, b, c, d]: Four<L::Vector>| {
                        [lanes.add(lanes.add(a, b), c), lanes.subtract(lanes.subtract(b, c), d)]
                    };
                    let columns: [[L::Vector; 2]; 4] = array(|j| halve([m[0][j], m[1][j], m[2][j], m[3][j]]));
                    for i in 0..2.min(height - 2 * row) {
                        let y = halve([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                        let to = ((2 * row + i) * width + 2 * column) * self.channels + channel;
                        for j in 0..2.min(width - 2 * column) {
                            lanes.store(&mut self.image[to + j * self.channels..], y[j]);
                        }
                    }
                    at += L::COUNT;
                }
            }
        }
    }
}

/// The gradient of an [`OutputTransform`]: A dY Aᵀ. Rows and columns beyond the image count as zeros.
#[derive(Debug)]
pub struct OutputGradient<'a> {
    /// Gradient with respect to the outputs, contiguous.
    pub image: &'a [f32],
    /// Rows and columns of the output image.
    pub extent: [usize; 2],
    /// Channels per pixel.
    pub channels: usize,
    /// The tiles to transform.
    pub tiles: Tiles,
    /// The output.
    pub transform: &'a mut [f32],
}

impl OutputGradient<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a tile lies outside the image or the transform.
    pub fn run(self, instructions: Instructions) {
        self.tiles.check(self.transform.len(), self.channels);
        self.tiles.check_outputs(self.extent);
        assert_eq!(self.image.len(), self.extent[0] * self.extent[1] * self.channels, "the image has all its pixels");
        instructions.run(self);
    }
}

impl Kernel for OutputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tiles { rows, columns, first, place } = self.tiles;
        let [height, width] = self.extent;
        let zero = lanes.splat(0.0);
        let mut at = first * self.channels;
        for row in rows {
            for column in 0..columns {
                for channel in (0..self.channels).step_by(L::COUNT) {
                    let y: [[L::Vector; 2]; 2] = array(|i| {
                        array(|j| {
                            let (y, x) = (2 * row + i, 2 * column + j);
                            if y < height && x < width {
                                lanes.load(&self.image[(y * width + x) * self.channels + channel..])
                            } else {
                                zero
                            }
                        })
                    });
                    let double =
                        |[a, b]: [L::Vector; 2]| [a, lanes.add(a, b), lanes.subtract(a, b), lanes.subtract(zero, b)];
                    let columns = [double([y[0][0], y[1][0]]), double([y[0][1], y[1][1]])];
                    let m: [Four<L::Vector>; 4] = array(|i| double([columns[0][i], columns[1][i]]));
                    scatter(lanes, m, self.transform, at, place);
                    at += L::COUNT;
                }
            }
        }
    }
}

/// Computes G g Gᵀ of kernels, as panels of weights for each place.
#[derive(Debug)]
pub struct KernelTransform<'a> {
    /// Panels of 3 · 3 · `inputs` · [`BLOCK`] weights.
    pub kernels: &'a [f32],
    /// Input channels.
    pub inputs: usize,
    /// For each place, panels of `inputs` · [`BLOCK`] weights; if `transposed`, panels of outputs · [`BLOCK`] inputs.
    pub transform: &'a mut [f32],
    /// Exchanges inputs and outputs, as the gradient with respect to the input requires.
    pub transposed: bool,
}

impl KernelTransform<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths do not match.
    pub fn run(self, instructions: Instructions) {
        assert_eq!(self.kernels.len() % (9 * self.inputs * BLOCK), 0, "whole panels of 3×3×{} kernels", self.inputs);
        assert_eq!(self.transform.len(), self.kernels.len() / 9 * PLACES, "the transform matches the kernels");
        assert!(!self.transposed || self.inputs.is_multiple_of(BLOCK), "the input channels are in blocks of {BLOCK}");
        instructions.run(self);
    }
}

impl Kernel for KernelTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let place = self.transform.len() / PLACES;
        let outputs = place / self.inputs;
        let half = lanes.splat(0.5);
        let spread = |[a, b, c]: [L::Vector; 3]| {
            let ends = lanes.add(a, c);
            let [sum, difference] = [lanes.add(ends, b), lanes.subtract(ends, b)];
            [a, lanes.multiply(half, sum), lanes.multiply(half, difference), c]
        };
        let transform = |g: [[L::Vector; 3]; 3]| -> [Four<L::Vector>; 4] {
            let columns: [Four<L::Vector>; 3] = array(|j| spread([g[0][j], g[1][j], g[2][j]]));
            array(|i| spread([columns[0][i], columns[1][i], columns[2][i]]))
        };
        for (panel, kernels) in self.kernels.chunks_exact(9 * self.inputs * BLOCK).enumerate() {
            let tap = |tap: usize, input: usize| &kernels[(tap * self.inputs + input) * BLOCK..][..BLOCK];
            if !self.transposed {
                for input in 0..self.inputs {
                    for lane in (0..BLOCK).step_by(L::COUNT) {
                        let g = array(|i| array(|j| lanes.load(&tap(3 * i + j, input)[lane..])));
                        let at = (panel * self.inputs + input) * BLOCK + lane;
                        scatter(lanes, transform(g), self.transform, at, place);
                    }
                }
                continue;
            }
            for first in (0..self.inputs).step_by(BLOCK) {
                // For each tap a block of inputs × outputs, transposed.
                let mut turned = [[[0.0; BLOCK]; BLOCK]; 9];
                for (t, turned) in turned.iter_mut().enumerate() {
                    for input in 0..BLOCK {
                        let from = tap(t, first + input);
                        for output in 0..BLOCK {
                            turned[output][input] = from[output];
                        }
                    }
                }
                for output in 0..BLOCK {
                    for lane in (0..BLOCK).step_by(L::COUNT) {
                        let g = array(|i| array(|j| lanes.load(&turned[3 * i + j][output][lane..])));
                        let at = first * outputs + (panel * BLOCK + output) * BLOCK + lane;
                        scatter(lanes, transform(g), self.transform, at, place);
                    }
                }
            }
        }
    }
}

/// The gradient of a [`KernelTransform`] without `transposed`: Gᵀ dU G.
#[derive(Debug)]
pub struct KernelGradient<'a> {
    /// Gradient with respect to the transform.
    pub transform: &'a [f32],
    /// Input channels.
    pub inputs: usize,
    /// Gradient with respect to the kernels, in panels of 3 · 3 · `inputs` · [`BLOCK`].
    pub kernels: &'a mut [f32],
}

impl KernelGradient<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths do not match.
    pub fn run(self, instructions: Instructions) {
        assert_eq!(self.kernels.len() % (9 * self.inputs * BLOCK), 0, "whole panels of 3×3×{} kernels", self.inputs);
        assert_eq!(self.transform.len(), self.kernels.len() / 9 * PLACES, "the transform matches the kernels");
        instructions.run(self);
    }
}

impl Kernel for KernelGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let place = self.transform.len() / PLACES;
        let half = lanes.splat(0.5);
        let gather3 = |[a, b, c, d]: Four<L::Vector>| {
            let sum = lanes.multiply(half, lanes.add(b, c));
            [lanes.add(a, sum), lanes.multiply(half, lanes.subtract(b, c)), lanes.add(sum, d)]
        };
        for (panel, kernels) in self.kernels.chunks_exact_mut(9 * self.inputs * BLOCK).enumerate() {
            for at in (0..self.inputs * BLOCK).step_by(L::COUNT) {
                let u = gather(lanes, self.transform, panel * self.inputs * BLOCK + at, place);
                let columns: [[L::Vector; 3]; 4] = array(|j| gather3([u[0][j], u[1][j], u[2][j], u[3][j]]));
                for i in 0..3 {
                    let g = gather3([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                    for (j, g) in g.into_iter().enumerate() {
                        lanes.store(&mut kernels[(3 * i + j) * self.inputs * BLOCK + at..], g);
                    }
                }
            }
        }
    }
}

/// Loads the 16 places of a tile.
#[inline(always)]
fn gather<L: Lanes>(lanes: L, transform: &[f32], at: usize, place: usize) -> [Four<L::Vector>; 4] {
    array(|i| array(|j| lanes.load(&transform[at + (4 * i + j) * place..])))
}

/// Stores the 16 places of a tile.
#[inline(always)]
fn scatter<L: Lanes>(lanes: L, tile: [Four<L::Vector>; 4], transform: &mut [f32], at: usize, place: usize) {
    for (i, row) in tile.into_iter().enumerate() {
        for (j, value) in row.into_iter().enumerate() {
            lanes.store(&mut transform[at + (4 * i + j) * place..], value);
        }
    }
}

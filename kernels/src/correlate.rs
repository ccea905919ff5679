//! Windows of images times a matrix of weights: convolutions, their gradients with respect to the input, and matrix products.

use crate::grid::{Extents, Strides, Walk, check_product};
use crate::lanes::{BLOCK, Instructions, Kernel, Lanes, array};
use std::ops::Range;

/// Values of a window to process before the next ones, so that the panels of weights in use stay in the cache. The sums continue where
/// they stopped, so the results do not depend on it.
const DEPTH: usize = 768;

/// For every pixel p and output o: y\[p, o\] = Σ x\[window of p\] · w\[·, o\], or += if `accumulate` is set.
///
/// A window consists of `rows` pieces of `length` values, `row` values apart: k rows of k·c values for a k×k convolution over images with
/// c channels, or one piece for a matrix product. Weights are stored in panels of [`BLOCK`] outputs, as \[panel, row, value, output\].
/// Sums follow this order with all instruction sets.
#[derive(Debug)]
pub struct Correlation<'a> {
    /// The output pixels.
    pub extents: Extents,
    /// The images that windows are cut from.
    pub x: &'a [f32],
    /// Distances between the windows of neighbouring pixels.
    pub x_strides: Strides,
    /// Pieces per window.
    pub rows: usize,
    /// Distance between pieces, in values.
    pub row: usize,
    /// Values per piece.
    pub length: usize,
    /// Panels of rows · length · [`BLOCK`] weights.
    pub weights: &'a [f32],
    /// Distance between panels, in values.
    pub panel: usize,
    /// Outputs per pixel, a multiple of [`BLOCK`]: one panel per block.
    pub outputs: usize,
    /// The output.
    pub y: &'a mut [f32],
    /// Distances between output pixels.
    pub y_strides: Strides,
    /// Adds to y; otherwise overwrites it.
    pub accumulate: bool,
}

impl Correlation<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a window, a weight or an output lies outside its slice.
    pub fn run(self, instructions: Instructions) {
        let Self { extents, x, x_strides, rows, row, length, panel, outputs, .. } = self;
        check_product((x, x_strides, extents), [rows, row, length], (self.weights, panel, outputs));
        if extents.pixels() == 0 || outputs == 0 {
            return;
        }
        assert!(self.y_strides.last(self.extents) + self.outputs <= self.y.len(), "every output lies within y");
        instructions.run(self);
    }
}

impl Kernel for Correlation<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let outputs = self.outputs;
        // A part of a window is all its rows, or a range of its only row.
        let depth = if self.rows == 1 { DEPTH } else { self.length };
        for start in (0..self.length).step_by(depth) {
            let part = start..self.length.min(start + depth);
            let mut output = 0;
            while output < outputs {
                let left = (outputs - output) / BLOCK;
                output += match (L::WIDE, L::COUNT) {
                    (true, _) if left >= 4 => self.strip::<L, 6, 4>(lanes, output, part.clone()),
                    (true, _) if left >= 2 => self.strip::<L, 8, 2>(lanes, output, part.clone()),
                    (true, _) => self.strip::<L, 12, 1>(lanes, output, part.clone()),
                    (false, 8) => self.strip::<L, 6, 2>(lanes, output, part.clone()),
                    (false, _) => self.strip::<L, 4, 4>(lanes, output, part.clone()),
                };
            }
            self.accumulate = true;
        }
    }
}

impl Correlation<'_> {
    /// Computes V vectors of outputs for all pixels, P pixels at a time.
    #[inline(always)]
    fn strip<L: Lanes, const P: usize, const V: usize>(
        &mut self,
        lanes: L,
        output: usize,
        part: Range<usize>,
    ) -> usize {
        let mut walk = Walk::new(self.extents, [self.x_strides, self.y_strides]);
        let mut left = self.extents.pixels();
        while left > 0 {
            left -= match left {
                left if left >= P => self.tile::<L, P, V>(lanes, &mut walk, output, part.clone()),
                4.. => self.tile::<L, 4, V>(lanes, &mut walk, output, part.clone()),
                2.. => self.tile::<L, 2, V>(lanes, &mut walk, output, part.clone()),
                _ => self.tile::<L, 1, V>(lanes, &mut walk, output, part.clone()),
            };
        }
        V * L::COUNT
    }

    /// Computes V vectors of outputs for P pixels, with all sums in registers.
    #[inline(always)]
    fn tile<L: Lanes, const P: usize, const V: usize>(
        &mut self,
        lanes: L,
        walk: &mut Walk,
        output: usize,
        part: Range<usize>,
    ) -> usize {
        let at: [[usize; 2]; P] = array(|_| walk.next());
        let mut sums = [[lanes.splat(0.0); V]; P];
        if self.accumulate {
            for p in 0..P {
                let y = &self.y[at[p][1] + output..][..V * L::COUNT];
                sums[p] = array(|v| lanes.load(&y[v * L::COUNT..]));
            }
        }
        let count = part.len();
        for row in 0..self.rows {
            let from = row * self.row + part.start;
            let x: [&[f32]; P] = array(|p| &self.x[at[p][0] + from..][..count]);
            let w: [&[[f32; BLOCK]]; V] = array(|v| {
                let panel = (output + v * L::COUNT) / BLOCK;
                let first = panel * (self.panel / BLOCK) + row * self.length + part.start;
                &self.weights.as_chunks::<BLOCK>().0[first..][..count]
            });
            for k in 0..count {
                let w: [L::Vector; V] = array(|v| lanes.load(&w[v][k][(v * L::COUNT) % BLOCK..]));
                for p in 0..P {
                    let x = lanes.splat(x[p][k]);
                    for v in 0..V {
                        sums[p][v] = lanes.multiply_add(x, w[v], sums[p][v]);
                    }
                }
            }
        }
        for p in 0..P {
            let y = &mut self.y[at[p][1] + output..][..V * L::COUNT];
            for v in 0..V {
                lanes.store(&mut y[v * L::COUNT..], sums[p][v]);
            }
        }
        P
    }
}

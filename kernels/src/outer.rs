//! Sums of outer products over pixels: gradients with respect to weights.

use crate::grid::{Extents, Strides, check_product};
use crate::lanes::{BLOCK, Instructions, Kernel, Lanes, array};
use std::ops::Range;

/// w\[·, o\] += Σ over pixels p: x\[window of p\] · d\[p, o\]. This is the gradient of a [`Correlation`](crate::Correlation) with respect to
/// its weights, stored in the same panels.
#[derive(Debug)]
pub struct OuterSum<'a> {
    /// The pixels to sum over.
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
    /// Gradient with respect to the outputs.
    pub d: &'a [f32],
    /// Distances between the gradients of neighbouring pixels.
    pub d_strides: Strides,
    /// Panels of rows · length · [`BLOCK`] sums.
    pub weights: &'a mut [f32],
    /// Distance between panels, in values.
    pub panel: usize,
    /// Outputs per pixel, a multiple of [`BLOCK`]: one panel per block.
    pub outputs: usize,
}

impl OuterSum<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if a window, a weight or an output lies outside its slice.
    pub fn run(self, instructions: Instructions) {
        let Self { extents, x, x_strides, rows, row, length, panel, outputs, .. } = self;
        check_product((x, x_strides, extents), [rows, row, length], (&*self.weights, panel, outputs));
        if extents.pixels() == 0 || outputs == 0 {
            return;
        }
        assert!(self.d_strides.last(self.extents) + self.outputs <= self.d.len(), "every gradient lies within d");
        instructions.run(self);
    }
}

impl Kernel for OuterSum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let outputs = self.outputs;
        // Rows are processed in strips, so that their x and d stay in the first-level cache during the pass over all weights.
        let touched = self.extents.columns * (self.x_strides.column.min(self.length) + outputs);
        let strip = (STRIP / touched.max(1)).clamp(1, self.extents.rows);
        for image in 0..self.extents.images {
            for first in (0..self.extents.rows).step_by(strip) {
                let rows = first..self.extents.rows.min(first + strip);
                let mut output = 0;
                while output < outputs {
                    let left = (outputs - output) / BLOCK;
                    output += match (L::WIDE, L::COUNT) {
                        (true, _) if left >= 4 => self.strip::<L, 4, 4>(lanes, output, image, rows.clone()),
                        (true, _) if left >= 2 => self.strip::<L, 8, 2>(lanes, output, image, rows.clone()),
                        (true, _) => self.strip::<L, 16, 1>(lanes, output, image, rows.clone()),
                        (false, 8) => self.strip::<L, 6, 2>(lanes, output, image, rows.clone()),
                        (false, _) => self.strip::<L, 4, 4>(lanes, output, image, rows.clone()),
                    };
                }
            }
        }
    }
}

/// Values of x and d per strip.
const STRIP: usize = 6 * 1024;

impl OuterSum<'_> {
    /// Updates V vectors of outputs, C values of the window at a time.
    #[inline(always)]
    fn strip<L: Lanes, const C: usize, const V: usize>(
        &mut self,
        lanes: L,
        output: usize,
        image: usize,
        rows: Range<usize>,
    ) -> usize {
        for piece in 0..self.rows {
            let mut value = 0;
            while value < self.length {
                let at = [output, piece, value, image];
                value += match self.length - value {
                    left if left >= C => self.tile::<L, C, V>(lanes, at, rows.clone()),
                    4.. => self.tile::<L, 4, V>(lanes, at, rows.clone()),
                    2.. => self.tile::<L, 2, V>(lanes, at, rows.clone()),
                    _ => self.tile::<L, 1, V>(lanes, at, rows.clone()),
                };
            }
        }
        V * L::COUNT
    }

    /// Updates C values of the window times V vectors of outputs from a strip of an image, with all sums in registers.
    #[inline(always)]
    fn tile<L: Lanes, const C: usize, const V: usize>(
        &mut self,
        lanes: L,
        [output, piece, value, image]: [usize; 4],
        rows: Range<usize>,
    ) -> usize {
        // Index of the first sum of vector v. Its C rows are BLOCK values apart.
        let place = |v: usize| {
            let output = output + v * L::COUNT;
            output / BLOCK * self.panel + (piece * self.length + value) * BLOCK + output % BLOCK
        };
        let mut sums = [[lanes.splat(0.0); V]; C];
        for v in 0..V {
            let weights = &self.weights[place(v)..][..(C - 1) * BLOCK + L::COUNT];
            for c in 0..C {
                sums[c][v] = lanes.load(&weights[c * BLOCK..]);
            }
        }
        for row in rows {
            let mut x = image * self.x_strides.image + row * self.x_strides.row + piece * self.row + value;
            let mut d = image * self.d_strides.image + row * self.d_strides.row + output;
            for _ in 0..self.extents.columns {
                let x_values = &self.x[x..][..C];
                let d_values = &self.d[d..][..V * L::COUNT];
                let d_vectors: [L::Vector; V] = array(|v| lanes.load(&d_values[v * L::COUNT..]));
                for c in 0..C {
                    let x = lanes.splat(x_values[c]);
                    for v in 0..V {
                        sums[c][v] = lanes.multiply_add(x, d_vectors[v], sums[c][v]);
                    }
                }
                x += self.x_strides.column;
                d += self.d_strides.column;
            }
        }
        for v in 0..V {
            let weights = &mut self.weights[place(v)..][..(C - 1) * BLOCK + L::COUNT];
            for c in 0..C {
                lanes.store(&mut weights[c * BLOCK..], sums[c][v]);
            }
        }
        C
    }
}

//! Positions of pixels in a slice.

use crate::lanes::BLOCK;

/// Extents of a loop over pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Number of images.
    pub images: usize,
    /// Rows per image.
    pub rows: usize,
    /// Pixels per row.
    pub columns: usize,
}

impl Extents {
    /// The rows of a matrix, one pixel each.
    pub fn matrix(rows: usize) -> Self {
        Extents { images: 1, rows: 1, columns: rows }
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.images * self.rows * self.columns
    }
}

/// Distances between neighbouring images, rows and pixels, in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Distance between images.
    pub image: usize,
    /// Distance between rows.
    pub row: usize,
    /// Distance between pixels.
    pub column: usize,
}

impl Strides {
    /// Distances in contiguous images of `rows` × `columns` pixels with `channels` values.
    pub fn dense(rows: usize, columns: usize, channels: usize) -> Self {
        Strides { image: rows * columns * channels, row: columns * channels, column: channels }
    }

    /// Distances in a contiguous matrix with `columns` columns.
    pub fn matrix(columns: usize) -> Self {
        Strides { image: 0, row: 0, column: columns }
    }

    /// The largest offset within a loop over `extents`; 0 if the loop is empty.
    pub(crate) fn last(&self, extents: Extents) -> usize {
        if extents.pixels() == 0 {
            return 0;
        }
        (extents.images - 1) * self.image + (extents.rows - 1) * self.row + (extents.columns - 1) * self.column
    }
}

/// Panics unless a product over windows stays within its slices. The windows have `rows` pieces of `length` values, `row` values apart,
/// from `x`; the panels have `outputs` weights and are `panel` values apart.
pub(crate) fn check_product(
    (x, x_strides, extents): (&[f32], Strides, Extents),
    [rows, row, length]: [usize; 3],
    (weights, panel, outputs): (&[f32], usize, usize),
) {
    assert!(rows * length > 0, "a window has values");
    assert_eq!(outputs % BLOCK, 0, "the outputs are in blocks of {BLOCK}");
    if extents.pixels() == 0 || outputs == 0 {
        return;
    }
    let window = (rows - 1) * row + length;
    assert!(x_strides.last(extents) + window <= x.len(), "every window lies within x");
    let last = (outputs / BLOCK - 1) * panel;
    assert!(last + rows * length * BLOCK <= weights.len(), "every panel lies within the weights");
    assert_eq!(panel % BLOCK, 0, "panels consist of whole blocks");
}

/// An iteration over pixels in row-major order that tracks the offsets in two slices.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    extents: Extents,
    steps: [Strides; 2],
    row: usize,
    column: usize,
    /// Offsets of the current image's first pixel, and of the current pixel.
    image: [usize; 2],
    at: [usize; 2],
}

impl Walk {
    pub fn new(extents: Extents, steps: [Strides; 2]) -> Self {
        Walk { extents, steps, row: 0, column: 0, image: [0; 2], at: [0; 2] }
    }

    /// Returns the offsets of the next pixel. They have no meaning after the last pixel.
    #[inline(always)]
    pub fn next(&mut self) -> [usize; 2] {
        let found = self.at;
        let [x, y] = &self.steps;
        self.column += 1;
        self.at = [found[0] + x.column, found[1] + y.column];
        if self.column == self.extents.columns {
            self.column = 0;
            self.row += 1;
            if self.row == self.extents.rows {
                self.row = 0;
                self.image = [self.image[0] + x.image, self.image[1] + y.image];
            }
            self.at = [self.image[0] + self.row * x.row, self.image[1] + self.row * y.row];
        }
        found
    }
}

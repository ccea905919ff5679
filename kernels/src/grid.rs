//! Where the pixels of some images stand in a slice.

use crate::lanes::BLOCK;

/// The extents of a loop over pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Images.
    pub images: usize,
    /// Rows of each.
    pub rows: usize,
    /// Pixels of each row.
    pub columns: usize,
}

impl Extents {
    /// Rows of a matrix, a pixel each.
    pub fn matrix(rows: usize) -> Self {
        Extents { images: 1, rows: 1, columns: rows }
    }

    /// How many pixels.
    pub fn pixels(&self) -> usize {
        self.images * self.rows * self.columns
    }
}

/// Steps, in values, from an image, row or pixel to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// From an image to the next.
    pub image: usize,
    /// From a row to the next.
    pub row: usize,
    /// From a pixel to the next.
    pub column: usize,
}

impl Steps {
    /// Steps over images of `rows` × `columns` pixels of `channels` values, one after the other.
    pub fn dense(rows: usize, columns: usize, channels: usize) -> Self {
        Steps { image: rows * columns * channels, row: columns * channels, column: channels }
    }

    /// Steps over rows of a matrix.
    pub fn matrix(columns: usize) -> Self {
        Steps { image: 0, row: 0, column: columns }
    }

    /// The largest offset that a loop over `extents` meets; 0 where the loop is empty.
    pub(crate) fn last(&self, extents: Extents) -> usize {
        if extents.pixels() == 0 {
            return 0;
        }
        (extents.images - 1) * self.image + (extents.rows - 1) * self.row + (extents.columns - 1) * self.column
    }
}

/// Checks that a product over windows stays within its slices: `extents` windows of so many `rows` of `length` values, `row` values
/// apart, cut from `x`, times panels of `outputs` weights, `panel` values apart.
pub(crate) fn check_product(
    (x, x_steps, extents): (&[f32], Steps, Extents),
    [rows, row, length]: [usize; 3],
    (weights, panel, outputs): (&[f32], usize, usize),
) {
    assert!(rows * length > 0, "a window has values");
    assert_eq!(outputs % BLOCK, 0, "outputs in blocks of {BLOCK}");
    if extents.pixels() == 0 || outputs == 0 {
        return;
    }
    let window = (rows - 1) * row + length;
    assert!(x_steps.last(extents) + window <= x.len(), "every window lies within x");
    let last = (outputs / BLOCK - 1) * panel;
    assert!(last + rows * length * BLOCK <= weights.len(), "every panel lies within the weights");
    assert_eq!(panel % BLOCK, 0, "panels of whole blocks");
}

/// A walk over pixels, row by row, that counts the offsets in two slices.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    extents: Extents,
    steps: [Steps; 2],
    row: usize,
    column: usize,
    /// The offsets of the first pixel of the image at hand, and of the pixel at hand.
    image: [usize; 2],
    at: [usize; 2],
}

impl Walk {
    pub fn new(extents: Extents, steps: [Steps; 2]) -> Self {
        Walk { extents, steps, row: 0, column: 0, image: [0; 2], at: [0; 2] }
    }

    /// The offsets of the next pixel. After the last one the walk is over, and what it gives has no meaning.
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

//! Crops and flips of an image, as maps from result rows and columns to image rows and columns.
//!
//! Crops and flips move whole rows and columns. So after any sequence of them a result row is one image row or padding, and the rows that
//! are not padding form one range.

use plusminus_core::methods::augment::Augment;
use plusminus_core::methods::dataset::ImageShape;
use rand::{Rng, RngExt};

/// The length of [`ImageTransform::numbers`].
pub(crate) const TRANSFORM_NUMBERS: usize = 8;

/// The map of one axis: which image row (or column) each result row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisTransform {
    /// Result row i shows the image row `first` + `step` · i for `from` ≤ i < `to`, and padding otherwise.
    first: i64,
    step: i64,
    from: i64,
    to: i64,
    extent: i64,
}

impl AxisTransform {
    /// The identity.
    fn new(extent: usize) -> Self {
        let extent = extent as i64;
        AxisTransform { first: 0, step: 1, from: 0, to: extent, extent }
    }

    /// Pads both ends by `padding`, then keeps `extent` rows from `start` on.
    fn cropped(self, padding: usize, start: usize) -> Self {
        let AxisTransform { first, step, from, to, extent } = self;
        // New row i is old row i + along, if that exists.
        let along = start as i64 - padding as i64;
        let (from, to) = ((from.max(0) - along).max(0), (to.min(extent) - along).min(extent));
        if from >= to {
            return AxisTransform { first: 0, step: 1, from: 0, to: 0, extent };
        }
        AxisTransform { first: first + step * along, step, from, to, extent }
    }

    /// Reverses the order.
    fn flipped(self) -> Self {
        let AxisTransform { first, step, from, to, extent } = self;
        AxisTransform { first: first + step * (extent - 1), step: -step, from: extent - to, to: extent - from, extent }
    }

    /// The image row that a result row shows; `None` for padding.
    fn origin(self, row: usize) -> Option<usize> {
        let row = row as i64;
        let inside = (self.from..self.to).contains(&row);
        inside.then(|| usize::try_from(self.first + self.step * row).ok()).flatten()
    }

    /// The image row that each result row shows; `None` for padding.
    fn origins(self) -> Vec<Option<usize>> {
        (0..self.extent as usize).map(|row| self.origin(row)).collect()
    }
}

/// The composition of the crops and flips that augmentation draws for one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTransform {
    /// The map of rows.
    pub rows: AxisTransform,
    /// The map of columns.
    pub columns: AxisTransform,
}

impl ImageTransform {
    /// Draws the parameters of each augmentation in order and composes them.
    pub fn draw(shape: ImageShape, augment: &[Augment], generator: &mut impl Rng) -> Self {
        let (mut rows, mut columns) = (AxisTransform::new(shape.height), AxisTransform::new(shape.width));
        for change in augment {
            match *change {
                Augment::Crop(padding) => {
                    rows = rows.cropped(padding, generator.random_range(0..=2 * padding));
                    columns = columns.cropped(padding, generator.random_range(0..=2 * padding));
                }
                Augment::Flip => {
                    if generator.random::<bool>() {
                        columns = columns.flipped();
                    }
                }
            }
        }
        ImageTransform { rows, columns }
    }

    /// Writes the transformed image to `moved`, with zeros as padding. Both are `[channels, height, width]`.
    pub fn apply(&self, shape: ImageShape, image: &[f32], moved: &mut [f32]) {
        let ImageShape { height, width, .. } = shape;
        let (rows, columns) = (self.rows.origins(), self.columns.origins());
        for (from, to) in image.chunks_exact(height * width).zip(moved.chunks_exact_mut(height * width)) {
            for (row, to) in rows.iter().zip(to.chunks_exact_mut(width)) {
                for (column, to) in columns.iter().zip(to) {
                    *to = row.zip(*column).map_or(0.0, |(row, column)| from[row * width + column]);
                }
            }
        }
    }

    /// Rows, then columns, as {first, step, from, to}: the form that the device's kernels read.
    pub(crate) fn numbers(&self) -> [i32; TRANSFORM_NUMBERS] {
        let ImageTransform { rows, columns } = self;
        // The absolute values are at most twice an extent.
        [rows.first, rows.step, rows.from, rows.to, columns.first, columns.step, columns.from, columns.to]
            .map(|number| number as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reference: pads and cuts a list of positions.
    fn cropped(positions: &[Option<usize>], padding: usize, start: usize) -> Vec<Option<usize>> {
        (start..start + positions.len())
            .map(|at| at.checked_sub(padding).and_then(|at| positions.get(at).copied().flatten()))
            .collect()
    }

    proptest! {
        #[test]
        fn any_sequence_of_crops_and_flips_equals_the_reference(
            extent in 1usize..12,
            changes in prop::collection::vec(prop::option::of((0usize..15, 0usize..31)), 0..6),
        ) {
            let (mut axis, mut positions) = (AxisTransform::new(extent), (0..extent).map(Some).collect::<Vec<_>>());
            for change in changes {
                match change {
                    Some((padding, start)) => {
                        let start = start.min(2 * padding);
                        (axis, positions) = (axis.cropped(padding, start), cropped(&positions, padding, start));
                    }
                    None => {
                        axis = axis.flipped();
                        positions.reverse();
                    }
                }
                prop_assert_eq!(axis.origins(), positions.clone());
            }
        }
    }

    #[test]
    fn rows_that_were_cropped_away_do_not_return() {
        let axis = AxisTransform::new(4).cropped(2, 4).cropped(2, 0);
        assert_eq!(axis.origins(), [None, None, Some(2), Some(3)]);
        let gone = AxisTransform::new(4).cropped(4, 8).cropped(4, 0);
        assert_eq!(gone.origins(), [None; 4]);
        assert_eq!(AxisTransform::new(4).cropped(usize::MAX / 4, 0).origins(), [None; 4], "a crop far outside");
    }
}

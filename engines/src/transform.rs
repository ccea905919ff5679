//! Crops and flips of an image as where its rows and columns come from. Every change moves rows and columns as wholes, so whatever comes
//! after whatever, a row of the result is one row of the image, or shows padding; and the rows that show the image lie side by side.

use plusminus_core::methods::augment::Augment;
use plusminus_core::methods::dataset::ImageShape;
use rand::{Rng, RngExt};

/// Numbers that stand for the [`ImageTransform`] of a sample.
pub(crate) const TRANSFORM_NUMBERS: usize = 8;

/// Where the rows, or the columns, of a result come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisTransform {
    /// Place i is place `first` + `step` · i of the image for `from` ≤ i < `to`, and padding elsewhere.
    first: i64,
    step: i64,
    from: i64,
    to: i64,
    extent: i64,
}

impl AxisTransform {
    /// As they are.
    fn new(extent: usize) -> Self {
        let extent = extent as i64;
        AxisTransform { first: 0, step: 1, from: 0, to: extent, extent }
    }

    /// The window of the original extent that starts at `start` of the places padded on both sides.
    fn cropped(self, padding: usize, start: usize) -> Self {
        let AxisTransform { first, step, from, to, extent } = self;
        // Place i is place i + along of what there was, if there is such.
        let along = start as i64 - padding as i64;
        let (from, to) = ((from.max(0) - along).max(0), (to.min(extent) - along).min(extent));
        if from >= to {
            return AxisTransform { first: 0, step: 1, from: 0, to: 0, extent };
        }
        AxisTransform { first: first + step * along, step, from, to, extent }
    }

    /// The other way round.
    fn flipped(self) -> Self {
        let AxisTransform { first, step, from, to, extent } = self;
        AxisTransform { first: first + step * (extent - 1), step: -step, from: extent - to, to: extent - from, extent }
    }

    /// Where a place comes from; nowhere, where it shows padding.
    fn origin(self, place: usize) -> Option<usize> {
        let place = place as i64;
        let inside = (self.from..self.to).contains(&place);
        inside.then(|| usize::try_from(self.first + self.step * place).ok()).flatten()
    }

    /// Where each place comes from.
    fn origins(self) -> Vec<Option<usize>> {
        (0..self.extent as usize).map(|place| self.origin(place)).collect()
    }
}

/// Where the rows and columns of a sample come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTransform {
    /// Where the rows come from.
    pub rows: AxisTransform,
    /// Where the columns come from.
    pub columns: AxisTransform,
}

impl ImageTransform {
    /// Draws what `augment` makes of an image, in its order.
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

    /// Writes the image of this shape that `image` becomes. Padding is 0.
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

    /// Both axes as {first, step, from, to}, as a device takes them.
    pub(crate) fn numbers(&self) -> [i32; TRANSFORM_NUMBERS] {
        let ImageTransform { rows, columns } = self;
        // None is beyond twice an extent.
        [rows.first, rows.step, rows.from, rows.to, columns.first, columns.step, columns.from, columns.to]
            .map(|number| number as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain way: lists of places, padded and cut.
    fn cropped(places: &[Option<usize>], padding: usize, start: usize) -> Vec<Option<usize>> {
        (start..start + places.len())
            .map(|at| at.checked_sub(padding).and_then(|at| places.get(at).copied().flatten()))
            .collect()
    }

    proptest! {
        #[test]
        fn any_crops_and_flips_one_after_another_are_where_the_places_come_from(
            extent in 1usize..12,
            changes in prop::collection::vec(prop::option::of((0usize..15, 0usize..31)), 0..6),
        ) {
            let (mut axis, mut places) = (AxisTransform::new(extent), (0..extent).map(Some).collect::<Vec<_>>());
            for change in changes {
                match change {
                    Some((padding, start)) => {
                        let start = start.min(2 * padding);
                        (axis, places) = (axis.cropped(padding, start), cropped(&places, padding, start));
                    }
                    None => {
                        axis = axis.flipped();
                        places.reverse();
                    }
                }
                prop_assert_eq!(axis.origins(), places.clone());
            }
        }
    }

    #[test]
    fn what_is_cropped_away_does_not_come_back() {
        let axis = AxisTransform::new(4).cropped(2, 4).cropped(2, 0);
        assert_eq!(axis.origins(), [None, None, Some(2), Some(3)]);
        let gone = AxisTransform::new(4).cropped(4, 8).cropped(4, 0);
        assert_eq!(gone.origins(), [None; 4]);
        assert_eq!(AxisTransform::new(4).cropped(usize::MAX / 4, 0).origins(), [None; 4], "however far");
    }
}

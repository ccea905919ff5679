//! Convolutions by Winograd's filtering.

use super::{Backward, Convolution, Target};
use crate::engine::fused::affine::Seen;
use crate::engine::fused::memory::Scratch;
use crate::engine::fused::team::Team;
use plusminus_kernels::{
    Add, BLOCK, Correlation, Extents, GradientApply, InputGradient, InputTransform, OuterSum, OutputGradient,
    OutputTransform, PLACES, Strides, Tiles,
};
use std::ops::Range;

impl Convolution {
    /// Rows and columns of tiles.
    fn tiles(&self) -> [usize; 2] {
        self.to.extent().map(|extent| extent.div_ceil(2))
    }

    /// Rows and columns of an image with its border, as many as the tiles reach over.
    pub(in crate::engine::fused) fn reach(&self) -> [usize; 2] {
        self.tiles().map(|tiles| 2 * tiles + 2)
    }

    /// The tiles of some samples in blocks that are worked on together: images, and rows of tiles of each.
    ///
    /// A block has so many tiles that a product of matrices pays, and so few that it stays in the cache.
    pub(in crate::engine::fused) fn tile_blocks(&self, samples: usize) -> Vec<Vec<(usize, Range<usize>)>> {
        let [rows, columns] = self.tiles();
        let wanted = self.from.stored.max(self.to.stored).clamp(64, 256);
        if rows * columns > wanted + wanted / 2 {
            let bands = rows.div_ceil((wanted / columns).max(1));
            let band = rows.div_ceil(bands);
            let bands = |sample| (0..rows).step_by(band).map(move |row| vec![(sample, row..rows.min(row + band))]);
            (0..samples).flat_map(bands).collect()
        } else {
            let images: Vec<_> = (0..samples).map(|sample| (sample, 0..rows)).collect();
            images.chunks((wanted / (rows * columns)).max(1)).map(<[_]>::to_vec).collect()
        }
    }

    /// Values from a place of a block's transform to the next. Not a power of two, lest the places of a tile share a set of the cache.
    pub(in crate::engine::fused) fn place(&self, blocks: &[Vec<(usize, Range<usize>)>], channels: usize) -> usize {
        let tiles = |block: &Vec<(usize, Range<usize>)>| block.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        blocks.iter().map(tiles).max().unwrap_or(0) * self.tiles()[1] * channels + BLOCK
    }

    /// The tiles of a block's images.
    fn placed<'a>(
        &self,
        block: &'a [(usize, Range<usize>)],
    ) -> impl Iterator<Item = (usize, &'a Range<usize>, impl Fn(usize) -> Tiles + use<'a>)> + use<'a> {
        let columns = self.tiles()[1];
        block.iter().scan(0, move |count, (sample, rows)| {
            let first = *count;
            *count += rows.len() * columns;
            let tiles = move |place| Tiles { rows: rows.clone(), columns, first, place };
            Some((*sample, rows, tiles))
        })
    }

    pub(super) fn forward_filtered(
        &self,
        team: &Team,
        weights: &[f32],
        x: Seen<'_>,
        y: &mut [f32],
        moments: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let blocks = self.tile_blocks(y.len() / self.to.len());
        let [v_place, m_place] = [inputs, outputs].map(|channels| self.place(&blocks, channels));
        let [rows, columns] = self.reach();
        let [padded, v, m] = scratch.places([rows * columns * inputs, PLACES * v_place, PLACES * m_place]);
        for block in &blocks {
            let mut count = 0;
            for (sample, rows, tiles) in self.placed(block) {
                if rows.start == 0 {
                    self.pad(team, x, sample, padded, columns);
                }
                count += rows.len() * self.tiles()[1];
                let row = columns * inputs;
                InputTransform { image: padded, row, channels: inputs, tiles: tiles(v_place), transform: v }
                    .run(team.instructions);
            }
            for (place, weights) in weights.chunks(inputs * outputs).enumerate() {
                multiply(team, &v[place * v_place..], weights, &mut m[place * m_place..], [count, inputs, outputs]);
            }
            for (sample, rows, tiles) in self.placed(block) {
                let image = &mut y[sample * self.to.len()..][..self.to.len()];
                OutputTransform {
                    transform: m,
                    tiles: tiles(m_place),
                    extent: self.to.extent(),
                    channels: outputs,
                    image: &mut *image,
                }
                .run(team.instructions);
                if rows.end == self.tiles()[0] {
                    self.measure(team, image, moments, sample);
                }
            }
        }
    }

    pub(super) fn backward_filtered(
        &self,
        team: &Team,
        weights: &[f32],
        Backward { x, y, gradient }: Backward<'_>,
        sums: &mut [f32],
        mut target: Option<Target<'_>>,
        scratch: &mut Scratch,
    ) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let blocks = self.tile_blocks(gradient.len() / self.to.len());
        let [v_place, m_place] = [inputs, outputs].map(|channels| self.place(&blocks, channels));
        let [rows, columns] = self.reach();
        let size = rows * columns * inputs;
        let [padded, d, v, m, dv, dx] =
            scratch.places([size, self.to.len(), PLACES * v_place, PLACES * m_place, PLACES * v_place, size]);
        for block in &blocks {
            let mut count = 0;
            for (sample, rows, tiles) in self.placed(block) {
                if rows.start == 0 {
                    self.pad(team, x, sample, padded, columns);
                    GradientApply {
                        gradient: &gradient[sample * self.to.len()..][..self.to.len()],
                        image: y.sample(sample, self.to.len()),
                        extent: self.to.extent(),
                        channels: outputs,
                        view: y.view,
                        factors: y.factors,
                        padded: d,
                        columns: self.to.width,
                        before: [0, 0],
                    }
                    .run(team.instructions);
                }
                count += rows.len() * self.tiles()[1];
                let row = columns * inputs;
                InputTransform { image: padded, row, channels: inputs, tiles: tiles(v_place), transform: v }
                    .run(team.instructions);
                OutputGradient {
                    image: d,
                    extent: self.to.extent(),
                    channels: outputs,
                    tiles: tiles(m_place),
                    transform: m,
                }
                .run(team.instructions);
            }
            for (place, sums) in sums.chunks_mut(inputs * outputs).enumerate() {
                OuterSum {
                    extents: Extents::matrix(count),
                    x: &v[place * v_place..],
                    x_strides: Strides::matrix(inputs),
                    rows: 1,
                    row: 0,
                    length: inputs,
                    d: &m[place * m_place..],
                    d_strides: Strides::matrix(outputs),
                    weights: sums,
                    panel: inputs * BLOCK,
                    outputs,
                }
                .run(team.instructions);
            }
            let Some(target) = &mut target else { continue };
            for (place, weights) in weights.chunks(inputs * outputs).enumerate() {
                multiply(team, &m[place * m_place..], weights, &mut dv[place * v_place..], [count, outputs, inputs]);
            }
            for (sample, rows, tiles) in self.placed(block) {
                if rows.start == 0 {
                    dx.fill(0.0);
                }
                InputGradient {
                    transform: dv,
                    tiles: tiles(v_place),
                    channels: inputs,
                    image: dx,
                    row: columns * inputs,
                }
                .run(team.instructions);
                if rows.end < self.tiles()[0] {
                    continue;
                }
                let image = &mut target.gradient[sample * self.from.len()..][..self.from.len()];
                let length = self.from.width * inputs;
                for (row, to) in image.chunks_mut(length).enumerate() {
                    let from = &dx[((row + self.margin[0]) * columns + self.margin[1]) * inputs..][..length];
                    if target.add {
                        Add { values: from, total: to }.run(team.instructions);
                    } else {
                        to.copy_from_slice(from);
                    }
                }
                let image = x.sample(sample, self.from.len());
                target.complete(team, x, image, sample);
            }
        }
    }
}

/// Rows of `inputs` values times panels of weights, to rows of `outputs` values.
fn multiply(team: &Team, x: &[f32], weights: &[f32], y: &mut [f32], [rows, inputs, outputs]: [usize; 3]) {
    Correlation {
        extents: Extents::matrix(rows),
        x,
        x_strides: Strides::matrix(inputs),
        rows: 1,
        row: 0,
        length: inputs,
        weights,
        panel: inputs * BLOCK,
        outputs,
        y,
        y_strides: Strides::matrix(outputs),
        accumulate: false,
    }
    .run(team.instructions);
}

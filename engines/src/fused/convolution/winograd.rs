//! 3×3 convolutions by the minimal filtering algorithm F(2×2, 3×3) of Winograd (Lavin & Gray 2016).
//!
//! A tile is 2×2 output pixels. Its transform has [`PLACES`] places; for each place, one matrix product combines inputs and weights.

use crate::fused::affine::ValueView;
use crate::fused::buffer::Scratch;
use crate::fused::gradient_target::{BackwardInputs, GradientTarget};
use crate::fused::program::Convolution;
use crate::fused::threads::Threads;
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

    /// Rows and columns of a padded input image, as far as the tiles extend.
    pub(in crate::fused) fn winograd_extent(&self) -> [usize; 2] {
        self.tiles().map(|tiles| 2 * tiles + 2)
    }

    /// Divides the tiles of `samples` samples into blocks: lists of a sample and a range of its rows of tiles.
    ///
    /// A block has enough tiles for an efficient matrix product and few enough to stay in the cache.
    pub(in crate::fused) fn tile_blocks(&self, samples: usize) -> Vec<Vec<(usize, Range<usize>)>> {
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

    /// Values from one place of a block's transform to the next. It is not a power of two, because the places of a tile would then share a
    /// cache set.
    pub(in crate::fused) fn place_stride(&self, blocks: &[Vec<(usize, Range<usize>)>], channels: usize) -> usize {
        let tiles = |block: &Vec<(usize, Range<usize>)>| block.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        blocks.iter().map(tiles).max().unwrap_or(0) * self.tiles()[1] * channels + BLOCK
    }

    /// The samples of a block with their rows of tiles, and a function from the stride of places to the kernels' description of the tiles.
    fn block_tiles<'a>(
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

    /// Writes the outputs of a part's samples, and their moments if requested. `weights` are the transformed weights.
    pub(super) fn forward_winograd(
        &self,
        threads: &Threads,
        weights: &[f32],
        x: ValueView<'_>,
        y: &mut [f32],
        moments: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let blocks = self.tile_blocks(y.len() / self.to.len());
        let [x_stride, y_stride] = [inputs, outputs].map(|channels| self.place_stride(&blocks, channels));
        let [rows, columns] = self.winograd_extent();
        let [padded, x_transform, y_transform] =
            scratch.slices([rows * columns * inputs, PLACES * x_stride, PLACES * y_stride]);
        for block in &blocks {
            let mut count = 0;
            for (sample, rows, tiles) in self.block_tiles(block) {
                if rows.start == 0 {
                    self.pad(threads, x, sample, padded, columns);
                }
                count += rows.len() * self.tiles()[1];
                let row = columns * inputs;
                InputTransform { image: padded, row, channels: inputs, tiles: tiles(x_stride), transform: x_transform }
                    .run(threads.instructions);
            }
            for (place, weights) in weights.chunks(inputs * outputs).enumerate() {
                let (x, y) = (&x_transform[place * x_stride..], &mut y_transform[place * y_stride..]);
                multiply(threads, x, weights, y, [count, inputs, outputs]);
            }
            for (sample, rows, tiles) in self.block_tiles(block) {
                let image = &mut y[sample * self.to.len()..][..self.to.len()];
                OutputTransform {
                    transform: y_transform,
                    tiles: tiles(y_stride),
                    extent: self.to.extent(),
                    channels: outputs,
                    image: &mut *image,
                }
                .run(threads.instructions);
                if rows.end == self.tiles()[0] {
                    self.sample_moments(threads, image, moments, sample);
                }
            }
        }
    }

    /// Adds the gradient of the transformed weights to `sums` and writes the gradient of the input to `target`.
    ///
    /// `weights` are the transposed and transformed weights.
    pub(super) fn backward_winograd(
        &self,
        threads: &Threads,
        weights: &[f32],
        inputs: BackwardInputs<'_>,
        sums: &mut [f32],
        mut target: Option<GradientTarget<'_>>,
        scratch: &mut Scratch,
    ) {
        let blocks = self.tile_blocks(inputs.gradient.len() / self.to.len());
        let [x_stride, d_stride] =
            [self.from.stored, self.to.stored].map(|channels| self.place_stride(&blocks, channels));
        let [rows, columns] = self.winograd_extent();
        let size = rows * columns * self.from.stored;
        let lengths = [size, self.to.len(), PLACES * x_stride, PLACES * d_stride, PLACES * x_stride, size];
        let [padded, d_image, x, d, dx, dx_image] = scratch.slices(lengths);
        for block in &blocks {
            let mut transforms = Transforms { x: &mut *x, x_stride, d: &mut *d, d_stride, count: 0 };
            self.transform_block(threads, block, inputs, [&mut *padded, &mut *d_image], &mut transforms);
            self.sum_weight_gradient(threads, &transforms, sums);
            let Some(target) = &mut target else { continue };
            let count = transforms.count;
            for (place, weights) in weights.chunks(self.to.stored * self.from.stored).enumerate() {
                let extents = [count, self.to.stored, self.from.stored];
                multiply(threads, &d[place * d_stride..], weights, &mut dx[place * x_stride..], extents);
            }
            self.write_input_gradient(threads, block, inputs.x, (&*dx, x_stride), dx_image, target);
        }
    }

    /// Transforms the inputs and the output gradients of a block. `padded` and `d_image` hold one image each.
    fn transform_block(
        &self,
        threads: &Threads,
        block: &[(usize, Range<usize>)],
        BackwardInputs { x, y, gradient }: BackwardInputs<'_>,
        [padded, d_image]: [&mut [f32]; 2],
        transforms: &mut Transforms<'_>,
    ) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let columns = self.winograd_extent()[1];
        for (sample, rows, tiles) in self.block_tiles(block) {
            if rows.start == 0 {
                self.pad(threads, x, sample, padded, columns);
                GradientApply {
                    gradient: &gradient[sample * self.to.len()..][..self.to.len()],
                    image: y.sample(sample, self.to.len()),
                    extent: self.to.extent(),
                    channels: outputs,
                    view: y.view,
                    factors: y.factors,
                    padded: &mut *d_image,
                    columns: self.to.width,
                    before: [0, 0],
                }
                .run(threads.instructions);
            }
            transforms.count += rows.len() * self.tiles()[1];
            let (row, transform) = (columns * inputs, &mut *transforms.x);
            InputTransform { image: padded, row, channels: inputs, tiles: tiles(transforms.x_stride), transform }
                .run(threads.instructions);
            OutputGradient {
                image: d_image,
                extent: self.to.extent(),
                channels: outputs,
                tiles: tiles(transforms.d_stride),
                transform: &mut *transforms.d,
            }
            .run(threads.instructions);
        }
    }

    /// Adds a block's gradient of the transformed weights, xᵀ d for each place.
    fn sum_weight_gradient(&self, threads: &Threads, transforms: &Transforms<'_>, sums: &mut [f32]) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let Transforms { x, x_stride, d, d_stride, count } = transforms;
        for (place, sums) in sums.chunks_mut(inputs * outputs).enumerate() {
            OuterSum {
                extents: Extents::matrix(*count),
                x: &x[place * x_stride..],
                x_strides: Strides::matrix(inputs),
                rows: 1,
                row: 0,
                length: inputs,
                d: &d[place * d_stride..],
                d_strides: Strides::matrix(outputs),
                weights: sums,
                panel: inputs * BLOCK,
                outputs,
            }
            .run(threads.instructions);
        }
    }

    /// Transforms a block's input gradients back, and writes an image's gradient once its last row of tiles is complete.
    fn write_input_gradient(
        &self,
        threads: &Threads,
        block: &[(usize, Range<usize>)],
        x: ValueView<'_>,
        (dx, dx_stride): (&[f32], usize),
        dx_image: &mut [f32],
        target: &mut GradientTarget<'_>,
    ) {
        let inputs = self.from.stored;
        let columns = self.winograd_extent()[1];
        for (sample, rows, tiles) in self.block_tiles(block) {
            if rows.start == 0 {
                dx_image.fill(0.0);
            }
            InputGradient {
                transform: dx,
                tiles: tiles(dx_stride),
                channels: inputs,
                image: &mut *dx_image,
                row: columns * inputs,
            }
            .run(threads.instructions);
            if rows.end < self.tiles()[0] {
                continue;
            }
            let image = &mut target.gradient[sample * self.from.len()..][..self.from.len()];
            let length = self.from.width * inputs;
            for (row, to) in image.chunks_mut(length).enumerate() {
                let from = &dx_image[((row + self.margin[0]) * columns + self.margin[1]) * inputs..][..length];
                if target.add {
                    Add { values: from, total: to }.run(threads.instructions);
                } else {
                    to.copy_from_slice(from);
                }
            }
            let image = x.sample(sample, self.from.len());
            target.sum_sample(threads, x, image, sample);
        }
    }
}

/// The transformed inputs and output gradients of a block, `[place, tile, channel]`, with the strides of their places.
struct Transforms<'a> {
    x: &'a mut [f32],
    x_stride: usize,
    d: &'a mut [f32],
    d_stride: usize,
    /// Tiles of the block.
    count: usize,
}

/// y = x · weights, where x is `[rows, inputs]`, y is `[rows, outputs]` and the weights are in panels of outputs.
fn multiply(threads: &Threads, x: &[f32], weights: &[f32], y: &mut [f32], [rows, inputs, outputs]: [usize; 3]) {
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
    .run(threads.instructions);
}

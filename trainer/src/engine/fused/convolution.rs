//! Convolutions: forward, and the gradients with respect to weights and input.
//!
//! An image is copied with its border, as its view reads it, into memory of the thread that stays in the cache; then come the products,
//! for 3×3 kernels with step 1 over many channels by Winograd's filtering, for others straight from their definition; then what the
//! next step will ask of what came out, while it is there.

use super::affine::Seen;
use super::memory::{Buffer, Scratch};
use super::program::{Id, Input, Shape};
use super::team::{Pass, Team, pieces};
use plusminus_kernels::{
    Add, BLOCK, Correlation, Extents, GradientApply, GradientSums, InputGradient, InputTransform, KernelGradient,
    KernelTransform, Moments, OuterSum, OutputGradient, OutputTransform, PLACES, Pad, Steps, Tiles,
};
use std::ops::Range;

/// From so many channels in and out on, the transforms of Winograd's filtering cost less than the products that they spare: on the way
/// forward, and on the way back, where two products share a transform.
const MANY: [usize; 2] = [32, 16];

/// Parts of a forward pass.
pub(super) const PARTS: usize = 16;

/// A convolution of the program.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub input: Input,
    pub output: Id,
    pub weight: Range<usize>,
    pub(super) from: Shape,
    pub(super) to: Shape,
    kernel: [usize; 2],
    stride: usize,
    margin: [usize; 2],
}

/// What a part of a backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    /// The input.
    pub x: Seen<'a>,
    /// The output.
    pub y: Seen<'a>,
    /// The gradient with respect to what readers see of the output.
    pub gradient: &'a [f32],
}

/// Where the gradient with respect to the input goes.
pub(super) struct Target<'a> {
    /// Its buffer.
    pub gradient: &'a mut [f32],
    /// Whether it is added to what is there.
    pub add: bool,
    /// Where the sums that its maker wants go, if it is complete and its maker wants any: two for each channel and sample.
    pub sums: Option<&'a mut [f32]>,
}

impl Target<'_> {
    /// The parts of it for so many samples each.
    pub fn pieces(&mut self, sample: usize, samples: usize, part: usize) -> Vec<Target<'_>> {
        let sums: Vec<Option<&mut [f32]>> = match &mut self.sums {
            Some(sums) => {
                let each = sums.len() / samples.max(1);
                pieces(sums, each, samples, part).into_iter().map(Some).collect()
            }
            None => (0..samples.div_ceil(part)).map(|_| None).collect(),
        };
        let gradients = pieces(self.gradient, sample, samples, part);
        let both = gradients.into_iter().zip(sums);
        both.map(|(gradient, sums)| Target { gradient, add: self.add, sums }).collect()
    }

    /// Sums up sample number `sample`, whose gradient now stands, if that is asked for.
    pub fn complete(&mut self, team: &Team, x: Seen<'_>, image: &[f32], sample: usize) {
        let Some(sums) = &mut self.sums else { return };
        let channels = x.mean.len();
        let (sum, product) = sums[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        let gradient = &self.gradient[image.len() * sample..][..image.len()];
        GradientSums { gradient, image, view: x.view, mean: x.mean, sum, product }.run(team.instructions);
    }
}

impl Convolution {
    pub fn new(
        (input, from): (Input, Shape),
        (output, to): (Id, Shape),
        (kernel, stride, margin): ([usize; 2], usize, [usize; 2]),
        weight: Range<usize>,
    ) -> Self {
        Convolution { input, output, weight, from, to, kernel, stride, margin }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether it is computed by Winograd's filtering, on the way forward and on the way back.
    pub(super) fn filters(&self) -> [bool; 2] {
        let fits = self.kernel == [3, 3] && self.stride == 1 && self.from.stored.is_multiple_of(BLOCK);
        MANY.map(|many| fits && self.from.stored.min(self.to.stored) >= many)
    }

    /// Weights as the products take them, and sums that their gradient takes while it is added up.
    fn sums(&self, filters: bool) -> usize {
        if filters { self.weight.len() / self.taps() * PLACES } else { self.weight.len() }
    }

    /// Parts of a backward pass, each with sums of its own: fewer where these are large.
    pub(super) fn parts(&self) -> usize {
        match self.sums(self.filters()[1]) {
            0..=0x4_0000 => 8,
            0x4_0001..=0x10_0000 => 4,
            _ => 2,
        }
    }

    /// Values that all threads share in a step: packed weights, and the sums of every part.
    pub fn shared(&self) -> [usize; 2] {
        let [_, back] = self.filters();
        [self.sums(back).max(self.weight.len()), self.parts() * self.sums(back)]
    }

    /// y = x ∗ w, and mean and squares of every output image where `moments` asks for them.
    pub fn forward(
        &self,
        Pass { team, samples, weights }: Pass<'_>,
        x: Seen<'_>,
        y: &mut [f32],
        moments: Option<&mut [f32]>,
        packed: &mut Buffer,
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(PARTS);
        let [filters, _] = self.filters();
        let weights = if filters {
            let transform = packed.first(self.sums(true));
            KernelTransform { kernels: weights, inputs: self.from.stored, transform, transposed: false }
                .run(team.instructions);
            &*transform
        } else {
            weights
        };
        let mut none = [];
        let (moments, each) = moments.map_or((&mut none[..], 0), |moments| (moments, 2 * self.to.stored));
        let parts = pieces(y, self.to.len(), samples, part).into_iter();
        let parts = parts.zip(pieces(moments, each, samples, part)).enumerate();
        team.each(parts.collect(), |(i, (y, moments)), scratch| {
            let x = x.samples(i * part, self.from.len());
            if filters {
                self.forward_filtered(team, weights, x, y, moments, scratch);
            } else {
                self.forward_direct(team, weights, x, y, moments, scratch);
            }
        });
    }

    /// The gradients of a forward pass: `weight_gradient` is written.
    pub fn backward(
        &self,
        Pass { team, samples, weights }: Pass<'_>,
        backward: Backward<'_>,
        weight_gradient: &mut [f32],
        mut target: Option<Target<'_>>,
        [packed, sums]: [&mut Buffer; 2],
    ) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(self.parts());
        let parts = samples.div_ceil(part);
        let [_, filters] = self.filters();
        let size = self.sums(filters);
        let weights = if target.is_some() { self.pack_transposed(team, weights, packed) } else { &[] };
        let sums = sums.first(parts * size);
        sums.fill(0.0);
        let targets: Vec<Option<Target<'_>>> = match &mut target {
            Some(target) => target.pieces(self.from.len(), samples, part).into_iter().map(Some).collect(),
            None => (0..parts).map(|_| None).collect(),
        };
        let work = sums.chunks_mut(size).zip(targets).enumerate().collect();
        team.each(work, |(i, (sums, target)), scratch| {
            let first = i * part;
            let count = part.min(samples - first);
            let backward = Backward {
                x: backward.x.samples(first, self.from.len()),
                y: backward.y.samples(first, self.to.len()),
                gradient: &backward.gradient[first * self.to.len()..][..count * self.to.len()],
            };
            if filters {
                self.backward_filtered(team, weights, backward, sums, target, scratch);
            } else {
                self.backward_direct(team, weights, backward, sums, target, scratch);
            }
        });
        let (total, others) = sums.split_at_mut(size);
        for values in others.chunks(size) {
            Add { values, total: &mut *total }.run(team.instructions);
        }
        let weight_gradient = &mut weight_gradient[self.weight.clone()];
        if filters {
            KernelGradient { transform: total, inputs: self.from.stored, kernels: weight_gradient }
                .run(team.instructions);
        } else {
            weight_gradient.copy_from_slice(total);
        }
    }

    /// Moments of an output image.
    fn measure(&self, team: &Team, image: &[f32], moments: &mut [f32], sample: usize) {
        if moments.is_empty() {
            return;
        }
        let channels = self.to.stored;
        let (mean, squares) = moments[2 * channels * sample..][..2 * channels].split_at_mut(channels);
        Moments { image, mean, squares }.run(team.instructions);
    }

    // ---- Straight from the definition.

    /// Rows and columns of an image with its border.
    pub(super) fn padded(&self) -> [usize; 2] {
        [self.from.height + 2 * self.margin[0], self.from.width + 2 * self.margin[1]]
    }

    /// The windows of an image with its border: from one to the next, and from a row of a kernel to the next.
    fn windows(&self) -> (Steps, usize) {
        let row = self.padded()[1] * self.from.stored;
        (Steps { image: 0, row: self.stride * row, column: self.stride * self.from.stored }, row)
    }

    fn pad(&self, team: &Team, x: Seen<'_>, sample: usize, padded: &mut [f32]) {
        let image = x.sample(sample, self.from.len());
        Pad {
            image,
            extent: self.from.extent(),
            channels: self.from.stored,
            view: x.view,
            columns: self.padded()[1],
            before: self.margin,
            padded,
        }
        .run(team.instructions);
    }

    fn forward_direct(
        &self,
        team: &Team,
        weights: &[f32],
        x: Seen<'_>,
        y: &mut [f32],
        moments: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let [rows, columns] = self.padded();
        let [padded] = scratch.places([rows * columns * self.from.stored]);
        let (x_steps, row) = self.windows();
        let (length, outputs) = (self.kernel[1] * self.from.stored, self.to.stored);
        for (sample, y) in y.chunks_mut(self.to.len()).enumerate() {
            self.pad(team, x, sample, padded);
            Correlation {
                extents: Extents { images: 1, rows: self.to.height, columns: self.to.width },
                x: padded,
                x_steps,
                rows: self.kernel[0],
                row,
                length,
                weights,
                panel: self.taps() * self.from.stored * BLOCK,
                outputs,
                y: &mut *y,
                y_steps: Steps::dense(self.to.height, self.to.width, outputs),
                accumulate: false,
            }
            .run(team.instructions);
            self.measure(team, y, moments, sample);
        }
    }

    fn backward_direct(
        &self,
        team: &Team,
        weights: &[f32],
        Backward { x, y, gradient }: Backward<'_>,
        sums: &mut [f32],
        mut target: Option<Target<'_>>,
        scratch: &mut Scratch,
    ) {
        let [rows, columns] = self.padded();
        let [vertical, horizontal] = [0, 1].map(|axis| self.axis(axis));
        let d_columns = horizontal.before + self.to.width + horizontal.after;
        let d_rows = vertical.before + self.to.height + vertical.after;
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let [padded, d] = scratch.places([rows * columns * inputs, d_rows * d_columns * outputs]);
        let (x_steps, row) = self.windows();
        let d_steps = Steps { image: 0, row: d_columns * outputs, column: outputs };
        let from = (vertical.before * d_columns + horizontal.before) * outputs;
        for (sample, gradient) in gradient.chunks(self.to.len()).enumerate() {
            self.pad(team, x, sample, padded);
            GradientApply {
                gradient,
                image: y.sample(sample, self.to.len()),
                extent: self.to.extent(),
                channels: outputs,
                view: y.view,
                factors: y.factors,
                padded: d,
                columns: d_columns,
                before: [vertical.before, horizontal.before],
            }
            .run(team.instructions);
            OuterSum {
                extents: Extents { images: 1, rows: self.to.height, columns: self.to.width },
                x: padded,
                x_steps,
                rows: self.kernel[0],
                row,
                length: self.kernel[1] * inputs,
                d: &d[from..],
                d_steps,
                weights: sums,
                panel: self.taps() * inputs * BLOCK,
                outputs,
            }
            .run(team.instructions);
            let Some(target) = &mut target else { continue };
            let image = &mut target.gradient[sample * self.from.len()..][..self.from.len()];
            let mut packed = 0;
            for down in &vertical.phases {
                for across in &horizontal.phases {
                    let size = down.taps.len() * across.taps.len() * outputs * inputs;
                    let weights = &weights[packed..][..size];
                    packed += size;
                    let y_steps =
                        Steps { image: 0, row: self.stride * self.from.width * inputs, column: self.stride * inputs };
                    let length = across.taps.len() * outputs;
                    for (rows, taps) in down.runs(vertical.before, self.to.height) {
                        let first = down.first + rows.start * self.stride;
                        let to = &mut image[(first * self.from.width + across.first) * inputs..];
                        let extents = Extents { images: 1, rows: rows.len(), columns: across.count };
                        if taps.len() * length > 0 {
                            let start = down.start + rows.start + taps.start;
                            Correlation {
                                extents,
                                x: &d[(start * d_columns + across.start) * outputs..],
                                x_steps: d_steps,
                                rows: taps.len(),
                                row: d_columns * outputs,
                                length,
                                weights: &weights[taps.start * length * BLOCK..],
                                panel: down.taps.len() * length * BLOCK,
                                outputs: inputs,
                                y: to,
                                y_steps,
                                accumulate: target.add,
                            }
                            .run(team.instructions);
                        } else if !target.add {
                            for row in 0..extents.rows {
                                for column in 0..extents.columns {
                                    to[row * y_steps.row + column * y_steps.column..][..inputs].fill(0.0);
                                }
                            }
                        }
                    }
                }
            }
            let image = x.sample(sample, self.from.len());
            target.complete(team, x, image, sample);
        }
    }

    /// How the gradient of the input is made of that of the output along one axis.
    pub(super) fn axis(&self, axis: usize) -> Axis {
        let (extent, outputs) = (self.from.extent()[axis], self.to.extent()[axis]);
        let (kernel, margin, stride) = (self.kernel[axis], self.margin[axis], self.stride);
        // Input i meets output o through tap i + margin − stride · o. Of the inputs phase, phase + stride, … number j meets the
        // outputs j + base − t through the taps first + stride · t.
        let phases = (0..stride.min(extent)).map(|phase| {
            let first = (phase + margin) % stride;
            let base = (phase + margin) / stride;
            let taps: Vec<usize> = (first..kernel).step_by(stride).collect();
            (phase, base as isize - (taps.len().max(1) - 1) as isize, taps)
        });
        let phases: Vec<_> = phases.collect();
        let before = phases.iter().map(|(_, start, _)| -start).max().unwrap_or(0).max(0) as usize;
        let phases: Vec<Phase> = phases
            .into_iter()
            .map(|(phase, start, mut taps)| {
                taps.reverse();
                Phase {
                    first: phase,
                    count: (extent - phase).div_ceil(stride),
                    start: (before as isize + start) as usize,
                    taps,
                }
            })
            .collect();
        let reach =
            phases.iter().map(|phase| phase.start + phase.count + phase.taps.len().max(1) - 1).max().unwrap_or(0);
        Axis { before, after: reach.saturating_sub(before + outputs), phases }
    }

    /// The weights that the gradient with respect to the input is made with.
    fn pack_transposed<'a>(&self, team: &Team, weights: &[f32], packed: &'a mut Buffer) -> &'a [f32] {
        let [_, filters] = self.filters();
        let packed = packed.first(self.sums(filters));
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        if filters {
            KernelTransform { kernels: weights, inputs, transform: &mut *packed, transposed: true }
                .run(team.instructions);
            return packed;
        }
        let [vertical, horizontal] = [0, 1].map(|axis| self.axis(axis));
        let panels = weights.chunks_exact((self.taps() * inputs * BLOCK).max(1));
        let mut start = 0;
        for down in &vertical.phases {
            for across in &horizontal.phases {
                let taps = down.taps.iter().flat_map(|row| across.taps.iter().map(move |column| (row, column)));
                let count = down.taps.len() * across.taps.len();
                for (at, (row, column)) in taps.enumerate() {
                    let tap = row * self.kernel[1] + column;
                    for (panel, weights) in panels.clone().enumerate() {
                        for (input, from) in weights[tap * inputs * BLOCK..][..inputs * BLOCK].chunks(BLOCK).enumerate()
                        {
                            // To panel, tap, output, input.
                            let place = (input / BLOCK * count + at) * outputs * BLOCK + input % BLOCK;
                            for (output, weight) in from.iter().enumerate() {
                                packed[start + place + (panel * BLOCK + output) * BLOCK] = *weight;
                            }
                        }
                    }
                }
                start += count * inputs * outputs;
            }
        }
        packed
    }

    // ---- By Winograd's filtering.

    /// Rows and columns of tiles.
    fn tiles(&self) -> [usize; 2] {
        self.to.extent().map(|extent| extent.div_ceil(2))
    }

    /// Rows and columns of an image with its border, as many as the tiles reach over.
    pub(super) fn reach(&self) -> [usize; 2] {
        self.tiles().map(|tiles| 2 * tiles + 2)
    }

    /// The tiles of some samples in blocks that are worked on together: images, and rows of tiles of each.
    ///
    /// A block has so many tiles that a product of matrices pays, and so few that it stays in the cache.
    pub(super) fn tile_blocks(&self, samples: usize) -> Vec<Vec<(usize, Range<usize>)>> {
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
    pub(super) fn place(&self, blocks: &[Vec<(usize, Range<usize>)>], channels: usize) -> usize {
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

    fn pad_to_reach(&self, team: &Team, x: Seen<'_>, sample: usize, padded: &mut [f32]) {
        Pad {
            image: x.sample(sample, self.from.len()),
            extent: self.from.extent(),
            channels: self.from.stored,
            view: x.view,
            padded,
            columns: self.reach()[1],
            before: self.margin,
        }
        .run(team.instructions);
    }

    fn forward_filtered(
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
                    self.pad_to_reach(team, x, sample, padded);
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

    fn backward_filtered(
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
                    self.pad_to_reach(team, x, sample, padded);
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
                    x_steps: Steps::matrix(inputs),
                    rows: 1,
                    row: 0,
                    length: inputs,
                    d: &m[place * m_place..],
                    d_steps: Steps::matrix(outputs),
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
        x_steps: Steps::matrix(inputs),
        rows: 1,
        row: 0,
        length: inputs,
        weights,
        panel: inputs * BLOCK,
        outputs,
        y,
        y_steps: Steps::matrix(outputs),
        accumulate: false,
    }
    .run(team.instructions);
}

/// How the gradient of the input is made of that of the output along one axis.
pub(super) struct Axis {
    /// Zeroes before the gradient of the output.
    pub(super) before: usize,
    /// And after it.
    pub(super) after: usize,
    phases: Vec<Phase>,
}

/// Every so many-th input, which all meet the output through the same taps.
struct Phase {
    /// The first of them.
    first: usize,
    /// How many.
    count: usize,
    /// The place, zeroes included, of the first output gradient that the first of them is made of.
    start: usize,
    /// The taps, in the order of the outputs that they belong to.
    taps: Vec<usize>,
}

impl Phase {
    /// Runs of inputs that meet outputs through the same taps, the others falling on zeroes before or after the outputs: places of
    /// inputs, and of taps.
    fn runs(&self, before: usize, outputs: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for input in 0..self.count {
            let place = |output: usize| (before + output).saturating_sub(self.start + input).min(self.taps.len());
            let taps = place(0)..place(outputs);
            match runs.last_mut() {
                Some((inputs, same)) if *same == taps => inputs.end = input + 1,
                _ => runs.push((input..input + 1, taps)),
            }
        }
        runs
    }
}

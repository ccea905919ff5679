//! Linear layers: products with a matrix, a row a sample.

use super::affine::Seen;
use super::convolution::{Backward, Target};
use super::memory::Buffer;
use super::program::Shape;
use super::team::{Pass, Team, pieces};
use plusminus_kernels::{BLOCK, Correlation, Extents, GradientApply, OuterSum, Pad, Strides};
use std::ops::Range;

/// Values of a sample that are taken at a time: rows of many pages would fight for the same sets of the cache.
const PIECE: usize = 512;

/// Parts of a forward pass, and of the gradient with respect to the input.
const PARTS: usize = 4;

/// Panels of outputs in a part of the gradient with respect to the weights.
const PANELS: usize = 4;

/// A linear layer over samples of the stored extent `from`.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub from: Shape,
    pub outputs: usize,
    pub weight: &'a Range<usize>,
}

impl Linear<'_> {
    /// Values that all threads share in a step: the weights, turned over.
    pub fn shared(&self) -> [usize; 2] {
        [self.weight.len(), 0]
    }

    fn inputs(&self) -> usize {
        self.from.len()
    }

    /// Some values of every sample, as they are read, one sample after the other.
    fn gather(&self, team: &Team, x: Seen<'_>, samples: usize, piece: Range<usize>, gathered: &mut [f32]) {
        // A piece is of whole pixels, or of a part of one.
        for (sample, to) in gathered.chunks_exact_mut(piece.len()).take(samples).enumerate() {
            let image = &x.sample(sample, self.inputs())[piece.clone()];
            let channels = self.from.stored.min(piece.len());
            let view = x.view.part(piece.start % self.from.stored, channels);
            let pixels = piece.len() / channels;
            Pad { image, extent: [1, pixels], channels, view, padded: to, columns: pixels, before: [0, 0] }
                .run(team.instructions);
        }
    }

    /// The pieces of a sample: of so many whole pixels, or of blocks of a pixel that is itself too large.
    pub(super) fn pieces(&self) -> Vec<Range<usize>> {
        let channels = self.from.stored;
        let length = if channels <= PIECE {
            PIECE / channels * channels
        } else {
            // The largest number of blocks that divides a pixel.
            (1..=PIECE / BLOCK)
                .rev()
                .map(|blocks| blocks * BLOCK)
                .find(|length| channels.is_multiple_of(*length))
                .unwrap_or(channels)
        };
        (0..self.inputs()).step_by(length).map(|start| start..self.inputs().min(start + length)).collect()
    }

    /// y = x W.
    pub fn forward(&self, Pass { team, samples, weights }: Pass<'_>, x: Seen<'_>, y: &mut [f32]) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(PARTS);
        let parts = pieces(y, self.outputs, samples, part).into_iter().enumerate().collect();
        team.each(parts, |(i, y): (usize, &mut [f32]), scratch| {
            let x = x.samples(i * part, self.inputs());
            let samples = y.len() / self.outputs;
            for piece in self.pieces() {
                let [gathered] = scratch.places([samples * piece.len()]);
                self.gather(team, x, samples, piece.clone(), gathered);
                Correlation {
                    extents: Extents::matrix(samples),
                    x: gathered,
                    x_strides: Strides::matrix(piece.len()),
                    rows: 1,
                    row: 0,
                    length: piece.len(),
                    weights: &weights[piece.start * BLOCK..],
                    panel: self.inputs() * BLOCK,
                    outputs: self.outputs,
                    y: &mut *y,
                    y_strides: Strides::matrix(self.outputs),
                    accumulate: piece.start > 0,
                }
                .run(team.instructions);
            }
        });
    }

    /// The gradients of a forward pass: `weight_gradient` is written.
    pub fn backward(
        &self,
        Pass { team, samples, weights }: Pass<'_>,
        Backward { x, y, gradient }: Backward<'_>,
        weight_gradient: &mut [f32],
        target: Option<Target<'_>>,
        [packed, d]: [&mut Buffer; 2],
    ) {
        let d = d.first(samples * self.outputs);
        GradientApply {
            gradient: &gradient[..d.len()],
            image: &y.values[..d.len()],
            extent: [samples, 1],
            channels: self.outputs,
            view: y.view,
            factors: y.factors,
            padded: d,
            columns: 1,
            before: [0, 0],
        }
        .run(team.instructions);
        let d = &*d;
        let sums = &mut weight_gradient[self.weight.clone()];
        sums.fill(0.0);
        let panel = self.inputs() * BLOCK;
        let parts = sums.chunks_mut(PANELS * panel).enumerate().collect();
        team.each(parts, |(i, sums): (usize, &mut [f32]), scratch| {
            for piece in self.pieces() {
                let [gathered] = scratch.places([samples * piece.len()]);
                self.gather(team, x, samples, piece.clone(), gathered);
                OuterSum {
                    extents: Extents::matrix(samples),
                    x: gathered,
                    x_strides: Strides::matrix(piece.len()),
                    rows: 1,
                    row: 0,
                    length: piece.len(),
                    d: &d[i * PANELS * BLOCK..],
                    d_strides: Strides::matrix(self.outputs),
                    outputs: sums.len() / panel * BLOCK,
                    weights: &mut sums[piece.start * BLOCK..],
                    panel,
                }
                .run(team.instructions);
            }
        });
        let Some(mut target) = target else { return };
        let packed = packed.first(self.weight.len());
        self.transpose(&weights[self.weight.clone()], packed);
        let (packed, part) = (&*packed, samples.div_ceil(PARTS));
        let parts = target.pieces(self.inputs(), samples, part).into_iter().enumerate().collect();
        team.each(parts, |(i, mut target): (usize, Target<'_>), _| {
            let x = x.samples(i * part, self.inputs());
            let samples = target.gradient.len() / self.inputs();
            Correlation {
                extents: Extents::matrix(samples),
                x: &d[i * part * self.outputs..],
                x_strides: Strides::matrix(self.outputs),
                rows: 1,
                row: 0,
                length: self.outputs,
                weights: packed,
                panel: self.outputs * BLOCK,
                outputs: self.inputs(),
                y: &mut *target.gradient,
                y_strides: Strides::matrix(self.inputs()),
                accumulate: target.add,
            }
            .run(team.instructions);
            for sample in 0..samples {
                let image = x.sample(sample, self.inputs());
                target.complete(team, x, image, sample);
            }
        });
    }

    /// Panels of inputs from panels of outputs.
    fn transpose(&self, weights: &[f32], packed: &mut [f32]) {
        for (panel, weights) in weights.chunks_exact(self.inputs() * BLOCK).enumerate() {
            for (block, from) in weights.chunks_exact(BLOCK * BLOCK).enumerate() {
                let to = &mut packed[(block * self.outputs + panel * BLOCK) * BLOCK..][..BLOCK * BLOCK];
                for (input, from) in from.chunks_exact(BLOCK).enumerate() {
                    for (output, weight) in from.iter().enumerate() {
                        to[output * BLOCK + input] = *weight;
                    }
                }
            }
        }
    }
}

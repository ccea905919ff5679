//! Linear layers: products of samples with a matrix.

use super::affine::ValueView;
use super::buffer::Buffer;
use super::gradient_target::{BackwardInputs, GradientTarget};
use super::program::Shape;
use super::threads::{StepContext, Threads, sample_chunks};
use plusminus_kernels::{BLOCK, Correlation, Extents, GradientApply, OuterSum, Pad, Strides};
use std::ops::Range;

/// Values of a sample per block of columns. Longer rows would compete for the same cache sets.
const PIECE: usize = 512;

/// Parts of a forward pass, and of the gradient with respect to the input.
const PARTS: usize = 4;

/// Panels of outputs per part of the gradient with respect to the weights.
const PANELS: usize = 4;

/// A linear layer: `[samples, inputs]` · `[inputs, outputs]`.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    /// The shape of a sample, whose stored values are the inputs.
    pub from: Shape,
    /// Stored outputs.
    pub outputs: usize,
    /// The matrix within the stored parameters.
    pub weight: &'a Range<usize>,
}

impl Linear<'_> {
    /// The length of the buffers that all threads share: the transposed weights, and none.
    pub fn shared_lengths(&self) -> [usize; 2] {
        [self.weight.len(), 0]
    }

    fn inputs(&self) -> usize {
        self.from.len()
    }

    /// Copies a range of every sample's viewed values, `[samples, piece]`.
    fn gather(&self, threads: &Threads, x: ValueView<'_>, samples: usize, piece: Range<usize>, gathered: &mut [f32]) {
        // A piece is a number of whole pixels or a part of one pixel.
        for (sample, to) in gathered.chunks_exact_mut(piece.len()).take(samples).enumerate() {
            let image = &x.sample(sample, self.inputs())[piece.clone()];
            let channels = self.from.stored.min(piece.len());
            let view = x.view.part(piece.start % self.from.stored, channels);
            let pixels = piece.len() / channels;
            Pad { image, extent: [1, pixels], channels, view, padded: to, columns: pixels, before: [0, 0] }
                .run(threads.instructions);
        }
    }

    /// The ranges into which a sample's values are divided: whole pixels, or whole blocks of a pixel that is too large.
    pub(super) fn pieces(&self) -> Vec<Range<usize>> {
        let channels = self.from.stored;
        let length = if channels <= PIECE {
            PIECE / channels * channels
        } else {
            // The largest number of blocks that divides a pixel evenly.
            (1..=PIECE / BLOCK)
                .rev()
                .map(|blocks| blocks * BLOCK)
                .find(|length| channels.is_multiple_of(*length))
                .unwrap_or(channels)
        };
        (0..self.inputs()).step_by(length).map(|start| start..self.inputs().min(start + length)).collect()
    }

    /// y = x W, `[samples, outputs]`.
    pub fn forward(&self, StepContext { threads, samples, weights }: StepContext<'_>, x: ValueView<'_>, y: &mut [f32]) {
        let weights = &weights[self.weight.clone()];
        let part = samples.div_ceil(PARTS);
        let parts = sample_chunks(y, self.outputs, samples, part).into_iter().enumerate().collect();
        threads.for_each(parts, |(i, y): (usize, &mut [f32]), scratch| {
            let x = x.samples(i * part, self.inputs());
            let samples = y.len() / self.outputs;
            for piece in self.pieces() {
                let [gathered] = scratch.slices([samples * piece.len()]);
                self.gather(threads, x, samples, piece.clone(), gathered);
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
                .run(threads.instructions);
            }
        });
    }

    /// Writes the gradient of the weights, xᵀ d, to its range of `weight_gradient`, and that of the input, d Wᵀ, to `target`.
    pub fn backward(
        &self,
        StepContext { threads, samples, weights }: StepContext<'_>,
        BackwardInputs { x, y, gradient }: BackwardInputs<'_>,
        weight_gradient: &mut [f32],
        target: Option<GradientTarget<'_>>,
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
        .run(threads.instructions);
        let d = &*d;
        let sums = &mut weight_gradient[self.weight.clone()];
        sums.fill(0.0);
        let panel = self.inputs() * BLOCK;
        let parts = sums.chunks_mut(PANELS * panel).enumerate().collect();
        threads.for_each(parts, |(i, sums): (usize, &mut [f32]), scratch| {
            for piece in self.pieces() {
                let [gathered] = scratch.slices([samples * piece.len()]);
                self.gather(threads, x, samples, piece.clone(), gathered);
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
                .run(threads.instructions);
            }
        });
        let Some(target) = target else { return };
        self.input_gradient(StepContext { threads, samples, weights }, x, d, target, packed);
    }

    /// Writes the gradient of the input, d Wᵀ.
    fn input_gradient(
        &self,
        StepContext { threads, samples, weights }: StepContext<'_>,
        x: ValueView<'_>,
        d: &[f32],
        mut target: GradientTarget<'_>,
        packed: &mut Buffer,
    ) {
        let packed = packed.first(self.weight.len());
        self.transpose(&weights[self.weight.clone()], packed);
        let (packed, part) = (&*packed, samples.div_ceil(PARTS));
        let parts = target.chunks(self.inputs(), samples, part).into_iter().enumerate().collect();
        threads.for_each(parts, |(i, mut target): (usize, GradientTarget<'_>), _| {
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
            .run(threads.instructions);
            for sample in 0..samples {
                let image = x.sample(sample, self.inputs());
                target.sum_sample(threads, x, image, sample);
            }
        });
    }

    /// Packs the transposed weights: panels of inputs from panels of outputs.
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

//! Convolutions by their definition: one correlation over all taps per output.

use crate::fused::affine::ValueView;
use crate::fused::buffer::Scratch;
use crate::fused::gradient_target::{BackwardInputs, GradientTarget};
use crate::fused::program::Convolution;
use crate::fused::threads::Threads;
use plusminus_kernels::{BLOCK, Correlation, Extents, GradientApply, OuterSum, Strides};
use std::ops::Range;

impl Convolution {
    /// Rows and columns of a padded input image.
    pub(in crate::fused) fn padded(&self) -> [usize; 2] {
        [self.from.height + 2 * self.margin[0], self.from.width + 2 * self.margin[1]]
    }

    /// The strides of the windows of a padded image, and of the rows within a window.
    fn windows(&self) -> (Strides, usize) {
        let row = self.padded()[1] * self.from.stored;
        (Strides { image: 0, row: self.stride * row, column: self.stride * self.from.stored }, row)
    }

    /// Writes the outputs of a part's samples, and their moments if requested.
    pub(super) fn forward_direct(
        &self,
        threads: &Threads,
        weights: &[f32],
        x: ValueView<'_>,
        y: &mut [f32],
        moments: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let [rows, columns] = self.padded();
        let [padded] = scratch.slices([rows * columns * self.from.stored]);
        let (x_strides, row) = self.windows();
        let (length, outputs) = (self.kernel[1] * self.from.stored, self.to.stored);
        for (sample, y) in y.chunks_mut(self.to.len()).enumerate() {
            self.pad(threads, x, sample, padded, columns);
            Correlation {
                extents: Extents { images: 1, rows: self.to.height, columns: self.to.width },
                x: padded,
                x_strides,
                rows: self.kernel[0],
                row,
                length,
                weights,
                panel: self.taps() * self.from.stored * BLOCK,
                outputs,
                y: &mut *y,
                y_strides: Strides::dense(self.to.height, self.to.width, outputs),
                accumulate: false,
            }
            .run(threads.instructions);
            self.sample_moments(threads, y, moments, sample);
        }
    }

    /// Adds the gradient of the weights to `sums` and writes the gradient of the input to `target`.
    ///
    /// `weights` are those of [`Convolution::transpose_direct`].
    pub(super) fn backward_direct(
        &self,
        threads: &Threads,
        weights: &[f32],
        BackwardInputs { x, y, gradient }: BackwardInputs<'_>,
        sums: &mut [f32],
        mut target: Option<GradientTarget<'_>>,
        scratch: &mut Scratch,
    ) {
        let [rows, columns] = self.padded();
        let axes = [0, 1].map(|axis| self.axis_gradient(axis));
        let [vertical, horizontal] = &axes;
        let d_columns = horizontal.before + self.to.width + horizontal.after;
        let d_rows = vertical.before + self.to.height + vertical.after;
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let [padded, d] = scratch.slices([rows * columns * inputs, d_rows * d_columns * outputs]);
        let (x_strides, row) = self.windows();
        let d_strides = Strides { image: 0, row: d_columns * outputs, column: outputs };
        let from = (vertical.before * d_columns + horizontal.before) * outputs;
        for (sample, gradient) in gradient.chunks(self.to.len()).enumerate() {
            self.pad(threads, x, sample, padded, columns);
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
            .run(threads.instructions);
            OuterSum {
                extents: Extents { images: 1, rows: self.to.height, columns: self.to.width },
                x: padded,
                x_strides,
                rows: self.kernel[0],
                row,
                length: self.kernel[1] * inputs,
                d: &d[from..],
                d_strides,
                weights: sums,
                panel: self.taps() * inputs * BLOCK,
                outputs,
            }
            .run(threads.instructions);
            let Some(target) = &mut target else { continue };
            let image = &mut target.gradient[sample * self.from.len()..][..self.from.len()];
            let d = PaddedGradient { values: d, steps: d_strides, axes: &axes };
            self.input_gradient(threads, weights, d, image, target.add);
            let image = x.sample(sample, self.from.len());
            target.sum_sample(threads, x, image, sample);
        }
    }

    /// Writes (or adds, if `add`) the gradient of one input image.
    fn input_gradient(&self, threads: &Threads, weights: &[f32], d: PaddedGradient<'_>, image: &mut [f32], add: bool) {
        let [vertical, horizontal] = d.axes;
        let mut packed = 0;
        for down in &vertical.phases {
            for across in &horizontal.phases {
                let size = down.taps.len() * across.taps.len() * self.to.stored * self.from.stored;
                self.phase_gradient(threads, &weights[packed..][..size], d, [down, across], image, add);
                packed += size;
            }
        }
    }

    /// The gradient of the pixels of one phase on each axis.
    fn phase_gradient(
        &self,
        threads: &Threads,
        weights: &[f32],
        d: PaddedGradient<'_>,
        [down, across]: [&Phase; 2],
        image: &mut [f32],
        add: bool,
    ) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let y_strides = Strides { image: 0, row: self.stride * self.from.width * inputs, column: self.stride * inputs };
        let length = across.taps.len() * outputs;
        for (rows, taps) in &down.runs {
            let first = down.first + rows.start * self.stride;
            let to = &mut image[(first * self.from.width + across.first) * inputs..];
            let extents = Extents { images: 1, rows: rows.len(), columns: across.count };
            if taps.len() * length > 0 {
                let start = down.start + rows.start + taps.start;
                Correlation {
                    extents,
                    x: &d.values[start * d.steps.row + across.start * outputs..],
                    x_strides: d.steps,
                    rows: taps.len(),
                    row: d.steps.row,
                    length,
                    weights: &weights[taps.start * length * BLOCK..],
                    panel: down.taps.len() * length * BLOCK,
                    outputs: inputs,
                    y: to,
                    y_strides,
                    accumulate: add,
                }
                .run(threads.instructions);
            } else if !add {
                for row in 0..extents.rows {
                    for column in 0..extents.columns {
                        to[row * y_strides.row + column * y_strides.column..][..inputs].fill(0.0);
                    }
                }
            }
        }
    }

    /// How the gradient of the input follows from that of the output along one axis.
    pub(in crate::fused) fn axis_gradient(&self, axis: usize) -> AxisGradient {
        let (extent, outputs) = (self.from.extent()[axis], self.to.extent()[axis]);
        let (kernel, margin, stride) = (self.kernel[axis], self.margin[axis], self.stride);
        // Tap i + margin − stride · o connects input i with output o. So the j-th of the inputs phase, phase + stride, … is connected
        // with the outputs j + base − t, by the taps first + stride · t.
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
                let (count, start) = ((extent - phase).div_ceil(stride), (before as isize + start) as usize);
                let runs = runs(count, start, taps.len(), before..before + outputs);
                Phase { first: phase, count, start, taps, runs }
            })
            .collect();
        let reach =
            phases.iter().map(|phase| phase.start + phase.count + phase.taps.len().max(1) - 1).max().unwrap_or(0);
        AxisGradient { before, after: reach.saturating_sub(before + outputs), phases }
    }

    /// Packs the weights for the gradient of the input: for each pair of phases, `[panel of inputs, tap, output, input]`.
    pub(super) fn transpose_direct(&self, weights: &[f32], packed: &mut [f32]) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
        let [vertical, horizontal] = [0, 1].map(|axis| self.axis_gradient(axis));
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
    }
}

/// The gradient of an output image with padding for the gradient of the input.
#[derive(Clone, Copy)]
struct PaddedGradient<'a> {
    values: &'a [f32],
    steps: Strides,
    axes: &'a [AxisGradient; 2],
}

/// How the gradient of the input follows from that of the output along one axis.
pub(in crate::fused) struct AxisGradient {
    /// Zeros before the gradient of the output.
    pub(in crate::fused) before: usize,
    /// Zeros after the gradient of the output.
    pub(in crate::fused) after: usize,
    phases: Vec<Phase>,
}

/// The inputs phase, phase + stride, …, which the same taps connect with the output.
struct Phase {
    /// The first input.
    first: usize,
    /// The number of inputs.
    count: usize,
    /// The index, within the padded gradient, of the first output gradient that the first input depends on.
    start: usize,
    /// The taps, in the order of their outputs.
    taps: Vec<usize>,
    /// Ranges of inputs that the same range of taps connects with outputs. The other taps fall on padding.
    runs: Vec<(Range<usize>, Range<usize>)>,
}

/// Divides `count` inputs into ranges that the same taps connect with the padded positions `outputs`. The first input is connected, by
/// `taps` taps, with the positions from `start` on.
fn runs(count: usize, start: usize, taps: usize, outputs: Range<usize>) -> Vec<(Range<usize>, Range<usize>)> {
    let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for input in 0..count {
        let tap = |position: usize| position.saturating_sub(start + input).min(taps);
        let connected = tap(outputs.start)..tap(outputs.end);
        match runs.last_mut() {
            Some((inputs, same)) if *same == connected => inputs.end = input + 1,
            _ => runs.push((input..input + 1, connected)),
        }
    }
    runs
}

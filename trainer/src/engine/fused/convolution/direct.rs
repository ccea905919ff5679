//! Convolutions straight from their definition.

use super::{Backward, Convolution, Target};
use crate::engine::fused::affine::Seen;
use crate::engine::fused::memory::Scratch;
use crate::engine::fused::team::Team;
use plusminus_kernels::{BLOCK, Correlation, Extents, GradientApply, OuterSum, Strides};
use std::ops::Range;

impl Convolution {
    /// Rows and columns of an image with its border.
    pub(in crate::engine::fused) fn padded(&self) -> [usize; 2] {
        [self.from.height + 2 * self.margin[0], self.from.width + 2 * self.margin[1]]
    }

    /// The windows of an image with its border: from one to the next, and from a row of a kernel to the next.
    fn windows(&self) -> (Strides, usize) {
        let row = self.padded()[1] * self.from.stored;
        (Strides { image: 0, row: self.stride * row, column: self.stride * self.from.stored }, row)
    }

    pub(super) fn forward_direct(
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
        let (x_strides, row) = self.windows();
        let (length, outputs) = (self.kernel[1] * self.from.stored, self.to.stored);
        for (sample, y) in y.chunks_mut(self.to.len()).enumerate() {
            self.pad(team, x, sample, padded, columns);
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
            .run(team.instructions);
            self.measure(team, y, moments, sample);
        }
    }

    pub(super) fn backward_direct(
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
        let (x_strides, row) = self.windows();
        let d_strides = Strides { image: 0, row: d_columns * outputs, column: outputs };
        let from = (vertical.before * d_columns + horizontal.before) * outputs;
        for (sample, gradient) in gradient.chunks(self.to.len()).enumerate() {
            self.pad(team, x, sample, padded, columns);
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
            .run(team.instructions);
            let Some(target) = &mut target else { continue };
            let image = &mut target.gradient[sample * self.from.len()..][..self.from.len()];
            let mut packed = 0;
            for down in &vertical.phases {
                for across in &horizontal.phases {
                    let size = down.taps.len() * across.taps.len() * outputs * inputs;
                    let weights = &weights[packed..][..size];
                    packed += size;
                    let y_strides =
                        Strides { image: 0, row: self.stride * self.from.width * inputs, column: self.stride * inputs };
                    let length = across.taps.len() * outputs;
                    for (rows, taps) in &down.runs {
                        let first = down.first + rows.start * self.stride;
                        let to = &mut image[(first * self.from.width + across.first) * inputs..];
                        let extents = Extents { images: 1, rows: rows.len(), columns: across.count };
                        if taps.len() * length > 0 {
                            let start = down.start + rows.start + taps.start;
                            Correlation {
                                extents,
                                x: &d[(start * d_columns + across.start) * outputs..],
                                x_strides: d_strides,
                                rows: taps.len(),
                                row: d_columns * outputs,
                                length,
                                weights: &weights[taps.start * length * BLOCK..],
                                panel: down.taps.len() * length * BLOCK,
                                outputs: inputs,
                                y: to,
                                y_strides,
                                accumulate: target.add,
                            }
                            .run(team.instructions);
                        } else if !target.add {
                            for row in 0..extents.rows {
                                for column in 0..extents.columns {
                                    to[row * y_strides.row + column * y_strides.column..][..inputs].fill(0.0);
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
    pub(in crate::engine::fused) fn axis(&self, axis: usize) -> Axis {
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
                let (count, start) = ((extent - phase).div_ceil(stride), (before as isize + start) as usize);
                let runs = runs(count, start, taps.len(), before..before + outputs);
                Phase { first: phase, count, start, taps, runs }
            })
            .collect();
        let reach =
            phases.iter().map(|phase| phase.start + phase.count + phase.taps.len().max(1) - 1).max().unwrap_or(0);
        Axis { before, after: reach.saturating_sub(before + outputs), phases }
    }

    /// The weights in the order that the gradient with respect to the input wants: for each phase, panels of inputs.
    pub(super) fn turn(&self, weights: &[f32], packed: &mut [f32]) {
        let (inputs, outputs) = (self.from.stored, self.to.stored);
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
    }
}

/// How the gradient of the input is made of that of the output along one axis.
pub(in crate::engine::fused) struct Axis {
    /// Zeroes before the gradient of the output.
    pub(in crate::engine::fused) before: usize,
    /// And after it.
    pub(in crate::engine::fused) after: usize,
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
    /// Runs of inputs that meet outputs through the same taps, the others falling on zeroes: places of inputs, and of taps.
    runs: Vec<(Range<usize>, Range<usize>)>,
}

/// Runs of `count` inputs, the first of which meets the places from `start` on through so many taps, that meet the places of
/// `outputs` through the same ones.
fn runs(count: usize, start: usize, taps: usize, outputs: Range<usize>) -> Vec<(Range<usize>, Range<usize>)> {
    let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for input in 0..count {
        let tap = |place: usize| place.saturating_sub(start + input).min(taps);
        let met = tap(outputs.start)..tap(outputs.end);
        match runs.last_mut() {
            Some((inputs, same)) if *same == met => inputs.end = input + 1,
            _ => runs.push((input..input + 1, met)),
        }
    }
    runs
}

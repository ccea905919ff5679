//! The forward pass, step by step.

use super::buffer::Buffer;
use super::linear::Linear;
use super::program::{Convolution, Input, Program, Shape, Step};
use super::state::BatchState;
use super::text;
use super::threads::{StepContext, Threads};
use plusminus_kernels::{Average, Join, MaxPool, Windows};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::mem::take;
use std::ops::Range;

/// A forward pass of `samples` samples, whose inputs are in the first value.
#[derive(Clone, Copy)]
pub(super) struct Forward<'a> {
    pub program: &'a Program,
    pub threads: &'a Threads,
    /// The stored weights.
    pub parameters: &'a [f32],
    pub samples: usize,
    /// Whether to use batch statistics and dropout.
    pub training: bool,
}

impl Forward<'_> {
    /// Computes every value up to the logits.
    ///
    /// `running` is the flat list of weights with the running statistics, which a training pass updates. `dropout` is the generator of the
    /// masks, and `None` in evaluation.
    pub fn run(&self, state: &mut BatchState, running: &mut [f32], mut dropout: Option<&mut ChaCha8Rng>) {
        let Forward { program, parameters, samples, training, .. } = *self;
        for (index, step) in program.steps.iter().enumerate() {
            let output = step.output();
            let value = &program.values[output];
            let (shape, length) = (value.shape, samples * value.shape.len());
            if let (Step::Dropout { share, .. }, Some(generator)) = (step, dropout.as_deref_mut()) {
                draw_mask(&mut state.masks[index][..length], shape, *share, generator);
            }
            // Batch norm needs the moments of each sample's output.
            let normed = value.affine.filter(|affine| training && program.affines[*affine].norm.is_some());
            let mut moments = normed.map(|affine| take(&mut state.sample_sums[affine]));
            let mut y = take(&mut state.values[output]);
            self.step(index, step, state, &mut y[..length], moments.as_mut());
            state.values[output] = y;
            let Some(affine) = value.affine else { continue };
            let (current, description) = (&mut state.affines[affine], &program.affines[affine]);
            match moments {
                Some(moments) => {
                    let found = &moments[..2 * samples * shape.stored];
                    current.use_batch_statistics(description, parameters, found, shape.pixels(), running);
                    state.sample_sums[affine] = moments;
                }
                None => current.use_running_statistics(description, parameters, running),
            }
        }
    }

    /// Computes the output `y` of one step, and the moments of each sample of `y` if requested.
    fn step(&self, index: usize, step: &Step, state: &mut BatchState, y: &mut [f32], moments: Option<&mut Buffer>) {
        let Forward { program, threads, parameters, samples, .. } = *self;
        let shape = program.values[step.output()].shape;
        match step {
            Step::Convolution(convolution) => self.convolution(convolution, state, y, moments),
            Step::Linear { input, weight, .. } => self.linear(input, weight, shape, state, y, moments),
            Step::Join { inputs, rectify, .. } => {
                let inputs = inputs.map(|input| input.map(|input| state.view(program, input.value)));
                threads.for_each_sample(samples, shape.len(), y, |sample, output| {
                    let inputs = inputs.map(|input| input.map(|x| (x.sample(sample, shape.len()), x.view)));
                    Join { inputs, channels: shape.stored, rectify: *rectify, output }.run(threads.instructions);
                });
            }
            Step::Dropout { input, .. } => self.dropout(index, input, shape, state, y),
            Step::Subsample { input, stride, .. } => {
                let (x, from) = (state.view(program, input.value), program.values[input.value].shape);
                threads.for_each_sample(samples, shape.len(), y, |sample, output| {
                    let image = x.sample(sample, from.len());
                    output.fill(0.0);
                    for [pixel, origin] in subsampled_pixels(shape, from, *stride) {
                        let inputs = [Some((&image[origin..][..from.stored], x.view)), None];
                        let output = &mut output[pixel..][..from.stored];
                        Join { inputs, channels: from.stored, rectify: false, output }.run(threads.instructions);
                    }
                });
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let (x, from) = (state.view(program, input.value), program.values[input.value].shape);
                let windows = windows(from, *kernel, *stride, *padding);
                threads.for_each_sample(samples, shape.len(), y, |sample, output| {
                    MaxPool { image: x.sample(sample, from.len()), view: x.view, windows, output }
                        .run(threads.instructions);
                });
            }
            Step::Embedding { weight, .. } => {
                let (tokens, vectors) = (&state.values[0], &parameters[weight.clone()]);
                text::Embedding::of(shape).forward(threads, samples, tokens, vectors, y);
            }
            Step::Tanh { input, .. } => {
                text::forward_tanh(threads, (samples, shape), state.view(program, input.value), y);
            }
            Step::Concatenate { inputs, .. } => {
                text::concatenate(program, state, threads, (samples, shape), inputs, y);
            }
            Step::Average { input, .. } => {
                let (x, from) = (state.view(program, input.value), program.values[input.value].shape);
                threads.for_each_sample(samples, shape.len(), y, |sample, output| {
                    Average { image: x.sample(sample, from.len()), view: x.view, output }.run(threads.instructions);
                });
            }
        }
    }

    fn convolution(
        &self,
        convolution: &Convolution,
        state: &mut BatchState,
        y: &mut [f32],
        moments: Option<&mut Buffer>,
    ) {
        let mut packed = take(&mut state.shared[0]);
        let moments = moments.map(|moments| &mut moments[..2 * self.samples * convolution.to.stored]);
        let x = state.view(self.program, convolution.input.value);
        convolution.forward(self.context(), x, y, moments, &mut packed);
        state.shared[0] = packed;
    }

    fn linear(
        &self,
        input: &Input,
        weight: &Range<usize>,
        shape: Shape,
        state: &BatchState,
        y: &mut [f32],
        moments: Option<&mut Buffer>,
    ) {
        let from = self.program.values[input.value].shape;
        let linear = Linear { from, outputs: shape.stored, weight };
        linear.forward(self.context(), state.view(self.program, input.value), y);
        if let Some(moments) = moments {
            // A sample has one value per channel: its mean is that value, its squared deviations are zero.
            for (row, moments) in y.chunks(shape.stored).zip(moments.chunks_mut(2 * shape.stored)) {
                let (mean, squares) = moments.split_at_mut(row.len());
                mean.copy_from_slice(row);
                squares.fill(0.0);
            }
        }
    }

    fn dropout(&self, index: usize, input: &Input, shape: Shape, state: &BatchState, y: &mut [f32]) {
        let Forward { program, threads, samples, training, .. } = *self;
        let (x, mask) = (state.view(program, input.value), &state.masks[index]);
        threads.for_each_sample(samples, shape.len(), y, |sample, output| {
            let inputs = [Some((x.sample(sample, shape.len()), x.view)), None];
            Join { inputs, channels: shape.stored, rectify: false, output: &mut *output }.run(threads.instructions);
            if training {
                let mask = &mask[sample * shape.len()..];
                output.iter_mut().zip(mask).for_each(|(y, mask)| *y *= mask);
            }
        });
    }

    fn context(&self) -> StepContext<'_> {
        StepContext { threads: self.threads, samples: self.samples, weights: self.parameters }
    }
}

/// The windows of a pool over an image of the shape `from`.
pub(super) fn windows(from: Shape, kernel: [usize; 2], stride: usize, padding: usize) -> Windows {
    Windows { extent: from.extent(), kernel, stride, padding, channels: from.stored }
}

/// The offset of every pixel of a subsampled image and of the pixel that it copies.
pub(super) fn subsampled_pixels(to: Shape, from: Shape, stride: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..to.pixels()).map(move |pixel| {
        let (row, column) = (pixel / to.width, pixel % to.width);
        [pixel * to.stored, (row * from.width + column) * stride * from.stored]
    })
}

/// Draws the masks of dropout: one number per value of the network, in the order sample, channel, row, column. A mask is 0 or 1/(1 − share).
pub(crate) fn draw_mask(mask: &mut [f32], shape: Shape, share: f64, generator: &mut ChaCha8Rng) {
    let kept = (1.0 / (1.0 - share)) as f32;
    for mask in mask.chunks_exact_mut(shape.len()) {
        for channel in 0..shape.channels {
            for pixel in mask.chunks_exact_mut(shape.stored) {
                pixel[channel] = if generator.random::<f64>() < share { 0.0 } else { kept };
            }
        }
    }
}

//! The steps of text networks: embedding, concatenation of channels, and tanh.

use super::affine::ValueView;
use super::buffer::Buffer;
use super::program::{Input, Program, Shape, ValueId};
use super::state::BatchState;
use super::threads::Threads;
use plusminus_kernels::{Add, Join, tanh};

/// The embedding of token ids, `[samples, length]` to `[samples, length, stored]`.
#[derive(Clone, Copy)]
pub(super) struct Embedding {
    /// Stored values per vector.
    stored: usize,
    /// Tokens per sample.
    length: usize,
}

impl Embedding {
    /// The embedding whose output has this shape.
    pub fn of(shape: Shape) -> Self {
        Embedding { stored: shape.stored, length: shape.pixels() }
    }

    /// Copies the vector of every token to `y`.
    pub fn forward(self, threads: &Threads, samples: usize, tokens: &[f32], vectors: &[f32], y: &mut [f32]) {
        let Embedding { stored, length } = self;
        threads.for_each_sample(samples, length * stored, y, |sample, y| {
            for (token, y) in tokens[sample * length..].iter().zip(y.chunks_exact_mut(stored)) {
                y.copy_from_slice(&vectors[*token as usize * stored..][..stored]);
            }
        });
    }

    /// Writes the gradient of every vector, as the sum over its tokens in their order.
    pub fn backward(self, threads: &Threads, tokens: &[f32], gradient: &[f32], vectors: &mut [f32]) {
        vectors.fill(0.0);
        for (token, values) in tokens.iter().zip(gradient.chunks_exact(self.stored)) {
            let total = &mut vectors[*token as usize * self.stored..][..self.stored];
            Add { values, total }.run(threads.instructions);
        }
    }
}

/// y = the channels of all `inputs` one after another, each through its view.
pub(super) fn concatenate(
    program: &Program,
    state: &BatchState,
    threads: &Threads,
    (samples, shape): (usize, Shape),
    inputs: &[Input],
    y: &mut [f32],
) {
    let parts: Vec<([usize; 2], Shape, ValueView<'_>)> = (program.channel_ranges(inputs).zip(inputs))
        .map(|(place, input)| (place, program.values[input.value].shape, state.view(program, input.value)))
        .collect();
    threads.for_each_sample(samples, shape.len(), y, |sample, output| {
        output.fill(0.0);
        for ([start, channels], from, x) in &parts {
            let mut row = Buffer::zeros(from.stored);
            let pixels = x.sample(sample, from.len()).chunks_exact(from.stored);
            for (pixel, output) in pixels.zip(output.chunks_exact_mut(shape.stored)) {
                let plain = x.view.affine.is_none() && !x.view.rectify;
                let viewed = if plain {
                    pixel
                } else {
                    let inputs = [Some((pixel, x.view)), None];
                    Join { inputs, channels: from.stored, rectify: false, output: &mut row }.run(threads.instructions);
                    &row
                };
                output[*start..][..*channels].copy_from_slice(&viewed[..*channels]);
            }
        }
    });
}

/// Adds the gradient in `buffer` to those of all `inputs`, each with the part of its channels.
pub(super) fn separate(
    program: &Program,
    state: &mut BatchState,
    threads: &Threads,
    (samples, shape): (usize, Shape),
    inputs: &[Input],
    buffer: usize,
) {
    for (input, [start, channels]) in inputs.iter().zip(program.channel_ranges(inputs)) {
        let from = program.values[input.value].shape;
        state.add_gradient(program, threads, input, samples, |state, sample, to| {
            let gradient = &state.gradients[buffer][sample * shape.len()..][..shape.len()];
            let pixels = gradient.chunks_exact(shape.stored);
            for (d, to) in pixels.zip(to.chunks_exact_mut(from.stored)) {
                to.iter_mut().zip(&d[start..][..channels]).for_each(|(to, d)| *to += d);
            }
        });
    }
}

/// y = tanh x, with x through its view.
pub(super) fn forward_tanh(threads: &Threads, (samples, shape): (usize, Shape), x: ValueView<'_>, y: &mut [f32]) {
    threads.for_each_sample(samples, shape.len(), y, |sample, output| {
        let inputs = [Some((x.sample(sample, shape.len()), x.view)), None];
        Join { inputs, channels: shape.stored, rectify: false, output: &mut *output }.run(threads.instructions);
        output.iter_mut().for_each(|y| *y = tanh(*y));
    });
}

/// Adds d · (1 − y²) to the gradient of `input`, where d is the gradient in `buffer`.
pub(super) fn backward_tanh(
    program: &Program,
    state: &mut BatchState,
    threads: &Threads,
    samples: usize,
    input: &Input,
    output: ValueId,
    buffer: usize,
) {
    let size = program.values[output].shape.len();
    state.add_gradient(program, threads, input, samples, |state, sample, to| {
        let gradient = &state.gradients[buffer][sample * size..][..size];
        let y = &state.values[output][sample * size..];
        to.iter_mut().zip(gradient).zip(y).for_each(|((to, d), y)| *to += d * (1.0 - y * y));
    });
}

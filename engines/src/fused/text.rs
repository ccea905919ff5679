//! The steps of networks for text: vectors of tokens, values side by side, and the hyperbolic tangent.

use super::memory::Buffer;
use super::program::{Id, Input, Program, Shape};
use super::steps::each;
use super::team::Team;
use super::{State, affine::Seen};
use plusminus_kernels::{Add, Join, tanh};

/// The vectors of tokens.
#[derive(Clone, Copy)]
pub(super) struct Embedding {
    /// Stored values of a vector.
    stored: usize,
    /// Tokens of a sample.
    length: usize,
}

impl Embedding {
    /// That which leaves values of this shape.
    pub fn of(shape: Shape) -> Self {
        Embedding { stored: shape.stored, length: shape.pixels() }
    }

    pub fn forward(self, team: &Team, samples: usize, tokens: &[f32], vectors: &[f32], y: &mut [f32]) {
        let Embedding { stored, length } = self;
        each(team, samples, length * stored, y, |sample, y| {
            for (token, y) in tokens[sample * length..].iter().zip(y.chunks_exact_mut(stored)) {
                y.copy_from_slice(&vectors[*token as usize * stored..][..stored]);
            }
        });
    }

    /// The gradient of every vector, a token after the other in their order.
    pub fn backward(self, team: &Team, tokens: &[f32], gradient: &[f32], vectors: &mut [f32]) {
        vectors.fill(0.0);
        for (token, values) in tokens.iter().zip(gradient.chunks_exact(self.stored)) {
            let total = &mut vectors[*token as usize * self.stored..][..self.stored];
            Add { values, total }.run(team.instructions);
        }
    }
}

/// y = the channels of all `inputs` after one another, each as it is seen.
pub(super) fn concatenate(
    program: &Program,
    state: &State,
    team: &Team,
    (samples, shape): (usize, Shape),
    inputs: &[Input],
    y: &mut [f32],
) {
    let parts: Vec<([usize; 2], Shape, Seen<'_>)> = (program.places(inputs).zip(inputs))
        .map(|(place, input)| (place, program.values[input.value].shape, state.see(program, input.value)))
        .collect();
    each(team, samples, shape.len(), y, |sample, output| {
        output.fill(0.0);
        for ([start, channels], from, x) in &parts {
            let mut row = Buffer::zeroes(from.stored);
            let pixels = x.sample(sample, from.len()).chunks_exact(from.stored);
            for (pixel, output) in pixels.zip(output.chunks_exact_mut(shape.stored)) {
                let plain = x.view.affine.is_none() && !x.view.rectify;
                let seen = if plain {
                    pixel
                } else {
                    let inputs = [Some((pixel, x.view)), None];
                    Join { inputs, channels: from.stored, rectify: false, output: &mut row }.run(team.instructions);
                    &row
                };
                output[*start..][..*channels].copy_from_slice(&seen[..*channels]);
            }
        }
    });
}

/// The gradients of all `inputs`: of each the part of its own channels.
pub(super) fn separate(
    program: &Program,
    state: &mut State,
    team: &Team,
    (samples, shape): (usize, Shape),
    inputs: &[Input],
    slot: usize,
) {
    for (input, [start, channels]) in inputs.iter().zip(program.places(inputs)) {
        let from = program.values[input.value].shape;
        state.give(program, team, input, samples, |state, sample, to| {
            let gradient = &state.slots[slot][sample * shape.len()..][..shape.len()];
            let pixels = gradient.chunks_exact(shape.stored);
            for (d, to) in pixels.zip(to.chunks_exact_mut(from.stored)) {
                to.iter_mut().zip(&d[start..][..channels]).for_each(|(to, d)| *to += d);
            }
        });
    }
}

/// y = tanh x, with x as it is seen.
pub(super) fn tangents(team: &Team, (samples, shape): (usize, Shape), x: Seen<'_>, y: &mut [f32]) {
    each(team, samples, shape.len(), y, |sample, output| {
        let inputs = [Some((x.sample(sample, shape.len()), x.view)), None];
        Join { inputs, channels: shape.stored, rectify: false, output: &mut *output }.run(team.instructions);
        output.iter_mut().for_each(|y| *y = tanh(*y));
    });
}

/// The gradient of that, from the one in `slot`.
pub(super) fn tanh_gradient(
    program: &Program,
    state: &mut State,
    team: &Team,
    samples: usize,
    input: &Input,
    output: Id,
    slot: usize,
) {
    let size = program.values[output].shape.len();
    state.give(program, team, input, samples, |state, sample, to| {
        let gradient = &state.slots[slot][sample * size..][..size];
        let y = &state.values[output][sample * size..];
        to.iter_mut().zip(gradient).zip(y).for_each(|((to, d), y)| *to += d * (1.0 - y * y));
    });
}

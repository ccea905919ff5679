//! A pass through the network, forward and back, step by step.

use super::affine::{Moving, Seen};
use super::convolution::{Backward, Convolution, Target};
use super::linear::Linear;
use super::memory::Buffer;
use super::program::{Flow, Id, Input, Program, Shape, Step};
use super::team::{Pass, Team, pieces};
use super::{FusedEngine, State, text};
use plusminus_kernels::{Add, Average, GradientSums, Join, Mask, MaxPool, MaxPoolGradient, Windows};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::mem::take;

/// Parts of a step without weights.
const PARTS: usize = 16;

impl FusedEngine {
    /// A forward pass of the samples that were loaded: for training where there is a generator for dropout, else for evaluation.
    pub(super) fn forward(&mut self, samples: usize, mut dropout: Option<&mut ChaCha8Rng>) {
        let FusedEngine { program, team, weights, parameters, state, .. } = self;
        let running = weights.values_mut();
        let pass = Pass { team, samples, weights: parameters };
        let training = dropout.is_some();
        for (place, step) in program.steps.iter().enumerate() {
            let output = step.output();
            let value = &program.values[output];
            let (shape, length) = (value.shape, samples * value.shape.len());
            // Batch norm wants to know the moments of what comes out.
            let normed = value.affine.filter(|affine| training && program.affines[*affine].norm.is_some());
            let mut moments = normed.map(|affine| take(&mut state.partials[affine]));
            let mut to = take(&mut state.values[output]);
            let y = &mut to[..length];
            match step {
                Step::Convolution(convolution) => {
                    let mut packed = take(&mut state.shared[0]);
                    let moments = moments.as_mut().map(|moments| &mut moments[..2 * samples * shape.stored]);
                    let x = state.see(program, convolution.input.value);
                    convolution.forward(pass, x, y, moments, &mut packed);
                    state.shared[0] = packed;
                }
                Step::Linear { input, weight, .. } => {
                    let from = program.values[input.value].shape;
                    let linear = Linear { from, outputs: shape.stored, weight };
                    linear.forward(pass, state.see(program, input.value), y);
                    if let Some(moments) = &mut moments {
                        // A sample is a single value a channel: its own mean, with no squares about it.
                        for (row, moments) in y.chunks(shape.stored).zip(moments.chunks_mut(2 * shape.stored)) {
                            let (mean, squares) = moments.split_at_mut(row.len());
                            mean.copy_from_slice(row);
                            squares.fill(0.0);
                        }
                    }
                }
                Step::Join { inputs, rectify, .. } => {
                    let inputs = inputs.map(|input| input.map(|input| state.see(program, input.value)));
                    each(team, samples, shape.len(), y, |sample, output| {
                        let inputs = inputs.map(|input| input.map(|x| (x.sample(sample, shape.len()), x.view)));
                        Join { inputs, channels: shape.stored, rectify: *rectify, output }.run(team.instructions);
                    });
                }
                Step::Dropout { input, share, .. } => {
                    if let Some(generator) = dropout.as_deref_mut() {
                        draw(&mut state.masks[place][..length], shape, *share, generator);
                    }
                    let (x, mask) = (state.see(program, input.value), &state.masks[place]);
                    each(team, samples, shape.len(), y, |sample, output| {
                        let inputs = [Some((x.sample(sample, shape.len()), x.view)), None];
                        Join { inputs, channels: shape.stored, rectify: false, output: &mut *output }
                            .run(team.instructions);
                        if training {
                            let mask = &mask[sample * shape.len()..];
                            output.iter_mut().zip(mask).for_each(|(y, mask)| *y *= mask);
                        }
                    });
                }
                Step::Subsample { input, stride, .. } => {
                    let (x, from) = (state.see(program, input.value), program.values[input.value].shape);
                    each(team, samples, shape.len(), y, |sample, output| {
                        let image = x.sample(sample, from.len());
                        output.fill(0.0);
                        for [pixel, origin] in sampled(shape, from, *stride) {
                            let inputs = [Some((&image[origin..][..from.stored], x.view)), None];
                            let output = &mut output[pixel..][..from.stored];
                            Join { inputs, channels: from.stored, rectify: false, output }.run(team.instructions);
                        }
                    });
                }
                Step::MaxPool { input, kernel, stride, padding, .. } => {
                    let (x, from) = (state.see(program, input.value), program.values[input.value].shape);
                    let windows = windows(from, *kernel, *stride, *padding);
                    each(team, samples, shape.len(), y, |sample, output| {
                        MaxPool { image: x.sample(sample, from.len()), view: x.view, windows, output }
                            .run(team.instructions);
                    });
                }
                Step::Embedding { weight, .. } => {
                    let (tokens, vectors) = (&state.values[0], &parameters[weight.clone()]);
                    text::Embedding::of(shape).forward(team, samples, tokens, vectors, y);
                }
                Step::Tanh { input, .. } => {
                    text::tangents(team, (samples, shape), state.see(program, input.value), y);
                }
                Step::Concatenate { inputs, .. } => {
                    text::concatenate(program, state, team, (samples, shape), inputs, y);
                }
                Step::Average { input, .. } => {
                    let (x, from) = (state.see(program, input.value), program.values[input.value].shape);
                    each(team, samples, shape.len(), y, |sample, output| {
                        Average { image: x.sample(sample, from.len()), view: x.view, output }.run(team.instructions);
                    });
                }
            }
            state.values[output] = to;
            let Some(affine) = value.affine else { continue };
            let (moving, description) = (&mut state.affines[affine], &program.affines[affine]);
            match moments {
                Some(moments) => {
                    let found = &moments[..2 * samples * shape.stored];
                    moving.settle(description, parameters, found, shape.pixels(), running);
                    state.partials[affine] = moments;
                }
                None => moving.settle_running(description, parameters, running),
            }
        }
    }

    /// The backward pass of a forward pass for training, from the gradient with respect to the logits.
    pub(super) fn backward(&mut self, samples: usize) {
        let FusedEngine { program, team, parameters, gradients, state, .. } = self;
        let pass = Pass { team, samples, weights: parameters };
        let logits = &program.values[program.logits];
        if let Some(slot) = logits.slot {
            let rows = state.slots[slot].chunks_exact_mut(logits.shape.stored);
            for (to, from) in rows.zip(state.gradient.chunks_exact(logits.shape.channels)) {
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
            state.complete(program, team, program.logits, samples);
        }
        for (place, step) in program.steps.iter().enumerate().rev() {
            let output = step.output();
            let value = &program.values[output];
            let Some(slot) = value.slot else { continue };
            if let Some(affine) = value.affine {
                let sums = &state.partials[affine][..2 * samples * value.shape.stored];
                let moving = &mut state.affines[affine];
                moving.unsettle(&program.affines[affine], parameters, sums, value.shape.pixels(), gradients);
            }
            let size = value.shape.len();
            let rectified = match step {
                Step::Join { rectify, .. } => *rectify,
                Step::Convolution(_) | Step::Linear { .. } => false,
                _ => value.rectify,
            };
            if rectified {
                let y = &state.values[output];
                each(team, samples, size, &mut state.slots[slot], |sample, gradient| {
                    Mask { output: &y[sample * size..][..size], gradient }.run(team.instructions);
                });
            }
            match step {
                Step::Convolution(Convolution { input, .. }) | Step::Linear { input, .. } => {
                    let mut reach = state.reach(program, input);
                    let backward = Backward {
                        x: state.see(program, input.value),
                        y: state.see(program, output),
                        gradient: &state.slots[slot],
                    };
                    let (target, shared) = reach.target(program, input, samples);
                    match step {
                        Step::Linear { weight, .. } => {
                            let from = program.values[input.value].shape;
                            let linear = Linear { from, outputs: value.shape.stored, weight };
                            linear.backward(pass, backward, gradients, target, shared);
                        }
                        Step::Convolution(convolution) => {
                            convolution.backward(pass, backward, gradients, target, shared);
                        }
                        _ => {}
                    }
                    state.withdraw(program, input, reach);
                }
                Step::Join { inputs, .. } => {
                    for input in inputs.iter().flatten() {
                        if input.flow != Flow::Share {
                            state.give(program, team, input, samples, |state, sample, total| {
                                let values = &state.slots[slot][sample * size..][..size];
                                Add { values, total }.run(team.instructions);
                            });
                        }
                    }
                    // Only now: the two may share a buffer with this step's output.
                    let shared = |input: &&Input| input.completes && input.flow == Flow::Share;
                    for input in inputs.iter().flatten().filter(shared) {
                        state.complete(program, team, input.value, samples);
                    }
                }
                Step::Dropout { input, .. } => {
                    state.give(program, team, input, samples, |state, sample, to| {
                        let gradient = &state.slots[slot][sample * size..][..size];
                        let mask = &state.masks[place][sample * size..];
                        to.iter_mut().zip(gradient).zip(mask).for_each(|((to, d), mask)| *to += d * mask);
                    });
                }
                Step::Subsample { input, stride, .. } => {
                    let from = program.values[input.value].shape;
                    state.give(program, team, input, samples, |state, sample, to| {
                        let gradient = &state.slots[slot][sample * size..][..size];
                        for [pixel, origin] in sampled(value.shape, from, *stride) {
                            let values = &gradient[pixel..][..from.stored];
                            Add { values, total: &mut to[origin..][..from.stored] }.run(team.instructions);
                        }
                    });
                }
                Step::MaxPool { input, kernel, stride, padding, .. } => {
                    let from = program.values[input.value].shape;
                    let windows = windows(from, *kernel, *stride, *padding);
                    state.give(program, team, input, samples, |state, sample, image_gradient| {
                        let x = state.see(program, input.value);
                        MaxPoolGradient {
                            image: x.sample(sample, from.len()),
                            view: x.view,
                            windows,
                            output: &state.values[output][sample * size..][..size],
                            gradient: &state.slots[slot][sample * size..][..size],
                            image_gradient,
                        }
                        .run(team.instructions);
                    });
                }
                Step::Embedding { weight, .. } => {
                    let (tokens, d) = (&state.values[0], &state.slots[slot]);
                    let (tokens, d) = (&tokens[..samples * value.shape.pixels()], &d[..samples * size]);
                    text::Embedding::of(value.shape).backward(team, tokens, d, &mut gradients[weight.clone()]);
                }
                Step::Tanh { input, .. } => text::tanh_gradient(program, state, team, samples, input, output, slot),
                Step::Concatenate { inputs, .. } => {
                    text::separate(program, state, team, (samples, value.shape), inputs, slot);
                }
                Step::Average { input, .. } => {
                    let from = program.values[input.value].shape;
                    let share = (from.pixels() as f32).recip();
                    state.give(program, team, input, samples, |state, sample, to| {
                        let gradient = &state.slots[slot][sample * size..][..size];
                        for pixel in to.chunks_exact_mut(size) {
                            pixel.iter_mut().zip(gradient).for_each(|(to, d)| *to += d * share);
                        }
                    });
                }
            }
        }
    }
}

/// What a step with weights writes to besides their gradients.
struct Reach {
    gradient: Option<Buffer>,
    sums: Option<Buffer>,
    shared: [Buffer; 2],
}

impl Reach {
    /// The same for so many samples.
    fn target(&mut self, program: &Program, input: &Input, samples: usize) -> (Option<Target<'_>>, [&mut Buffer; 2]) {
        let shape = program.values[input.value].shape;
        let sums = self.sums.as_mut().map(|sums| &mut sums[..2 * samples * shape.stored]);
        let target = self.gradient.as_mut().map(|gradient| Target {
            gradient: &mut gradient[..samples * shape.len()],
            add: input.flow == Flow::Add,
            sums,
        });
        (target, self.shared.each_mut())
    }
}

impl State {
    /// What stands in a value, as its readers see it.
    pub(super) fn see(&self, program: &Program, id: Id) -> Seen<'_> {
        let value = &program.values[id];
        Moving::see(value.affine.map(|affine| &self.affines[affine]), value, &self.values[id])
    }

    /// Takes out what a step with weights writes to on the way back.
    fn reach(&mut self, program: &Program, input: &Input) -> Reach {
        let value = &program.values[input.value];
        let slot = value.slot.filter(|_| input.flow != Flow::None);
        let affine = value.affine.filter(|_| input.completes);
        Reach {
            gradient: slot.map(|slot| take(&mut self.slots[slot])),
            sums: affine.map(|affine| take(&mut self.partials[affine])),
            shared: take(&mut self.shared),
        }
    }

    /// Puts it back.
    fn withdraw(&mut self, program: &Program, input: &Input, reach: Reach) {
        let value = &program.values[input.value];
        if let (Some(slot), Some(gradient)) = (value.slot, reach.gradient) {
            self.slots[slot] = gradient;
        }
        if let (Some(affine), Some(sums)) = (value.affine, reach.sums) {
            self.partials[affine] = sums;
        }
        self.shared = reach.shared;
    }

    /// Lets `work` add every sample's gradient to what a step without weights reads, and completes it.
    pub(super) fn give(
        &mut self,
        program: &Program,
        team: &Team,
        input: &Input,
        samples: usize,
        work: impl Fn(&State, usize, &mut [f32]) + Sync,
    ) {
        let value = &program.values[input.value];
        let Some(slot) = value.slot.filter(|_| input.flow != Flow::None) else { return };
        let mut target = take(&mut self.slots[slot]);
        each(team, samples, value.shape.len(), &mut target, |sample, to| {
            if input.flow == Flow::Write {
                to.fill(0.0);
            }
            work(self, sample, to);
        });
        self.slots[slot] = target;
        if input.completes {
            self.complete(program, team, input.value, samples);
        }
    }

    /// Adds up, now that the gradient with respect to a value is complete, what the gradients of its scale and shift are made of.
    fn complete(&mut self, program: &Program, team: &Team, id: Id, samples: usize) {
        let value = &program.values[id];
        let (Some(affine), Some(slot)) = (value.affine, value.slot) else { return };
        let mut sums = take(&mut self.partials[affine]);
        let x = self.see(program, id);
        let (size, channels) = (value.shape.len(), value.shape.stored);
        each(team, samples, 2 * channels, &mut sums, |sample, sums| {
            let (sum, product) = sums.split_at_mut(channels);
            let gradient = &self.slots[slot][sample * size..][..size];
            GradientSums { gradient, image: x.sample(sample, size), view: x.view, mean: x.mean, sum, product }
                .run(team.instructions);
        });
        self.partials[affine] = sums;
    }
}

/// Calls `work` with the number and the values of every sample.
pub(super) fn each(
    team: &Team,
    samples: usize,
    size: usize,
    values: &mut [f32],
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let part = samples.div_ceil(PARTS);
    let parts = pieces(values, size, samples, part).into_iter().enumerate().collect();
    team.each(parts, |(i, values): (usize, &mut [f32]), _| {
        for (sample, values) in values.chunks_mut(size).enumerate() {
            work(i * part + sample, values);
        }
    });
}

fn windows(from: Shape, kernel: [usize; 2], stride: usize, padding: usize) -> Windows {
    Windows { extent: from.extent(), kernel, stride, padding, channels: from.stored }
}

/// The places of every pixel of a subsampled image, and of the pixel that it is made of.
fn sampled(to: Shape, from: Shape, stride: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..to.pixels()).map(move |pixel| {
        let (row, column) = (pixel / to.width, pixel % to.width);
        [pixel * to.stored, (row * from.width + column) * stride * from.stored]
    })
}

/// Draws dropout's masks: one draw a value of the network, channel by channel and row by row, as every engine does.
pub(crate) fn draw(mask: &mut [f32], shape: Shape, share: f64, generator: &mut ChaCha8Rng) {
    let kept = (1.0 / (1.0 - share)) as f32;
    for mask in mask.chunks_exact_mut(shape.len()) {
        for channel in 0..shape.channels {
            for pixel in mask.chunks_exact_mut(shape.stored) {
                pixel[channel] = if generator.random::<f64>() < share { 0.0 } else { kept };
            }
        }
    }
}

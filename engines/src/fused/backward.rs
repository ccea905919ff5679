//! The backward pass, step by step, from the gradient of the logits to the gradients of all weights.

use super::forward::{subsampled_pixels, windows};
use super::gradient_target::BackwardInputs;
use super::linear::Linear;
use super::program::{Convolution, GradientFlow, Input, Program, Step};
use super::state::BatchState;
use super::text;
use super::threads::{StepContext, Threads};
use plusminus_kernels::{Add, Mask, MaxPoolGradient};

/// The backward pass of a training pass.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    pub program: &'a Program,
    pub threads: &'a Threads,
    /// The stored weights.
    pub parameters: &'a [f32],
    pub samples: usize,
}

impl Backward<'_> {
    /// Writes the gradients of all stored weights.
    pub fn run(&self, state: &mut BatchState, gradients: &mut [f32]) {
        let Backward { program, threads, parameters, samples } = *self;
        let logits = &program.values[program.logits];
        if let Some(buffer) = logits.gradient_buffer {
            let rows = state.gradients[buffer].chunks_exact_mut(logits.shape.stored);
            for (to, from) in rows.zip(state.logits_gradient.chunks_exact(logits.shape.channels)) {
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
            state.sum_gradient(program, threads, program.logits, samples);
        }
        for (index, step) in program.steps.iter().enumerate().rev() {
            let output = step.output();
            let value = &program.values[output];
            let Some(buffer) = value.gradient_buffer else { continue };
            if let Some(affine) = value.affine {
                let sums = &state.sample_sums[affine][..2 * samples * value.shape.stored];
                let current = &mut state.affines[affine];
                current.differentiate(&program.affines[affine], parameters, sums, value.shape.pixels(), gradients);
            }
            let size = value.shape.len();
            if program.masks_gradient(step) {
                let y = &state.values[output];
                threads.for_each_sample(samples, size, &mut state.gradients[buffer], |sample, gradient| {
                    Mask { output: &y[sample * size..][..size], gradient }.run(threads.instructions);
                });
            }
            self.step(index, step, buffer, state, gradients);
        }
    }

    /// The backward pass of one step, whose output's gradient is in `buffer`.
    fn step(&self, index: usize, step: &Step, buffer: usize, state: &mut BatchState, gradients: &mut [f32]) {
        let Backward { program, threads, samples, .. } = *self;
        let output = step.output();
        let shape = program.values[output].shape;
        let size = shape.len();
        match step {
            Step::Convolution(Convolution { input, .. }) | Step::Linear { input, .. } => {
                self.step_with_weights(step, input, buffer, state, gradients);
            }
            Step::Join { inputs, .. } => self.join(inputs, buffer, size, state),
            Step::Dropout { input, .. } => {
                state.add_gradient(program, threads, input, samples, |state, sample, to| {
                    let gradient = &state.gradients[buffer][sample * size..][..size];
                    let mask = &state.masks[index][sample * size..];
                    to.iter_mut().zip(gradient).zip(mask).for_each(|((to, d), mask)| *to += d * mask);
                });
            }
            Step::Subsample { input, stride, .. } => {
                let from = program.values[input.value].shape;
                state.add_gradient(program, threads, input, samples, |state, sample, to| {
                    let gradient = &state.gradients[buffer][sample * size..][..size];
                    for [pixel, origin] in subsampled_pixels(shape, from, *stride) {
                        let values = &gradient[pixel..][..from.stored];
                        Add { values, total: &mut to[origin..][..from.stored] }.run(threads.instructions);
                    }
                });
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let from = program.values[input.value].shape;
                let windows = windows(from, *kernel, *stride, *padding);
                state.add_gradient(program, threads, input, samples, |state, sample, image_gradient| {
                    let x = state.view(program, input.value);
                    MaxPoolGradient {
                        image: x.sample(sample, from.len()),
                        view: x.view,
                        windows,
                        output: &state.values[output][sample * size..][..size],
                        gradient: &state.gradients[buffer][sample * size..][..size],
                        image_gradient,
                    }
                    .run(threads.instructions);
                });
            }
            Step::Embedding { weight, .. } => {
                let (tokens, d) = (&state.values[0], &state.gradients[buffer]);
                let (tokens, d) = (&tokens[..samples * shape.pixels()], &d[..samples * size]);
                text::Embedding::of(shape).backward(threads, tokens, d, &mut gradients[weight.clone()]);
            }
            Step::Tanh { input, .. } => {
                text::backward_tanh(program, state, threads, samples, input, output, buffer);
            }
            Step::Concatenate { inputs, .. } => {
                text::separate(program, state, threads, (samples, shape), inputs, buffer);
            }
            Step::Average { input, .. } => {
                let from = program.values[input.value].shape;
                let share = (from.pixels() as f32).recip();
                state.add_gradient(program, threads, input, samples, |state, sample, to| {
                    let gradient = &state.gradients[buffer][sample * size..][..size];
                    for pixel in to.chunks_exact_mut(size) {
                        pixel.iter_mut().zip(gradient).for_each(|(to, d)| *to += d * share);
                    }
                });
            }
        }
    }

    fn step_with_weights(
        &self,
        step: &Step,
        input: &Input,
        buffer: usize,
        state: &mut BatchState,
        gradients: &mut [f32],
    ) {
        let Backward { program, threads, parameters, samples } = *self;
        let context = StepContext { threads, samples, weights: parameters };
        let mut buffers = state.take_backward_buffers(program, input);
        let inputs = BackwardInputs {
            x: state.view(program, input.value),
            y: state.view(program, step.output()),
            gradient: &state.gradients[buffer],
        };
        let (target, shared) = buffers.target(program, input, samples);
        match step {
            Step::Linear { weight, output, .. } => {
                let from = program.values[input.value].shape;
                let linear = Linear { from, outputs: program.values[*output].shape.stored, weight };
                linear.backward(context, inputs, gradients, target, shared);
            }
            Step::Convolution(convolution) => convolution.backward(context, inputs, gradients, target, shared),
            _ => {}
        }
        state.put_back(program, input, buffers);
    }

    fn join(&self, inputs: &[Option<Input>; 2], buffer: usize, size: usize, state: &mut BatchState) {
        let Backward { program, threads, samples, .. } = *self;
        for input in inputs.iter().flatten() {
            if input.flow != GradientFlow::Share {
                state.add_gradient(program, threads, input, samples, |state, sample, total| {
                    let values = &state.gradients[buffer][sample * size..][..size];
                    Add { values, total }.run(threads.instructions);
                });
            }
        }
        // Only after both additions: an input may share the buffer of the output's gradient.
        let shared = |input: &&Input| input.completes && input.flow == GradientFlow::Share;
        for input in inputs.iter().flatten().filter(shared) {
            state.sum_gradient(program, threads, input.value, samples);
        }
    }
}

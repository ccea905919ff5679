//! The state of a batch between the steps of a pass: values, gradients and statistics.

use super::affine::{AffineState, ValueView};
use super::buffer::Buffer;
use super::gradient_target::GradientTarget;
use super::program::{GradientFlow, Input, Program, Step, ValueId};
use super::threads::Threads;
use plusminus_kernels::GradientSums;
use std::mem::take;

/// The buffers of a batch, indexed as in the [`Program`].
#[derive(Debug, Default)]
pub(super) struct BatchState {
    /// The number of samples that the buffers hold.
    pub capacity: usize,
    /// The stored values of each value.
    pub values: Vec<Buffer>,
    /// The gradients with respect to viewed values.
    pub gradients: Vec<Buffer>,
    pub affines: Vec<AffineState>,
    /// Two values per sample and channel of each affine: mean and squared deviations in the forward pass, Σ g and Σ g · (x − mean) in the
    /// backward pass.
    pub sample_sums: Vec<Buffer>,
    /// Dropout's masks, by the index of the step.
    pub masks: Vec<Buffer>,
    /// Memory that all threads share during a step.
    pub shared: [Buffer; 2],
    /// The logits and their gradient, `[samples, classes]`.
    pub logits: Vec<f32>,
    pub logits_gradient: Vec<f32>,
}

impl BatchState {
    /// Empty buffers for `program`.
    pub fn new(program: &Program) -> Self {
        BatchState {
            affines: program.affines.iter().map(AffineState::new).collect(),
            values: program.values.iter().map(|_| Buffer::default()).collect(),
            gradients: program.gradient_buffers.iter().map(|_| Buffer::default()).collect(),
            sample_sums: program.affines.iter().map(|_| Buffer::default()).collect(),
            masks: program.steps.iter().map(|_| Buffer::default()).collect(),
            ..BatchState::default()
        }
    }

    /// Allocates buffers for at least `samples` samples.
    pub fn reserve(&mut self, program: &Program, samples: usize) {
        let BatchState { capacity, values, gradients, sample_sums, masks, .. } = self;
        if samples <= *capacity {
            return;
        }
        *capacity = samples;
        for (buffer, value) in values.iter_mut().zip(&program.values) {
            *buffer = Buffer::zeros(samples * value.shape.len());
        }
        for (buffer, length) in gradients.iter_mut().zip(&program.gradient_buffers) {
            *buffer = Buffer::zeros(samples * length);
        }
        for (buffer, affine) in sample_sums.iter_mut().zip(&program.affines) {
            *buffer = Buffer::zeros(2 * affine.channels * samples);
        }
        for (buffer, step) in masks.iter_mut().zip(&program.steps) {
            if let Step::Dropout { output, .. } = step {
                *buffer = Buffer::zeros(samples * program.values[*output].shape.len());
            }
        }
    }

    /// A value as later steps read it.
    pub fn view(&self, program: &Program, id: ValueId) -> ValueView<'_> {
        let value = &program.values[id];
        AffineState::view(value.affine.map(|affine| &self.affines[affine]), value, &self.values[id])
    }

    /// Takes out the buffers that the backward pass of a step with weights writes.
    pub fn take_backward_buffers(&mut self, program: &Program, input: &Input) -> BackwardBuffers {
        let value = &program.values[input.value];
        let buffer = value.gradient_buffer.filter(|_| input.flow != GradientFlow::None);
        let affine = value.affine.filter(|_| input.completes);
        BackwardBuffers {
            gradient: buffer.map(|buffer| take(&mut self.gradients[buffer])),
            sums: affine.map(|affine| take(&mut self.sample_sums[affine])),
            shared: take(&mut self.shared),
        }
    }

    /// Puts these buffers back.
    pub fn put_back(&mut self, program: &Program, input: &Input, buffers: BackwardBuffers) {
        let value = &program.values[input.value];
        if let (Some(buffer), Some(gradient)) = (value.gradient_buffer, buffers.gradient) {
            self.gradients[buffer] = gradient;
        }
        if let (Some(affine), Some(sums)) = (value.affine, buffers.sums) {
            self.sample_sums[affine] = sums;
        }
        self.shared = buffers.shared;
    }

    /// Adds every sample's gradient, which `work` computes, to the gradient of a step's input. Completes it if the step is the last to
    /// add.
    pub fn add_gradient(
        &mut self,
        program: &Program,
        threads: &Threads,
        input: &Input,
        samples: usize,
        work: impl Fn(&BatchState, usize, &mut [f32]) + Sync,
    ) {
        let value = &program.values[input.value];
        let Some(buffer) = value.gradient_buffer.filter(|_| input.flow != GradientFlow::None) else { return };
        let mut target = take(&mut self.gradients[buffer]);
        threads.for_each_sample(samples, value.shape.len(), &mut target, |sample, to| {
            if input.flow == GradientFlow::Write {
                to.fill(0.0);
            }
            work(self, sample, to);
        });
        self.gradients[buffer] = target;
        if input.completes {
            self.sum_gradient(program, threads, input.value, samples);
        }
    }

    /// Computes the sums of a complete gradient from which the gradients of its scale and shift follow.
    pub fn sum_gradient(&mut self, program: &Program, threads: &Threads, id: ValueId, samples: usize) {
        let value = &program.values[id];
        let (Some(affine), Some(buffer)) = (value.affine, value.gradient_buffer) else { return };
        let mut sums = take(&mut self.sample_sums[affine]);
        let x = self.view(program, id);
        let (size, channels) = (value.shape.len(), value.shape.stored);
        threads.for_each_sample(samples, 2 * channels, &mut sums, |sample, sums| {
            let (sum, product) = sums.split_at_mut(channels);
            let gradient = &self.gradients[buffer][sample * size..][..size];
            GradientSums { gradient, image: x.sample(sample, size), view: x.view, mean: x.mean, sum, product }
                .run(threads.instructions);
        });
        self.sample_sums[affine] = sums;
    }
}

/// The buffers that the backward pass of a step with weights writes, besides the weights' gradients.
pub(super) struct BackwardBuffers {
    gradient: Option<Buffer>,
    sums: Option<Buffer>,
    shared: [Buffer; 2],
}

impl BackwardBuffers {
    /// The parts of the buffers for `samples` samples.
    pub fn target(
        &mut self,
        program: &Program,
        input: &Input,
        samples: usize,
    ) -> (Option<GradientTarget<'_>>, [&mut Buffer; 2]) {
        let shape = program.values[input.value].shape;
        let sums = self.sums.as_mut().map(|sums| &mut sums[..2 * samples * shape.stored]);
        let target = self.gradient.as_mut().map(|gradient| GradientTarget {
            gradient: &mut gradient[..samples * shape.len()],
            add: input.flow == GradientFlow::Add,
            sums,
        });
        (target, self.shared.each_mut())
    }
}

//! The forward pass, step by step.

use super::batch_view::BatchView;
use super::memory::{geometry, input};
use crate::fused::{MOMENTUM, Step};
use plusminus_cuda::ops::{ChannelsLast, Dropout, GatherRows, Join, NormFromBatch, NormFromRunning, Tanh};
use plusminus_cuda::{Convolution, Device, DeviceError, Pass};

impl BatchView<'_> {
    /// Copies inputs from `[samples, channels, height, width]` to the channels-last order of the first value.
    pub(super) fn arrange_inputs(&self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (shape, to) = (self.shape(0), self.values(0));
        let from = self.batch.buffers.inputs.part(0, to.len());
        ChannelsLast { from, to, channels: shape.stored, pixels: shape.pixels() }.run(device)
    }

    /// Computes every value from the first to the logits. A training pass uses batch statistics and dropout.
    pub(super) fn forward(&self, training: bool, device: &mut dyn Device) -> Result<(), DeviceError> {
        let BatchView { program, batch, samples, .. } = *self;
        let mut copied = vec![false; program.values.len()];
        for (index, step) in program.steps.iter().enumerate() {
            self.forward_step(index, step, &mut copied, training, device)?;
            let Some(affine) = program.values[step.output()].affine else { continue };
            let Some((norm, running)) = self.norm(affine) else { continue };
            let channels = program.affines[affine].channels;
            if training {
                let values = self.values(step.output());
                let (partial, momentum) = (batch.buffers.partial_sums, MOMENTUM as f32);
                NormFromBatch { values, partial, norm, running, momentum, channels }.run(device)?;
            } else {
                NormFromRunning { norm, running, channels }.run(device)?;
            }
        }
        let logits = &program.values[program.logits].shape;
        GatherRows {
            input: self.view(program.logits),
            output: batch.buffers.logits.part(0, samples * logits.channels),
            classes: logits.channels,
            stored: logits.stored,
        }
        .run(device)
    }

    /// `copied` has the values whose view has been copied for convolutions.
    fn forward_step(
        &self,
        index: usize,
        step: &Step,
        copied: &mut [bool],
        training: bool,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let output = step.output();
        let (to, channels) = (self.values(output), self.shape(output).stored);
        match step {
            Step::Convolution(_) | Step::Linear { .. } => self.forward_convolution(step, copied, device),
            Step::Join { inputs, rectify, .. } => {
                let [Some(first), second] = inputs else { return Ok(()) };
                let second = second.map(|input| self.view(input.value));
                let first = self.view(first.value);
                Join { first, second, rectify: *rectify, output: to, channels }.run(device)
            }
            Step::Dropout { input, .. } => {
                let seen = self.view(input.value);
                match self.batch.buffers.masks[index] {
                    Some(mask) if training => {
                        Dropout { input: seen, mask: mask.part(0, to.len()), output: to, channels }.run(device)
                    }
                    _ => Join { first: seen, second: None, rectify: false, output: to, channels }.run(device),
                }
            }
            Step::Subsample { input, stride, .. } => {
                self.subsample(input, *stride, output).run(device, self.view(input.value), to)
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let windows = self.windows(input, *kernel, *stride, *padding);
                self.max_pool(index, windows, to.len())?.run(device, self.view(input.value), to)
            }
            Step::Average { input, .. } => self.average(input).run(device, self.view(input.value), to),
            Step::Embedding { vocabulary, .. } => {
                let vectors = self.weights(step, self.model.parameters);
                self.embedding(*vocabulary, channels).run(device, vectors, to)
            }
            Step::Tanh { input, .. } => Tanh { output: to, channels }.run(device, self.view(input.value)),
            Step::Concatenate { inputs, .. } => {
                // Memory starts as zeros, so the padding of the channels needs no write.
                for (range, input) in self.program.channel_ranges(inputs).zip(inputs) {
                    self.place(range, input, output).run(device, self.view(input.value), to)?;
                }
                Ok(())
            }
        }
    }

    /// A convolution or linear layer. Its first reader copies the view of the input if cuDNN cannot apply it.
    fn forward_convolution(
        &self,
        step: &Step,
        copied: &mut [bool],
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let Some(geometry) = geometry(self.program, step, self.samples) else { return Ok(()) };
        let id = input(step);
        if self.batch.buffers.copies[id].is_some() && !std::mem::replace(&mut copied[id], true) {
            let channels = self.shape(id).stored;
            let output = self.convolution_input(id);
            Join { first: self.view(id), second: None, rectify: false, output, channels }.run(device)?;
        }
        let (x, w) = (self.convolution_input(id), self.weights(step, self.model.parameters));
        let (y, scratch, factors) = (self.values(step.output()), self.batch.buffers.scratch, self.factors());
        Convolution { geometry, pass: Pass::Forward, x, w, y, scratch, factors }.run(device)
    }
}

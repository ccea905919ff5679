//! The backward pass, step by step, from the gradient of the logits to the gradients of all weights.

use super::batch_view::BatchView;
use super::memory::{geometry, input};
use crate::fused::{Convolution as ConvolutionStep, GradientFlow, Input, Step, ValueId};
use plusminus_cuda::ops::{
    BiasGradient, CopyOrAdd, DropoutGradient, GradientApply, GradientSums, Mask, NormGradient, SpreadRows, Tanh,
};
use plusminus_cuda::{Convolution, Device, DeviceError, DeviceMemory, Pass};

impl BatchView<'_> {
    /// The backward pass of a training pass.
    pub(super) fn backward(&self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let BatchView { program, batch, samples, .. } = *self;
        let shape = self.shape(program.logits);
        if let Some(to) = self.gradient(program.logits) {
            let from = batch.buffers.logits_gradient.part(0, samples * shape.channels);
            SpreadRows { from, to, classes: shape.channels, stored: shape.stored }.run(device)?;
            self.differentiate_affine(program.logits, device)?;
        }
        for (index, step) in program.steps.iter().enumerate().rev() {
            if let Some(gradient) = self.gradient(step.output()) {
                self.backward_step(index, step, gradient, device)?;
            }
        }
        Ok(())
    }

    /// The backward pass of one step, whose output's gradient is `gradient`.
    fn backward_step(
        &self,
        index: usize,
        step: &Step,
        gradient: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let output = step.output();
        if self.program.masks_gradient(step) {
            Mask { output: self.values(output), gradient }.run(device)?;
        }
        match step {
            Step::Convolution(ConvolutionStep { input, .. }) | Step::Linear { input, .. } => {
                self.backward_convolution(step, input, gradient, device)
            }
            Step::Join { inputs, .. } => {
                for input in inputs.iter().flatten() {
                    let Some((total, add)) = self.target(input) else { continue };
                    CopyOrAdd { values: gradient, total, add }.run(device)?;
                    self.complete(input, device)?;
                }
                // Only after both additions: an input may share the buffer of the output's gradient.
                let shared = |input: &&Input| input.flow == GradientFlow::Share;
                inputs.iter().flatten().filter(shared).try_for_each(|input| self.complete(input, device))
            }
            Step::Dropout { input, .. } => {
                let (Some((total, add)), Some(mask)) = (self.target(input), self.batch.buffers.masks[index]) else {
                    return Ok(());
                };
                DropoutGradient { gradient, mask: mask.part(0, gradient.len()), total, add }.run(device)?;
                self.complete(input, device)
            }
            Step::Subsample { input, stride, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                self.subsample(input, *stride, output).back(device, gradient, total, add)?;
                self.complete(input, device)
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                let windows = self.windows(input, *kernel, *stride, *padding);
                self.max_pool(index, windows, gradient.len())?.back(device, gradient, total, add)?;
                self.complete(input, device)
            }
            Step::Embedding { vocabulary, .. } => {
                let vectors = self.weights(step, self.model.gradients);
                let embedding = self.embedding(*vocabulary, self.shape(output).stored);
                let Some(links) = self.batch.buffers.links else { return Ok(()) };
                embedding.back(device, gradient, vectors, [links, self.batch.buffers.scratch])
            }
            Step::Tanh { input, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                let channels = self.shape(output).stored;
                Tanh { output: self.values(output), channels }.back(device, gradient, total, add)?;
                self.complete(input, device)
            }
            Step::Concatenate { inputs, .. } => {
                for (range, input) in self.program.channel_ranges(inputs).zip(inputs) {
                    let Some((total, add)) = self.target(input) else { continue };
                    self.place(range, input, output).back(device, gradient, total, add)?;
                    self.complete(input, device)?;
                }
                Ok(())
            }
            Step::Average { input, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                self.average(input).back(device, gradient, total, add)?;
                self.complete(input, device)
            }
        }
    }

    /// The gradients of the weights and the input of a convolution or linear layer.
    fn backward_convolution(
        &self,
        step: &Step,
        read: &Input,
        gradient: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let Some(geometry) = geometry(self.program, step, self.samples) else { return Ok(()) };
        let output = step.output();
        let (seen, channels) = (self.view(output), self.shape(output).stored);
        let norm = self.program.values[output].affine.and_then(|affine| self.model.norms[affine]);
        // Without batch norm and ReLU the gradients with respect to view and stored values are equal.
        let y = if norm.is_none() && !seen.rectify {
            gradient
        } else {
            let to = self.batch.buffers.stored_gradient.part(0, gradient.len());
            let factors = norm.map(|norm| norm.factors);
            GradientApply { gradient, input: seen, factors, output: to, channels }.run(device)?;
            to
        };
        let (scratch, factors) = (self.batch.buffers.scratch, self.factors());
        let (x, w) = (self.convolution_input(input(step)), self.weights(step, self.model.gradients));
        Convolution { geometry, pass: Pass::Weights, x, w, y, scratch, factors }.run(device)?;
        let Some((x, add)) = self.target(read) else { return Ok(()) };
        let w = self.weights(step, self.model.parameters);
        Convolution { geometry, pass: Pass::Back { add }, x, w, y, scratch, factors }.run(device)?;
        self.complete(read, device)
    }

    /// After a step has written the gradient of an input.
    fn complete(&self, input: &Input, device: &mut dyn Device) -> Result<(), DeviceError> {
        if input.completes { self.differentiate_affine(input.value, device) } else { Ok(()) }
    }

    /// Computes the gradients of a value's bias, or of its batch norm's scale and shift with the factors of the stored value's gradient.
    /// The gradient with respect to the value's view must be complete.
    ///
    /// Batch norm removes a bias before it, so the gradient of such a bias is zero.
    fn differentiate_affine(&self, id: ValueId, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (Some(affine), Some(gradient)) = (self.program.values[id].affine, self.gradient(id)) else { return Ok(()) };
        let (partial, channels) = (self.batch.buffers.partial_sums, self.shape(id).stored);
        let pixels = self.samples * self.shape(id).pixels();
        let memory = self.model.norms[affine];
        let mean = memory.map(|memory| memory.mean);
        GradientSums { gradient, input: self.view(id), mean, partial, channels }.run(device)?;
        let described = &self.program.affines[affine];
        match (self.norm(affine), &described.norm, memory, &described.bias) {
            (Some((norm, _)), Some(ranges), Some(memory), _) => {
                let gradients = [self.parameter_gradients(&ranges.scale), self.parameter_gradients(&ranges.shift)];
                NormGradient { partial, pixels, channels, norm, gradients, factors: memory.factors }.run(device)
            }
            (.., Some(bias)) => {
                let gradient = self.parameter_gradients(bias);
                BiasGradient { partial, pixels, channels, gradient }.run(device)
            }
            _ => Ok(()),
        }
    }
}

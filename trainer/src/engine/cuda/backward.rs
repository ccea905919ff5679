//! The way back, from the gradient with respect to the logits to every weight's.

use super::CudaEngine;
use super::forward::Scene;
use super::memory::{geometry, input};
use crate::engine::fused::convolution::Convolution as Described;
use crate::engine::fused::program::{Flow, Id, Input, Step};
use plusminus_cuda::ops::{
    BiasGradient, CopyOrAdd, DropoutGradient, GradientApply, GradientSums, Mask, NormGradient, SpreadRows, Tanh,
};
use plusminus_cuda::{Convolution, Device, DeviceError, DeviceMemory, Pass};

impl CudaEngine {
    /// The backward pass of a forward pass for training.
    pub(super) fn backward(&mut self, samples: usize) -> Result<(), DeviceError> {
        let (scene, device) = self.scene(samples)?;
        let Scene { program, room, .. } = scene;
        let shape = scene.shape(program.logits);
        if let Some(to) = scene.slot(program.logits) {
            let from = room.gradient.part(0, samples * shape.channels);
            SpreadRows { from, to, classes: shape.channels, stored: shape.stored }.run(device)?;
            scene.complete(program.logits, device)?;
        }
        for (place, step) in program.steps.iter().enumerate().rev() {
            if let Some(gradient) = scene.slot(step.output()) {
                scene.back(place, step, gradient, device)?;
            }
        }
        Ok(())
    }
}

impl Scene<'_> {
    /// Where the gradient with respect to what readers see of a value stands.
    fn slot(&self, id: Id) -> Option<DeviceMemory> {
        let slot = self.program.values[id].slot?;
        Some(self.room.slots[slot].part(0, self.samples * self.shape(id).len()))
    }

    /// Where an input's gradient goes, and whether it is added there.
    fn target(&self, input: &Input) -> Option<(DeviceMemory, bool)> {
        match input.flow {
            Flow::None | Flow::Share => None,
            Flow::Write | Flow::Add => Some((self.slot(input.value)?, input.flow == Flow::Add)),
        }
    }

    fn back(
        &self,
        place: usize,
        step: &Step,
        gradient: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let output = step.output();
        let rectified = match step {
            Step::Join { rectify, .. } => *rectify,
            Step::Convolution(_) | Step::Linear { .. } => false,
            _ => self.program.values[output].rectify,
        };
        if rectified {
            Mask { output: self.values(output), gradient }.run(device)?;
        }
        match step {
            Step::Convolution(Described { input, .. }) | Step::Linear { input, .. } => {
                self.back_weighted(step, input, gradient, device)
            }
            Step::Join { inputs, .. } => {
                for input in inputs.iter().flatten() {
                    let Some((total, add)) = self.target(input) else { continue };
                    CopyOrAdd { values: gradient, total, add }.run(device)?;
                    self.completed(input, device)?;
                }
                // Only now: the two may share a buffer with this step's output.
                let shared = |input: &&Input| input.flow == Flow::Share;
                inputs.iter().flatten().filter(shared).try_for_each(|input| self.completed(input, device))
            }
            Step::Dropout { input, .. } => {
                let (Some((total, add)), Some(mask)) = (self.target(input), self.room.masks[place]) else {
                    return Ok(());
                };
                DropoutGradient { gradient, mask: mask.part(0, gradient.len()), total, add }.run(device)?;
                self.completed(input, device)
            }
            Step::Subsample { input, stride, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                self.subsample(input, *stride, output).back(device, gradient, total, add)?;
                self.completed(input, device)
            }
            Step::MaxPool { input, kernel, stride, padding, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                let windows = self.windows(input, *kernel, *stride, *padding);
                self.pool(place, windows, gradient.len())?.back(device, gradient, total, add)?;
                self.completed(input, device)
            }
            Step::Embedding { vocabulary, .. } => {
                let vectors = self.weights(step, self.held.gradients);
                let embedding = self.embedding(*vocabulary, self.shape(output).stored);
                let Some(links) = self.room.links else { return Ok(()) };
                embedding.back(device, gradient, vectors, [links, self.room.scratch])
            }
            Step::Tanh { input, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                let channels = self.shape(output).stored;
                Tanh { output: self.values(output), channels }.back(device, gradient, total, add)?;
                self.completed(input, device)
            }
            Step::Concatenate { inputs, .. } => {
                for (place, input) in self.program.places(inputs).zip(inputs) {
                    let Some((total, add)) = self.target(input) else { continue };
                    self.place(place, input, output).back(device, gradient, total, add)?;
                    self.completed(input, device)?;
                }
                Ok(())
            }
            Step::Average { input, .. } => {
                let Some((total, add)) = self.target(input) else { return Ok(()) };
                self.average(input).back(device, gradient, total, add)?;
                self.completed(input, device)
            }
        }
    }

    /// A convolution or a linear layer: the gradients of its weights and of what it reads.
    fn back_weighted(
        &self,
        step: &Step,
        read: &Input,
        gradient: DeviceMemory,
        device: &mut dyn Device,
    ) -> Result<(), DeviceError> {
        let Some(geometry) = geometry(self.program, step, self.samples) else { return Ok(()) };
        let output = step.output();
        let (seen, channels) = (self.see(output), self.shape(output).stored);
        let factors = self.program.values[output].affine.and_then(|affine| self.held.affines[affine]);
        // Without batch norm and ReLU it is the gradient with respect to the stored values already.
        let y = if factors.is_none() && !seen.rectify {
            gradient
        } else {
            let to = self.room.stored.part(0, gradient.len());
            let factors = factors.map(|moving| moving.factors);
            GradientApply { gradient, input: seen, factors, output: to, channels }.run(device)?;
            to
        };
        let (scratch, factors) = (self.room.scratch, self.factors());
        let (x, w) = (self.read(input(step)), self.weights(step, self.held.gradients));
        Convolution { geometry, pass: Pass::Weights, x, w, y, scratch, factors }.run(device)?;
        let Some((x, add)) = self.target(read) else { return Ok(()) };
        let w = self.weights(step, self.held.parameters);
        Convolution { geometry, pass: Pass::Back { add }, x, w, y, scratch, factors }.run(device)?;
        self.completed(read, device)
    }

    /// After a step has given an input its gradient.
    fn completed(&self, input: &Input, device: &mut dyn Device) -> Result<(), DeviceError> {
        if input.completes { self.complete(input.value, device) } else { Ok(()) }
    }

    /// Now that the gradient with respect to a value is complete: the gradients of its bias, or of batch norm's scale and shift, and the
    /// factors that the gradient with respect to its stored values is made with.
    ///
    /// Batch norm takes away what a bias adds, so such a bias has no gradient.
    fn complete(&self, id: Id, device: &mut dyn Device) -> Result<(), DeviceError> {
        let (Some(affine), Some(gradient)) = (self.program.values[id].affine, self.slot(id)) else { return Ok(()) };
        let (partial, channels) = (self.room.partial, self.shape(id).stored);
        let pixels = self.samples * self.shape(id).pixels();
        let moving = self.held.affines[affine];
        let mean = moving.map(|moving| moving.mean);
        GradientSums { gradient, input: self.see(id), mean, partial, channels }.run(device)?;
        let described = &self.program.affines[affine];
        let gradients = |range: &std::ops::Range<usize>| self.held.gradients.part(range.start, range.len());
        match (self.norm(affine), &described.norm, moving, &described.bias) {
            (Some((norm, _)), Some(places), Some(moving), _) => {
                let gradients = [gradients(&places.scale), gradients(&places.shift)];
                NormGradient { partial, pixels, channels, norm, gradients, factors: moving.factors }.run(device)
            }
            (.., Some(bias)) => BiasGradient { partial, pixels, channels, gradient: gradients(bias) }.run(device),
            _ => Ok(()),
        }
    }
}

//! A step in recorded parts: one part if the device has the loss, otherwise one before and one after the loss on the host.

use super::device_loss::SLOTS;
use super::recording::{MAX_FAILURES, Part, Source};
use super::state::CudaEngine;
use super::step_parameters::{DeviceStepParameters, skip, stream};
use super::update::{self, Rates};
use crate::batch::{Batch, BatchInputs, LossOfLogits, StepLoss};
use crate::error::EngineError;
use crate::fused::Step;
use crate::transform::ImageTransform;
use plusminus_cuda::ops::{DropoutMask, STREAM_LEN};
use plusminus_cuda::{DeviceError, HostValues, Recording};
use rand_chacha::ChaCha8Rng;

/// The indices of samples in the form that kernels read. An index out of range becomes −1, which kernels treat as no sample.
fn indices(samples: &[usize]) -> impl Iterator<Item = i32> + '_ {
    samples.iter().map(|sample| i32::try_from(*sample).unwrap_or(-1))
}

impl CudaEngine {
    /// Runs a part of a step: replays its recording if there is one, and records it on its second run.
    pub(super) fn run(&mut self, part: Part, samples: usize) -> Result<(), EngineError> {
        if let Some(recording) = self.recordings.find(part, samples) {
            return Ok(self.device.play(recording)?);
        }
        // In the first run libraries select algorithms and allocate memory, which must not be recorded.
        let again = self.recordings.launched.contains(&(part, samples));
        if again && self.recordings.failures < MAX_FAILURES {
            match self.record(part, samples) {
                Ok(recording) => {
                    self.recordings.parts.push((part, samples, recording));
                    return Ok(self.device.play(recording)?);
                }
                // Another thread's use of the GPU may break a recording. The next attempt may succeed.
                Err(error) => {
                    self.recordings.failures += 1;
                    if self.recordings.failures == MAX_FAILURES {
                        tracing::warn!(
                            "{}: steps could not be recorded and run launch by launch, which is slower: {error}",
                            self.device.name()
                        );
                    }
                }
            }
        }
        self.launch(part, samples)?;
        if !again {
            self.recordings.launched.push((part, samples));
        }
        Ok(())
    }

    fn record(&mut self, part: Part, samples: usize) -> Result<Recording, DeviceError> {
        self.device.record()?;
        let launched = self.launch(part, samples);
        let recorded = self.device.recorded();
        launched.and(recorded)
    }

    fn launch(&mut self, part: Part, samples: usize) -> Result<(), DeviceError> {
        match part {
            Part::Forward(source) => self.training_forward(source, samples),
            Part::Backward => self.backward_and_update(samples),
            Part::Whole(source) => {
                self.training_forward(source, samples)?;
                self.run_loss(samples)?;
                self.backward_and_update(samples)
            }
            Part::Evaluation(source) => {
                self.gather_inputs(source, samples)?;
                let (view, device) = self.batch_view(samples)?;
                view.forward(false, device)
            }
        }
    }

    pub(super) fn training_forward(&mut self, source: Source, samples: usize) -> Result<(), DeviceError> {
        self.gather_inputs(source, samples)?;
        self.draw_masks(samples)?;
        let (view, device) = self.batch_view(samples)?;
        view.forward(true, device)
    }

    fn backward_and_update(&mut self, samples: usize) -> Result<(), DeviceError> {
        let (view, device) = self.batch_view(samples)?;
        view.backward(device)?;
        update::update(&self.optimizer, &self.model, &mut *self.device)
    }

    /// Writes the inputs to the first value.
    fn gather_inputs(&mut self, source: Source, samples: usize) -> Result<(), DeviceError> {
        let held = self.held_samples.take();
        let gathered = self.batch_view(samples).and_then(|(view, device)| match (source, &held) {
            (Source::Host, _) => view.arrange_inputs(device),
            (Source::Held { transformed }, Some(held)) => {
                let parameters = DeviceStepParameters(view.batch.buffers.step_parameters);
                let transforms = transformed.then(|| parameters.transforms(samples));
                held.gather(view.shape(0), parameters.samples(samples), transforms, view.values(0), device)
            }
            (Source::Held { .. }, None) => Err(DeviceError::InvalidArgument("the device holds no samples".into())),
        });
        self.held_samples = held;
        gathered
    }

    /// Draws dropout's masks on the device.
    fn draw_masks(&mut self, samples: usize) -> Result<(), DeviceError> {
        let (view, device) = self.batch_view(samples)?;
        let buffers = &view.batch.buffers;
        let mut before = 0;
        for (step, mask) in view.program.steps.iter().zip(&buffers.masks) {
            let (Step::Dropout { share, output, .. }, Some(mask)) = (step, mask) else { continue };
            let shape = view.shape(*output);
            let (channels, pixels, stored) = (shape.channels, shape.pixels(), shape.stored);
            let stream = DeviceStepParameters(buffers.step_parameters).dropout();
            let mask = mask.part(0, samples * shape.len());
            DropoutMask { stream, before, mask, share: *share, channels, pixels, stored }.run(device)?;
            before += DropoutMask::draws(samples, channels, pixels);
        }
        Ok(())
    }

    /// Random numbers that a step's masks consume.
    pub(super) fn mask_draws(&self, samples: usize) -> usize {
        let masks = self.program.steps.iter().filter(|step| matches!(step, Step::Dropout { .. }));
        let shapes = masks.map(|step| self.program.values[step.output()].shape);
        shapes.map(|shape| DropoutMask::draws(samples, shape.channels, shape.pixels())).sum()
    }

    /// Computes the loss on the device and its gradient.
    fn run_loss(&mut self, samples: usize) -> Result<(), DeviceError> {
        let loss = self.loss.take();
        let computed = self.batch_view(samples).and_then(|(view, device)| {
            let loss = loss.as_ref().ok_or_else(|| DeviceError::InvalidArgument("the device has no loss".into()))?;
            let count = samples * view.shape(view.program.logits).channels;
            let buffers = &view.batch.buffers;
            let both = [buffers.logits, buffers.logits_gradient].map(|memory| memory.part(0, count));
            loss.run(both, samples, DeviceStepParameters(buffers.step_parameters), device)
        });
        self.loss = loss;
        computed
    }

    /// Sends the parameters of a step. `latent` is the generator of the loss, if it draws random numbers.
    pub(super) fn send_parameters(
        &mut self,
        samples: &[usize],
        transforms: &[ImageTransform],
        refresh: bool,
        dropout: &ChaCha8Rng,
        latent: Option<&ChaCha8Rng>,
    ) -> Result<(), EngineError> {
        let latent = latent.map_or(Ok([0; STREAM_LEN]), stream)?;
        self.parameters.start(self.unread_losses, refresh, [stream(dropout)?, latent]);
        self.parameters.append_samples(indices(samples), transforms);
        let Some(batch) = &self.batch else { return Ok(()) };
        let numbers = self.parameters.numbers();
        Ok(self.device.write(HostValues::Ints(numbers), batch.buffers.step_parameters.part(0, numbers.len()))?)
    }

    /// Sends the indices of the samples of an evaluation.
    pub(super) fn send_samples(&mut self, samples: &[usize]) -> Result<(), EngineError> {
        let numbers: Vec<i32> = indices(samples).collect();
        let Some(batch) = &self.batch else { return Ok(()) };
        let parameters = DeviceStepParameters(batch.buffers.step_parameters);
        Ok(self.device.write(HostValues::Ints(&numbers), parameters.samples(numbers.len()))?)
    }

    /// Sends the rates of a step unless the device already has them.
    fn send_rates(&mut self, rates: Rates) -> Result<(), EngineError> {
        if self.rates != Some(rates) {
            self.device.upload(&rates, self.model.rates)?;
            self.rates = Some(rates);
        }
        Ok(())
    }

    /// Allocates the batch and copies inputs from the host. Returns where the step reads its inputs.
    fn prepare_inputs(&mut self, inputs: BatchInputs<'_>, samples: usize) -> Result<Source, EngineError> {
        match inputs {
            BatchInputs::Host(inputs) => {
                let found = self.load(inputs)?;
                if found != samples {
                    return Err(EngineError::new(format!("expected inputs of {samples} samples, found {found}")));
                }
                Ok(Source::Host)
            }
            BatchInputs::Held(transforms) => {
                if !transforms.is_empty() && transforms.len() != samples {
                    let found = transforms.len();
                    return Err(EngineError::new(format!("expected {samples} transforms or none, found {found}")));
                }
                self.reserve_batch(samples)?;
                Ok(Source::Held { transformed: !transforms.is_empty() })
            }
        }
    }

    /// Runs a step along the gradient of a loss. Returns the value of a loss on the host.
    pub(super) fn run_step(
        &mut self,
        batch: Batch<'_>,
        loss: StepLoss<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError> {
        let Batch { samples, inputs } = batch;
        let count = samples.len();
        let source = self.prepare_inputs(inputs, count)?;
        let transforms = if let BatchInputs::Held(transforms) = inputs { transforms } else { &[] };
        self.send_rates(update::rates(&self.optimizer, self.steps + 1, lr))?;
        let value = match loss {
            StepLoss::Host(loss) => {
                self.send_parameters(samples, transforms, false, dropout, None)?;
                self.run(Part::Forward(source), count)?;
                let value = self.host_loss(loss, count)?;
                self.run(Part::Backward, count)?;
                Some(value)
            }
            StepLoss::Device(latent) => {
                if self.unread_losses == SLOTS {
                    self.read_losses()?;
                }
                let loss = self.loss.as_mut().ok_or_else(|| EngineError::new("the device has no loss"))?;
                let (refresh, draws) = (loss.refreshes(), loss.draws());
                // Recordings contain the old addresses, also if the allocation fails.
                let sufficed = loss.reserve(count, &mut *self.device);
                if !matches!(sufficed, Ok(true)) {
                    self.forget_recordings();
                }
                sufficed?;
                self.send_parameters(samples, transforms, refresh, dropout, draws.then_some(&*latent))?;
                self.run(Part::Whole(source), count)?;
                self.unread_losses += 1;
                self.loss.iter_mut().for_each(|loss| loss.steps += 1);
                if draws {
                    skip(latent, count);
                }
                None
            }
        };
        skip(dropout, self.mask_draws(count));
        self.steps += 1;
        Ok(value)
    }

    /// Computes the loss on the host and sends the gradient of the logits.
    pub(super) fn host_loss(&mut self, loss: &mut LossOfLogits<'_>, samples: usize) -> Result<f64, EngineError> {
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        self.read_logits(samples, &mut logits)?;
        self.logits_gradient.resize(logits.len(), 0.0);
        let value = loss(&logits, &mut self.logits_gradient);
        self.logits = logits;
        if let Some(batch) = &self.batch {
            let to = batch.buffers.logits_gradient.part(0, self.logits_gradient.len());
            self.device.upload(&self.logits_gradient, to)?;
        }
        Ok(value)
    }

    /// Loss, logits and gradients of a batch. Updates the running statistics.
    #[cfg(test)]
    pub(crate) fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<crate::engine::Gradients, EngineError> {
        let samples = self.load(inputs)?;
        self.send_parameters(&[], &[], false, dropout, None)?;
        self.training_forward(Source::Host, samples)?;
        skip(dropout, self.mask_draws(samples));
        let loss = self.host_loss(loss, samples)?;
        let (view, device) = self.batch_view(samples)?;
        view.backward(device)?;
        let (mut stored, mut weights) =
            (vec![0.0; self.model.gradients.len()], vec![0.0; self.weights.plan().trained()]);
        self.device.download(self.model.gradients, &mut stored)?;
        self.program.parameters.restore(&stored, &mut weights);
        Ok(crate::engine::Gradients { loss, logits: self.logits.clone(), weights })
    }
}

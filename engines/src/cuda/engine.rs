//! The interfaces of the engine for GPUs.

use super::device_loss::LossOnDevice;
use super::held_samples::HeldSamples;
use super::recording::{Part, Source};
use super::state::CudaEngine;
use crate::batch::{Batch, BatchInputs, LossOfLogits, Samples, StepLoss};
use crate::device_engine::DeviceEngine;
use crate::engine::{Checkpoint, Engine};
use crate::error::EngineError;
use crate::optimizer::OptimizerState;
use crate::weights::Weights;
use plusminus_core::methods::losses::{DeviceLoss, Learned};
use rand_chacha::ChaCha8Rng;

/// Samples that an engine evaluates together before its first training step, which determines the size of its buffers.
const UNTRAINED: usize = 16;

impl Engine for CudaEngine {
    fn name(&self) -> String {
        let precision = if self.precision.is_default() { "" } else { self.precision.name() };
        let name =
            format!("fused {} cuda {} {precision}", env!("CARGO_PKG_VERSION"), self.device.reproducibility_key());
        name.trim_end().to_owned()
    }

    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let count = inputs.len() / self.program.values[0].shape.len().max(1);
        // With inputs and loss on the host the indices of the samples are not used.
        let batch = Batch { samples: &vec![0; count], inputs: BatchInputs::Host(inputs) };
        let value = self.run_step(batch, StepLoss::Host(loss), lr, dropout)?;
        value.ok_or_else(|| EngineError::new("a step with a loss on the host returned no loss"))
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        let sample = self.program.values[0].shape.len();
        // No larger batches than the buffers hold, so that evaluation allocates no memory.
        for inputs in inputs.chunks(self.evaluation_batch() * sample) {
            let samples = self.load(inputs)?;
            self.run(Part::Evaluation(Source::Host), samples)?;
            self.read_logits(samples, logits)?;
        }
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        let mut weights = self.weights.clone();
        self.model.read(&self.program, &*self.device, &mut weights)?;
        Ok(weights)
    }

    fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        let trained = self.weights.plan().trained();
        let [first, second] = self.model.optimizer_state(&self.program, &*self.device, trained)?;
        Ok(Checkpoint { weights: self.weights()?, optimizer: OptimizerState { steps: self.steps, first, second } })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError> {
        checkpoint.check(self.weights.plan())?;
        self.model.restore(&self.program, &mut *self.device, &checkpoint)?;
        self.steps = checkpoint.optimizer.steps;
        self.weights = checkpoint.weights;
        Ok(())
    }

    fn on_device(&mut self) -> Option<&mut dyn DeviceEngine> {
        Some(self)
    }
}

impl DeviceEngine for CudaEngine {
    fn reserve(&mut self, samples: usize) -> Result<(), EngineError> {
        self.reserve_batch(samples.max(1))
    }

    fn hold_samples(&mut self, samples: &Samples<'_>) -> Result<bool, EngineError> {
        if let Some(old) = self.held_samples.take() {
            // Recordings contain the old addresses.
            self.forget_recordings();
            old.free(&mut *self.device)?;
        }
        let (shape, vocabulary) = (self.program.values[0].shape, self.program.vocabulary());
        self.held_samples = HeldSamples::new(samples, shape, vocabulary, &mut *self.device)?;
        Ok(self.held_samples.is_some())
    }

    fn set_loss(&mut self, loss: &DeviceLoss, given: &[u32]) -> Result<(), EngineError> {
        self.read_losses()?;
        let classes = self.program.values[self.program.logits].shape.channels;
        let (loss, same_memory) = LossOnDevice::new(self.loss.take(), loss, classes, given, &mut *self.device)?;
        self.loss = Some(loss);
        if !same_memory {
            self.forget_recordings();
        }
        Ok(())
    }

    fn step(
        &mut self,
        batch: Batch<'_>,
        loss: StepLoss<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError> {
        self.run_step(batch, loss, lr, dropout)
    }

    fn take_losses(&mut self) -> Result<Vec<f64>, EngineError> {
        self.read_losses()?;
        Ok(std::mem::take(&mut self.losses))
    }

    fn learned(&self) -> Result<Option<Learned>, EngineError> {
        let Some(loss) = &self.loss else { return Ok(None) };
        Ok(loss.learned(&*self.device)?)
    }

    fn evaluation_batch(&self) -> usize {
        self.batch.as_ref().map_or(UNTRAINED, |batch| batch.capacity)
    }

    fn held_logits(&mut self, samples: &[usize], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        for samples in samples.chunks(self.evaluation_batch()) {
            self.reserve_batch(samples.len())?;
            self.send_samples(samples)?;
            self.run(Part::Evaluation(Source::Held { transformed: false }), samples.len())?;
            self.read_logits(samples.len(), logits)?;
        }
        Ok(())
    }
}

//! The state of the engine for GPUs: the program, its memory, and what the device holds.

use super::batch_view::BatchView;
use super::device_loss::LossOnDevice;
use super::held_samples::HeldSamples;
use super::memory::{BatchMemory, ModelMemory};
use super::recording::Recordings;
use super::step_parameters::StepParameters;
use super::update::Rates;
use crate::error::{Cause, EngineError};
use crate::fused::{Program, WeightOrder, compile};
use crate::tokens;
use crate::weights::Weights;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::{Device, DeviceError, HostBuffer};

/// A network with all the device memory of its training.
pub(crate) struct CudaEngine {
    pub(super) program: Program,
    pub(super) device: Box<dyn Device>,
    pub(super) optimizer: Optimizer,
    /// The weights of the last restore; the device has the current ones.
    pub(super) weights: Weights,
    pub(super) model: ModelMemory,
    pub(super) batch: Option<BatchMemory>,
    pub(super) precision: Precision,
    /// Steps of the optimiser.
    pub(super) steps: u64,
    pub(super) logits: Vec<f32>,
    pub(super) logits_gradient: Vec<f32>,
    pub(super) held_samples: Option<HeldSamples>,
    pub(super) loss: Option<LossOnDevice>,
    pub(super) parameters: StepParameters,
    /// The rates in device memory.
    pub(super) rates: Option<Rates>,
    /// The number of losses on the device that the host has not read yet, and the losses before them.
    pub(super) unread_losses: usize,
    pub(super) losses: Vec<f64>,
    pub(super) recordings: Recordings,
}

impl CudaEngine {
    /// An engine for `network` on `device` with these initial weights.
    ///
    /// # Errors
    /// The engine does not support the network, or the device fails.
    pub fn new(
        network: &Network,
        weights: Weights,
        optimizer: Optimizer,
        mut device: Box<dyn Device>,
    ) -> Result<Self, EngineError> {
        let program = compile(network, weights.plan(), WeightOrder::Rows).map_err(|unsupported| {
            let reason = unsupported.reason();
            EngineError::new(format!(
                "no engine supports this network on a GPU ({reason}): train it with `--device cpu`"
            ))
        })?;
        let model = ModelMemory::new(&program, &weights, &optimizer, &mut *device)?;
        Ok(CudaEngine {
            program,
            device,
            optimizer,
            weights,
            model,
            batch: None,
            precision: Precision::F32,
            steps: 0,
            logits: Vec::new(),
            logits_gradient: Vec::new(),
            held_samples: None,
            loss: None,
            parameters: StepParameters::default(),
            rates: None,
            unread_losses: 0,
            losses: Vec::new(),
            recordings: Recordings::default(),
        })
    }

    /// Sets the precision of products. The engine must not have computed anything yet.
    pub fn in_precision(self, precision: Precision) -> Self {
        CudaEngine { precision, ..self }
    }

    /// Allocates the memory of a batch of at least `samples` samples.
    pub(super) fn reserve_batch(&mut self, samples: usize) -> Result<(), EngineError> {
        if self.batch.as_ref().is_some_and(|batch| batch.capacity >= samples) {
            return Ok(());
        }
        // Recordings contain the old addresses.
        self.forget_recordings();
        if let Some(old) = self.batch.take() {
            old.free(&mut *self.device)?;
        }
        self.batch = Some(BatchMemory::new(&self.program, samples, self.precision, &mut *self.device)?);
        Ok(())
    }

    /// Copies inputs, `[samples, channels, height, width]`, to the device. Returns the number of samples.
    pub(super) fn load(&mut self, inputs: &[f32]) -> Result<usize, EngineError> {
        let sample = self.program.values[0].shape.len();
        let samples = inputs.len() / sample.max(1);
        if samples == 0 || samples * sample != inputs.len() {
            return Err(EngineError::new(format!(
                "{} input values are not a whole number of samples of {sample} values",
                inputs.len()
            )));
        }
        if let Some(vocabulary) = self.program.vocabulary() {
            tokens::check_inputs(inputs, vocabulary)?;
        }
        self.reserve_batch(samples)?;
        if let Some(batch) = &self.batch {
            self.device.upload(inputs, batch.buffers.inputs.part(0, inputs.len()))?;
        }
        Ok(samples)
    }

    /// Reads the losses of steps from the device.
    pub(super) fn read_losses(&mut self) -> Result<(), EngineError> {
        let Some(loss) = &self.loss else { return Ok(()) };
        let start = self.losses.len();
        self.losses.resize(start + self.unread_losses, 0.0);
        self.device.read(loss.losses.part(0, self.unread_losses), HostBuffer::Doubles(&mut self.losses[start..]))?;
        self.unread_losses = 0;
        Ok(())
    }

    /// Appends the logits of the last forward pass.
    pub(super) fn read_logits(&self, samples: usize, logits: &mut Vec<f32>) -> Result<(), EngineError> {
        let Some(batch) = &self.batch else { return Ok(()) };
        let count = samples * self.program.values[self.program.logits].shape.channels;
        let start = logits.len();
        logits.resize(start + count, 0.0);
        Ok(self.device.download(batch.buffers.logits.part(0, count), &mut logits[start..])?)
    }

    /// The program with its memory for `samples` samples, and the device.
    ///
    /// # Errors
    /// No batch memory is allocated.
    pub(super) fn batch_view(&mut self, samples: usize) -> Result<(BatchView<'_>, &mut dyn Device), DeviceError> {
        let CudaEngine { program, device, weights, model, batch, precision, .. } = self;
        let batch = batch.as_ref().ok_or_else(|| DeviceError::InvalidArgument("no samples were loaded".into()))?;
        let trained = weights.plan().trained();
        Ok((BatchView { program, model, batch, trained, samples, precision: *precision }, &mut **device))
    }

    /// Deletes all recordings, because memory moves.
    pub(super) fn forget_recordings(&mut self) {
        self.device.forget();
        self.recordings.clear();
    }
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        let cause = match &error {
            DeviceError::OutOfMemory { .. } => Cause::Memory,
            DeviceError::Missing(_) | DeviceError::Compilation { .. } => Cause::Host,
            DeviceError::Failed { .. } | DeviceError::InvalidArgument(_) => Cause::Device,
        };
        EngineError { message: error.to_string(), cause }
    }
}

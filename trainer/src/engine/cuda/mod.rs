//! The engine for GPUs: the fused engine's program, step by step, over a device's memory that is had once.
//!
//! - `memory`: what lies on the device, and how much that is.
//! - `holding`: the data there. `loss`: the loss that the device knows. `orders`: what the host says to a step.
//! - `step`: a step, in pieces that are recorded; `forward`, `backward`, `update`: what they are made of.
//!
//! It knows a device by the trait [`Device`] alone, so that tests run every line of it on the processor, with the very kernels that a GPU
//! runs. A convolution's input is copied as its readers see it (batch norm and ReLU applied) where cuDNN could not see it so; other
//! steps see it through their own kernels.
//!
//! A step goes from the inputs to new weights in one recording, where the device knows the loss; else in two, between which the host makes a
//! gradient of the logits. A piece is recorded when it is done for the second time with the same number of samples, and played from then
//! on. What changes from step to step (inputs or the numbers of samples, places in random streams, the host's gradient, learning rates)
//! lies in the device's memory; nothing of it is part of a recording.

mod backward;
mod forward;
mod holding;
mod loss;
mod memory;
mod orders;
mod step;
#[cfg(test)]
pub(super) mod tests;
mod update;

use super::fused::parameters::Order;
use super::fused::program::Program;
use super::{
    Batch, Cause, Checkpoint, Engine, EngineError, Inputs, LossOf, LossOfLogits, Moments, OnDevice, Samples, Weights,
    tokens,
};
use holding::Holding;
use loss::Known;
pub(super) use loss::bytes as loss_memory;
pub(super) use memory::memory;
use memory::{Held, Room};
use orders::Orders;
use plusminus_core::methods::losses::{DeviceLoss, Learned};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::{Device, DeviceError};
use rand_chacha::ChaCha8Rng;
use step::{Piece, Recorded, Source};
use update::Rates;

/// Samples that an engine evaluates together that has not trained yet, and so has no room for a batch.
const UNTRAINED: usize = 16;

/// A network with all the memory that its training takes on a device.
pub(crate) struct CudaEngine {
    program: Program,
    device: Box<dyn Device>,
    optimizer: Optimizer,
    /// As old as the engine; the values lie on the device.
    weights: Weights,
    held: Held,
    room: Option<Room>,
    precision: Precision,
    /// Steps of the optimiser.
    steps: u64,
    logits: Vec<f32>,
    gradient: Vec<f32>,
    /// The data, where the device holds them.
    holding: Option<Holding>,
    /// The loss, where the device knows it.
    known: Option<Known>,
    orders: Orders,
    /// Rates that lie on the device.
    rates: Option<Rates>,
    /// Losses on the device that nobody has asked for, and those before them.
    waiting: usize,
    heard: Vec<f64>,
    recorded: Recorded,
}

impl CudaEngine {
    /// An engine for `network` on `device`, with these weights.
    ///
    /// # Errors
    /// That it cannot run the network, or what went wrong on the device.
    pub fn new(
        network: &Network,
        weights: Weights,
        optimizer: Optimizer,
        mut device: Box<dyn Device>,
    ) -> Result<Self, EngineError> {
        let program = Program::new(network, weights.plan(), Order::Rows).map_err(|unsupported| {
            let reason = unsupported.reason();
            EngineError::new(format!("no engine runs this network on a GPU ({reason}): train it with `--device cpu`"))
        })?;
        let held = Held::new(&program, &weights, &optimizer, &mut *device)?;
        Ok(CudaEngine {
            program,
            device,
            optimizer,
            weights,
            held,
            room: None,
            precision: Precision::F32,
            steps: 0,
            logits: Vec::new(),
            gradient: Vec::new(),
            holding: None,
            known: None,
            orders: Orders::default(),
            rates: None,
            waiting: 0,
            heard: Vec::new(),
            recorded: Recorded::default(),
        })
    }

    /// The same engine, which multiplies in this precision from now on. It has computed nothing yet.
    pub fn in_precision(self, precision: Precision) -> Self {
        CudaEngine { precision, ..self }
    }

    /// Has room for so many samples.
    fn make_room(&mut self, samples: usize) -> Result<(), EngineError> {
        if self.room.as_ref().is_some_and(|room| room.samples >= samples) {
            return Ok(());
        }
        // Recordings know where the old memory lies.
        self.forget();
        if let Some(old) = self.room.take() {
            old.free(&mut *self.device)?;
        }
        self.room = Some(Room::new(&self.program, samples, self.precision, &mut *self.device)?);
        Ok(())
    }

    /// Makes room for samples and takes them in, one after the other, each channels × height × width; how many there are.
    fn load(&mut self, inputs: &[f32]) -> Result<usize, EngineError> {
        let sample = self.program.values[0].shape.len();
        let samples = inputs.len() / sample.max(1);
        if samples == 0 || samples * sample != inputs.len() {
            return Err(EngineError::new(format!("{} values are no samples of {sample}", inputs.len())));
        }
        if let Some(vocabulary) = self.program.vocabulary() {
            tokens::check(inputs, vocabulary)?;
        }
        self.make_room(samples)?;
        if let Some(room) = &self.room {
            self.device.upload(inputs, room.inputs.part(0, inputs.len()))?;
        }
        Ok(samples)
    }

    /// Takes in the losses that lie on the device.
    fn hear(&mut self) -> Result<(), EngineError> {
        let Some(known) = &self.known else { return Ok(()) };
        let start = self.heard.len();
        self.heard.resize(start + self.waiting, 0.0);
        self.device
            .read(known.losses.part(0, self.waiting), plusminus_cuda::HostBuffer::Doubles(&mut self.heard[start..]))?;
        self.waiting = 0;
        Ok(())
    }

    /// Appends the logits of the last forward pass.
    fn read_logits(&self, samples: usize, logits: &mut Vec<f32>) -> Result<(), EngineError> {
        let Some(room) = &self.room else { return Ok(()) };
        let count = samples * self.program.values[self.program.logits].shape.channels;
        let start = logits.len();
        logits.resize(start + count, 0.0);
        Ok(self.device.download(room.logits.part(0, count), &mut logits[start..])?)
    }
}

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
        // A loss of the host's knows the samples itself.
        let batch = Batch { samples: &vec![0; count], inputs: Inputs::Made(inputs) };
        let value = self.step_of(batch, LossOf::Host(loss), lr, dropout)?;
        value.ok_or_else(|| EngineError::new("a step without a loss"))
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        let sample = self.program.values[0].shape.len();
        // No more at a time than there is room for, lest evaluating take memory of its own.
        for inputs in inputs.chunks(self.together() * sample) {
            let samples = self.load(inputs)?;
            self.piece(Piece::Evaluation(Source::Made), samples)?;
            self.read_logits(samples, logits)?;
        }
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        let mut weights = self.weights.clone();
        self.held.read(&self.program, &*self.device, &mut weights)?;
        Ok(weights)
    }

    fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        let [first, second] = self.held.moments(&self.program, &*self.device, self.weights.plan().trained())?;
        Ok(Checkpoint { weights: self.weights()?, moments: Moments { steps: self.steps, first, second } })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError> {
        checkpoint.fits(self.weights.plan())?;
        let Checkpoint { weights, moments } = checkpoint;
        self.held.restore(&self.program, &mut *self.device, &weights, &moments)?;
        self.steps = moments.steps;
        self.weights = weights;
        Ok(())
    }

    fn on_device(&mut self) -> Option<&mut dyn OnDevice> {
        Some(self)
    }
}

impl OnDevice for CudaEngine {
    fn expect(&mut self, samples: usize) -> Result<(), EngineError> {
        self.make_room(samples.max(1))
    }

    fn hold(&mut self, samples: &Samples<'_>) -> Result<bool, EngineError> {
        if let Some(old) = self.holding.take() {
            // Recordings know where the old memory lies.
            self.forget();
            old.free(&mut *self.device)?;
        }
        self.holding =
            Holding::new(samples, self.program.values[0].shape, self.program.vocabulary(), &mut *self.device)?;
        Ok(self.holding.is_some())
    }

    fn know(&mut self, loss: &DeviceLoss, given: &[u32]) -> Result<(), EngineError> {
        self.hear()?;
        let classes = self.program.values[self.program.logits].shape.channels;
        let (known, same) = Known::new(self.known.take(), loss, classes, given, &mut *self.device)?;
        self.known = Some(known);
        if !same {
            self.forget();
        }
        Ok(())
    }

    fn step(
        &mut self,
        batch: Batch<'_>,
        loss: LossOf<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError> {
        self.step_of(batch, loss, lr, dropout)
    }

    fn losses(&mut self) -> Result<Vec<f64>, EngineError> {
        self.hear()?;
        Ok(std::mem::take(&mut self.heard))
    }

    fn learned(&self) -> Result<Option<Learned>, EngineError> {
        let Some(known) = &self.known else { return Ok(None) };
        Ok(known.learned(&*self.device)?)
    }

    fn together(&self) -> usize {
        self.room.as_ref().map_or(UNTRAINED, |room| room.samples)
    }

    fn logits_of(&mut self, samples: &[usize], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        for samples in samples.chunks(self.together()) {
            self.make_room(samples.len())?;
            self.name_samples(samples)?;
            self.piece(Piece::Evaluation(Source::Held { moved: false }), samples.len())?;
            self.read_logits(samples.len(), logits)?;
        }
        Ok(())
    }
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        let cause = match &error {
            DeviceError::OutOfMemory { .. } => Cause::Memory,
            DeviceError::Missing(_) | DeviceError::Compilation { .. } => Cause::Machine,
            DeviceError::Failed { .. } | DeviceError::InvalidArgument(_) => Cause::Device,
        };
        EngineError { message: error.to_string(), cause }
    }
}

//! The engine for GPUs: the fused engine's program, step by step, over a device's memory that is had once.
//!
//! - `memory`: what lies on the device, and how much that is.
//! - `forward`, `backward`: the steps.
//! - `update`: the optimiser.
//!
//! It knows a device by the trait [`Device`] alone, so that tests run every line of it on the processor, with the very kernels that a GPU
//! runs. A convolution's input is copied as its readers see it (batch norm and ReLU applied) where cuDNN could not see it so; other
//! steps see it through their own kernels.
//!
//! The loss is the host's: a step goes to the logits, the loss makes a gradient of them, and the step goes back. Either half is recorded
//! when it is done for the second time with the same number of samples, and played from then on. What changes from step to step (inputs,
//! masks, the gradient of the logits, learning rates) lies in the device's memory; nothing of it is part of a recording.

mod backward;
mod forward;
mod memory;
#[cfg(test)]
mod tests;
mod update;

use super::fused::parameters::Order;
use super::fused::program::Program;
use super::fused::steps::draw;
use super::{Cause, Checkpoint, Engine, EngineError, LossOfLogits, Moments, Weights, tokens};
use crate::engine::fused::program::Step;
pub(super) use memory::memory;
use memory::{Held, Room};
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_cuda::{Device, DeviceError, Recording};
use rand_chacha::ChaCha8Rng;
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
    halves: Halves,
}

/// The two halves of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    /// From the inputs to the logits.
    There,
    /// From the gradient of the logits to new weights.
    Back,
}

/// What is recorded.
#[derive(Debug, Default)]
struct Halves {
    /// By half and number of samples.
    recorded: Vec<(Half, usize, Recording)>,
    /// What has been done once, launch by launch.
    done: Vec<(Half, usize)>,
    /// Whether the device records nothing.
    none: bool,
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
            halves: Halves::default(),
        })
    }

    /// The same engine, which multiplies in this precision from now on. It has computed nothing yet.
    pub fn in_precision(self, precision: Precision) -> Self {
        CudaEngine { precision, ..self }
    }

    /// Makes room for so many samples and takes them in, a sample after the other, each channels × height × width; how many there are.
    fn load(&mut self, inputs: &[f32]) -> Result<usize, EngineError> {
        let sample = self.program.values[0].shape.len();
        let samples = inputs.len() / sample.max(1);
        if samples == 0 || samples * sample != inputs.len() {
            return Err(EngineError::new(format!("{} values are no samples of {sample}", inputs.len())));
        }
        if let Some(vocabulary) = self.program.vocabulary() {
            tokens::check(inputs, vocabulary)?;
        }
        let room = match self.room.take() {
            Some(room) if room.samples >= samples => room,
            old => {
                // Recordings know where the old memory lies.
                self.device.forget();
                self.halves = Halves { none: self.halves.none, ..Halves::default() };
                if let Some(old) = old {
                    old.free(&mut *self.device)?;
                }
                Room::new(&self.program, samples, self.precision, &mut *self.device)?
            }
        };
        self.device.upload(inputs, room.inputs.part(0, inputs.len()))?;
        self.room = Some(room);
        Ok(samples)
    }

    /// Draws dropout's masks, in the order of the steps.
    fn draw(&mut self, samples: usize, dropout: &mut ChaCha8Rng) -> Result<(), EngineError> {
        let Some(room) = &self.room else { return Ok(()) };
        let mut drawn = Vec::new();
        for (step, mask) in self.program.steps.iter().zip(&room.masks) {
            let (Step::Dropout { share, output, .. }, Some(mask)) = (step, mask) else { continue };
            let shape = self.program.values[*output].shape;
            drawn.clear();
            drawn.resize(samples * shape.len(), 0.0);
            draw(&mut drawn, shape, *share, dropout);
            self.device.upload(&drawn, mask.part(0, drawn.len()))?;
        }
        Ok(())
    }

    /// Does a half of a step, as it is recorded if it is.
    fn half(&mut self, half: Half, samples: usize) -> Result<(), EngineError> {
        let found = self.halves.recorded.iter().find(|(h, s, _)| (*h, *s) == (half, samples));
        if let Some((_, _, recording)) = found {
            return Ok(self.device.play(*recording)?);
        }
        // The first time libraries choose their ways and take memory, which is no part of a recording.
        let again = self.halves.done.contains(&(half, samples));
        if again && !self.halves.none {
            match self.record(half, samples) {
                Ok(recording) => {
                    self.halves.recorded.push((half, samples, recording));
                    return Ok(self.device.play(recording)?);
                }
                Err(error) => {
                    tracing::warn!(
                        "{}: steps are launched one by one, for they could not be recorded: {error}",
                        self.device.name()
                    );
                    self.halves.none = true;
                }
            }
        }
        self.steps_of(half, samples)?;
        if !again {
            self.halves.done.push((half, samples));
        }
        Ok(())
    }

    fn record(&mut self, half: Half, samples: usize) -> Result<Recording, DeviceError> {
        self.device.record()?;
        let launched = self.steps_of(half, samples);
        let recorded = self.device.recorded();
        launched.and(recorded)
    }

    fn steps_of(&mut self, half: Half, samples: usize) -> Result<(), DeviceError> {
        match half {
            Half::There => self.forward(samples, true),
            Half::Back => {
                self.backward(samples)?;
                self.update()
            }
        }
    }

    /// Loss and gradients of a batch, and a step of the optimiser with these rates.
    fn step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        rates: Rates,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let samples = self.load(inputs)?;
        self.draw(samples, dropout)?;
        self.device.upload(&rates, self.held.rates)?;
        self.half(Half::There, samples)?;
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        self.read_logits(samples, &mut logits)?;
        self.gradient.resize(logits.len(), 0.0);
        let loss = loss(&logits, &mut self.gradient);
        self.logits = logits;
        if let Some(room) = &self.room {
            self.device.upload(&self.gradient, room.gradient.part(0, self.gradient.len()))?;
        }
        self.half(Half::Back, samples)?;
        Ok(loss)
    }

    /// Loss, logits and every weight's gradient; the running statistics move.
    #[cfg(test)]
    pub(super) fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<super::Gradients, EngineError> {
        let samples = self.load(inputs)?;
        self.draw(samples, dropout)?;
        self.forward(samples, true)?;
        let mut logits = Vec::new();
        self.read_logits(samples, &mut logits)?;
        let mut gradient = vec![0.0; logits.len()];
        let loss = loss(&logits, &mut gradient);
        if let Some(room) = &self.room {
            self.device.upload(&gradient, room.gradient.part(0, gradient.len()))?;
        }
        self.backward(samples)?;
        let (mut stored, mut weights) =
            (vec![0.0; self.held.gradients.len()], vec![0.0; self.weights.plan().trained()]);
        self.device.download(self.held.gradients, &mut stored)?;
        self.program.parameters.restore(&stored, &mut weights);
        Ok(super::Gradients { loss, logits, weights })
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
        let name = format!("fused {} cuda {} {precision}", env!("CARGO_PKG_VERSION"), self.device.kin());
        name.trim_end().to_owned()
    }

    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let rates = update::rates(&self.optimizer, self.steps + 1, lr);
        let loss = self.step(inputs, loss, rates, dropout)?;
        self.steps += 1;
        Ok(loss)
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        let sample = self.program.values[0].shape.len();
        // No more at a time than there is room for, lest evaluating take memory of its own.
        let samples = self.room.as_ref().map_or(UNTRAINED, |room| room.samples);
        for inputs in inputs.chunks(samples * sample) {
            let samples = self.load(inputs)?;
            self.forward(samples, false)?;
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
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        let cause = match &error {
            DeviceError::OutOfMemory { .. } => Cause::Memory,
            DeviceError::Missing(_) | DeviceError::Compilation { .. } => Cause::Machine,
            DeviceError::Failed { .. } | DeviceError::Unfit(_) => Cause::Device,
        };
        EngineError { message: error.to_string(), cause }
    }
}

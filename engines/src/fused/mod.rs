//! The fused engine: a network as a fixed list of steps over memory that is had once.
//!
//! - `program`: what the steps are, found once from the layers. A batch norm, a bias and a ReLU are no steps: they are how readers
//!   see what a convolution or a linear layer left (`affine`), and are computed while it is copied into the next one.
//! - `parameters`: the flat list of weights in the order that products want.
//! - `convolution`, `linear`: the steps with weights; `text`: those of networks for text. The others stand in `steps`.
//! - `memory`, `team`: buffers, and the threads that share the parts of a step.
//! - `estimate`: what all of it takes, told beforehand.
//!
//! `program` and `parameters` serve the engine for GPUs (`engine::cuda`), too.
//!
//! The arithmetic is `plusminus_kernels`'. There is no `unsafe` here or there.

pub(super) mod affine;
pub(super) mod convolution;
mod estimate;
mod linear;
mod memory;
pub(super) mod parameters;
pub(super) mod program;
pub(super) mod steps;
mod team;
#[cfg(test)]
pub(super) mod tests;
mod text;

use super::optimizer::Updater;
use super::{Checkpoint, Engine, EngineError, LossOfLogits, OptimizerState, Weights, tokens};
use affine::Moving;
pub(super) use estimate::memory;
use memory::Buffer;
use parameters::Order;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::Instructions;
pub(crate) use program::Unsupported;
use program::{Program, Step};
use rand_chacha::ChaCha8Rng;
use std::num::NonZeroUsize;
use team::Team;

/// Values of the largest step that are evaluated together.
const CACHED: usize = 1 << 18;

/// Samples that an engine evaluates together that has not trained yet, and so has no room for a batch.
const UNTRAINED: usize = 16;

/// From so many weights on, what has to be done to them before a forward pass outweighs what the cache saves.
const MANY_WEIGHTS: usize = 1 << 20;

/// A network with all the memory that its training takes.
pub(crate) struct FusedEngine {
    program: Program,
    team: Team,
    updater: Updater,
    /// The trained values are as old as the engine, the running statistics as they stand.
    weights: Weights,
    parameters: Buffer,
    gradients: Buffer,
    state: State,
}

/// What a batch is on its way through the network.
#[derive(Debug, Default)]
struct State {
    /// Samples that there is room for.
    room: usize,
    /// What each value holds.
    values: Vec<Buffer>,
    /// Gradients on their way back.
    slots: Vec<Buffer>,
    affines: Vec<Moving>,
    /// Of every affine, two values a channel and sample: moments on the way forward, sums of gradients on the way back.
    partials: Vec<Buffer>,
    /// Dropout's masks, by the place of the step.
    masks: Vec<Buffer>,
    /// What threads share during a step.
    shared: [Buffer; 2],
    /// Logits and their gradient, as the loss has them.
    logits: Vec<f32>,
    gradient: Vec<f32>,
}

impl FusedEngine {
    /// An engine for `network` that starts with `weights`.
    pub fn new(
        network: &Network,
        weights: Weights,
        optimizer: Optimizer,
        threads: NonZeroUsize,
        instructions: Instructions,
    ) -> Result<Result<Self, Unsupported>, EngineError> {
        let program = match Program::new(network, weights.plan(), Order::Panels) {
            Ok(program) => program,
            Err(unsupported) => return Ok(Err(unsupported)),
        };
        let parameters = program.parameters.store(weights.values());
        let updater = Updater::new(optimizer, parameters.len(), instructions);
        let gradients = Buffer::zeroes(parameters.len());
        let state = State {
            affines: program.affines.iter().map(Moving::new).collect(),
            values: program.values.iter().map(|_| Buffer::default()).collect(),
            slots: program.slots.iter().map(|_| Buffer::default()).collect(),
            partials: program.affines.iter().map(|_| Buffer::default()).collect(),
            masks: program.steps.iter().map(|_| Buffer::default()).collect(),
            ..State::default()
        };
        let team = Team::new(threads, instructions)?;
        Ok(Ok(FusedEngine { program, team, updater, weights, parameters, gradients, state }))
    }

    /// Loss and gradients of a batch; the gradients stand in `self.gradients`.
    fn differentiate(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let samples = self.load(inputs)?;
        self.forward(samples, Some(dropout));
        let mut logits = std::mem::take(&mut self.state.logits);
        logits.clear();
        self.read_logits(samples, &mut logits);
        self.state.gradient.resize(logits.len(), 0.0);
        let loss = loss(&logits, &mut self.state.gradient);
        self.state.logits = logits;
        self.backward(samples);
        Ok(loss)
    }

    /// Loss, logits and every weight's gradient; the running statistics move.
    #[cfg(test)]
    fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<super::Gradients, EngineError> {
        let loss = self.differentiate(inputs, loss, dropout)?;
        let mut weights = vec![0.0; self.weights.plan().trained()];
        self.program.parameters.restore(&self.gradients, &mut weights);
        Ok(super::Gradients { loss, logits: self.state.logits.clone(), weights })
    }

    /// Writes the logits of the last forward pass.
    fn read_logits(&self, samples: usize, logits: &mut Vec<f32>) {
        let value = &self.program.values[self.program.logits];
        let seen = self.state.see(&self.program, self.program.logits);
        let stored = value.shape.stored;
        let mut row = vec![0.0; stored];
        for sample in seen.values[..samples * stored].chunks_exact(stored) {
            plusminus_kernels::Join {
                inputs: [Some((sample, seen.view)), None],
                channels: stored,
                rectify: false,
                output: &mut row,
            }
            .run(self.team.instructions);
            logits.extend_from_slice(&row[..value.shape.channels]);
        }
    }

    /// Takes in inputs, a sample after the other, each channels × height × width, and makes room for so many; how many there are.
    fn load(&mut self, inputs: &[f32]) -> Result<usize, EngineError> {
        let shape = self.program.values[0].shape;
        let samples = inputs.len() / shape.len().max(1);
        if samples == 0 || samples * shape.len() != inputs.len() {
            return Err(EngineError::new(format!("{} values are no samples of {}", inputs.len(), shape.len())));
        }
        if let Some(vocabulary) = self.program.vocabulary() {
            tokens::check(inputs, vocabulary)?;
        }
        self.make_room(samples);
        let pixels = shape.pixels();
        let samples_and_images =
            inputs.chunks_exact(shape.len()).zip(self.state.values[0].chunks_exact_mut(shape.len()));
        for (from, to) in samples_and_images {
            for (channel, plane) in from.chunks_exact(pixels).enumerate() {
                for (pixel, value) in plane.iter().enumerate() {
                    to[pixel * shape.channels + channel] = *value;
                }
            }
        }
        Ok(samples)
    }

    fn make_room(&mut self, samples: usize) {
        let State { room, values, slots, partials, masks, .. } = &mut self.state;
        if samples <= *room {
            return;
        }
        *room = samples;
        let program = &self.program;
        for (buffer, value) in values.iter_mut().zip(&program.values) {
            *buffer = Buffer::zeroes(samples * value.shape.len());
        }
        for (buffer, length) in slots.iter_mut().zip(&program.slots) {
            *buffer = Buffer::zeroes(samples * length);
        }
        for (buffer, affine) in partials.iter_mut().zip(&program.affines) {
            *buffer = affine::partials(affine, samples);
        }
        for (buffer, step) in masks.iter_mut().zip(&program.steps) {
            if let Step::Dropout { output, .. } = step {
                *buffer = Buffer::zeroes(samples * program.values[*output].shape.len());
            }
        }
    }
}

impl Engine for FusedEngine {
    fn name(&self) -> String {
        format!("{} {}", self.reproducibility_key(), self.team.instructions.name())
    }

    fn reproducibility_key(&self) -> String {
        format!("fused {} cpu", env!("CARGO_PKG_VERSION"))
    }

    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let loss = self.differentiate(inputs, loss, dropout)?;
        self.updater.step(&mut self.parameters, &self.gradients, lr);
        Ok(loss)
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        logits.clear();
        let sample = self.program.values[0].shape.len();
        // No sample's logits depend on which others it comes with. So no more at a time than there is room for, lest evaluating take
        // memory of its own, and so few that what a step leaves is still in the cache when the next one wants it: unless there are so
        // many weights that making them ready for a few samples costs more.
        let largest = self.program.values.iter().map(|value| value.shape.len()).max().unwrap_or(1);
        let few = if self.parameters.len() > MANY_WEIGHTS { usize::MAX } else { (CACHED / largest.max(1)).max(8) };
        let room = if self.state.room == 0 { UNTRAINED } else { self.state.room };
        let samples = room.min(few);
        for inputs in inputs.chunks(samples * sample) {
            let samples = self.load(inputs)?;
            self.forward(samples, None);
            self.read_logits(samples, logits);
        }
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        let mut weights = self.weights.clone();
        self.program.parameters.restore(&self.parameters, weights.values_mut());
        Ok(weights)
    }

    fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        let of = |stored: &[f32]| {
            let mut values = vec![0.0; if stored.is_empty() { 0 } else { self.weights.plan().trained() }];
            if !stored.is_empty() {
                self.program.parameters.restore(stored, &mut values);
            }
            values
        };
        let OptimizerState { steps, first, second } = self.updater.state();
        Ok(Checkpoint {
            weights: self.weights()?,
            optimizer: OptimizerState { steps: *steps, first: of(first), second: of(second) },
        })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError> {
        checkpoint.fits(self.weights.plan())?;
        let OptimizerState { steps, first, second } = &checkpoint.optimizer;
        let trained = self.weights.plan().trained();
        if let Some(other) = [first, second].map(Vec::len).into_iter().find(|length| ![0, trained].contains(length)) {
            return Err(EngineError::new(format!(
                "the optimiser's memory has {other} values where this network has {trained}: start the job again"
            )));
        }
        let of = |values: &[f32]| {
            if values.is_empty() { Vec::new() } else { self.program.parameters.store(values).to_vec() }
        };
        self.updater.restore(OptimizerState { steps: *steps, first: of(first), second: of(second) })?;
        self.parameters = self.program.parameters.store(checkpoint.weights.values());
        self.weights = checkpoint.weights;
        Ok(())
    }
}

//! The engine on the CPU: a compiled network with its weights, gradients and buffers.

use super::backward::Backward;
use super::buffer::Buffer;
use super::forward::Forward;
use super::parameters::WeightOrder;
use super::program::{Program, Unsupported, compile};
use super::state::BatchState;
use super::threads::Threads;
use crate::batch::LossOfLogits;
use crate::engine::{Checkpoint, Engine};
use crate::error::EngineError;
use crate::optimizer::{OptimizerState, Updater};
use crate::tokens;
use crate::weights::Weights;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::{Instructions, Join};
use rand_chacha::ChaCha8Rng;
use std::num::NonZeroUsize;

/// The values of an evaluation's largest intermediate result that the cache holds.
const CACHED: usize = 1 << 18;

/// Samples that an engine evaluates together before its first training step, which determines the size of its buffers.
const UNTRAINED: usize = 16;

/// From this number of weights on, preparing the weights for a forward pass costs more than staying in the cache saves.
const MANY_WEIGHTS: usize = 1 << 20;

/// A network with all the memory of its training.
pub(crate) struct FusedEngine {
    pub(super) program: Program,
    pub(super) threads: Threads,
    pub(super) updater: Updater,
    /// The running statistics are current. The trained values are those of the last restore; `parameters` has the current ones.
    pub(super) weights: Weights,
    /// The trained weights in the program's layout.
    pub(super) parameters: Buffer,
    pub(super) gradients: Buffer,
    pub(super) state: BatchState,
}

impl FusedEngine {
    /// An engine for `network` with these initial weights. The inner error means that the engine does not support the network.
    pub fn new(
        network: &Network,
        weights: Weights,
        optimizer: Optimizer,
        threads: NonZeroUsize,
        instructions: Instructions,
    ) -> Result<Result<Self, Unsupported>, EngineError> {
        let program = match compile(network, weights.plan(), WeightOrder::Panels) {
            Ok(program) => program,
            Err(unsupported) => return Ok(Err(unsupported)),
        };
        let parameters = program.parameters.store(weights.values());
        let updater = Updater::new(optimizer, parameters.len(), instructions);
        let gradients = Buffer::zeros(parameters.len());
        let state = BatchState::new(&program);
        let threads = Threads::new(threads, instructions)?;
        Ok(Ok(FusedEngine { program, threads, updater, weights, parameters, gradients, state }))
    }

    /// Returns the loss of a batch and writes its gradients to `self.gradients`.
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
        self.state.logits_gradient.resize(logits.len(), 0.0);
        let loss = loss(&logits, &mut self.state.logits_gradient);
        self.state.logits = logits;
        let FusedEngine { program, threads, parameters, gradients, state, .. } = self;
        Backward { program, threads, parameters, samples }.run(state, gradients);
        Ok(loss)
    }

    /// Loss, logits and gradients of a batch. Updates the running statistics.
    #[cfg(test)]
    pub(super) fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<crate::engine::Gradients, EngineError> {
        let loss = self.differentiate(inputs, loss, dropout)?;
        let mut weights = vec![0.0; self.weights.plan().trained()];
        self.program.parameters.restore(&self.gradients, &mut weights);
        Ok(crate::engine::Gradients { loss, logits: self.state.logits.clone(), weights })
    }

    /// A forward pass of the loaded samples: for training if there is a generator for dropout, otherwise for evaluation.
    fn forward(&mut self, samples: usize, dropout: Option<&mut ChaCha8Rng>) {
        let FusedEngine { program, threads, weights, parameters, state, .. } = self;
        let training = dropout.is_some();
        Forward { program, threads, parameters, samples, training }.run(state, weights.values_mut(), dropout);
    }

    /// Appends the logits of the last forward pass.
    fn read_logits(&self, samples: usize, logits: &mut Vec<f32>) {
        let value = &self.program.values[self.program.logits];
        let view = self.state.view(&self.program, self.program.logits);
        let stored = value.shape.stored;
        let mut row = vec![0.0; stored];
        for sample in view.values[..samples * stored].chunks_exact(stored) {
            Join { inputs: [Some((sample, view.view)), None], channels: stored, rectify: false, output: &mut row }
                .run(self.threads.instructions);
            logits.extend_from_slice(&row[..value.shape.channels]);
        }
    }

    /// Copies inputs, `[samples, channels, height, width]`, to the first value. Returns the number of samples.
    fn load(&mut self, inputs: &[f32]) -> Result<usize, EngineError> {
        let shape = self.program.values[0].shape;
        let samples = inputs.len() / shape.len().max(1);
        if samples == 0 || samples * shape.len() != inputs.len() {
            return Err(EngineError::new(format!(
                "{} input values are not a whole number of samples of {} values",
                inputs.len(),
                shape.len()
            )));
        }
        if let Some(vocabulary) = self.program.vocabulary() {
            tokens::check_inputs(inputs, vocabulary)?;
        }
        self.state.reserve(&self.program, samples);
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

    /// The number of samples to evaluate together. No sample's logits depend on it.
    ///
    /// It is at most the capacity of the buffers, so that evaluation allocates no memory, and small enough that a step's output is still in
    /// the cache when the next step reads it. The latter does not apply to networks whose many weights cost more to prepare.
    fn evaluation_batch(&self) -> usize {
        let largest = self.program.values.iter().map(|value| value.shape.len()).max().unwrap_or(1);
        let cached = if self.parameters.len() > MANY_WEIGHTS { usize::MAX } else { (CACHED / largest.max(1)).max(8) };
        let capacity = if self.state.capacity == 0 { UNTRAINED } else { self.state.capacity };
        capacity.min(cached)
    }
}

impl Engine for FusedEngine {
    fn name(&self) -> String {
        format!("{} {}", self.reproducibility_key(), self.threads.instructions.name())
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
        for inputs in inputs.chunks(self.evaluation_batch() * sample) {
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
        checkpoint.check(self.weights.plan())?;
        let OptimizerState { steps, first, second } = &checkpoint.optimizer;
        let trained = self.weights.plan().trained();
        if let Some(other) = [first, second].map(Vec::len).into_iter().find(|length| ![0, trained].contains(length)) {
            return Err(EngineError::new(format!(
                "the checkpoint's optimiser state has {other} values, expected {trained}: restart the job without the checkpoint"
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

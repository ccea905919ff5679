//! The reference engine: a network's layers on candle's tensors and graph. It supports every network.
//!
//! On the CPU it uses one core, and our own operations (`ops`) where candle's are unsuitable.
//!
//! Every step builds a graph from the flat list of weights and collects the gradients in a flat list, to which the optimiser that all CPU
//! engines share is applied.

mod layers;
mod ops;

use crate::batch::LossOfLogits;
use crate::engine::{Checkpoint, Engine, Gradients};
use crate::error::{Cause, EngineError, no_threads};
use crate::optimizer::Updater;
use crate::weights::Weights;
use crate::{gemm, tokens};
use candle_core::{Device, Tensor, Var};
use layers::{Mode, Node, Pass};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{Layer, Network};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::Instructions;
use rand_chacha::ChaCha8Rng;
use std::sync::OnceLock;

/// The version of candle, which does not export it.
const VERSION: &str = "0.11.1";

/// A network with its weights, on candle.
pub(super) struct CandleEngine {
    input: ImageShape,
    nodes: Vec<Node>,
    weights: Weights,
    updater: Updater,
    device: Device,
    /// The vocabulary, if the network's inputs are token ids.
    vocabulary: Option<usize>,
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        EngineError::new(error.to_string())
    }
}

/// Starts candle's threads, unless they are running. Some of its operations use rayon's global pool, which panics if its threads cannot be
/// started at its first use.
///
/// # Errors
/// If the threads cannot be started. It cannot be tried again in this process: [`has_threads`] is false from then on.
fn start_threads() -> Result<(), EngineError> {
    let started = THREADS.get_or_init(|| {
        match rayon::ThreadPoolBuilder::new().build_global() {
            // Without a source, the error is that the pool is there already.
            Err(error) if std::error::Error::source(&error).is_some() => Err(no_threads(1, &error).message),
            _ => Ok(()),
        }
    });
    started.clone().map_err(|message| EngineError { message, cause: Cause::Threads })
}

static THREADS: OnceLock<Result<(), String>> = OnceLock::new();

/// Whether candle can train in this process: false after its threads could not be started.
pub(super) fn has_threads() -> bool {
    THREADS.get().is_none_or(Result::is_ok)
}

impl CandleEngine {
    /// An engine for `network` with these initial weights, on `device`.
    pub fn new(network: &Network, weights: Weights, optimizer: Optimizer, device: Device) -> Result<Self, EngineError> {
        start_threads()?;
        let nodes = layers::nodes(network, weights.plan())?;
        let updater = Updater::new(optimizer, weights.plan().trained(), Instructions::best());
        let vocabulary = match network.layers.first() {
            Some(Layer::Embedding { vocabulary, .. }) => Some(*vocabulary),
            _ => None,
        };
        Ok(CandleEngine { input: network.input, nodes, weights, updater, device, vocabulary })
    }

    /// Inputs as a tensor, `[samples, rows, columns, channels]`.
    fn images(&self, inputs: &[f32]) -> Result<Tensor, EngineError> {
        let ImageShape { channels, height, width } = self.input;
        let count = inputs.len() / self.input.len();
        if inputs.is_empty() || inputs.len() != count * self.input.len() {
            return Err(EngineError::new(format!(
                "{} input values are not a whole number of samples of {} values",
                inputs.len(),
                self.input.len()
            )));
        }
        if let Some(vocabulary) = self.vocabulary {
            tokens::check_inputs(inputs, vocabulary)?;
        }
        let images = Tensor::from_slice(inputs, (count, channels, height, width), &self.device)?;
        Ok(images.permute((0, 2, 3, 1))?.contiguous()?)
    }

    /// Loss, logits and gradients of a batch. Updates the running statistics.
    ///
    /// # Errors
    /// `inputs` are not a whole number of samples, or candle fails.
    pub(crate) fn gradients(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Gradients, EngineError> {
        let images = self.images(inputs)?;
        let plan = self.weights.plan().clone();
        let trained = plan.entries().iter().filter(|entry| entry.role.is_trained());
        let variables = trained
            .clone()
            .map(|entry| {
                Var::from_slice(&self.weights.values()[entry.range.clone()], entry.shape.as_slice(), &self.device)
            })
            .collect::<Result<Vec<Var>, _>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let mut pass = Pass { tensors: &tensors, weights: &mut self.weights, mode: Mode::Training(dropout) };
        let output = layers::forward(&self.nodes, images, &mut pass)?;
        let logits = output.flatten_all()?.to_vec1::<f32>()?;
        let mut logits_gradient = vec![0.0; logits.len()];
        let loss = loss(&logits, &mut logits_gradient);
        // With g the gradient of the loss with respect to the logits, Σ logits · g has the gradient of the loss in the weights.
        let logits_gradient = Tensor::from_vec(logits_gradient, output.shape(), &self.device)?;
        let mut gradients = output.mul(&logits_gradient)?.sum_all()?.backward()?;
        let mut weights = vec![0.0; plan.trained()];
        for (entry, variable) in trained.zip(&variables) {
            let gradient = gradients.remove(variable.as_tensor());
            let gradient = gradient.ok_or_else(|| EngineError::new(format!("{} has no gradient", entry.name)))?;
            let gradient = gradient.contiguous()?.to_device(&Device::Cpu)?;
            weights[entry.range.clone()].copy_from_slice(&ops::TensorValues::of(&gradient)?);
        }
        Ok(Gradients { loss, logits, weights })
    }
}

impl Engine for CandleEngine {
    fn name(&self) -> String {
        match self.device {
            Device::Cpu => format!("candle {VERSION} cpu, gemm {} {}", gemm::VERSION, gemm::kernel()),
            Device::Cuda(_) => format!("candle {VERSION} cuda"),
            Device::Metal(_) => format!("candle {VERSION} metal"),
        }
    }

    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError> {
        let found = self.gradients(inputs, loss, dropout)?;
        let trained = self.weights.plan().trained();
        self.updater.step(&mut self.weights.values_mut()[..trained], &found.weights, lr);
        Ok(found.loss)
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        let images = self.images(inputs)?;
        let plan = self.weights.plan().clone();
        let trained = plan.entries().iter().filter(|entry| entry.role.is_trained());
        let tensors = trained
            .map(|entry| {
                Tensor::from_slice(&self.weights.values()[entry.range.clone()], entry.shape.as_slice(), &self.device)
            })
            .collect::<Result<Vec<Tensor>, _>>()?;
        let mut pass = Pass { tensors: &tensors, weights: &mut self.weights, mode: Mode::Evaluation };
        let output = layers::forward(&self.nodes, images, &mut pass)?;
        logits.clear();
        logits.extend_from_slice(&ops::TensorValues::of(&output.contiguous()?.to_device(&Device::Cpu)?)?);
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        Ok(self.weights.clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        Ok(Checkpoint { weights: self.weights.clone(), optimizer: self.updater.state().clone() })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError> {
        checkpoint.check(self.weights.plan())?;
        self.updater.restore(checkpoint.optimizer)?;
        self.weights = checkpoint.weights;
        Ok(())
    }
}

#[cfg(test)]
mod peers;
#[cfg(test)]
mod tests;

//! The plain engine: a network's layers on candle's tensors and graph, on any device that candle has. The reference.
//!
//! On the processor it takes one core, and operations of our own (`ops`) where candle's do not serve.
//!
//! The graph is made anew in every step from the flat list of weights, and the gradients come back into one: what changes
//! weights is the same code in every engine.

mod layers;
mod ops;

use super::optimizer::Updater;
use super::{Checkpoint, Engine, EngineError, Gradients, LossOfLogits, Weights, gemm, tokens};
use candle_core::{Device, Tensor, Var};
use layers::{Mode, Node, Pass};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{Layer, Network};
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::Instructions;
use rand_chacha::ChaCha8Rng;

/// candle's version, which it does not tell itself.
const VERSION: &str = "0.11.1";

/// A network on candle.
pub(super) struct CandleEngine {
    input: ImageShape,
    nodes: Vec<Node>,
    weights: Weights,
    updater: Updater,
    device: Device,
    /// Where tokens come in: how many there are.
    vocabulary: Option<usize>,
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        EngineError::new(error.to_string())
    }
}

impl CandleEngine {
    /// `network` with `weights`, which are its own, on `device`.
    pub fn new(network: &Network, weights: Weights, optimizer: Optimizer, device: Device) -> Result<Self, EngineError> {
        let nodes = layers::nodes(network, weights.plan())?;
        let updater = Updater::new(optimizer, weights.plan().trained(), Instructions::best());
        let vocabulary = match network.layers.first() {
            Some(Layer::Embedding { vocabulary, .. }) => Some(*vocabulary),
            _ => None,
        };
        Ok(CandleEngine { input: network.input, nodes, weights, updater, device, vocabulary })
    }

    /// Samples as candle's tensor, channels last.
    fn images(&self, inputs: &[f32]) -> Result<Tensor, EngineError> {
        let ImageShape { channels, height, width } = self.input;
        let count = inputs.len() / self.input.len();
        if inputs.is_empty() || inputs.len() != count * self.input.len() {
            return Err(EngineError::new(format!("{} values are no whole number of images", inputs.len())));
        }
        if let Some(vocabulary) = self.vocabulary {
            tokens::check(inputs, vocabulary)?;
        }
        let images = Tensor::from_slice(inputs, (count, channels, height, width), &self.device)?;
        Ok(images.permute((0, 2, 3, 1))?.contiguous()?)
    }

    /// Loss, logits and every weight's gradient; the running statistics move.
    ///
    /// # Errors
    /// What went wrong on the device.
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
        let mut slopes = vec![0.0; logits.len()];
        let loss = loss(&logits, &mut slopes);
        // The gradient of Σ logits · g in the weights is the loss's, where g is the loss's gradient in the logits.
        let slopes = Tensor::from_vec(slopes, output.shape(), &self.device)?;
        let mut gradients = output.mul(&slopes)?.sum_all()?.backward()?;
        let mut weights = vec![0.0; plan.trained()];
        for (entry, variable) in trained.zip(&variables) {
            let gradient = gradients.remove(variable.as_tensor());
            let gradient = gradient.ok_or_else(|| EngineError::new(format!("{} has no gradient", entry.name)))?;
            let gradient = gradient.contiguous()?.to_device(&Device::Cpu)?;
            weights[entry.range.clone()].copy_from_slice(&ops::Values::of(&gradient)?);
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
        logits.extend_from_slice(&ops::Values::of(&output.contiguous()?.to_device(&Device::Cpu)?)?);
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        Ok(self.weights.clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, EngineError> {
        Ok(Checkpoint { weights: self.weights.clone(), optimizer: self.updater.state().clone() })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError> {
        checkpoint.fits(self.weights.plan())?;
        self.updater.restore(checkpoint.optimizer)?;
        self.weights = checkpoint.weights;
        Ok(())
    }
}

#[cfg(test)]
mod peers;
#[cfg(test)]
mod tests;

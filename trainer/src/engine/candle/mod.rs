//! The plain engine: a network's layers on candle's tensors and graph, on one core of the processor. The reference.
//!
//! The graph is made anew in every step from the flat list of weights, and the gradients come back into one: what changes
//! weights is the same code in every engine.

mod layers;
mod ops;

use super::optimizer::Updater;
use super::{Batch, Engine, EngineError, Weights, gemm};
use candle_core::{Device, Tensor, Var};
use layers::{Mode, Node, Pass};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::losses::Loss;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::Instructions;
use rand_chacha::ChaCha8Rng;

/// candle's version, which it does not tell itself.
const VERSION: &str = "0.11.1";

/// A network on candle.
pub(super) struct CandleEngine {
    input: ImageShape,
    classes: usize,
    nodes: Vec<Node>,
    weights: Weights,
    loss: Loss,
    updater: Updater,
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        EngineError::new(error.to_string())
    }
}

impl CandleEngine {
    /// `network` with `weights`, which are its own.
    pub fn new(network: &Network, weights: Weights, loss: Loss, optimizer: Optimizer) -> Result<Self, EngineError> {
        let nodes = layers::nodes(network, weights.plan())?;
        let updater = Updater::new(optimizer, weights.plan().trained(), Instructions::best());
        Ok(CandleEngine { input: network.input, classes: network.classes, nodes, weights, loss, updater })
    }

    /// Samples as candle's tensor, channels last.
    fn images(&self, inputs: &[f32]) -> Result<Tensor, EngineError> {
        let ImageShape { channels, height, width } = self.input;
        let count = inputs.len() / self.input.len();
        if inputs.is_empty() || inputs.len() != count * self.input.len() {
            return Err(EngineError::new(format!("{} values are no whole number of images", inputs.len())));
        }
        let images = Tensor::from_slice(inputs, (count, channels, height, width), &Device::Cpu)?;
        Ok(images.permute((0, 2, 3, 1))?.contiguous()?)
    }

    /// Loss, logits' gradient and so every weight's, in the flat list's order; the running statistics move.
    fn gradient(&mut self, batch: Batch<'_>, dropout: &mut ChaCha8Rng) -> Result<(f64, Vec<f32>), EngineError> {
        let images = self.images(batch.inputs)?;
        let plan = self.weights.plan().clone();
        let trained = plan.entries().iter().filter(|entry| entry.role.is_trained());
        let variables = trained
            .clone()
            .map(|entry| {
                Var::from_slice(&self.weights.values()[entry.range.clone()], entry.shape.as_slice(), &Device::Cpu)
            })
            .collect::<Result<Vec<Var>, _>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let mut pass = Pass { tensors: &tensors, weights: &mut self.weights, mode: Mode::Training(dropout) };
        let logits = layers::forward(&self.nodes, images, &mut pass)?;
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut gradient = vec![0.0; values.len()];
        let loss = self.loss.value_and_gradient(&values, self.classes, batch.labels, &mut gradient);
        // The gradient of Σ logits · g in the weights is the loss's, where g is the loss's gradient in the logits.
        let gradient = Tensor::from_vec(gradient, logits.shape(), &Device::Cpu)?;
        let mut gradients = logits.mul(&gradient)?.sum_all()?.backward()?;
        let mut flat = vec![0.0; plan.trained()];
        for (entry, variable) in trained.zip(&variables) {
            let gradient = gradients.remove(variable.as_tensor());
            let gradient =
                gradient.ok_or_else(|| EngineError::new(format!("{} has no gradient", entry.name)))?.contiguous()?;
            flat[entry.range.clone()].copy_from_slice(&ops::Values::of(&gradient)?);
        }
        Ok((loss, flat))
    }
}

impl Engine for CandleEngine {
    fn name(&self) -> String {
        format!("candle {VERSION} cpu, gemm {} {}", gemm::VERSION, gemm::kernel())
    }

    fn train_step(&mut self, batch: Batch<'_>, lr: f64, dropout: &mut ChaCha8Rng) -> Result<f64, EngineError> {
        let (loss, gradient) = self.gradient(batch, dropout)?;
        let trained = self.weights.plan().trained();
        self.updater.step(&mut self.weights.values_mut()[..trained], &gradient, lr);
        Ok(loss)
    }

    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError> {
        let images = self.images(inputs)?;
        let plan = self.weights.plan().clone();
        let trained = plan.entries().iter().filter(|entry| entry.role.is_trained());
        let tensors = trained
            .map(|entry| {
                Tensor::from_slice(&self.weights.values()[entry.range.clone()], entry.shape.as_slice(), &Device::Cpu)
            })
            .collect::<Result<Vec<Tensor>, _>>()?;
        let mut pass = Pass { tensors: &tensors, weights: &mut self.weights, mode: Mode::Evaluation };
        let output = layers::forward(&self.nodes, images, &mut pass)?;
        logits.clear();
        logits.extend_from_slice(&ops::Values::of(&output.contiguous()?)?);
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        Ok(self.weights.clone())
    }
}

#[cfg(test)]
mod peers;
#[cfg(test)]
mod tests;

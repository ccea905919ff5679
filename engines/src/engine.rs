//! The interface of every engine.

use super::batch::LossOfLogits;
use super::device_engine::DeviceEngine;
use super::error::EngineError;
use super::optimizer::OptimizerState;
use super::weights::{Plan, Weights};
use rand_chacha::ChaCha8Rng;

/// A network with its weights and its optimiser.
///
/// One engine serves one job. Equal calls give equal bytes, whatever the number of threads.
pub trait Engine: Send {
    /// The engine's name with what it selected on this host, such as `fused 0.1.0 cpu avx512`.
    fn name(&self) -> String;

    /// Names everything that results may depend on in this engine, such as `fused 0.1.0 cpu`. Engines with equal keys give equal bytes,
    /// so a job may resume with another engine that has the key of its checkpoint.
    ///
    /// By default the engine's name.
    fn reproducibility_key(&self) -> String {
        self.name()
    }

    /// Takes one step of the optimiser along the gradient of `loss` at the learning rate `lr`. Returns the loss before the step.
    ///
    /// `inputs` are `[samples, channels, height, width]`. The step calls `loss` once.
    ///
    /// Dropout draws one number per value from `dropout`, in the order layer, sample, channel, row, column.
    ///
    /// # Errors
    /// `inputs` are not a whole number of samples, or the device fails. A loss that is not finite is not an error.
    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError>;

    /// Replaces `logits` by the logits of `inputs`, `[samples, classes]`, with running statistics and without dropout.
    ///
    /// # Errors
    /// `inputs` are not a whole number of samples, or the device fails.
    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError>;

    /// The present weights, with the running statistics.
    ///
    /// # Errors
    /// The device fails.
    fn weights(&self) -> Result<Weights, EngineError>;

    /// Everything in the engine that later steps depend on.
    ///
    /// # Errors
    /// The device fails.
    fn checkpoint(&self) -> Result<Checkpoint, EngineError>;

    /// Resumes from a checkpoint of the same network and optimiser. An engine with the reproducibility key of the checkpoint's then gives
    /// the bytes of an uninterrupted run.
    ///
    /// # Errors
    /// The checkpoint belongs to another network or optimiser, or the device fails.
    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError>;

    /// The engine's interface for whole steps on a device; `None` for an engine on the CPU.
    fn on_device(&mut self) -> Option<&mut dyn DeviceEngine> {
        None
    }
}

/// The state that a job resumes from, in a form that all engines share.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Every weight, with the running statistics.
    pub weights: Weights,
    /// The optimiser's state, with values in the plan's order.
    pub optimizer: OptimizerState,
}

impl Checkpoint {
    /// Fails unless the checkpoint's weights have this plan.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), EngineError> {
        if **self.weights.plan() == *plan {
            return Ok(());
        }
        Err(EngineError::new("the checkpoint belongs to another network: its weights have other names or shapes"))
    }
}

/// Loss, logits and gradients of one training batch, by which tests compare engines.
pub(crate) struct Gradients {
    /// The mean loss.
    pub loss: f64,
    /// `[samples, classes]`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare engines by it"))]
    pub logits: Vec<f32>,
    /// The gradient of the loss with respect to every trained weight, in the plan's order.
    pub weights: Vec<f32>,
}

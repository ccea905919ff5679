//! The interface of an engine whose device has memory and a queue of its own. It can hold the data, compute inputs and the loss, and run
//! whole steps, so that a step transfers only a few kilobytes.
//!
//! Each part is optional: inputs for data that the device does not hold come from the host, and the host computes a loss that the device
//! does not have. Inputs and dropout masks are byte for byte the host's. A loss computed on the device may differ from core's in the last
//! digits of `f64`.

use super::batch::{Batch, Samples, StepLoss};
use super::error::EngineError;
use plusminus_core::methods::losses::{DeviceLoss, Learned};
use rand_chacha::ChaCha8Rng;

/// An engine whose device has memory and a queue of its own.
pub trait DeviceEngine {
    /// Allocates buffers for batches of this many samples. Evaluations then use this size from the first to the last: the order of a
    /// library's sums may depend on the batch size.
    ///
    /// # Errors
    /// The device has too little memory.
    fn reserve(&mut self, samples: usize) -> Result<(), EngineError>;

    /// Copies samples to the device for the lifetime of the engine. Returns false, and copies nothing, if they would exceed their share of
    /// the device's memory.
    ///
    /// # Errors
    /// A part is not a whole number of samples, a token lies outside the vocabulary, or the device fails.
    fn hold_samples(&mut self, samples: &Samples<'_>) -> Result<bool, EngineError>;

    /// Sets the loss of the following steps in its present state, with the given label of every sample of the training file.
    ///
    /// # Errors
    /// The device fails.
    fn set_loss(&mut self, loss: &DeviceLoss, given: &[u32]) -> Result<(), EngineError>;

    /// Queues a training step with the meaning of [`Engine::train_step`](crate::Engine::train_step). Returns the value of a loss on the
    /// host; [`DeviceEngine::take_losses`] returns those of a loss on the device.
    ///
    /// Advances the generators as a CPU engine would.
    ///
    /// # Errors
    /// The device fails, possibly in an earlier step, or it lacks the samples or the loss that the step refers to.
    fn step(
        &mut self,
        batch: Batch<'_>,
        loss: StepLoss<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError>;

    /// Waits for the queued steps and returns the losses on the device since the last call, in the order of the steps.
    ///
    /// # Errors
    /// The device fails.
    fn take_losses(&mut self) -> Result<Vec<f64>, EngineError>;

    /// The state that the loss on the device has learned; `None` for a loss without such a state.
    ///
    /// # Errors
    /// The device fails.
    fn learned(&self) -> Result<Option<Learned>, EngineError>;

    /// The number of samples to evaluate together.
    fn evaluation_batch(&self) -> usize;

    /// Writes the logits of held samples, as [`Engine::logits`](crate::Engine::logits) does.
    ///
    /// # Errors
    /// The device fails or holds no samples.
    fn held_logits(&mut self, samples: &[usize], logits: &mut Vec<f32>) -> Result<(), EngineError>;
}

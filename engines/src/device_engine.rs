//! What an engine does whose device has memory and a queue of its own, beside what every engine does: it holds the data and makes inputs of
//! them, knows the loss, and takes whole steps, so that a step costs the host a few kilobytes and a word.
//!
//! All of it may be left: data that it does not hold come as inputs from the host, and a loss that it does not know is computed there.
//! Inputs and masks are byte for byte the host's; a loss that it computes may differ from core's in the last digits of `f64`.

use super::{EngineError, ImageTransform, LossOfLogits};
use plusminus_core::methods::losses::{DeviceLoss, Learned};
use rand_chacha::ChaCha8Rng;

/// Samples for a device, in parts that count on from one another: sample number i of the second part is number i + the first's length.
#[derive(Clone, Debug)]
pub enum Samples<'a> {
    /// Images, channels × height × width bytes each.
    Images {
        /// An image after the other.
        parts: Vec<&'a [u8]>,
        /// The input of each byte, 256 a channel.
        table: &'a [f32],
        /// What is taken from each input, a value a pixel.
        centre: Option<&'a [f32]>,
    },
    /// Sequences of tokens.
    Tokens {
        /// A sequence after the other.
        parts: Vec<&'a [u32]>,
    },
}

impl Samples<'_> {
    /// Bytes that they take on a device.
    pub fn bytes(&self) -> usize {
        match self {
            Samples::Images { parts, table, centre } => {
                let floats = table.len() + centre.map_or(0, <[f32]>::len);
                parts.iter().map(|part| part.len()).sum::<usize>() + floats * size_of::<f32>()
            }
            Samples::Tokens { parts } => parts.iter().map(|part| part.len()).sum::<usize>() * size_of::<i32>(),
        }
    }
}

/// Where a step's inputs come from.
#[derive(Clone, Copy, Debug)]
pub enum BatchInputs<'a> {
    /// From the host: a sample after the other, each channels × height × width.
    Host(&'a [f32]),
    /// From the samples that the device holds, each moved; nothing where all stay as they are.
    Held(&'a [ImageTransform]),
}

/// A batch for one step.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Which samples of the training file, the first part; none is there twice.
    pub samples: &'a [usize],
    /// Their inputs.
    pub inputs: BatchInputs<'a>,
}

/// Whose the loss of a step is.
pub enum StepLoss<'a> {
    /// The host's, which waits for the logits and gives their gradient.
    Host(&'a mut LossOfLogits<'a>),
    /// The one that the device knows. Where it draws anything, it draws a number in 0..1 a sample from this generator.
    Device(&'a mut ChaCha8Rng),
}

/// An engine whose device has memory and a queue of its own.
pub trait DeviceEngine {
    /// Has room for so many samples at a time from now on, so that evaluations, too, take as many together from first to last: in what order
    /// a library adds up may depend on it.
    ///
    /// # Errors
    /// That the device has not so much memory.
    fn reserve(&mut self, samples: usize) -> Result<(), EngineError>;

    /// Copies these samples to the device for as long as the engine lives; whether it has done so, which it does not where they would
    /// take more of its memory than is right.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn hold_samples(&mut self, samples: &Samples<'_>) -> Result<bool, EngineError>;

    /// Makes the loss of the next steps known as it stands, with the given label of every sample of the training file.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn set_loss(&mut self, loss: &DeviceLoss, given: &[u32]) -> Result<(), EngineError>;

    /// Puts a step into the queue, as [`Engine::train_step`](super::Engine::train_step) takes one. The value of the host's loss is given
    /// back; that of the device's is told later.
    ///
    /// Generators are left where the host's engines would leave them.
    ///
    /// # Errors
    /// What went wrong on the device, perhaps in an earlier step; that it holds no data or knows no loss.
    fn step(
        &mut self,
        batch: Batch<'_>,
        loss: StepLoss<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<Option<f64>, EngineError>;

    /// Values of the known loss in the steps since it was last asked, in their order, once they are done.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn take_losses(&mut self) -> Result<Vec<f64>, EngineError>;

    /// What the known loss has learned; nothing where it learns nothing.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn learned(&self) -> Result<Option<Learned>, EngineError>;

    /// Samples that it likes to evaluate together.
    fn evaluation_batch(&self) -> usize;

    /// As [`Engine::logits`](super::Engine::logits), of samples that the device holds.
    ///
    /// # Errors
    /// What went wrong on the device, and that it holds no data.
    fn held_logits(&mut self, samples: &[usize], logits: &mut Vec<f32>) -> Result<(), EngineError>;
}

//! What a training step reads: inputs and a loss, each from the host or from the device's memory.

use super::transform::ImageTransform;
use rand_chacha::ChaCha8Rng;

/// The loss of a batch as a function of its logits, `[samples, classes]`: returns the loss and writes its gradient with respect to the
/// logits.
///
/// The closure holds what else the loss depends on (labels, pruned samples, latent labels).
pub type LossOfLogits<'a> = dyn FnMut(&[f32], &mut [f32]) -> f64 + 'a;

/// Samples for a device to hold, in parts that are indexed as one list: sample i of the second part has the index i + the first part's
/// length.
#[derive(Clone, Debug)]
pub enum Samples<'a> {
    /// Images of one byte per value, each `[channels, height, width]`.
    Images {
        /// The pixels of each part.
        parts: Vec<&'a [u8]>,
        /// The input of every pixel value, `[channels, 256]`.
        table: &'a [f32],
        /// A value to subtract from each input, `[channels, height, width]`.
        centre: Option<&'a [f32]>,
    },
    /// Sequences of token ids.
    Tokens {
        /// The token ids of each part.
        parts: Vec<&'a [u32]>,
    },
}

impl Samples<'_> {
    /// Bytes that they occupy on a device.
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
    /// From the host, `[samples, channels, height, width]`.
    Host(&'a [f32]),
    /// From the samples that the device holds, each with its transform. An empty slice applies none.
    Held(&'a [ImageTransform]),
}

/// The batch of one step.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Indices of distinct samples within the training file, which is the first part of the held samples.
    pub samples: &'a [usize],
    /// Their inputs.
    pub inputs: BatchInputs<'a>,
}

/// Where a step's loss is computed.
pub enum StepLoss<'a> {
    /// On the host: the step waits for the logits.
    Host(&'a mut LossOfLogits<'a>),
    /// On the device, which has the loss from [`DeviceEngine::set_loss`](crate::DeviceEngine::set_loss). A loss that needs random numbers
    /// draws one in 0..1 per sample from this generator.
    Device(&'a mut ChaCha8Rng),
}

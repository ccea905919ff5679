//! Latent labels, drawn and counted on the device.

use super::Batch;
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use crate::ops::{STREAM, check_len, check_min_len, int, launch_over, launch_warps};
use Argument::Buffer;

/// What the loss remembers.
#[derive(Clone, Copy, Debug)]
pub struct LatentState {
    /// The latent label of every sample of the training file, −1 for those that have none yet.
    pub latent: Memory,
    /// How many samples have a latent and a given label, \[latent\]\[given\].
    pub counts: Memory,
    /// T, row by row, in `f64`.
    pub transition: Memory,
    /// ln T, given label by given label, in `f64`.
    pub columns: Memory,
}

/// CCE on labels that are drawn from what logits and given label say of the true one. No sample is twice in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Latent {
    /// What it remembers.
    pub state: LatentState,
    /// `[α]`, in `f64`.
    pub parameters: Memory,
    /// The second of these numbers says whether T is found anew before the step.
    pub step: Memory,
    /// [`STREAM`] numbers: a number a row is taken.
    pub stream: Memory,
    /// Room for a label a row.
    pub drawn: Memory,
}

impl Latent {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, batch: Batch) -> Result<(), DeviceError> {
        let Latent { state, parameters, step, stream, drawn } = self;
        let LatentState { latent, counts, transition, columns } = state;
        let (classes, pairs, rows) = (batch.classes, batch.classes * batch.classes, batch.samples.len());
        check_len("latent labels", latent, batch.labels.len())?;
        for matrix in [counts, transition, columns] {
            check_len("pairs of labels", matrix, pairs)?;
        }
        check_len("parameters of latent labels", parameters, 1)?;
        check_min_len("a step's numbers", step, 2)?;
        check_len("a stream", stream, STREAM)?;
        check_len("labels that are drawn", drawn, rows)?;
        batch.check()?;
        let memories = [step, counts, parameters, transition, columns].map(Buffer);
        launch_warps(device, "latent_transition", classes, memories.into_iter().chain([int(classes)?]))?;
        batch.launch(device, "latent_draw", [columns, stream, drawn, batch.values, batch.gradient].map(Buffer))?;
        let memories = [batch.labels, batch.samples, drawn, latent, counts].map(Buffer);
        launch_over(device, "latent_count", pairs, memories.into_iter().chain(batch.trailing_arguments()?))?;
        let memories = [batch.samples, drawn, latent].map(Buffer);
        launch_over(device, "latent_keep", rows, memories.into_iter().chain([int(rows)?]))
    }
}

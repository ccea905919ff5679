//! Latent labels, sampled and counted on the device.

use super::LossBatch;
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use crate::ops::{STREAM_LEN, check_len, check_min_len, int, launch_over, launch_warps};
use Argument::Buffer;

/// State of the loss from step to step.
#[derive(Clone, Copy, Debug)]
pub struct LatentState {
    /// Latent label of every sample of the training set; −1 if none was sampled yet.
    pub latent: DeviceMemory,
    /// Number of samples per pair of labels, \[latent\]\[given\].
    pub counts: DeviceMemory,
    /// Transition matrix T, row-major, in `f64`.
    pub transition: DeviceMemory,
    /// ln T, one column of T after the other, in `f64`.
    pub columns: DeviceMemory,
}

/// Cross entropy with labels sampled from the posterior given logits and given label. A batch contains a sample at most once.
#[derive(Clone, Copy, Debug)]
pub struct LatentLabels {
    /// State from step to step.
    pub state: LatentState,
    /// `[α]`, in `f64`.
    pub parameters: DeviceMemory,
    /// Integers of the step. A non-zero second integer recomputes T before the step.
    pub step: DeviceMemory,
    /// [`STREAM_LEN`] integers. Each row takes one random number.
    pub stream: DeviceMemory,
    /// Scratch memory for one label per row.
    pub drawn: DeviceMemory,
}

impl LatentLabels {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        let LatentLabels { state, parameters, step, stream, drawn } = self;
        let LatentState { latent, counts, transition, columns } = state;
        let (classes, pairs, rows) = (batch.classes, batch.classes * batch.classes, batch.samples.len());
        check_len("latent labels", latent, batch.labels.len())?;
        for matrix in [counts, transition, columns] {
            check_len("matrix of label pairs", matrix, pairs)?;
        }
        check_len("parameters of the latent label loss", parameters, 1)?;
        check_min_len("integers of the step", step, 2)?;
        check_len("random stream", stream, STREAM_LEN)?;
        check_len("sampled labels", drawn, rows)?;
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

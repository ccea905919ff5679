//! Determinant-based mutual information between given labels and predictions of a batch.

use super::{LossBatch, int};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{Argument, Launch};
use crate::memory::DeviceMemory;
use crate::ops::norm::THREADS;
use crate::ops::{check_len, launch_over};
use Argument::Buffer;

/// −ln(|det M| + ε). The value belongs to the batch as a whole and is stored in the first of the row values.
#[derive(Clone, Copy, Debug)]
pub struct Determinant {
    /// `[ε, normalise]`, in `f64`: a non-zero `normalise` divides M by the number of rows.
    pub parameters: DeviceMemory,
    /// [`Determinant::scratch`] values, in `f64`.
    pub scratch: DeviceMemory,
}

impl Determinant {
    /// Length of the scratch memory in values: p of every row, three matrices, four values per class, and one more.
    pub fn scratch(rows: usize, classes: usize) -> usize {
        rows * classes + 3 * classes * classes + 4 * classes + 1
    }

    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        let (rows, classes, square) = (batch.samples.len(), batch.classes, batch.classes * batch.classes);
        check_len("parameters of the determinant loss", self.parameters, 2)?;
        check_len("scratch memory of the determinant loss", self.scratch, Determinant::scratch(rows, classes))?;
        batch.check()?;
        if rows == 0 {
            return Ok(());
        }
        int(2 * square)?;
        let mut next = 0;
        let mut next_part = |length| {
            next += length;
            self.scratch.part(next - length, length)
        };
        let (p, means, side, inverse) =
            (next_part(rows * classes), next_part(square), next_part(square), next_part(square));
        let (counts, lists, state) = (next_part(classes), next_part(3 * classes), next_part(1));
        batch.launch(device, "determinant_p", [Buffer(p)])?;
        let memories = [p, batch.labels, batch.samples, means, counts].map(Buffer);
        launch_over(device, "determinant_means", square, memories.into_iter().chain(batch.trailing_arguments()?))?;
        let value = batch.values.part(0, 1);
        let memories = [p, counts, means, side, inverse, lists, self.parameters, value, state].map(Buffer);
        let arguments = memories.into_iter().chain([int(rows)?, int(classes)?]).collect();
        device.launch(&Launch { kernel: "determinant_invert", blocks: 1, threads: THREADS, arguments })?;
        batch.launch(device, "determinant_gradient", [p, inverse, counts, state, batch.gradient].map(Buffer))
    }
}

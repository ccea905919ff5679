//! Losses on logits with their gradients, in double precision.
//!
//! A loss stores one value per row, and [`MeanLoss`] averages them. `core::methods::losses` defines the formulas and the valid parameters;
//! the operations here check that kernels stay within their memory.

mod determinant;
mod latent;

pub use determinant::Determinant;
pub use latent::{LatentLabels, LatentState};

use super::{check_len, check_min_len, int, launch_warps, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::Buffer;

/// Inputs and outputs of every loss.
#[derive(Clone, Copy, Debug)]
pub struct LossBatch {
    /// Logits, one row per sample.
    pub logits: DeviceMemory,
    /// Output: gradient with respect to the logits.
    pub gradient: DeviceMemory,
    /// Given labels of the whole training set. Values outside 0..`classes` count as missing.
    pub labels: DeviceMemory,
    /// Indices of the batch's samples in the training set.
    pub samples: DeviceMemory,
    /// Output: one value per row, in `f64`.
    pub values: DeviceMemory,
    /// Logits per row.
    pub classes: usize,
}

impl LossBatch {
    /// Number of rows.
    fn rows(&self) -> usize {
        self.samples.len()
    }

    fn check(&self) -> Result<(), DeviceError> {
        let count = self.rows() * self.classes;
        check_len("logits", self.logits, count)?;
        check_len("gradient of the logits", self.gradient, count)?;
        check_len("row values", self.values, self.rows())?;
        // The losses compare a class with the others, so they need two.
        if self.classes < 2 {
            return Err(DeviceError::InvalidArgument(format!(
                "a loss requires at least 2 classes, found {}",
                self.classes
            )));
        }
        int(self.classes * self.classes)?;
        int(count).map(|_| ())
    }

    /// The arguments that all loss kernels take first.
    fn leading_arguments(&self) -> [Argument; 3] {
        [self.logits, self.labels, self.samples].map(Buffer)
    }

    /// The arguments that all loss kernels take last.
    fn trailing_arguments(&self) -> Result<[Argument; 3], DeviceError> {
        Ok([int(self.rows())?, int(self.classes)?, int(self.labels.len())?])
    }

    fn launch(
        &self,
        device: &mut dyn Device,
        kernel: &'static str,
        own: impl IntoIterator<Item = Argument>,
    ) -> Result<(), DeviceError> {
        self.check()?;
        launch_warps(
            device,
            kernel,
            self.rows(),
            self.leading_arguments().into_iter().chain(own).chain(self.trailing_arguments()?),
        )
    }
}

/// α (−ln p_y) + β (1 − p_y^q)/q − bound, over the selected samples.
#[derive(Clone, Copy, Debug)]
pub struct PowerLoss {
    /// `[α, β, q, bound]`, in `f64`.
    pub parameters: DeviceMemory,
    /// One byte per sample of the training set, non-zero for selected samples; none selects all.
    pub kept: Option<DeviceMemory>,
}

impl PowerLoss {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        check_len("parameters of the power loss", self.parameters, 4)?;
        self.kept.map_or(Ok(()), |kept| check_len("selected samples", kept, batch.labels.len()))?;
        let own = [Buffer(self.parameters), optional(self.kept), Buffer(batch.values), Buffer(batch.gradient)];
        batch.launch(device, "loss_powers", own)
    }
}

/// ‖p − e_y‖²: squared error.
#[derive(Clone, Copy, Debug)]
pub struct SquaredError;

impl SquaredError {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        batch.launch(device, "loss_squares", [Buffer(batch.values), Buffer(batch.gradient)])
    }
}

/// −ln Σ p_i T_iy: forward correction with the transition matrix T.
#[derive(Clone, Copy, Debug)]
pub struct ForwardCorrection {
    /// ln T, one column of T after the other, in `f64`.
    pub columns: DeviceMemory,
}

impl ForwardCorrection {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        check_len("transition matrix", self.columns, batch.classes * batch.classes)?;
        batch.launch(device, "loss_forward", [Buffer(self.columns), Buffer(batch.values), Buffer(batch.gradient)])
    }
}

/// IMAE: the value of MAE, with gradients of L1 norm exp(T p_y (1 − p_y)).
#[derive(Clone, Copy, Debug)]
pub struct Imae {
    /// `[T, normalise]`, in `f64`: gradients are divided by the number of rows if `normalise` is 0, otherwise by the sum of their norms.
    pub parameters: DeviceMemory,
    /// Scratch memory for one `f64` per row.
    pub weights: DeviceMemory,
}

impl Imae {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device, batch: LossBatch) -> Result<(), DeviceError> {
        check_len("parameters of IMAE", self.parameters, 2)?;
        check_len("row weights", self.weights, batch.rows())?;
        let own = [self.parameters, batch.values, self.weights].map(Buffer);
        batch.launch(device, "loss_imae_weights", own)?;
        batch.launch(device, "loss_imae", [self.parameters, self.weights, batch.gradient].map(Buffer))
    }
}

/// The loss of a batch: the mean of its row values.
#[derive(Clone, Copy, Debug)]
pub struct MeanLoss {
    /// Row values in `f64`; a single one for a loss of the batch as a whole.
    pub values: DeviceMemory,
    /// Integers of the step. The first is the index into `losses`.
    pub step: DeviceMemory,
    /// Losses of several steps, in `f64`.
    pub losses: DeviceMemory,
}

impl MeanLoss {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        check_min_len("integers of the step", self.step, 1)?;
        check_min_len("row values", self.values, 1)?;
        let memories = [self.values, self.step, self.losses].map(Buffer);
        let numbers = [int(self.values.len())?, int(self.losses.len())?];
        launch_warps(device, "loss_total", 1, memories.into_iter().chain(numbers))
    }
}

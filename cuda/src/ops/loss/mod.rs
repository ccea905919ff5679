//! Losses on logits with their gradients, in double precision.
//!
//! A loss leaves a value a row, and [`Total`] makes the batch's of them. What must hold of their numbers is core's matter
//! (`core::methods::losses`); here it is that kernels stay within what they are given.

mod determinant;
mod latent;

pub use determinant::Determinant;
pub use latent::{Latent, LatentState};

use super::{check_len, check_min_len, int, launch_warps, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::Buffer;

/// What every loss takes and leaves.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// A row a sample.
    pub logits: Memory,
    /// Their gradient.
    pub gradient: Memory,
    /// Given labels of the whole training file; what is not below the number of classes is none.
    pub labels: Memory,
    /// Which samples of the file these are.
    pub samples: Memory,
    /// A value a row, in `f64`.
    pub values: Memory,
    /// Logits of a row.
    pub classes: usize,
}

impl Batch {
    /// How many rows there are.
    fn rows(&self) -> usize {
        self.samples.len()
    }

    fn check(&self) -> Result<(), DeviceError> {
        let count = self.rows() * self.classes;
        check_len("logits of a loss", self.logits, count)?;
        check_len("a gradient of a loss", self.gradient, count)?;
        check_len("values of rows", self.values, self.rows())?;
        // One class has no other.
        if self.classes < 2 {
            return Err(DeviceError::Unfit(format!("a loss of {} classes", self.classes)));
        }
        int(self.classes * self.classes)?;
        int(count).map(|_| ())
    }

    /// What comes first among a kernel's arguments.
    fn leading_arguments(&self) -> [Argument; 3] {
        [self.logits, self.labels, self.samples].map(Buffer)
    }

    /// And last.
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

/// α (−ln p_y) + β (1 − p_y^q)/q − bound, of the samples that are kept.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// `[α, β, q, bound]`, in `f64`.
    pub parameters: Memory,
    /// A byte a sample of the training file, not 0 for those that are kept; nothing where all are.
    pub kept: Option<Memory>,
}

impl Powers {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, batch: Batch) -> Result<(), DeviceError> {
        check_len("parameters of powers", self.parameters, 4)?;
        self.kept.map_or(Ok(()), |kept| check_len("kept samples", kept, batch.labels.len()))?;
        let own = [Buffer(self.parameters), optional(self.kept), Buffer(batch.values), Buffer(batch.gradient)];
        batch.launch(device, "loss_powers", own)
    }
}

/// ‖p − e_y‖².
#[derive(Clone, Copy, Debug)]
pub struct Squares;

impl Squares {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, batch: Batch) -> Result<(), DeviceError> {
        batch.launch(device, "loss_squares", [Buffer(batch.values), Buffer(batch.gradient)])
    }
}

/// −ln Σ p_i T_iy.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// ln T, given label by given label, in `f64`.
    pub columns: Memory,
}

impl Forward {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, batch: Batch) -> Result<(), DeviceError> {
        check_len("a transition matrix", self.columns, batch.classes * batch.classes)?;
        batch.launch(device, "loss_forward", [Buffer(self.columns), Buffer(batch.values), Buffer(batch.gradient)])
    }
}

/// MAE's value, with gradients of the L1 norm exp(T p_y (1 − p_y)).
#[derive(Clone, Copy, Debug)]
pub struct Imae {
    /// `[T, by]`, in `f64`: gradients are divided by the number of rows where `by` is 0, else by the sum of their norms.
    pub parameters: Memory,
    /// Room for a number a row, in `f64`.
    pub weights: Memory,
}

impl Imae {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device, batch: Batch) -> Result<(), DeviceError> {
        check_len("parameters of IMAE", self.parameters, 2)?;
        check_len("weights of rows", self.weights, batch.rows())?;
        let own = [self.parameters, batch.values, self.weights].map(Buffer);
        batch.launch(device, "loss_imae_weights", own)?;
        batch.launch(device, "loss_imae", [self.parameters, self.weights, batch.gradient].map(Buffer))
    }
}

/// The loss of a batch: the mean of its rows' values.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// In `f64`; one alone where the loss is of the batch as a whole.
    pub values: Memory,
    /// The first of these numbers says which of the losses it is.
    pub step: Memory,
    /// Losses of several steps, in `f64`.
    pub losses: Memory,
}

impl Total {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        check_min_len("a step's numbers", self.step, 1)?;
        check_min_len("values of rows", self.values, 1)?;
        let memories = [self.values, self.step, self.losses].map(Buffer);
        let numbers = [int(self.values.len())?, int(self.losses.len())?];
        launch_warps(device, "loss_total", 1, memories.into_iter().chain(numbers))
    }
}

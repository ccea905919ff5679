//! Losses on logits with their gradients, in double precision.
//!
//! A loss leaves a value a row, and [`Total`] makes the batch's of them. What must hold of their numbers is core's matter
//! (`core::methods::losses`); here it is that kernels stay within what they are given.

mod determinant;
mod latent;

pub use determinant::Determinant;
pub use latent::{Latent, LatentState};

use super::{at_least, exactly, int, maybe, over_few};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::Memory as At;

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
        exactly("logits of a loss", self.logits, count)?;
        exactly("a gradient of a loss", self.gradient, count)?;
        exactly("values of rows", self.values, self.rows())?;
        // One class has no other.
        if self.classes < 2 {
            return Err(DeviceError::Unfit(format!("a loss of {} classes", self.classes)));
        }
        int(self.classes * self.classes)?;
        int(count).map(|_| ())
    }

    /// What comes first among a kernel's arguments.
    fn start(&self) -> [Argument; 3] {
        [self.logits, self.labels, self.samples].map(At)
    }

    /// And last.
    fn end(&self) -> Result<[Argument; 3], DeviceError> {
        Ok([int(self.rows())?, int(self.classes)?, int(self.labels.len())?])
    }

    fn launch(
        &self,
        device: &mut dyn Device,
        kernel: &'static str,
        own: impl IntoIterator<Item = Argument>,
    ) -> Result<(), DeviceError> {
        self.check()?;
        over_few(device, kernel, self.rows(), self.start().into_iter().chain(own).chain(self.end()?))
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
        exactly("parameters of powers", self.parameters, 4)?;
        self.kept.map_or(Ok(()), |kept| exactly("kept samples", kept, batch.labels.len()))?;
        let own = [At(self.parameters), maybe(self.kept), At(batch.values), At(batch.gradient)];
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
        batch.launch(device, "loss_squares", [At(batch.values), At(batch.gradient)])
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
        exactly("a transition matrix", self.columns, batch.classes * batch.classes)?;
        batch.launch(device, "loss_forward", [At(self.columns), At(batch.values), At(batch.gradient)])
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
        exactly("parameters of IMAE", self.parameters, 2)?;
        exactly("weights of rows", self.weights, batch.rows())?;
        let own = [self.parameters, batch.values, self.weights].map(At);
        batch.launch(device, "loss_imae_weights", own)?;
        batch.launch(device, "loss_imae", [self.parameters, self.weights, batch.gradient].map(At))
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
        at_least("a step's numbers", self.step, 1)?;
        at_least("values of rows", self.values, 1)?;
        let memories = [self.values, self.step, self.losses].map(At);
        let numbers = [int(self.values.len())?, int(self.losses.len())?];
        over_few(device, "loss_total", 1, memories.into_iter().chain(numbers))
    }
}

//! Optimiser steps.

use super::{check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::DeviceMemory;
use Argument::{Buffer, Int};

/// Maximum number of optimiser settings in device memory. They may change from step to step without a new launch.
pub const MAX_RATES: usize = 8;

/// A step of stochastic gradient descent: g = gradient + decay · w; v = momentum · v + g; then w −= lr · v, or with Nesterov momentum
/// w −= lr · (g + momentum · v).
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Weights w.
    pub weights: DeviceMemory,
    /// Gradient ∂L/∂w.
    pub gradient: DeviceMemory,
    /// Velocity v; none if the momentum is 0.
    pub velocity: Option<DeviceMemory>,
    /// `[lr, momentum, decay]`
    pub rates: DeviceMemory,
    /// Uses Nesterov momentum.
    pub nesterov: bool,
}

impl Sgd {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.weights.len();
        check_len("gradient of the weights", self.gradient, count)?;
        self.velocity.map_or(Ok(()), |velocity| check_len("velocity", velocity, count))?;
        check_min_len("settings of SGD", self.rates, 3)?;
        let start = [Buffer(self.weights), Buffer(self.gradient), optional(self.velocity), Buffer(self.rates)];
        launch_over(device, "sgd", count, start.into_iter().chain([Int(self.nesterov.into()), int(count)?]))
    }
}

/// A step of Adam (Kingma & Ba 2015) with the weight decay added to the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Weights w.
    pub weights: DeviceMemory,
    /// Gradient ∂L/∂w.
    pub gradient: DeviceMemory,
    /// First moment m.
    pub mean: DeviceMemory,
    /// Second moment v.
    pub square: DeviceMemory,
    /// `[lr/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), β₁, 1 − β₁, β₂, 1 − β₂, ε, decay]`
    pub rates: DeviceMemory,
}

impl Adam {
    /// Checks the lengths and launches the kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.weights.len();
        for memory in [self.gradient, self.mean, self.square] {
            check_len("gradient or moment of Adam", memory, count)?;
        }
        check_min_len("settings of Adam", self.rates, MAX_RATES)?;
        let memories = [self.weights, self.gradient, self.mean, self.square, self.rates];
        launch_over(device, "adam", count, memories.map(Buffer).into_iter().chain([int(count)?]))
    }
}

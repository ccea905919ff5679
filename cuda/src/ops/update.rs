//! Steps of the optimisers.

use super::{check_len, check_min_len, int, launch_over, optional};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use crate::memory::Memory;
use Argument::{Buffer, Int};

/// Numbers of an optimiser that may change from step to step, in the device's memory: at most so many.
pub const RATES: usize = 8;

/// A step of stochastic gradient descent: g = gradient + decay · w; v = momentum · v + g; w −= lr · v, or lr · (g + momentum · v).
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// w
    pub weights: Memory,
    /// ∂L/∂w
    pub gradient: Memory,
    /// v, or nothing where the momentum is 0.
    pub velocity: Option<Memory>,
    /// `[lr, momentum, decay]`
    pub rates: Memory,
    /// Whether to look ahead.
    pub nesterov: bool,
}

impl Sgd {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.weights.len();
        check_len("a gradient for every weight", self.gradient, count)?;
        self.velocity.map_or(Ok(()), |velocity| check_len("a velocity for every weight", velocity, count))?;
        check_min_len("rates of SGD", self.rates, 3)?;
        let start = [Buffer(self.weights), Buffer(self.gradient), optional(self.velocity), Buffer(self.rates)];
        launch_over(device, "sgd", count, start.into_iter().chain([Int(self.nesterov.into()), int(count)?]))
    }
}

/// A step of Adam with weight decay in the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// w
    pub weights: Memory,
    /// ∂L/∂w
    pub gradient: Memory,
    /// m
    pub mean: Memory,
    /// v
    pub square: Memory,
    /// `[lr/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), β₁, 1 − β₁, β₂, 1 − β₂, ε, decay]`
    pub rates: Memory,
}

impl Adam {
    /// Computes it.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let count = self.weights.len();
        for memory in [self.gradient, self.mean, self.square] {
            check_len("Adam's value for every weight", memory, count)?;
        }
        check_min_len("rates of Adam", self.rates, RATES)?;
        let memories = [self.weights, self.gradient, self.mean, self.square, self.rates];
        launch_over(device, "adam", count, memories.map(Buffer).into_iter().chain([int(count)?]))
    }
}

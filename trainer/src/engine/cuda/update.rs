//! The optimiser's step.

use super::CudaEngine;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_cuda::DeviceError;
use plusminus_cuda::ops::{Adam, MAX_RATES, Sgd};

/// The numbers that a step of the optimiser takes, in the order of its kernel; zeroes behind.
pub(super) type Rates = [f32; MAX_RATES];

/// Those of step number `steps`, from 1, at the learning rate `lr`: rounded as the processor's engines round them.
pub(super) fn rates(optimizer: &Optimizer, steps: u64, lr: f64) -> Rates {
    let mut rates = [0.0; MAX_RATES];
    match *optimizer {
        Optimizer::Sgd { momentum, weight_decay, .. } => {
            rates[..3].copy_from_slice(&[lr, momentum, weight_decay].map(|value| value as f32));
        }
        Optimizer::Adam { beta1, beta2, epsilon, weight_decay, .. } => {
            let steps = steps as f64;
            let rate = lr / (1.0 - libm::pow(beta1, steps));
            let root = (1.0 - libm::pow(beta2, steps)).sqrt().recip();
            rates =
                [rate, root, beta1, 1.0 - beta1, beta2, 1.0 - beta2, epsilon, weight_decay].map(|value| value as f32);
        }
    }
    rates
}

impl CudaEngine {
    /// A step along the gradients, at the rates that lie on the device.
    pub(super) fn update(&mut self) -> Result<(), DeviceError> {
        let (held, device) = (&self.held, &mut *self.device);
        let (weights, gradient, rates) = (held.parameters, held.gradients, held.rates);
        match (&self.optimizer, held.moments) {
            (Optimizer::Sgd { nesterov, .. }, [velocity, _]) => {
                Sgd { weights, gradient, velocity, rates, nesterov: *nesterov }.run(device)
            }
            (Optimizer::Adam { .. }, [Some(mean), Some(square)]) => {
                Adam { weights, gradient, mean, square, rates }.run(device)
            }
            (Optimizer::Adam { .. }, _) => Err(DeviceError::InvalidArgument("Adam without its moments".into())),
        }
    }
}

//! The optimiser's step on the device.

use super::memory::ModelMemory;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_cuda::ops::{Adam, MAX_RATES, Sgd};
use plusminus_cuda::{Device, DeviceError};

/// The numbers that the optimiser's kernel reads, in its order, padded with zeros.
pub(super) type Rates = [f32; MAX_RATES];

/// The rates of step number `steps`, from 1, at the learning rate `lr`, rounded as on the CPU.
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

/// Takes a step along the gradients, at the rates in device memory.
pub(super) fn update(optimizer: &Optimizer, model: &ModelMemory, device: &mut dyn Device) -> Result<(), DeviceError> {
    let (weights, gradient, rates) = (model.parameters, model.gradients, model.rates);
    match (optimizer, model.optimizer_state) {
        (Optimizer::Sgd { nesterov, .. }, [velocity, _]) => {
            Sgd { weights, gradient, velocity, rates, nesterov: *nesterov }.run(device)
        }
        (Optimizer::Adam { .. }, [Some(mean), Some(square)]) => {
            Adam { weights, gradient, mean, square, rates }.run(device)
        }
        (Optimizer::Adam { .. }, _) => Err(DeviceError::InvalidArgument("Adam lacks its moments".into())),
    }
}

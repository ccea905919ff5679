//! The optimisers of [`Optimizer`] over a flat list of weights. Every parameter has the meaning that PyTorch gives it.

use super::error::EngineError;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_kernels::{Adam, Instructions, Sgd};

/// An optimiser's state between steps: lists with one value per trained weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// SGD: the velocity; empty if the momentum is 0. Adam: the first moment, a running mean of the gradients.
    pub first: Vec<f32>,
    /// Adam: the second moment, a running mean of the squared gradients. SGD: empty.
    pub second: Vec<f32>,
}

/// The number of values in an optimiser's state per trained weight.
pub fn optimizer_values_per_weight(optimizer: &Optimizer) -> usize {
    state_lists(optimizer).into_iter().filter(|used| *used).count()
}

/// Whether the optimiser uses the first and the second list of [`OptimizerState`].
pub(crate) fn state_lists(optimizer: &Optimizer) -> [bool; 2] {
    match optimizer {
        Optimizer::Sgd { momentum, .. } => [*momentum != 0.0, false],
        Optimizer::Adam { .. } => [true, true],
    }
}

/// An optimiser on the CPU, with its state.
#[derive(Clone, Debug)]
pub(crate) struct Updater {
    optimizer: Optimizer,
    instructions: Instructions,
    state: OptimizerState,
}

impl Updater {
    /// An optimiser of `weights` weights before its first step.
    pub fn new(optimizer: Optimizer, weights: usize, instructions: Instructions) -> Self {
        let [first, second] = state_lists(&optimizer).map(|used| vec![0.0; if used { weights } else { 0 }]);
        let state = OptimizerState { steps: 0, first, second };
        Updater { optimizer, instructions, state }
    }

    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// The new state's lists have other lengths.
    pub fn restore(&mut self, state: OptimizerState) -> Result<(), EngineError> {
        let counts = |state: &OptimizerState| [state.first.len(), state.second.len()];
        let (found, expected) = (counts(&state), counts(&self.state));
        if found != expected {
            return Err(EngineError::new(format!(
                "the checkpoint belongs to another optimiser: its state has {found:?} values, expected {expected:?}; restart the job \
                 without it"
            )));
        }
        self.state = state;
        Ok(())
    }

    /// Takes one step along `gradient` at the learning rate `lr`. Both slices have one value per trained weight.
    pub fn step(&mut self, weights: &mut [f32], gradient: &[f32], lr: f64) {
        assert_eq!(weights.len(), gradient.len(), "one gradient per weight");
        self.state.steps += 1;
        match self.optimizer {
            Optimizer::Sgd { momentum, weight_decay, nesterov, .. } => Sgd {
                weights,
                gradient,
                // With v = 0 the first step gives v = g + λw, as in PyTorch.
                velocity: &mut self.state.first,
                lr: lr as f32,
                momentum: momentum as f32,
                decay: weight_decay as f32,
                nesterov,
            }
            .run(self.instructions),
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay, .. } => {
                // Kingma & Ba 2015: m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ). The kernel multiplies by the reciprocals.
                let steps = self.state.steps as f64;
                // Subtract before rounding β to f32: 1 − β of a rounded 0.999 has a relative error of 10⁻⁵.
                let shares = |beta: f64| [beta as f32, (1.0 - beta) as f32];
                Adam {
                    weights,
                    gradient,
                    mean: &mut self.state.first,
                    square: &mut self.state.second,
                    rate: (lr / (1.0 - libm::pow(beta1, steps))) as f32,
                    root: (1.0 - libm::pow(beta2, steps)).sqrt().recip() as f32,
                    beta1: shares(beta1),
                    beta2: shares(beta2),
                    epsilon: epsilon as f32,
                    decay: weight_decay as f32,
                }
                .run(self.instructions);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps from w = 1 with gradients 0.5 and then −0.25 at lr 0.1.
    fn two_steps(optimizer: Optimizer) -> [f32; 2] {
        let mut updater = Updater::new(optimizer, 1, Instructions::best());
        let mut w = [1.0];
        [0.5, -0.25].map(|g| {
            updater.step(&mut w, &[g], 0.1);
            w[0]
        })
    }

    fn close(found: [f32; 2], expected: [f64; 2]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-7, "{found} for {expected}");
        }
    }

    fn sgd(momentum: f64, weight_decay: f64, nesterov: bool) -> Optimizer {
        Optimizer::Sgd { lr: 0.1, momentum, weight_decay, nesterov }
    }

    #[test]
    fn plain_sgd_follows_the_gradient() {
        close(two_steps(sgd(0.0, 0.0, false)), [0.95, 0.975]);
    }

    #[test]
    fn weight_decay_is_added_to_the_gradient() {
        // g = 0.5 + 0.2·1 = 0.7; then −0.25 + 0.2·0.93 = −0.064.
        close(two_steps(sgd(0.0, 0.2, false)), [0.93, 0.9364]);
    }

    #[test]
    fn momentum_starts_with_the_gradient_and_decays() {
        // v = 0.5, then 0.9·0.5 − 0.25 = 0.2.
        close(two_steps(sgd(0.9, 0.0, false)), [0.95, 0.93]);
    }

    #[test]
    fn nesterov_momentum_adds_the_next_velocity() {
        // 0.5 + 0.9·0.5 = 0.95; then −0.25 + 0.9·0.2 = −0.07.
        close(two_steps(sgd(0.9, 0.0, true)), [0.905, 0.912]);
    }

    #[test]
    fn adam_corrects_the_bias_of_its_moments() {
        let adam = Optimizer::Adam { lr: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        // Step 1: m̂ = g and v̂ = g², so the step has the length lr for every gradient.
        // Step 2: m̂ = (0.9·0.05 − 0.025)/0.19, v̂ = (0.999·0.00025 + 0.001·0.0625)/0.001999.
        let m = (0.9 * 0.05 - 0.025) / 0.19;
        let v: f64 = (0.999 * 0.000_25 + 0.000_062_5) / 0.001_999;
        close(two_steps(adam), [0.9, 0.9 - 0.1 * m / v.sqrt()]);
    }

    #[test]
    fn adam_adds_epsilon_outside_the_root() {
        let adam = Optimizer::Adam { lr: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 0.5, weight_decay: 0.0 };
        assert!((two_steps(adam)[0] - 0.95).abs() < 2e-7, "0.1 · 0.5/(0.5 + 0.5)");
    }
}

//! Optimisers. The learning rate of an epoch comes from the [schedule](super::schedule).

use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// An optimiser and its parameters, as PyTorch defines them: weight decay is added to the gradient of every weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent: v ← μ v + (g + λ w), w ← w − lr v (Nesterov: w ← w − lr (g + λ w + μ v)).
    Sgd {
        /// Learning rate, > 0.
        lr: f64,
        /// μ, 0 ≤ μ < 1.
        momentum: f64,
        /// λ ≥ 0.
        weight_decay: f64,
        /// Whether the momentum looks ahead.
        nesterov: bool,
    },
    /// Kingma & Ba 2015, algorithm 1, with bias correction.
    Adam {
        /// Learning rate, > 0.
        lr: f64,
        /// Decay of the mean of the gradients, 0 ≤ β₁ < 1.
        beta1: f64,
        /// Decay of the mean of their squares, 0 ≤ β₂ < 1.
        beta2: f64,
        /// ε > 0, outside the root.
        epsilon: f64,
        /// λ ≥ 0.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The names that a sweep file may use.
    pub const NAMES: &'static [&'static str] = &["sgd", "adam"];

    /// Reads the parameters of the optimiser called `name`, one of [`Optimizer::NAMES`].
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Optimizer> {
        match name {
            "sgd" => Some(Optimizer::Sgd {
                lr: fields.number("lr").above(0.0).required(),
                momentum: fields.number("momentum").at_least(0.0).below(1.0).or(0.0),
                weight_decay: fields.number("weight_decay").at_least(0.0).or(0.0),
                nesterov: fields.flag("nesterov").or(false),
            }),
            "adam" => Some(Optimizer::Adam {
                lr: fields.number("lr").above(0.0).or(1e-3),
                beta1: fields.number("beta1").at_least(0.0).below(1.0).or(0.9),
                beta2: fields.number("beta2").at_least(0.0).below(1.0).or(0.999),
                epsilon: fields.number("epsilon").above(0.0).or(1e-8),
                weight_decay: fields.number("weight_decay").at_least(0.0).or(0.0),
            }),
            _ => None,
        }
    }

    /// The learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Optimizer::Sgd { lr, .. } | Optimizer::Adam { lr, .. } => lr,
        }
    }
}

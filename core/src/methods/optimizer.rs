//! Optimisers. The [schedule](super::schedule) sets the learning rate of each epoch.

use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// An optimiser and its parameters, as PyTorch defines them: weight decay is added to the gradient g of every weight w.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent: v ← μ v + (g + λ w), w ← w − lr v; with Nesterov's momentum w ← w − lr (g + λ w + μ v).
    Sgd {
        /// Learning rate, > 0.
        lr: f64,
        /// μ, 0 ≤ μ < 1.
        momentum: f64,
        /// λ ≥ 0.
        weight_decay: f64,
        /// Whether to use Nesterov's momentum.
        nesterov: bool,
    },
    /// Adam with bias correction: Kingma & Ba 2015, algorithm 1.
    Adam {
        /// Learning rate, > 0.
        lr: f64,
        /// β₁, decay of the mean of gradients, 0 ≤ β₁ < 1.
        beta1: f64,
        /// β₂, decay of the mean of squared gradients, 0 ≤ β₂ < 1.
        beta2: f64,
        /// ε > 0, added outside the square root.
        epsilon: f64,
        /// λ ≥ 0.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The names of all optimisers in sweep files.
    pub const NAMES: &'static [&'static str] = &["sgd", "adam"];

    /// Reads the parameters of the optimiser `name`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Optimizer> {
        match name {
            "sgd" => Some(Optimizer::Sgd {
                lr: fields.about("learning rate").number("lr").above(0.0).required(),
                momentum: fields.about("μ: v ← μ v + g").number("momentum").at_least(0.0).below(1.0).or(0.0),
                weight_decay: fields
                    .about("λ: λ w is added to the gradient")
                    .number("weight_decay")
                    .at_least(0.0)
                    .or(0.0),
                nesterov: fields.about("Nesterov's momentum").flag("nesterov").or(false),
            }),
            "adam" => Some(Optimizer::Adam {
                lr: fields.about("learning rate").number("lr").above(0.0).or(1e-3),
                beta1: fields.about("decay of the mean of gradients").number("beta1").at_least(0.0).below(1.0).or(0.9),
                beta2: fields
                    .about("decay of the mean of squared gradients")
                    .number("beta2")
                    .at_least(0.0)
                    .below(1.0)
                    .or(0.999),
                epsilon: fields.about("added outside the square root").number("epsilon").above(0.0).or(1e-8),
                weight_decay: fields
                    .about("λ: λ w is added to the gradient")
                    .number("weight_decay")
                    .at_least(0.0)
                    .or(0.0),
            }),
            _ => None,
        }
    }

    /// The learning rate without the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Optimizer::Sgd { lr, .. } | Optimizer::Adam { lr, .. } => lr,
        }
    }
}

//! Learning-rate schedules.

use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// The learning rate of each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The optimiser's learning rate in every epoch.
    Constant,
    /// Multiplied by `gamma` after each of the `milestones`, counted in completed epochs.
    Step {
        /// Increasing, each ≥ 1.
        milestones: Vec<u32>,
        /// 0 < γ ≤ 1.
        gamma: f64,
    },
    /// Half a cosine from the optimiser's rate down to `lr_min`: lr_min + (lr − lr_min)(1 + cos(π e/E))/2 after e of E epochs
    /// (Loshchilov & Hutter 2017, eq. 5, one period).
    Cosine {
        /// 0 ≤ lr_min.
        lr_min: f64,
    },
}

impl Schedule {
    /// The names of all schedules in sweep files.
    pub const NAMES: &'static [&'static str] = &["constant", "step", "cosine"];

    /// Reads the parameters of the schedule `name`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Schedule> {
        match name {
            "constant" => Some(Schedule::Constant),
            "step" => Some(Schedule::Step {
                milestones: fields
                    .about("completed epochs after which the rate drops")
                    .increasing("milestones")
                    .required(),
                gamma: fields.about("factor of each drop").number("gamma").above(0.0).at_most(1.0).or(0.1),
            }),
            "cosine" => Some(Schedule::Cosine {
                lr_min: fields.about("rate at the end").number("lr_min").at_least(0.0).or(0.0),
            }),
            _ => None,
        }
    }

    /// The learning rate of `epoch`, counted from 1, of `epochs`; `lr` is the optimiser's rate.
    pub fn lr(&self, lr: f64, epoch: u32, epochs: u32) -> f64 {
        let done = epoch.saturating_sub(1);
        match self {
            Schedule::Constant => lr,
            Schedule::Step { milestones, gamma } => {
                let passed = milestones.iter().filter(|milestone| **milestone <= done).count();
                lr * libm::pow(*gamma, passed as f64)
            }
            Schedule::Cosine { lr_min } => {
                let phase = std::f64::consts::PI * f64::from(done) / f64::from(epochs.max(1));
                lr_min + (lr - lr_min) * (1.0 + libm::cos(phase)) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_falls_after_each_milestone() {
        let schedule = Schedule::Step { milestones: vec![40, 80], gamma: 0.1 };
        let at = |epoch| schedule.lr(0.01, epoch, 120);
        assert_eq!((at(1), at(40)), (0.01, 0.01));
        assert!((at(41) - 1e-3).abs() < 1e-15 && (at(80) - 1e-3).abs() < 1e-15);
        assert!((at(81) - 1e-4).abs() < 1e-15 && (at(120) - 1e-4).abs() < 1e-15);
    }

    #[test]
    fn a_cosine_starts_at_the_rate_and_halves_it_halfway() {
        let schedule = Schedule::Cosine { lr_min: 0.0 };
        assert_eq!(schedule.lr(0.1, 1, 10), 0.1);
        assert!((schedule.lr(0.1, 6, 10) - 0.05).abs() < 1e-15);
        assert!(schedule.lr(0.1, 10, 10) > 0.0);
    }
}

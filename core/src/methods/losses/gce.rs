//! Generalised cross entropy, L_q: (1 − p_y^q)/q, gradient p_y^q (p − e_y).
//!
//! Zhang & Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels" (2018), eq. 6.
//! q = 0 is its limit, CCE; q = 1 is MAE/2.

use super::batch::SampleLoss;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// (1 − p_y^q)/q.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gce {
    /// 0 ≤ q ≤ 1; the paper uses 0.7.
    pub q: f64,
}

impl Gce {
    pub(super) const FORMULA: &'static str = "L_q = (1 − p_y^q)/q; gradient p_y^q (p − e_y)";

    pub(super) const SOURCE: &'static str = "Zhang & Sabuncu, \"Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy \
        Labels\" (2018), eq. 6. q = 0 is the limit, CCE; q = 1 is MAE/2.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        fields.about("0 gives CCE, 1 half of MAE");
        Gce { q: fields.number("q").at_least(0.0).at_most(1.0).or(0.7) }
    }
}

impl SampleLoss for Gce {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        if self.q == 0.0 {
            return (-log_p, 1.0);
        }
        // −expm1(q ln p)/q: the naive form loses all digits for small q, and its gradient is NaN at p = 0.
        (-libm::expm1(self.q * log_p) / self.q, libm::exp(self.q * log_p))
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some(if self.q == 0.0 { [1.0, 0.0, 1.0] } else { [0.0, 1.0, self.q] })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cce, Mae};
    use super::*;

    #[test]
    fn at_q_1_is_half_of_mae() {
        for log_p in [-80.0, -3.0, -0.1, -1e-9] {
            let (value, scale) = Gce { q: 1.0 }.value_and_scale(log_p);
            let (mae, mae_scale) = Mae {}.value_and_scale(log_p);
            assert_eq!((value, scale), (mae / 2.0, mae_scale / 2.0));
        }
    }

    #[test]
    fn approaches_cce_as_q_falls() {
        for log_p in [-80.0, -3.0, -0.1] {
            let (value, scale) = Gce { q: 1e-9 }.value_and_scale(log_p);
            let (cce, cce_scale) = Cce {}.value_and_scale(log_p);
            assert_eq!(Gce { q: 0.0 }.value_and_scale(log_p), (cce, cce_scale));
            assert!((value - cce).abs() < 1e-5 && (scale - cce_scale).abs() < 1e-6);
        }
    }
}

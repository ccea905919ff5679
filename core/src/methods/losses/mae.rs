//! Mean absolute error between softmax and one-hot label: 2(1 − p_y), gradient 2 p_y (p − e_y).
//!
//! Ghosh, Kumar & Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks" (2017), §3; the same with the
//! factor 2 in Zhang & Sabuncu (2018), eq. 4.

use super::batch::SampleLoss;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// ‖p − e_y‖₁ = 2(1 − p_y).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mae {}

impl Mae {
    pub(super) const FORMULA: &'static str = "‖p − e_y‖₁ = 2 (1 − p_y); gradient 2 p_y (p − e_y)";

    pub(super) const SOURCE: &'static str = "Ghosh, Kumar & Sastry, \"Robust Loss Functions under Label Noise for Deep Neural Networks\" (2017), \
        §3; with the factor 2 in Zhang & Sabuncu (2018), eq. 4.";

    pub(super) fn read(_: &mut Fields<'_>) -> Self {
        Mae {}
    }
}

impl SampleLoss for Mae {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        // −expm1 keeps 1 − p_y accurate if p_y is near 1.
        (-2.0 * libm::expm1(log_p), 2.0 * libm::exp(log_p))
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some([0.0, 2.0, 1.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_is_twice_the_share_of_the_other_classes() {
        let (value, scale) = Mae {}.value_and_scale(0.25f64.ln());
        assert!((value - 1.5).abs() < 1e-12);
        assert!((scale - 0.5).abs() < 1e-12);
    }
}

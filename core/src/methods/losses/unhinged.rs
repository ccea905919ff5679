//! Unhinged loss on softmax: 1 − p_y, gradient p_y (p − e_y). MAE without its factor 2.
//!
//! van Rooyen, Menon & Williamson, "Learning with Symmetric Label Noise: The Importance of Being Unhinged" (2015), for two
//! classes; on softmax it is what Zhang & Sabuncu (2018) compare MAE with.

use super::batch::SampleLoss;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// 1 − p_y.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unhinged {}

impl Unhinged {
    pub(super) const FORMULA: &'static str = "1 − p_y; gradient p_y (p − e_y)";

    pub(super) const SOURCE: &'static str = "van Rooyen, Menon & Williamson, \"Learning with Symmetric Label Noise: The Importance of Being \
        Unhinged\" (2015), for two classes; on softmax, the loss that Zhang & Sabuncu (2018) compare MAE \
        with.";

    pub(super) fn read(_: &mut Fields<'_>) -> Self {
        Unhinged {}
    }
}

impl SampleLoss for Unhinged {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        (-libm::expm1(log_p), libm::exp(log_p))
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some([0.0, 1.0, 1.0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gce, Mae};
    use super::*;

    #[test]
    fn is_half_of_mae_and_gce_at_q_1() {
        for log_p in [-80.0, -3.0, -0.1, -1e-9] {
            let (value, scale) = Unhinged {}.value_and_scale(log_p);
            let (mae, mae_scale) = Mae {}.value_and_scale(log_p);
            assert_eq!((value, scale), (mae / 2.0, mae_scale / 2.0));
            assert_eq!((value, scale), Gce { q: 1.0 }.value_and_scale(log_p));
        }
    }
}

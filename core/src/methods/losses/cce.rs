//! Categorical cross entropy: −ln p_y, gradient p − e_y.

use super::batch::SampleLoss;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// −ln p_y.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cce {}

impl Cce {
    pub(super) const FORMULA: &'static str = "−ln p_y; gradient p − e_y";

    pub(super) const SOURCE: &'static str = "Cross entropy between softmax and one-hot label.";

    pub(super) fn read(_: &mut Fields<'_>) -> Self {
        Cce {}
    }
}

impl SampleLoss for Cce {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        (-log_p, 1.0)
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some([1.0, 0.0, 1.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_is_the_logarithm_of_the_number_of_classes() {
        let loss = super::super::Loss::Cce(Cce {});
        let mut gradient = [0.0; 4];
        let value = loss.value_and_gradient(&[3.0; 4], 4, &[1], &mut gradient);
        assert!((value - 4f64.ln()).abs() < 1e-12);
        assert_eq!(gradient, [0.25, -0.75, 0.25, 0.25]);
    }
}

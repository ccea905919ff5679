//! Mean squared error between softmax and one-hot label: ‖p − e_y‖², gradient 2 p_j [(p_j − e_j) − (‖p‖² − p_y)].
//!
//! Ghosh, Kumar & Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks" (2017), §3: bounded, so more robust
//! than CCE, but not symmetric. A sum over the classes, not their mean.

use super::DeviceLoss;
use super::batch::{RowLoss, balance, log_sum_exp};
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// ‖p − e_y‖².
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mse {}

impl Mse {
    pub(super) const FORMULA: &'static str =
        "‖p − e_y‖², a sum over the classes; gradient 2 p_j [(p_j − e_j) − (‖p‖² − p_y)]";

    pub(super) const SOURCE: &'static str = "Ghosh, Kumar & Sastry, \"Robust Loss Functions under Label Noise for Deep Neural Networks\" (2017), \
        §3: bounded, so more robust than CCE, but not symmetric.";

    pub(super) fn read(_: &mut Fields<'_>) -> Self {
        Mse {}
    }
}

impl RowLoss for Mse {
    fn row(&self, logits: &[f64], label: usize, weight: f64, gradient: &mut [f64]) -> f64 {
        let log_normaliser = log_sum_exp(logits);
        // 1 − p_y as a sum of the others avoids cancellation if p_y is near 1.
        let (mut others, mut squares) = (0.0, 0.0);
        for (j, (g, z)) in gradient.iter_mut().zip(logits).enumerate() {
            *g = libm::exp(z - log_normaliser);
            if j != label {
                others += *g;
                squares += *g * *g;
            }
        }
        // ‖p‖² − p_y = squares − p_y (1 − p_y).
        let p_y = gradient[label];
        for (j, g) in gradient.iter_mut().enumerate() {
            let bracket = if j == label { -others * others - squares } else { *g - squares + p_y * others };
            *g = weight * 2.0 * *g * bracket;
        }
        balance(logits, gradient);
        squares + others * others
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        Some(DeviceLoss::Squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_is_the_share_of_the_other_classes() {
        let mut gradient = [0.0; 4];
        let value = Mse {}.row(&[7.0; 4], 2, 1.0, &mut gradient);
        assert!((value - 0.75).abs() < 1e-15);
        // 2·¼·(¼ − (¼ − ¼)) and 2·¼·(¼ − 1).
        assert!(gradient.iter().zip([0.125, 0.125, -0.375, 0.125]).all(|(g, e)| (g - e).abs() < 1e-15));
    }

    #[test]
    fn the_gradient_is_accurate_for_p_near_0() {
        let mut gradient = [0.0; 2];
        Mse {}.row(&[0.0, 50.0], 0, 1.0, &mut gradient);
        assert!((gradient[0] / (-4.0 * (-50f64).exp()) - 1.0).abs() < 1e-12 && gradient[1] == -gradient[0]);
    }

    #[test]
    fn the_gradient_is_accurate_for_p_near_1() {
        let mut gradient = [0.0; 2];
        let value = Mse {}.row(&[50.0, 0.0], 0, 1.0, &mut gradient);
        // Two classes: 2 (1 − p)², whose derivative is −4 (1 − p)² p.
        let missing = (-50f64).exp();
        assert!((value / (2.0 * missing * missing) - 1.0).abs() < 1e-12);
        assert!((gradient[0] / (-4.0 * missing * missing) - 1.0).abs() < 1e-12);
    }
}

//! Reverse cross entropy: −A (1 − p_y), gradient −A p_y (p − e_y), where A < 0 replaces ln 0 of the one-hot label.
//!
//! Wang, Ma, Chen, Luo, Yi & Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy Labels" (2019):
//! −Σ_k p_k ln e_k with ln 0 := A. It is −A/2 times MAE.

use super::batch::SampleLoss;
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// ln 1e-4, the smallest logarithm in the authors' program. (The paper's text has −4.)
pub(super) const A: f64 = -9.210340371976182;

/// −A (1 − p_y).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rce {
    /// A < 0, the stand-in for ln 0: ln 1e-4 in the authors' program, −4 in the paper's text.
    pub a: f64,
}

impl Rce {
    pub(super) const FORMULA: &'static str = "−A (1 − p_y); gradient −A p_y (p − e_y)";

    pub(super) const SOURCE: &'static str = "Wang, Ma, Chen, Luo, Yi & Bailey, \"Symmetric Cross Entropy for Robust Learning with Noisy Labels\" \
        (2019): −Σ_k p_k ln e_k with ln 0 := A. Equal to −A/2 times MAE.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        fields
            .about("A, the stand-in for ln 0; default: ln 1e-4, as in the authors' program (the paper's text has −4)");
        Rce { a: fields.number("a").below(0.0).or(A) }
    }
}

impl SampleLoss for Rce {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        (self.a * libm::expm1(log_p), -self.a * libm::exp(log_p))
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some([0.0, -self.a, 1.0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mae;
    use super::*;

    #[test]
    fn is_mae_times_half_of_minus_a() {
        assert!((A - 1e-4f64.ln()).abs() < 1e-15);
        for (a, log_p) in [(A, -80.0), (A, -3.0), (-4.0, -0.1), (-4.0, -1e-9)] {
            let (value, scale) = Rce { a }.value_and_scale(log_p);
            let (mae, mae_scale) = Mae {}.value_and_scale(log_p);
            assert!(
                (value + a / 2.0 * mae).abs() <= 1e-14 * value && (scale + a / 2.0 * mae_scale).abs() <= 1e-14 * scale
            );
        }
    }
}

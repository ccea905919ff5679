//! Symmetric cross entropy: α CCE + β RCE, gradient (α − β A p_y)(p − e_y).
//!
//! Wang, Ma, Chen, Luo, Yi & Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy Labels" (2019).

use super::batch::SampleLoss;
use super::{Cce, Rce, rce};
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// −α ln p_y − β A (1 − p_y).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sce {
    /// α ≥ 0; the paper has 0.01 for MNIST, 0.1 for CIFAR-10, 6 for CIFAR-100.
    pub alpha: f64,
    /// β ≥ 0; the paper has 1 for MNIST and CIFAR-10, 0.1 for CIFAR-100.
    pub beta: f64,
    /// A < 0, the stand-in for ln 0, as in [`Rce`].
    pub a: f64,
}

impl Sce {
    pub(super) const FORMULA: &'static str = "α (−ln p_y) − β A (1 − p_y); gradient (α − β A p_y)(p − e_y)";

    pub(super) const SOURCE: &'static str = "Wang, Ma, Chen, Luo, Yi & Bailey, \"Symmetric Cross Entropy for Robust Learning with Noisy Labels\" \
        (2019): α CCE + β RCE.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        Sce {
            alpha: fields
                .about("α, weight of CCE; the paper uses 0.01 for MNIST, 0.1 for CIFAR-10, 6 for CIFAR-100")
                .number("alpha")
                .at_least(0.0)
                .or(0.1),
            beta: fields
                .about("β, weight of RCE; the paper uses 1 for MNIST and CIFAR-10, 0.1 for CIFAR-100")
                .number("beta")
                .at_least(0.0)
                .or(1.0),
            a: fields.about("A, as in `rce`").number("a").below(0.0).or(rce::A),
        }
    }
}

impl SampleLoss for Sce {
    fn value_and_scale(&self, log_p: f64) -> (f64, f64) {
        let (cce, cce_scale) = Cce {}.value_and_scale(log_p);
        let (rce, rce_scale) = Rce { a: self.a }.value_and_scale(log_p);
        (self.alpha * cce + self.beta * rce, self.alpha * cce_scale + self.beta * rce_scale)
    }

    fn powers(&self) -> Option<[f64; 3]> {
        Some([self.alpha, -self.beta * self.a, 1.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_cce_without_beta_and_rce_without_alpha() {
        for log_p in [-80.0, -3.0, -0.1, -1e-9] {
            let at = |alpha, beta| Sce { alpha, beta, a: -4.0 }.value_and_scale(log_p);
            assert_eq!(at(1.0, 0.0), Cce {}.value_and_scale(log_p));
            assert_eq!(at(0.0, 1.0), Rce { a: -4.0 }.value_and_scale(log_p));
        }
    }

    #[test]
    fn at_p_one_half_is_the_weighted_sum_of_both() {
        let (value, scale) = Sce { alpha: 6.0, beta: 0.1, a: -4.0 }.value_and_scale(0.5f64.ln());
        assert!((value - (6.0 * 2f64.ln() + 0.1 * 4.0 * 0.5)).abs() < 1e-14);
        assert!((scale - (6.0 + 0.1 * 4.0 * 0.5)).abs() < 1e-14);
    }
}

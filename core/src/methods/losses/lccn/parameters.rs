//! The parameters of latent class-conditional noise.

use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// −ln p_z with z ~ r.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lccn {
    /// α > 0, the prior count of each pair of latent and given label; 1 in the authors' programs.
    pub alpha: f64,
    /// Steps between estimates of T, ≥ 1; 200 in the authors' programs.
    pub refresh: u64,
    /// Steps before the first estimate of T from latent labels, ≥ 0; 20,000 in the authors' program for CIFAR-10.
    pub warm_up: u64,
}

impl Lccn {
    pub(in crate::methods::losses) const FORMULA: &'static str = "−ln p_z with a latent label z drawn from r_j = p_j T_{jy} / \
        Σ_i p_i T_{iy}; gradient p − e_z";

    pub(in crate::methods::losses) const SOURCE: &'static str = "Yao, Wu, Zhang, Tsang & Sun, \"Safeguarded Dynamic Label \
        Regression for Noisy Supervision\" (2019), eq. 5 and 6. T is estimated from the latent labels during training. \
        Needs a network that was first trained with CCE (`parent`).";

    pub(in crate::methods::losses) fn read(fields: &mut Fields<'_>) -> Self {
        Lccn {
            alpha: fields
                .about("α, prior count of each pair of latent and given label")
                .number("alpha")
                .above(0.0)
                .or(1.0),
            refresh: fields.about("steps between estimates of T").integer("refresh").at_least(1).or(200),
            warm_up: fields.about("steps before the first estimate of T").integer("warm_up").or(20_000),
        }
    }

    /// Whether T is re-estimated after `steps` steps.
    pub(in crate::methods::losses) fn refreshes(&self, steps: u64) -> bool {
        let since = steps.checked_sub(self.warm_up);
        steps > 0 && since.is_some_and(|since| since.is_multiple_of(self.refresh))
    }
}

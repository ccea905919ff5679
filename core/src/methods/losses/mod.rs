//! Losses on logits, in closed form: value and gradient. Every engine takes the gradient from here.

mod cce;
mod gce;
mod mae;

pub use cce::Cce;
pub use gce::Gce;
pub use mae::Mae;

use crate::spec::Fields;
use serde::{Deserialize, Serialize};

macro_rules! losses {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+) => {
        /// A loss and its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum Loss {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant($variant),)+
        }

        impl Loss {
            /// The names that a sweep file may use.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Reads the parameters of the loss called `name`, one of [`Loss::NAMES`].
            pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Loss> {
                match name {
                    $($name => Some(Loss::$variant($variant::read(fields))),)+
                    _ => None,
                }
            }

            fn function(&self) -> &dyn LossFunction {
                match self { $(Loss::$variant(loss) => loss),+ }
            }
        }
    };
}

losses! {
    /// Categorical cross entropy.
    Cce "cce",
    /// Mean absolute error.
    Mae "mae",
    /// Generalised cross entropy, L_q.
    Gce "gce",
}

impl Loss {
    /// Whether it needs an estimate of the transition matrix, which another job's network makes.
    pub fn estimates_transition(&self) -> bool {
        false
    }

    /// The mean loss of a batch and its gradient with respect to the logits.
    ///
    /// `logits` and `gradient` are `[labels.len() × classes]`, a row a sample; the gradient is that of the mean.
    ///
    /// # Panics
    /// If the lengths disagree, or a label is not below `classes`.
    pub fn value_and_gradient(&self, logits: &[f32], classes: usize, labels: &[u32], gradient: &mut [f32]) -> f64 {
        assert_eq!(logits.len(), labels.len() * classes, "a row of logits for every label");
        assert_eq!(gradient.len(), logits.len(), "a gradient for every logit");
        self.function().batch(logits, classes, labels, gradient)
    }
}

/// What a loss computes over a batch. Lengths are checked by [`Loss::value_and_gradient`].
trait LossFunction {
    /// The batch loss; writes its gradient with respect to the logits.
    fn batch(&self, logits: &[f32], classes: usize, labels: &[u32], gradient: &mut [f32]) -> f64;
}

/// A loss that is a mean over samples, each a function of its own p_y whose gradient is c·(p − e_y): it differs from CCE
/// only by the scalar c.
trait SampleLoss {
    /// From ln p_y: the sample's loss, and c.
    fn value_and_scale(&self, log_p: f64) -> (f64, f64);
}

impl<L: SampleLoss> LossFunction for L {
    fn batch(&self, logits: &[f32], classes: usize, labels: &[u32], gradient: &mut [f32]) -> f64 {
        let weight = 1.0 / labels.len() as f64;
        let mut total = 0.0;
        for ((z, g), &label) in logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).zip(labels) {
            let label = label as usize;
            let log_normaliser = log_sum_exp(z);
            let (value, scale) = self.value_and_scale(f64::from(z[label]) - log_normaliser);
            total += value;
            // 1 − p_y as a sum of the others: no cancellation where p_y is near 1.
            let mut others = 0.0;
            for (j, (g, z)) in g.iter_mut().zip(z).enumerate() {
                if j != label {
                    let p = libm::exp(f64::from(*z) - log_normaliser);
                    others += p;
                    *g = (weight * scale * p) as f32;
                }
            }
            g[label] = (-weight * scale * others) as f32;
        }
        total * weight
    }
}

fn log_sum_exp(z: &[f32]) -> f64 {
    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !max.is_finite() {
        return f64::NAN;
    }
    let max = f64::from(max);
    max + libm::log(z.iter().map(|z| libm::exp(f64::from(*z) - max)).sum())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Compares the gradient with central differences in the logits.
    pub(crate) fn gradient_agrees_with_finite_differences(loss: &Loss, logits: &[f32], classes: usize, labels: &[u32]) {
        let mut gradient = vec![0.0; logits.len()];
        loss.value_and_gradient(logits, classes, labels, &mut gradient);
        let mut unused = gradient.clone();
        for i in 0..logits.len() {
            // A power of two near the logit's own precision, so that z ± h is exact.
            let h = (logits[i].abs().max(1.0) * 2f32.powi(-9)).log2().floor().exp2();
            let mut at = |delta: f32| {
                let mut moved = logits.to_vec();
                moved[i] += delta;
                loss.value_and_gradient(&moved, classes, labels, &mut unused)
            };
            let difference = (at(h) - at(-h)) / (2.0 * f64::from(h));
            let error = (difference - f64::from(gradient[i])).abs();
            assert!(
                error < 1e-4 * (1.0 + difference.abs()),
                "∂/∂z{i}: {} against {difference} ({loss:?})",
                gradient[i]
            );
        }
    }

    fn any_loss() -> impl Strategy<Value = Loss> {
        prop_oneof![
            Just(Loss::Cce(Cce {})),
            Just(Loss::Mae(Mae {})),
            (0.01..=1.0f64).prop_map(|q| Loss::Gce(Gce { q })),
        ]
    }

    proptest! {
        #[test]
        fn every_gradient_agrees_with_finite_differences(
            loss in any_loss(),
            (classes, logits, labels) in (2usize..6, 1usize..4).prop_flat_map(|(classes, batch)| (
                Just(classes),
                prop::collection::vec(-6.0f32..6.0, classes * batch),
                prop::collection::vec(0..classes as u32, batch),
            )),
        ) {
            gradient_agrees_with_finite_differences(&loss, &logits, classes, &labels);
        }

        #[test]
        fn every_gradient_sums_to_zero_and_is_finite_for_extreme_logits(
            loss in any_loss(), hot in 0usize..10, label in 0u32..10, size in prop_oneof![Just(0f32), Just(50.0), Just(-50.0), Just(1e4)],
        ) {
            let mut logits = vec![0.0; 10];
            logits[hot] = size;
            let mut gradient = vec![f32::NAN; 10];
            let value = loss.value_and_gradient(&logits, 10, &[label], &mut gradient);
            prop_assert!(value.is_finite());
            prop_assert!(gradient.iter().all(|g| g.is_finite()));
            prop_assert!(gradient.iter().sum::<f32>().abs() < 1e-6);
        }
    }
}

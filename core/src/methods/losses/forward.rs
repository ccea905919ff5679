//! Forward correction: −ln Σ_i p_i T_{iy}, gradient p − r with r_j = p_j T_{jy}/Σ_i p_i T_{iy}. This is CCE between the given
//! label and the distribution of given labels that the row-stochastic T\[true\]\[given\] makes of p.
//!
//! Patrini, Rozza, Menon, Nock & Qu, "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach"
//! (2017), theorem 2; T is estimated by theorem 3. r is the posterior of the true label, so a step can raise the logit of a
//! class other than y.

use super::DeviceLoss;
use super::batch::{RowLoss, balance, log_sum_exp, softmax, widened};
use super::criterion::{self, Criterion, Setting, Step};
use super::method::Method;
use crate::input::Fields;
use crate::methods::noise::{NO_CLASS, TransitionMatrix};
use serde::{Deserialize, Serialize};

/// −ln Σ_i p_i T_{iy}.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Forward {
    /// T is the transition matrix of the noise.
    True {},
    /// T is estimated with a network that was trained with CCE on the given labels.
    Estimated {
        /// 0 < percentile ≤ 100; see [`Forward::estimate`]. 97 in the authors' programs, 100 for CIFAR-100.
        percentile: f64,
    },
}

impl Forward {
    pub(super) const FORMULA: &'static str =
        "−ln Σ_i p_i T_{iy}; gradient p − r with r_j = p_j T_{jy} / Σ_i p_i T_{iy}";

    pub(super) const SOURCE: &'static str = "Patrini, Rozza, Menon, Nock & Qu, \"Making Deep Neural Networks Robust to Label Noise: a Loss \
        Correction Approach\" (2017), theorem 2; T is estimated by theorem 3.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        fields.about("T of the noise itself, or estimated with the network of a parent job");
        let estimated = fields.choice("transition", &[("true", false), ("estimated", true)]).required();
        if estimated == Some(false) {
            return Forward::True {};
        }
        fields.about(
            "only with `estimated`: for each class, samples at or above this percentile of p are ignored as outliers",
        );
        Forward::Estimated { percentile: fields.number("percentile").above(0.0).at_most(100.0).or(97.0) }
    }

    /// T̂ from the logits of a network trained with CCE for all training samples, `[samples × classes]`. Row i of T̂ is p of
    /// the sample with the largest p_i below the `percentile` of all p_i, the value with index ⌈percentile/100 (n − 1)⌉ of
    /// the n in ascending order: samples at or above it are probable outliers. With percentile 100, or if all p_i are equal,
    /// no sample is left out. Ties go to the first sample.
    ///
    /// # Errors
    /// If there are no samples, or a logit is not finite.
    pub fn estimate(percentile: f64, logits: &[f32], classes: usize) -> Result<TransitionMatrix, String> {
        if logits.is_empty() || !logits.len().is_multiple_of(classes) {
            return Err(format!("expected {classes} logits per sample, found {} in total", logits.len()));
        }
        if let Some(place) = logits.iter().position(|z| !z.is_finite()) {
            return Err(format!("expected finite logits, found {} for sample {}", logits[place], place / classes));
        }
        let logits = widened(logits);
        let mut p = vec![0.0; logits.len()];
        for (row, p) in logits.chunks_exact(classes).zip(p.chunks_exact_mut(classes)) {
            softmax(row, p);
        }
        let mut rows = Vec::with_capacity(classes * classes);
        for class in 0..classes {
            let column: Vec<f64> = p.iter().skip(class).step_by(classes).copied().collect();
            let sample = most_likely(&column, percentile);
            let row = &p[sample * classes..][..classes];
            let sum: f64 = row.iter().sum();
            rows.extend(row.iter().map(|p| p / sum));
        }
        TransitionMatrix::from_rows(classes, rows)
    }
}

/// The index of the largest of `p` below the percentile.
fn most_likely(p: &[f64], percentile: f64) -> usize {
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    let threshold = sorted[((percentile / 100.0 * (p.len() - 1) as f64).ceil() as usize).min(p.len() - 1)];
    let below = |p: f64| percentile >= 100.0 || p < threshold || sorted[0] == threshold;
    let candidates = p.iter().enumerate().filter(|(_, p)| below(**p));
    candidates.fold((0, f64::NEG_INFINITY), |best, (i, p)| if *p > best.1 { (i, *p) } else { best }).0
}

impl Method for Forward {
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        let Some(transition) = setting.transition else {
            return Err("`forward` needs a transition matrix, but none is known for this noise".to_owned());
        };
        let posterior = Posterior::new(&transition, setting.classes)?;
        if let Some(sample) = setting.given.iter().position(|label| *label != NO_CLASS && !posterior.explains(*label)) {
            return Err(format!(
                "`forward` cannot explain the label {} of sample {sample}: its transition matrix gives it to no class",
                setting.given[sample]
            ));
        }
        Ok(Box::new(Corrected { posterior, transition }))
    }
}

struct Corrected {
    posterior: Posterior,
    transition: TransitionMatrix,
}

impl Criterion for Corrected {
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64 {
        self.peek(step.logits, step.labels, step.samples, gradient)
    }

    fn peek(&self, logits: &[f32], labels: &[u32], _: &[usize], gradient: &mut [f32]) -> f64 {
        criterion::value_and_gradient(&self.posterior, logits, self.posterior.classes, labels, gradient)
    }

    fn value(&self, logits: &[f32], labels: &[u32]) -> f64 {
        criterion::value(&self.posterior, logits, self.posterior.classes, labels)
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        Some(DeviceLoss::Forward { log_transition: self.posterior.columns.clone() })
    }

    fn transition(&self) -> Option<TransitionMatrix> {
        Some(self.transition.clone())
    }
}

/// The posterior of true labels given logits and given labels; as a loss, the forward correction.
#[derive(Clone, Debug)]
pub(super) struct Posterior {
    classes: usize,
    /// ln T, column by column: `[given × true]`.
    columns: Vec<f64>,
}

impl Posterior {
    /// # Errors
    /// If `transition` is not of `classes` classes.
    pub(super) fn new(transition: &TransitionMatrix, classes: usize) -> Result<Self, String> {
        if transition.classes() != classes {
            let found = transition.classes();
            return Err(format!("expected a transition matrix of {classes} classes, found one of {found}"));
        }
        let columns = (0..classes).flat_map(|given| (0..classes).map(move |class| (class, given)));
        Ok(Posterior {
            classes,
            columns: columns.map(|(class, given)| libm::log(transition.row(class)[given])).collect(),
        })
    }

    /// Whether T gives this label to any class.
    fn explains(&self, label: u32) -> bool {
        let column = self.columns.chunks_exact(self.classes).nth(label as usize);
        column.is_some_and(|column| column.iter().any(|log_t| log_t.is_finite()))
    }

    /// Writes r, the probabilities of the true label, `[classes]`, and returns ln Σ_i exp(z_i) T_{iy}. If T gives the label to
    /// no class, r is p and the result −∞.
    pub(super) fn write(&self, logits: &[f64], label: usize, r: &mut [f64]) -> f64 {
        let column = &self.columns[label * self.classes..][..self.classes];
        for (r, (z, log_t)) in r.iter_mut().zip(logits.iter().zip(column)) {
            *r = z + log_t;
        }
        if r.iter().all(|joint| *joint == f64::NEG_INFINITY) {
            softmax(logits, r);
            return f64::NEG_INFINITY;
        }
        let evidence = log_sum_exp(r);
        r.iter_mut().for_each(|joint| *joint = libm::exp(*joint - evidence));
        evidence
    }
}

impl RowLoss for Posterior {
    /// If T gives the label to no class, the loss is infinite and its gradient 0.
    fn row(&self, logits: &[f64], label: usize, weight: f64, gradient: &mut [f64]) -> f64 {
        let log_normaliser = log_sum_exp(logits);
        let evidence = self.write(logits, label, gradient);
        for (g, z) in gradient.iter_mut().zip(logits) {
            *g = weight * (libm::exp(z - log_normaliser) - *g);
        }
        balance(logits, gradient);
        log_normaliser - evidence
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peek, setting};
    use super::super::{Cce, Loss};
    use super::*;

    fn with(transition: TransitionMatrix, given: &[u32]) -> Result<Box<dyn Criterion>, String> {
        let setting = Setting { classes: transition.classes(), given, transition: Some(transition) };
        Loss::Forward(Forward::True {}).criterion(setting)
    }

    #[test]
    fn without_noise_it_is_cce() {
        let (logits, labels) = ([0.3, -1.0, 2.0, 50.0, -50.0, 0.0, 4.0, 4.0, 4.0], [1, 0, 2]);
        let (value, gradient) = peek(&*with(TransitionMatrix::identity(3), &labels).unwrap(), &logits, &labels);
        let cce = Loss::Cce(Cce {}).criterion(setting(3, &labels)).unwrap();
        let (expected, expected_gradient) = peek(&*cce, &logits, &labels);
        assert!((value - expected).abs() < 1e-12);
        assert!(gradient.iter().zip(expected_gradient).all(|(a, b)| (a - b).abs() <= 1e-7 * b.abs()));
    }

    #[test]
    fn is_the_papers_formula() {
        let matrix = TransitionMatrix::from_rows(2, vec![0.8, 0.2, 0.1, 0.9]).unwrap();
        let criterion = with(matrix.clone(), &[1]).unwrap();
        // p = (¾, ¼), s = ¾·0.2 + ¼·0.9, r = (0.15, 0.225)/0.375.
        let (value, gradient) = peek(&*criterion, &[3f32.ln(), 0.0], &[1]);
        assert!((value + 0.375f64.ln()).abs() < 1e-7);
        assert!((gradient[0] - 0.35).abs() < 1e-7 && (gradient[1] + 0.35).abs() < 1e-7);
        assert_eq!(criterion.transition(), Some(matrix));
        assert!((criterion.value(&[3f32.ln(), 0.0], &[1]) - value).abs() < 1e-15);
    }

    #[test]
    fn zeros_in_the_matrix_give_a_finite_loss_if_a_class_has_the_label() {
        let matrix = TransitionMatrix::from_rows(3, vec![0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let criterion = with(matrix, &[0, 1, 2]).unwrap();
        // All but e⁻¹⁰⁰ of p lies on classes that label 2 cannot come from.
        let (value, gradient) = peek(&*criterion, &[50.0, 0.0, -50.0], &[2]);
        assert!((value - 100.0).abs() < 1e-9);
        assert!((gradient[0] - 1.0).abs() < 1e-6 && (gradient[2] + 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_label_that_no_class_can_have_is_rejected() {
        let matrix = TransitionMatrix::from_rows(2, vec![1.0, 0.0, 1.0, 0.0]).unwrap();
        let refused = with(matrix.clone(), &[0, 0, 1]).err().unwrap();
        assert_eq!(
            refused,
            "`forward` cannot explain the label 1 of sample 2: its transition matrix gives it to no class"
        );
        let (value, gradient) = peek(&*with(matrix, &[0, 0]).unwrap(), &[0.5, 0.0], &[1]);
        assert_eq!((value, gradient), (f64::INFINITY, vec![0.0, 0.0]));
    }

    #[test]
    fn a_missing_matrix_and_one_of_other_classes_are_rejected() {
        let loss = Loss::Forward(Forward::True {});
        assert!(loss.criterion(setting(3, &[0])).err().unwrap().contains("needs a transition matrix"));
        let other = Setting { classes: 3, given: &[0], transition: Some(TransitionMatrix::identity(2)) };
        assert_eq!(loss.criterion(other).err().unwrap(), "expected a transition matrix of 3 classes, found one of 2");
    }

    #[test]
    fn the_estimate_ignores_samples_above_the_percentile() {
        // 101 samples of two classes, p_0 = 0, 0.01, …, 1 in another order.
        let p: Vec<f64> = (0..101).map(|i| f64::from((i * 37) % 101) / 100.0).collect();
        let logits: Vec<f32> =
            p.iter().flat_map(|p| [p.max(1e-9).ln() as f32, (1.0 - p).max(1e-9).ln() as f32]).collect();
        let row = |percentile, class: usize| Forward::estimate(percentile, &logits, 2).unwrap().row(class).to_vec();
        assert!((row(97.0, 0)[0] - 0.96).abs() < 1e-6, "below 0.97 comes 0.96");
        assert!((row(97.0, 1)[1] - 0.96).abs() < 1e-6);
        assert!((row(100.0, 0)[0] - 1.0).abs() < 1e-6);
        assert!((row(96.5, 0)[0] - 0.96).abs() < 1e-6, "between two values the higher one is the threshold");
    }

    #[test]
    fn the_estimate_from_equal_samples_is_their_distribution() {
        let matrix = Forward::estimate(97.0, &[1.0, 0.0, 1.0, 0.0], 2).unwrap();
        assert_eq!(matrix.row(0), matrix.row(1));
        assert!(Forward::estimate(97.0, &[], 2).is_err());
        assert!(Forward::estimate(97.0, &[0.0, 1.0, f32::NAN, 0.0], 2).unwrap_err().ends_with("for sample 1"));
    }
}

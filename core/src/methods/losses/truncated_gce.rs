//! Truncated generalised cross entropy: w_i [L_q(p_y) − L_q(k)], gradient w_i p_y^q (p − e_y), where w_i is 1 for samples with
//! p_y > k and 0 for the others, which are pruned.
//!
//! Zhang & Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels" (2018),
//! algorithm 1 (alternate convex search): the network is trained with fixed w; every few epochs w is recomputed for all
//! training samples with the weights that are best in validation, so that a pruned sample can return. The paper prunes "from
//! epoch 40, every 10 epochs" (CIFAR-100: 80), understood as after 40 epochs, where its learning rate drops too.

use super::batch::{Batch, RowLoss, SampleLoss, check_lengths, log_sum_exp, rounded, widened};
use super::criterion::{Criterion, Setting, Step};
use super::method::Method;
use super::state::{self, StateReader};
use super::{DeviceLoss, Gce};
use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// w_i [L_q(p_y) − L_q(k)].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruncatedGce {
    /// 0 ≤ q ≤ 1; the paper uses 0.7.
    pub q: f64,
    /// 0 < k < 1, the p_y up to which a sample is pruned; the paper uses 0.5.
    pub k: f64,
    /// Epochs before the first pruning, ≥ 1; the paper uses 40, for CIFAR-100 80, for its Table 2 10.
    pub start: u32,
    /// Epochs from one pruning to the next, ≥ 1; the paper uses 10.
    pub every: u32,
}

impl TruncatedGce {
    pub(super) const FORMULA: &'static str = "w_i [L_q(p_y) − L_q(k)]; gradient w_i p_y^q (p − e_y), where w_i is 1 for samples with p_y > k at \
        the last pruning and 0 for the pruned ones";

    pub(super) const SOURCE: &'static str = "Zhang & Sabuncu, \"Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy \
        Labels\" (2018), algorithm 1. Pruning takes the weights that are best in validation, and a pruned \
        sample can return.";

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        TruncatedGce {
            q: fields.about("as in `gce`").number("q").at_least(0.0).at_most(1.0).or(0.7),
            k: fields.about("samples with p_y up to k are pruned").number("k").above(0.0).below(1.0).or(0.5),
            start: fields
                .about("epochs before the first pruning; the paper uses 40, for CIFAR-100 80")
                .integer("start")
                .at_least(1)
                .at_most(100_000)
                .or(40) as u32,
            every: fields.about("epochs between prunings").integer("every").at_least(1).at_most(100_000).or(10) as u32,
        }
    }

    fn gce(&self) -> Gce {
        Gce { q: self.q }
    }

    /// L_q(k).
    fn bound(&self) -> f64 {
        self.gce().value_and_scale(libm::log(self.k)).0
    }
}

impl Method for TruncatedGce {
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        let kept = vec![true; setting.given.len()];
        Ok(Box::new(Pruned { loss: self.clone(), classes: setting.classes, kept, reviewed: false }))
    }
}

/// The name in the header of the state.
const NAME: &str = "truncated-gce";

struct Pruned {
    loss: TruncatedGce,
    classes: usize,
    /// w, of every sample of the training file.
    kept: Vec<bool>,
    /// Whether w has been computed; before that, all samples are in use.
    reviewed: bool,
}

impl Criterion for Pruned {
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64 {
        self.peek(step.logits, step.labels, step.samples, gradient)
    }

    /// A mean over the whole batch, pruned samples included: the paper's objective is a sum over all n samples, and a batch
    /// estimates 1/n of it. (Divided by the remaining samples, a batch with few of them would weigh as much as a full one.)
    fn peek(&self, logits: &[f32], labels: &[u32], samples: &[usize], gradient: &mut [f32]) -> f64 {
        check_lengths(logits, self.classes, labels, gradient);
        assert_eq!(samples.len(), labels.len(), "a label for every sample");
        let (logits, classes) = (widened(logits), self.classes);
        let (gce, bound, weight) = (self.loss.gce(), self.loss.bound(), 1.0 / labels.len() as f64);
        rounded(gradient, |gradient| {
            let mut total = 0.0;
            let rows = Batch { logits: &logits, classes, labels }.rows();
            for ((row, label), (sample, gradient)) in rows.zip(samples.iter().zip(gradient.chunks_exact_mut(classes))) {
                if self.kept[*sample] {
                    total += gce.row(row, label, weight, gradient) - bound;
                }
            }
            total * weight
        })
    }

    /// The truncated loss itself, min(L_q(p_y), L_q(k)). Validation samples are not pruned.
    fn value(&self, logits: &[f32], labels: &[u32]) -> f64 {
        assert_eq!(logits.len(), labels.len() * self.classes, "a row of logits for every label");
        let (logits, bound) = (widened(logits), self.loss.bound());
        let mut total = 0.0;
        for (row, label) in (Batch { logits: &logits, classes: self.classes, labels }).rows() {
            let (value, _) = self.loss.gce().value_and_scale(row[label] - log_sum_exp(row));
            // Not `min`, which would return the bound for NaN.
            total += if value > bound { bound } else { value };
        }
        total / labels.len() as f64
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        let [alpha, beta, q] = self.loss.gce().powers()?;
        Some(DeviceLoss::Powers { alpha, beta, q, bound: self.loss.bound(), kept: Some(self.kept.clone()) })
    }

    fn wants_review(&self, epoch: u32) -> bool {
        let done = epoch.saturating_sub(1);
        done >= self.loss.start && (done - self.loss.start).is_multiple_of(self.loss.every)
    }

    fn review(&mut self, samples: &[usize], p: &[f32]) {
        assert_eq!(samples.len(), p.len(), "a p for every sample");
        for (sample, p) in samples.iter().zip(p) {
            self.kept[*sample] = f64::from(*p) > self.loss.k;
        }
        self.reviewed = true;
    }

    fn kept(&self) -> Option<&[bool]> {
        self.reviewed.then_some(self.kept.as_slice())
    }

    fn state(&self) -> Vec<u8> {
        let mut state = state::header(NAME);
        state.push(u8::from(self.reviewed));
        state.extend((self.kept.len() as u64).to_le_bytes());
        state.extend(self.kept.iter().map(|kept| u8::from(*kept)));
        state
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let mut reader = StateReader::new(state, NAME)?;
        let flag = |reader: &mut StateReader<'_>| match reader.next_bytes()? {
            [0u8] => Ok(false),
            [1] => Ok(true),
            [other] => Err(reader.invalid(&format!("expected 0 or 1, found {other}"))),
        };
        let reviewed = flag(&mut reader)?;
        let samples = u64::from_le_bytes(reader.next_bytes()?);
        if samples != self.kept.len() as u64 {
            return Err(reader.invalid(&format!("it is of {samples} training samples, there are {}", self.kept.len())));
        }
        let kept = (0..samples).map(|_| flag(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        (self.reviewed, self.kept) = (reviewed, kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peek, setting};
    use super::*;

    const LOSS: TruncatedGce = TruncatedGce { q: 0.7, k: 0.5, start: 40, every: 10 };
    const LABELS: [u32; 4] = [0, 1, 2, 0];
    const LOGITS: [f32; 12] = [2.0, 0.1, -1.0, 0.5, 0.2, 0.0, 3.0, -3.0, 1.0, 0.0, 0.0, 4.0];

    fn criterion() -> Box<dyn Criterion> {
        LOSS.criterion(setting(3, &LABELS)).unwrap()
    }

    /// L_q of each sample and of k, by the printed formula.
    fn printed() -> ([f64; 4], f64) {
        let l = |p: f64| (1.0 - p.powf(0.7)) / 0.7;
        let values = [0, 1, 2, 3].map(|i: usize| {
            let row = &LOGITS[3 * i..][..3];
            let sum: f64 = row.iter().map(|z| f64::from(*z).exp()).sum();
            l(f64::from(row[LABELS[i] as usize]).exp() / sum)
        });
        (values, l(0.5))
    }

    #[test]
    fn before_the_first_review_it_is_gce_less_the_bound() {
        let (value, gradient) = peek(&*criterion(), &LOGITS, &LABELS);
        let gce = Gce { q: 0.7 }.criterion(setting(3, &LABELS)).unwrap();
        let (expected, expected_gradient) = peek(&*gce, &LOGITS, &LABELS);
        assert!((value - (expected - printed().1)).abs() < 1e-12);
        assert_eq!(gradient, expected_gradient);
        assert!(criterion().kept().is_none());
    }

    #[test]
    fn a_pruned_sample_has_no_loss_and_no_gradient_and_can_return() {
        let mut criterion = criterion();
        let all = peek(&*criterion, &LOGITS, &LABELS);
        criterion.review(&[0, 1, 2, 3], &[0.9, 0.5, 0.51, 0.01]);
        assert_eq!(criterion.kept().unwrap(), [true, false, true, false]);
        let (value, gradient) = peek(&*criterion, &LOGITS, &LABELS);
        let (values, bound) = printed();
        assert!((value - (values[0] + values[2] - 2.0 * bound) / 4.0).abs() < 1e-12);
        assert_eq!(gradient[3..6], [0.0; 3]);
        assert_eq!(gradient[9..], [0.0; 3]);
        assert_eq!(gradient[..3], all.1[..3]);
        criterion.review(&[1, 3], &[0.6, 0.7]);
        assert_eq!(peek(&*criterion, &LOGITS, &LABELS), all);
    }

    #[test]
    fn in_validation_a_sample_costs_at_most_the_bound() {
        let (values, bound) = printed();
        assert!(values.iter().any(|value| *value > bound) && values.iter().any(|value| *value < bound));
        let expected: f64 = values.iter().map(|value| value.min(bound)).sum::<f64>() / 4.0;
        assert!((criterion().value(&LOGITS, &LABELS) - expected).abs() < 1e-12);
        assert!(criterion().value(&[f32::NAN; 3], &[0]).is_nan());
    }

    #[test]
    fn prunes_after_start_epochs_and_then_every_few() {
        let criterion = criterion();
        let epochs: Vec<u32> = (1..=120).filter(|epoch| criterion.wants_review(*epoch)).collect();
        assert_eq!(epochs, [41, 51, 61, 71, 81, 91, 101, 111]);
    }

    #[test]
    fn its_state_is_restored_and_other_states_are_rejected() {
        let mut first = criterion();
        first.review(&[0, 1, 2], &[0.9, 0.1, 0.2]);
        let state = first.state();
        let mut second = criterion();
        second.restore(&state).unwrap();
        assert_eq!((second.kept(), second.state()), (first.kept(), state.clone()));
        for wrong in [&state[..state.len() - 1], &[state.as_slice(), &[0]].concat(), b"", b"lccn\0"] {
            assert!(second.restore(wrong).is_err());
        }
        assert_eq!(second.state(), state);
        let mut larger = LOSS.criterion(setting(3, &[0; 5])).unwrap();
        assert!(larger.restore(&state).unwrap_err().contains("of 4 training samples, there are 5"));
    }
}

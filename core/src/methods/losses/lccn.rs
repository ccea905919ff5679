//! Latent class-conditional noise: CCE on a latent label z drawn from the posterior r of the true label (see [`Forward`]),
//! gradient p − e_z, whose mean over the draws is the forward correction's. T follows from how often each latent label goes
//! with each given one.
//!
//! Yao, Wu, Zhang, Tsang & Sun, "Safeguarded Dynamic Label Regression for Noisy Supervision" (2019), eq. 5 and 6. In
//! their algorithm 1, their program for CIFAR-10, and the programs that Xu et al. (2019) made after it:
//! - A network trained with CCE is taken over. Latent labels begin as its largest p; C\[z\]\[y\] counts them under the given ones.
//! - T = (C + α) over its row sums with α = 1, a Dirichlet prior's mean, found anew every 200 steps (Xu et al. on Dogs vs
//!   Cats: 100).
//! - During the first 20,000 steps (Dogs vs Cats: 1,000) draws use a fixed matrix, while C already follows them. It was
//!   made for their forward correction by the first authors; Xu et al. take the network's soft confusion, Σ p_z over the
//!   samples given y, and α as above. That is done here.
//! - Xu et al. go on from the soft confusion as C, from which hard counts are then taken away; here C counts latent labels,
//!   as the first authors' does.
//!
//! Without a network to begin with ([`Criterion::start`]) nothing is counted, and the warm-up takes the given labels for
//! the true ones.

use super::batch::{Batch, BatchLoss, RowLoss, check_lengths, log_sum_exp, rounded, softmax, widened};
use super::criterion::{self, Criterion, Setting, Step};
use super::forward::Posterior;
use super::state::{self, Reader};
use super::{Cce, DeviceLoss, Latent, Learned, Method};
use crate::input::Fields;
use crate::logits::largest;
use crate::methods::noise::{NO_CLASS, TransitionMatrix};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// −ln p_z, z ~ r.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lccn {
    /// α > 0, what every pair of latent and given label counts beforehand; 1 in the authors' programs.
    pub alpha: f64,
    /// Steps from one T to the next, ≥ 1; 200 in the authors' programs.
    pub refresh: u64,
    /// Steps before the first T that follows from the latent labels, ≥ 0; 20,000 in the authors' program for CIFAR-10.
    pub warm_up: u64,
}

impl Lccn {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        Lccn {
            alpha: fields.number("alpha").above(0.0).or(1.0),
            refresh: fields.integer("refresh").at_least(1).or(200),
            warm_up: fields.integer("warm_up").or(20_000),
        }
    }

    /// Whether T is found anew from the counts before the step that comes after so many.
    pub(super) fn refreshes(&self, steps: u64) -> bool {
        let since = steps.checked_sub(self.warm_up);
        steps > 0 && since.is_some_and(|since| since.is_multiple_of(self.refresh))
    }

    /// With this T until something else is known.
    fn regression(&self, given: &[u32], transition: TransitionMatrix) -> Result<Regression, String> {
        let classes = transition.classes();
        Ok(Regression {
            loss: self.clone(),
            given: given.to_vec(),
            posterior: Posterior::new(&transition, classes)?,
            transition,
            latent: vec![UNKNOWN; given.len()],
            counts: vec![0; classes * classes],
            steps: 0,
        })
    }

    /// (C + α) over its row sums.
    fn transition(&self, classes: usize, counts: &[f64]) -> Result<TransitionMatrix, String> {
        let mut rows: Vec<f64> = counts.iter().map(|count| count + self.alpha).collect();
        for row in rows.chunks_exact_mut(classes) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= sum);
        }
        TransitionMatrix::from_rows(classes, rows)
    }
}

impl Method for Lccn {
    fn criterion(&self, setting: Setting<'_>) -> Result<Box<dyn Criterion>, String> {
        let Setting { classes, given, .. } = setting;
        if let Some(sample) = given.iter().position(|label| *label != NO_CLASS && *label as usize >= classes) {
            return Err(format!("expected labels below {classes}, found {} for sample {sample}", given[sample]));
        }
        let mut counts = vec![0.0; classes * classes];
        let used = given.iter().filter(|label| **label != NO_CLASS);
        used.for_each(|label| counts[*label as usize * (classes + 1)] += 1.0);
        Ok(Box::new(self.regression(given, self.transition(classes, &counts)?)?))
    }
}

/// The state's name.
const NAME: &str = "lccn";

/// The latent label of a sample that has none yet.
const UNKNOWN: u32 = u32::MAX;

/// More steps than can be taken, and few enough to count on from.
const MOST_STEPS: u64 = u64::MAX / 2;

struct Regression {
    loss: Lccn,
    given: Vec<u32>,
    /// T as it was last found, and what given labels say under it.
    transition: TransitionMatrix,
    posterior: Posterior,
    latent: Vec<u32>,
    /// C\[latent\]\[given\].
    counts: Vec<u64>,
    steps: u64,
}

impl Regression {
    fn classes(&self) -> usize {
        self.transition.classes()
    }

    fn use_transition(&mut self, transition: TransitionMatrix) {
        // Of as many classes as before, so there is a posterior.
        if let Ok(posterior) = Posterior::new(&transition, self.classes()) {
            (self.transition, self.posterior) = (transition, posterior);
        }
    }

    fn refresh(&mut self) {
        let counts: Vec<f64> = self.counts.iter().map(|count| *count as f64).collect();
        // Counts and α > 0 make rows that sum to 1.
        if let Ok(transition) = self.loss.transition(self.classes(), &counts) {
            self.use_transition(transition);
        }
    }

    /// T, if this can be where the loss stands.
    fn checked(&self, steps: u64, rows: Vec<f64>, latent: &[u32]) -> Result<TransitionMatrix, String> {
        let classes = self.classes();
        let transition = TransitionMatrix::from_rows(classes, rows)?;
        if latent.len() != self.given.len() {
            return Err(format!("it is of {} training samples, there are {}", latent.len(), self.given.len()));
        }
        if let Some(wrong) = latent.iter().find(|label| **label != UNKNOWN && **label as usize >= classes) {
            return Err(format!("it has the latent label {wrong}, there are {classes} classes"));
        }
        let unlabelled = |(sample, label): (usize, &u32)| *label != UNKNOWN && self.given[sample] == NO_CLASS;
        if let Some(sample) = (0..).zip(latent).position(unlabelled) {
            return Err(format!("it has a latent label for sample {sample}, which has no given one"));
        }
        if steps > MOST_STEPS {
            return Err(format!("it is of {steps} steps, and no training has as many"));
        }
        Ok(transition)
    }

    /// Goes on from there.
    fn go_on(&mut self, steps: u64, transition: TransitionMatrix, latent: Vec<u32>) {
        self.use_transition(transition);
        self.steps = steps;
        self.latent.fill(UNKNOWN);
        self.counts.fill(0);
        for (sample, label) in latent.into_iter().enumerate().filter(|(_, label)| *label != UNKNOWN) {
            self.label(sample, label);
        }
    }

    /// What a device has to know.
    fn latent(&self) -> Latent {
        let transition = (0..self.classes()).flat_map(|class| self.transition.row(class)).copied().collect();
        let latent = self.latent.iter().map(|label| (*label != UNKNOWN).then_some(*label)).collect();
        Latent { loss: self.loss.clone(), learned: Learned { steps: self.steps, transition, latent } }
    }

    fn label(&mut self, sample: usize, latent: u32) {
        let (classes, given) = (self.classes(), self.given[sample] as usize);
        let before = std::mem::replace(&mut self.latent[sample], latent);
        if before != UNKNOWN {
            self.counts[before as usize * classes + given] -= 1;
        }
        self.counts[latent as usize * classes + given] += 1;
    }
}

impl Criterion for Regression {
    fn step(&mut self, step: Step<'_>, gradient: &mut [f32]) -> f64 {
        let Step { logits, labels, samples, generator } = step;
        let classes = self.classes();
        check_lengths(logits, classes, labels, gradient);
        assert_eq!(samples.len(), labels.len(), "a label for every sample");
        if self.loss.refreshes(self.steps) {
            self.refresh();
        }
        self.steps += 1;
        let logits = widened(logits);
        let mut r = vec![0.0; classes];
        let mut drawn = Vec::with_capacity(samples.len());
        for ((row, label), sample) in (Batch { logits: &logits, classes, labels }).rows().zip(samples) {
            self.posterior.write(row, label, &mut r);
            let latent = draw(&r, generator.random()).unwrap_or(label) as u32;
            self.label(*sample, latent);
            drawn.push(latent);
        }
        let batch = Batch { logits: &logits, classes, labels: &drawn };
        rounded(gradient, |gradient| Cce {}.batch(batch, Some(gradient)))
    }

    /// The mean over the draws: the forward correction's gradient, and CCE under r.
    fn peek(&self, logits: &[f32], labels: &[u32], _: &[usize], gradient: &mut [f32]) -> f64 {
        let classes = self.classes();
        check_lengths(logits, classes, labels, gradient);
        let (logits, weight) = (widened(logits), 1.0 / labels.len() as f64);
        rounded(gradient, |gradient| {
            let mut r = vec![0.0; classes];
            let mut total = 0.0;
            let rows = Batch { logits: &logits, classes, labels }.rows();
            for ((row, label), gradient) in rows.zip(gradient.chunks_exact_mut(classes)) {
                self.posterior.row(row, label, weight, gradient);
                self.posterior.write(row, label, &mut r);
                let log_normaliser = log_sum_exp(row);
                // A class that cannot be drawn costs nothing, however unlikely it is.
                let costs = r.iter().zip(row).filter(|(r, _)| **r != 0.0);
                total += costs.map(|(r, z)| r * (log_normaliser - z)).sum::<f64>();
            }
            total * weight
        })
    }

    /// The given labels' −ln Σ_i p_i T_{iy} under T as it is: what the model says of labels that have no latent ones.
    fn value(&self, logits: &[f32], labels: &[u32]) -> f64 {
        criterion::value(&self.posterior, logits, self.classes(), labels)
    }

    fn on_device(&self) -> Option<DeviceLoss> {
        Some(DeviceLoss::Latent(self.latent()))
    }

    fn learned(&mut self, learned: Learned) -> Result<(), String> {
        let Learned { steps, transition, latent } = learned;
        let latent: Vec<u32> = latent.into_iter().map(|label| label.unwrap_or(UNKNOWN)).collect();
        let transition = self.checked(steps, transition, &latent)?;
        self.go_on(steps, transition, latent);
        Ok(())
    }

    fn wants_start(&self) -> bool {
        true
    }

    fn start(&mut self, samples: &[usize], logits: &[f32]) {
        let classes = self.classes();
        assert_eq!(logits.len(), samples.len() * classes, "a row of logits for every sample");
        let logits = widened(logits);
        let mut p = vec![0.0; classes];
        let mut confusion = vec![0.0; classes * classes];
        for (row, sample) in logits.chunks_exact(classes).zip(samples) {
            softmax(row, &mut p);
            let given = self.given[*sample] as usize;
            (0..classes).for_each(|class| confusion[class * classes + given] += p[class]);
            self.label(*sample, largest(&p) as u32);
        }
        // There is none of predictions that are no numbers: what was there before stays.
        if let Ok(transition) = self.loss.transition(classes, &confusion) {
            self.use_transition(transition);
        }
    }

    fn transition(&self) -> Option<TransitionMatrix> {
        Some(self.transition.clone())
    }

    /// Steps, T, latent labels. Counts follow from these.
    fn state(&self) -> Vec<u8> {
        let mut state = state::begin(NAME);
        state.extend(self.steps.to_le_bytes());
        state.extend((self.classes() as u64).to_le_bytes());
        for class in 0..self.classes() {
            state.extend(self.transition.row(class).iter().flat_map(|share| share.to_le_bytes()));
        }
        state.extend((self.latent.len() as u64).to_le_bytes());
        state.extend(self.latent.iter().flat_map(|latent| latent.to_le_bytes()));
        state
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let classes = self.classes();
        let mut reader = Reader::new(state, NAME)?;
        let steps = u64::from_le_bytes(reader.take()?);
        let found = u64::from_le_bytes(reader.take()?);
        if found != classes as u64 {
            return Err(reader.wrong(&format!("it is of {found} classes, there are {classes}")));
        }
        let rows: Vec<f64> =
            (0..classes * classes).map(|_| Ok(f64::from_le_bytes(reader.take()?))).collect::<Result<_, String>>()?;
        let found = u64::from_le_bytes(reader.take()?);
        if found != self.given.len() as u64 {
            return Err(reader.wrong(&format!("it is of {found} training samples, there are {}", self.given.len())));
        }
        let latent: Vec<u32> =
            (0..found).map(|_| Ok(u32::from_le_bytes(reader.take()?))).collect::<Result<_, String>>()?;
        let transition = self.checked(steps, rows, &latent).map_err(|why| reader.wrong(&why))?;
        reader.finish()?;
        self.go_on(steps, transition, latent);
        Ok(())
    }
}

/// The class that `draw`, uniform in 0..1, falls to; nothing where probabilities are no numbers.
fn draw(probabilities: &[f64], draw: f64) -> Option<usize> {
    let mut left = draw;
    for (class, p) in probabilities.iter().enumerate() {
        if left < *p {
            return Some(class);
        }
        left -= p;
    }
    // What rounding has left over.
    probabilities.iter().rposition(|p| *p > 0.0)
}

#[cfg(test)]
mod tests;

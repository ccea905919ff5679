//! Training with latent labels: T is re-estimated from how often each latent label occurs with each given one.

use super::Lccn;
use crate::logits::largest;
use crate::methods::losses::batch::{Batch, BatchLoss, RowLoss, check_lengths, log_sum_exp, rounded, softmax, widened};
use crate::methods::losses::criterion::{self, Criterion, Setting, Step};
use crate::methods::losses::forward::Posterior;
use crate::methods::losses::method::Method;
use crate::methods::losses::state::{self, StateReader};
use crate::methods::losses::{Cce, DeviceLoss, Latent, Learned};
use crate::methods::noise::{NO_CLASS, TransitionMatrix};
use rand::RngExt;

impl Lccn {
    /// The initial state with this T.
    pub(super) fn regression(&self, given: &[u32], transition: TransitionMatrix) -> Result<Regression, String> {
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

    /// T = (C + α) over its row sums; `counts` is `[latent × given]`.
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

/// The name in the header of the state.
pub(super) const NAME: &str = "lccn";

/// The latent label of a sample that has none.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// An upper limit on the number of steps, far from overflow.
pub(super) const MOST_STEPS: u64 = u64::MAX / 2;

pub(super) struct Regression {
    loss: Lccn,
    given: Vec<u32>,
    /// The last estimate of T, and the posterior under it.
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
        // The number of classes is unchanged, so this cannot fail.
        if let Ok(posterior) = Posterior::new(&transition, self.classes()) {
            (self.transition, self.posterior) = (transition, posterior);
        }
    }

    fn refresh(&mut self) {
        let counts: Vec<f64> = self.counts.iter().map(|count| *count as f64).collect();
        // Counts and α > 0 make rows that sum to 1, so this cannot fail.
        if let Ok(transition) = self.loss.transition(self.classes(), &counts) {
            self.use_transition(transition);
        }
    }

    /// T from `rows`, if the arguments are a valid state.
    ///
    /// # Errors
    /// What is invalid.
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
            return Err(format!("it is of {steps} steps, expected at most {MOST_STEPS}"));
        }
        Ok(transition)
    }

    /// Replaces the state.
    fn adopt(&mut self, steps: u64, transition: TransitionMatrix, latent: Vec<u32>) {
        self.use_transition(transition);
        self.steps = steps;
        self.latent.fill(UNKNOWN);
        self.counts.fill(0);
        for (sample, label) in latent.into_iter().enumerate().filter(|(_, label)| *label != UNKNOWN) {
            self.label(sample, label);
        }
    }

    /// The state as a device needs it.
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
                // A class that cannot be drawn has no cost, even if its p is 0.
                let costs = r.iter().zip(row).filter(|(r, _)| **r != 0.0);
                total += costs.map(|(r, z)| r * (log_normaliser - z)).sum::<f64>();
            }
            total * weight
        })
    }

    /// The forward correction −ln Σ_i p_i T_{iy} with the current T, for samples without latent labels.
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
        self.adopt(steps, transition, latent);
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
        // NaN predictions give no matrix; the previous one stays.
        if let Ok(transition) = self.loss.transition(classes, &confusion) {
            self.use_transition(transition);
        }
    }

    fn transition(&self) -> Option<TransitionMatrix> {
        Some(self.transition.clone())
    }

    /// Steps, T and latent labels. Counts follow from these.
    fn state(&self) -> Vec<u8> {
        let mut state = state::header(NAME);
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
        let mut reader = StateReader::new(state, NAME)?;
        let steps = u64::from_le_bytes(reader.next_bytes()?);
        let found = u64::from_le_bytes(reader.next_bytes()?);
        if found != classes as u64 {
            return Err(reader.invalid(&format!("it is of {found} classes, there are {classes}")));
        }
        let rows: Vec<f64> = (0..classes * classes)
            .map(|_| Ok(f64::from_le_bytes(reader.next_bytes()?)))
            .collect::<Result<_, String>>()?;
        let found = u64::from_le_bytes(reader.next_bytes()?);
        if found != self.given.len() as u64 {
            return Err(reader.invalid(&format!("it is of {found} training samples, there are {}", self.given.len())));
        }
        let latent: Vec<u32> =
            (0..found).map(|_| Ok(u32::from_le_bytes(reader.next_bytes()?))).collect::<Result<_, String>>()?;
        let transition = self.checked(steps, rows, &latent).map_err(|why| reader.invalid(&why))?;
        reader.finish()?;
        self.adopt(steps, transition, latent);
        Ok(())
    }
}

/// The class that `draw`, uniform in 0..1, selects; `None` if the probabilities are NaN.
pub(super) fn draw(probabilities: &[f64], draw: f64) -> Option<usize> {
    let mut left = draw;
    for (class, p) in probabilities.iter().enumerate() {
        if left < *p {
            return Some(class);
        }
        left -= p;
    }
    // Rounding left a remainder: the last class with a probability.
    probabilities.iter().rposition(|p| *p > 0.0)
}

//! The loop: epochs of steps, an evaluation after each.

use crate::data::{Cache, Data, Inputs, Labels, feed, shuffle};
use crate::engine::{Batch, Engine, EngineError, Means, Plan, engine};
use crate::keep::{Kept, Snapshot};
use plusminus_core::job::Job;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::random::Stream;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Samples that are evaluated together: a constant, for with their number candle's logits change in their last digits.
pub(crate) const EVALUATED: usize = 250;

/// Where a job stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Of so many.
    pub epochs: u32,
    /// Steps done in this epoch.
    pub step: u32,
    /// Of so many.
    pub steps: u32,
}

/// Hears of a job's course, and stops it: a `Break` ends the job as preempted. Every method has a default that does nothing.
pub trait Observer {
    /// After every step, and with the last step's numbers between the parts of the evaluation that follows, which takes a large
    /// network minutes. So it must be cheap.
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        let _ = progress;
        ControlFlow::Continue(())
    }

    /// After every evaluation. A stop after the last epoch is too late: the job is done.
    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        let _ = (epoch, measurements);
        ControlFlow::Continue(())
    }
}

/// Nobody listens.
impl Observer for () {}

/// What a finished job leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// What is known of it.
    pub facts: Facts,
    /// Every epoch's measurements, in order, from epoch 1.
    pub epochs: Vec<(u32, Measurements)>,
    /// Its weights.
    pub weights: Kept,
}

/// Trains `job` by `means` with data from `cache`, from its first epoch to its last.
///
/// The result follows from the job and the engine alone: not from the number of threads, other jobs, or what `observer` hears. With
/// candle the kind of processor counts too, for each has its kernel for products of matrices: the facts name it.
///
/// # Errors
/// `UserError` where the data set or the configuration cannot be had, `Diverged` where the loss, a weight or a measurement is no
/// longer finite, `Preempted` where `observer` says stop, `Infrastructure` where the device fails.
pub fn train(job: &Job, cache: &Cache, means: Means, observer: &mut dyn Observer) -> Result<Trained, Failure> {
    Run::new(job, cache, means)?.train(observer)
}

/// A job that is being trained.
struct Run<'a> {
    job: &'a Job,
    data: Arc<Data>,
    labels: Labels,
    inputs: Inputs,
    engine: Box<dyn Engine>,
    facts: Facts,
}

/// What the network makes of some samples.
struct Evaluation {
    /// Its class of each sample.
    classes: Vec<u32>,
    /// Mean loss, where it was asked for.
    loss: Option<f64>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, cache: &Cache, means: Means) -> Result<Self, Failure> {
        let configuration = &*job.configuration;
        if configuration.epochs == 0 || configuration.batch_size == 0 {
            return Err(user_error("epochs and batch_size must be at least 1"));
        }
        let dataset = &configuration.dataset;
        let data = cache.get(dataset).map_err(user_error)?;
        let labels = Labels::of(job, &data.train).map_err(user_error)?;
        let inputs = Inputs::new(&configuration.normalize, &data.train, &labels.train).map_err(user_error)?;
        let network = configuration.model.network(dataset.shape(), dataset.classes()).map_err(user_error)?;
        let plan = Arc::new(Plan::of(&network));
        // An engine that was asked for by name and cannot run the network is no accident: another try ends as this one.
        let refused = |error: EngineError| if means.engine.is_some() { user_error(error) } else { failed(error) };
        let initial = plan.initial(&mut job.streams().generator(Stream::Weights, 0));
        let engine =
            engine(means, &network, initial, &configuration.loss, &configuration.optimizer).map_err(refused)?;
        let samples = Samples { train: labels.train.len(), validation: labels.validation.len(), test: data.test.len() };
        let facts = Facts {
            parameters: plan.trained(),
            samples,
            noise_rate: labels.noise_rate,
            transition: labels.transition.clone(),
            data: data.digest.clone(),
            engine: engine.name(),
            weights: String::new(),
        };
        Ok(Run { job, data, labels, inputs, engine, facts })
    }

    fn train(mut self, observer: &mut dyn Observer) -> Result<Trained, Failure> {
        let epochs = self.job.configuration.epochs;
        let mut rows = Vec::new();
        let (mut best, mut best_validation) = (Best::default(), Best::default());
        for epoch in 1..=epochs {
            let mut measurements = self.epoch(epoch, observer)?;
            let done = Progress { epoch, epochs, step: self.steps(), steps: self.steps() };
            self.evaluate(&mut measurements, &mut || {
                heed(observer.progress(done), || format!("in the evaluation after epoch {epoch} of {epochs}"))
            })?;
            let weights = self.engine.weights().map_err(failed)?;
            if !weights.are_finite() {
                return Err(diverged(&format!("a weight is no longer finite after epoch {epoch}")));
            }
            if let Some((metric, value)) = measurements.iter().find(|(_, value)| !value.is_finite()) {
                return Err(diverged(&format!("{metric} is {value} after epoch {epoch}")));
            }
            best.offer(measurements.get(&Metric::TestAccuracy), epoch, &weights);
            best_validation.offer(measurements.get(&Metric::ValidationAccuracy), epoch, &weights);
            let flow = observer.epoch(epoch, &measurements);
            rows.push((epoch, measurements));
            if epoch == epochs {
                self.facts.weights = weights.digest();
                let last = Snapshot { epoch, weights };
                let best = best.into_snapshot().unwrap_or_else(|| last.clone());
                let weights = Kept { best, best_validation: best_validation.into_snapshot(), last };
                return Ok(Trained { facts: self.facts, epochs: rows, weights });
            }
            heed(flow, || format!("after epoch {epoch} of {epochs}"))?;
        }
        Err(user_error("epochs must be at least 1"))
    }

    /// Steps in an epoch; the last takes what is left.
    fn steps(&self) -> u32 {
        self.labels.train.len().div_ceil(self.job.configuration.batch_size) as u32
    }

    /// One pass over the training samples.
    fn epoch(&mut self, epoch: u32, observer: &mut dyn Observer) -> Result<Measurements, Failure> {
        let configuration = &*self.job.configuration;
        let streams = self.job.streams();
        let generator = |stream| streams.generator(stream, u64::from(epoch));
        let (mut augmentation, mut dropout) = (generator(Stream::Augmentation), generator(Stream::Dropout));
        let mut order = self.labels.train.clone();
        shuffle(&mut order, &mut generator(Stream::Order));
        let lr = configuration.schedule.lr(configuration.optimizer.lr(), epoch, configuration.epochs);
        let (epochs, steps) = (configuration.epochs, self.steps());
        let (mut total, mut step, begun) = (0.0, 0, Instant::now());
        let Run { data, labels, inputs, engine, .. } = self;
        let make = |samples: &[usize], batch: &mut Vec<f32>| {
            let augment = &configuration.augment;
            inputs.gather_augmented(&data.train, samples, augment, &mut augmentation, batch).map_err(user_error)
        };
        feed::each(&order, configuration.batch_size, make, |samples, inputs| {
            step += 1;
            let labels: Vec<u32> = samples.iter().map(|sample| labels.given[*sample]).collect();
            let loss = engine.train_step(Batch { inputs, labels: &labels }, lr, &mut dropout).map_err(failed)?;
            if !loss.is_finite() {
                return Err(diverged(&format!(
                    "the loss is {loss} in epoch {epoch}, step {step}, at learning rate {lr}"
                )));
            }
            total += loss * samples.len() as f64;
            heed(observer.progress(Progress { epoch, epochs, step, steps }), || {
                format!("in epoch {epoch} of {epochs}, after step {step} of {steps}")
            })
        })?;
        // A clock too coarse to see the epoch must not make the speed infinite.
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        Ok(Measurements::from([
            (Metric::TrainLoss, total / order.len() as f64),
            (Metric::LearningRate, lr),
            (Metric::ImagesPerSecond, order.len() as f64 / seconds),
        ]))
    }

    /// Measures the network as it stands, on training images as they are, on validation and on test samples.
    /// `between` is called after every few samples, and its failure ends the evaluation.
    fn evaluate(&mut self, measurements: &mut Measurements, between: Between<'_>) -> Result<(), Failure> {
        let train = self.predict(Part::Train, between)?.classes;
        let (mut clean, mut noisy, mut recovered) = (Share::default(), Share::default(), Share::default());
        for (class, sample) in train.iter().zip(&self.labels.train) {
            let (given, label) = (self.labels.given[*sample], self.data.train.labels[*sample]);
            if given == label {
                clean.count(*class == given);
            } else {
                noisy.count(*class == given);
                recovered.count(*class == label);
            }
        }
        let validation = self.predict(Part::Validation, between)?;
        let mut right = Share::default();
        for (class, sample) in validation.classes.iter().zip(&self.labels.validation) {
            right.count(*class == self.labels.given[*sample]);
        }
        let mut tested = Share::default();
        let classes = self.predict(Part::Test, between)?.classes;
        classes.iter().zip(&self.data.test.labels).for_each(|(class, label)| tested.count(class == label));
        let found = [
            (Metric::CleanAccuracy, clean.value()),
            (Metric::NoisyAccuracy, noisy.value()),
            (Metric::RecoveredAccuracy, recovered.value()),
            (Metric::ValidationLoss, validation.loss),
            (Metric::ValidationAccuracy, right.value()),
            (Metric::TestAccuracy, tested.value()),
        ];
        measurements.extend(found.into_iter().filter_map(|(metric, value)| Some((metric, value?))));
        Ok(())
    }

    fn predict(&mut self, part: Part, between: Between<'_>) -> Result<Evaluation, Failure> {
        let Run { job, data, labels, inputs, engine, .. } = self;
        let everything: Vec<usize>;
        let (images, samples) = match part {
            Part::Train => (&data.train, &labels.train),
            Part::Validation => (&data.train, &labels.validation),
            Part::Test => {
                everything = (0..data.test.len()).collect();
                (&data.test, &everything)
            }
        };
        let (loss, classes) = (&job.configuration.loss, job.configuration.dataset.classes());
        let mut evaluation = Evaluation { classes: Vec::with_capacity(samples.len()), loss: None };
        // Core gives a loss with its gradient, which nobody wants here.
        let (mut logits, mut unused) = (Vec::new(), vec![0.0; EVALUATED * classes]);
        let mut total = 0.0;
        let make = |samples: &[usize], batch: &mut Vec<f32>| inputs.gather(images, samples, batch).map_err(user_error);
        feed::each(samples, EVALUATED, make, |samples, inputs| {
            engine.logits(inputs, &mut logits).map_err(failed)?;
            evaluation.classes.extend(logits.chunks_exact(classes).map(largest));
            if part == Part::Validation {
                let labels: Vec<u32> = samples.iter().map(|sample| labels.given[*sample]).collect();
                let mean = loss.value_and_gradient(&logits, classes, &labels, &mut unused[..logits.len()]);
                total += mean * samples.len() as f64;
            }
            between()
        })?;
        if part == Part::Validation && !samples.is_empty() {
            evaluation.loss = Some(total / samples.len() as f64);
        }
        Ok(evaluation)
    }
}

/// What an evaluation does every now and then: it asks whether it shall go on.
type Between<'a> = &'a mut dyn FnMut() -> Result<(), Failure>;

/// The samples of an evaluation.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

/// The class with the largest logit, the first of equals.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best as u32
}

/// A share that is counted.
#[derive(Clone, Copy, Default)]
struct Share {
    hits: usize,
    of: usize,
}

impl Share {
    fn count(&mut self, hit: bool) {
        self.of += 1;
        self.hits += usize::from(hit);
    }

    /// Of nothing there is no share.
    fn value(self) -> Option<f64> {
        (self.of > 0).then(|| self.hits as f64 / self.of as f64)
    }
}

/// The weights where a metric was highest so far, the earliest of equals.
#[derive(Default)]
struct Best(Option<(f64, Snapshot)>);

impl Best {
    fn offer(&mut self, value: Option<&f64>, epoch: u32, weights: &crate::engine::Weights) {
        let Some(value) = value else { return };
        if self.0.as_ref().is_none_or(|(best, _)| value > best) {
            self.0 = Some((*value, Snapshot { epoch, weights: weights.clone() }));
        }
    }

    fn into_snapshot(self) -> Option<Snapshot> {
        self.0.map(|(_, snapshot)| snapshot)
    }
}

fn heed(flow: ControlFlow<()>, when: impl FnOnce() -> String) -> Result<(), Failure> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Failure::new(FailureKind::Preempted, format!("stopped {}", when()))),
    }
}

fn user_error(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::UserError, error.to_string())
}

fn diverged(what: &str) -> Failure {
    Failure::new(FailureKind::Diverged, format!("{what}: lower optimizer.lr, or choose another loss or normalisation"))
}

fn failed(error: EngineError) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("the engine failed: {error}"))
}

#[cfg(test)]
pub(crate) mod tests;

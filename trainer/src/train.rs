//! The loop: epochs of steps, an evaluation after each.
//!
//! - `start`: what a job begins with: its weights, and the transition matrix that its loss has to know.
//! - `evaluation`: what the network makes of samples that it is not trained on at the moment.
//! - `diagnose`: what diagnostics need of the run.
//! - `best`: the weights at the epochs that selections name.

mod best;
mod diagnose;
mod evaluation;
mod start;

use crate::data::{Cache, Data, Inputs, Labels, feed, shuffle};
use crate::engine::{Checkpoint, Engine, EngineError, Means, Plan, engine};
use crate::keep::{Kept, Snapshot};
use best::Selections;
pub(crate) use evaluation::EVALUATED;
use plusminus_core::job::Job;
use plusminus_core::logits::probability;
use plusminus_core::methods::losses::{Criterion, Setting, Step};
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::random::Stream;
use start::Beginning;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

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

/// What a job is trained with.
#[derive(Clone, Copy, Debug)]
pub struct Supplies<'a> {
    /// The data sets.
    pub cache: &'a Cache,
    /// Where and by which engine.
    pub means: Means,
    /// The weights of the job's parent, a safetensors file, where the job has one.
    pub parent: Option<&'a Path>,
}

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

/// Trains `job` with `supplies`, from its first epoch to its last.
///
/// The result follows from the job and the engine alone: not from the number of threads, other jobs, or what `observer` hears. With
/// candle the kind of processor counts too, for each has its kernel for products of matrices: the facts name it.
///
/// # Errors
/// `UserError` where the data set or the configuration cannot be had, `Diverged` where the loss, a weight or a measurement is no
/// longer finite, `Preempted` where `observer` says stop, `Infrastructure` where the device fails.
pub fn train(job: &Job, supplies: Supplies<'_>, observer: &mut dyn Observer) -> Result<Trained, Failure> {
    Run::new(job, supplies)?.train(observer)
}

/// A job that is being trained.
struct Run<'a> {
    job: &'a Job,
    data: Arc<Data>,
    labels: Labels,
    inputs: Inputs,
    engine: Box<dyn Engine>,
    criterion: Box<dyn Criterion>,
    /// Whether the weights that it begins with come from another training.
    trained_before: bool,
    means: Means,
    facts: Facts,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, supplies: Supplies<'_>) -> Result<Self, Failure> {
        let configuration = &*job.configuration;
        if configuration.epochs == 0 || configuration.batch_size == 0 {
            return Err(user_error("epochs and batch_size must be at least 1"));
        }
        let dataset = &configuration.dataset;
        let data = supplies.cache.get(dataset).map_err(user_error)?;
        let labels = Labels::of(job, &data.train, supplies.cache.datasets()).map_err(user_error)?;
        let inputs = Inputs::new(&configuration.normalize, &data.train, &labels.train).map_err(user_error)?;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let plan = Arc::new(Plan::of(&network));
        let beginning = Beginning::of(job, &network, &plan, &data, &labels, supplies)?;
        let Beginning { weights, file, transition, trained_before } = beginning;
        let setting = Setting { classes: dataset.classes(), given: &labels.given, transition };
        let criterion = configuration.loss.criterion(setting).map_err(user_error)?;
        let means = supplies.means;
        // An engine that was asked for by name and cannot run the network is no accident: another try ends as this one.
        let refused = |error: EngineError| if means.engine.is_some() { user_error(error) } else { failed(error) };
        let engine = engine(means, &network, weights, &configuration.optimizer).map_err(refused)?;
        let validation = data.held_out(&labels, configuration.split).map_err(user_error)?.samples.len();
        let samples = Samples { train: labels.train.len(), validation, test: configuration.tested(data.test.len()) };
        let facts = Facts {
            parameters: plan.trained(),
            samples,
            noise_rate: labels.noise_rate,
            transition: labels.transition.clone(),
            data: labels.digest(&data),
            engine: engine.name(),
            weights: String::new(),
            start: file,
            kept: BTreeMap::new(),
        };
        Ok(Run { job, data, labels, inputs, engine, criterion, trained_before, means, facts })
    }

    fn train(mut self, observer: &mut dyn Observer) -> Result<Trained, Failure> {
        let epochs = self.job.configuration.epochs;
        let mut rows = Vec::new();
        let mut selections = Selections::default();
        let beginning = Progress { epoch: 1, epochs, step: 0, steps: self.steps() };
        self.start(&mut || heed(observer.progress(beginning), || "in the review before the first epoch".to_owned()))?;
        for epoch in 1..=epochs {
            let before = Progress { epoch, ..beginning };
            self.review(epoch, &selections, &mut || {
                heed(observer.progress(before), || format!("in the review before epoch {epoch} of {epochs}"))
            })?;
            let mut measurements = self.epoch(epoch, observer)?;
            let done = Progress { step: self.steps(), ..before };
            self.evaluate(epoch, &mut measurements, &mut || {
                heed(observer.progress(done), || format!("in the evaluation after epoch {epoch} of {epochs}"))
            })?;
            let weights = self.engine.weights().map_err(failed)?;
            if !weights.are_finite() {
                return Err(diverged(&format!("a weight is no longer finite after epoch {epoch}")));
            }
            if let Some((metric, value)) = measurements.iter().find(|(_, value)| !value.is_finite()) {
                return Err(diverged(&format!("{metric} is {value} after epoch {epoch}")));
            }
            selections.offer(&measurements, epoch, &weights);
            let flow = observer.epoch(epoch, &measurements);
            rows.push((epoch, measurements));
            if epoch == epochs {
                self.facts.weights = weights.digest();
                let weights = selections.finish(Snapshot { epoch, weights });
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

    /// Shows the criterion the whole training set before the first step, where it wants to see it and the network has learned something
    /// already: what random weights make of it tells nothing.
    fn start(&mut self, between: Between<'_>) -> Result<(), Failure> {
        if self.trained_before && self.criterion.wants_start() {
            let logits = self.logits(evaluation::Part::Train, between)?;
            self.criterion.start(&self.labels.train, &logits);
        }
        Ok(())
    }

    /// Shows the criterion the whole training set before `epoch`, where it wants to see it, under the weights best in validation so
    /// far; under those at hand where there are none. The engine goes on as if nothing had been.
    fn review(&mut self, epoch: u32, selections: &Selections, between: Between<'_>) -> Result<(), Failure> {
        if !self.criterion.wants_review(epoch) {
            return Ok(());
        }
        let here = self.engine.checkpoint().map_err(failed)?;
        if let Some(best) = selections.best_validation() {
            let (weights, moments) = (best.weights.clone(), here.moments.clone());
            self.engine.restore(Checkpoint { weights, moments }).map_err(failed)?;
        }
        let logits = self.logits(evaluation::Part::Train, between)?;
        self.engine.restore(here).map_err(failed)?;
        let classes = self.job.configuration.dataset.classes();
        let given = self.labels.train.iter().map(|sample| self.labels.given[*sample]);
        let p: Vec<f32> =
            logits.chunks_exact(classes).zip(given).map(|(z, y)| probability(z, y as usize) as f32).collect();
        self.criterion.review(&self.labels.train, &p);
        Ok(())
    }

    /// One pass over the training samples.
    fn epoch(&mut self, epoch: u32, observer: &mut dyn Observer) -> Result<Measurements, Failure> {
        let configuration = &*self.job.configuration;
        let streams = self.job.streams();
        let generator = |stream| streams.generator(stream, u64::from(epoch));
        let (mut augmentation, mut dropout) = (generator(Stream::Augmentation), generator(Stream::Dropout));
        let mut latent = generator(Stream::Latent);
        let mut order = self.labels.train.clone();
        shuffle(&mut order, &mut generator(Stream::Order));
        let lr = configuration.schedule.lr(configuration.optimizer.lr(), epoch, configuration.epochs);
        let (epochs, steps) = (configuration.epochs, self.steps());
        let (mut total, mut step, begun) = (0.0, 0, Instant::now());
        let Run { data, labels, inputs, engine, criterion, .. } = self;
        let make = |samples: &[usize], batch: &mut Vec<f32>| {
            let augment = &configuration.augment;
            inputs.gather_augmented(&data.train, samples, augment, &mut augmentation, batch).map_err(user_error)
        };
        feed::each(&order, configuration.batch_size, make, |samples, inputs| {
            step += 1;
            let labels: Vec<u32> = samples.iter().map(|sample| labels.given[*sample]).collect();
            let mut of_logits = |logits: &[f32], gradient: &mut [f32]| {
                criterion.step(Step { logits, labels: &labels, samples, generator: &mut latent }, gradient)
            };
            let loss = engine.train_step(inputs, &mut of_logits, lr, &mut dropout).map_err(failed)?;
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
}

/// What an evaluation does every now and then: it asks whether it shall go on.
type Between<'a> = &'a mut dyn FnMut() -> Result<(), Failure>;

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

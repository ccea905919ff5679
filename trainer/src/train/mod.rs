//! The loop: epochs of steps, an evaluation after each.
//!
//! - `starting_point`: what a job begins with: its weights, and the transition matrix that its loss has to know.
//! - `prepared_run`: whether it begins there or after a checkpoint, and how it leaves some.
//! - `steps`: the steps of an epoch, on whichever side inputs and loss are made.
//! - `evaluation`: what the network makes of samples that it is not trained on at the moment.
//! - `diagnose`: what diagnostics need of the run.
//! - `best_snapshots`: the weights at the epochs that selections name.

mod best_snapshots;
mod diagnose;
mod evaluation;
mod prepared_run;
mod starting_point;
mod steps;

use crate::checkpoint::CheckpointOptions;
use crate::data::{DatasetCache, InputPipeline, Labels, LoadedDataset};
use crate::kept_weights::{KeptWeights, Snapshot};
use best_snapshots::BestSnapshots;
pub(crate) use evaluation::EVALUATION_BATCH;
use plusminus_core::id::Digest;
use plusminus_core::job::Job;
use plusminus_core::logits::probability;
use plusminus_core::methods::losses::Criterion;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, FailureKind};
use plusminus_engines::{Cause, Checkpoint, Engine, EngineError, ExecutionOptions, Plan, Weights, new_engine};
use prepared_run::{CheckpointWriter, JobContext, PreparedRun, RunState};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use steps::DeviceData;

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

    /// After every evaluation; first for each epoch that a checkpoint has, from epoch 1. A stop after the last epoch is too late: the job is done.
    fn epoch(&mut self, epoch: u32, measurements: &Measurements) -> ControlFlow<()> {
        let _ = (epoch, measurements);
        ControlFlow::Continue(())
    }
}

/// Nobody listens.
impl Observer for () {}

/// What a job is trained with.
#[derive(Clone, Copy, Debug)]
pub struct TrainInputs<'a> {
    /// The data sets.
    pub cache: &'a DatasetCache,
    /// Where and by which engine.
    pub execution: ExecutionOptions,
    /// The weights of the job's parent, where the job has one. A job that goes on from a checkpoint needs none; where they are others than
    /// those that the checkpoint was begun from, it begins anew.
    pub parent: Option<ParentWeights<'a>>,
    /// Where the job's checkpoints are, if it shall go on from one and leave others.
    pub checkpoints: Option<CheckpointOptions<'a>>,
}

/// Weights that a job builds on.
#[derive(Clone, Copy, Debug)]
pub struct ParentWeights<'a> {
    /// A safetensors file.
    pub path: &'a Path,
    /// Of its bytes.
    pub digest: Digest,
}

/// What a finished job leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedJob {
    /// What is known of it.
    pub facts: Facts,
    /// Every epoch's measurements, in order, from epoch 1.
    pub epochs: Vec<(u32, Measurements)>,
    /// Its weights.
    pub weights: KeptWeights,
}

/// Trains `job` with `train_inputs` to its last epoch: from its first one, or from the one after the last good checkpoint where `train_inputs` has
/// checkpoints and there is one. `observer` hears of the epochs before that again, from the first, before the training goes on.
///
/// Checkpoints are left as often as `train_inputs` says, and where the job is stopped or fails in a way that another try may not. The
/// caller removes them ([`checkpoint::remove`](crate::checkpoint::remove)) once the result is safe. One that cannot be written is told
/// and ends nothing.
///
/// The result follows from the job and the engine alone: not from the number of threads, other jobs,
/// interruptions, or what `observer` hears. With
/// candle the kind of processor counts too, for each has its kernel for products of matrices: the facts name it.
///
/// # Errors
/// `UserError` where the data set or the configuration cannot be had, `Diverged` where the loss, a weight or a measurement is no
/// longer finite, `Preempted` where `observer` says stop, `Infrastructure` where the device fails, or the system cannot read data that are
/// there ([`DataError::is_transient`](crate::data::DataError::is_transient)).
pub fn train(job: &Job, train_inputs: TrainInputs<'_>, observer: &mut dyn Observer) -> Result<TrainedJob, Failure> {
    Run::new(job, train_inputs)?.train(observer)
}

/// What makes engines: one for the job, and those that its beginning and its diagnostics need besides.
type EngineFactory = dyn Fn(&Network, Weights, &Optimizer) -> Result<Box<dyn Engine>, EngineError>;

/// A job that is being trained.
struct Run<'a> {
    job: &'a Job,
    data: Arc<LoadedDataset>,
    labels: Labels,
    inputs: InputPipeline,
    engine: Box<dyn Engine>,
    /// Where the engine's device holds the data, if it does.
    held: Option<DeviceData>,
    criterion: Box<dyn Criterion>,
    /// Whether the weights that it begins with come from another training.
    trained_before: bool,
    engine_factory: Arc<EngineFactory>,
    facts: Facts,
    /// Where it stands before [`Run::train`], which takes it.
    state: RunState,
    checkpoint_writer: Option<CheckpointWriter>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job, train_inputs: TrainInputs<'_>) -> Result<Self, Failure> {
        let (execution, precision) = (train_inputs.execution, job.configuration.precision);
        let engine_factory = move |network: &Network, weights: Weights, optimizer: &Optimizer| {
            new_engine(execution, precision, network, weights, optimizer)
        };
        Run::with(job, train_inputs, Arc::new(engine_factory))
    }

    /// With engines from elsewhere than [`TrainInputs::execution`].
    fn with(job: &'a Job, train_inputs: TrainInputs<'_>, engine_factory: Arc<EngineFactory>) -> Result<Self, Failure> {
        let configuration = &*job.configuration;
        if configuration.epochs == 0 || configuration.batch_size == 0 {
            return Err(user_error("epochs and batch_size must be at least 1"));
        }
        let dataset = &configuration.dataset;
        let data = train_inputs.cache.get(dataset)?;
        let labels = Labels::of(job, &data.train, train_inputs.cache.datasets())?;
        let inputs = InputPipeline::new(&configuration.normalize, &data.train, &labels.train)?;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let plan = Arc::new(Plan::of(&network));
        let context = JobContext { job, network: &network, plan: &plan, data: &data, labels: &labels };
        let prepared = PreparedRun::new(context, train_inputs, &*engine_factory)?;
        let PreparedRun { mut engine, criterion, facts, trained_before, state, checkpoint_writer } = prepared;
        let batch = configuration.batch_size.min(labels.train.len());
        engine.on_device().map_or(Ok(()), |device| device.reserve(batch)).map_err(failed)?;
        let held = DeviceData::of(&data, &inputs, &mut *engine)?;
        Ok(Run {
            job,
            data,
            labels,
            inputs,
            engine,
            held,
            criterion,
            trained_before,
            engine_factory,
            facts,
            state,
            checkpoint_writer,
        })
    }

    fn train(mut self, observer: &mut dyn Observer) -> Result<TrainedJob, Failure> {
        let epochs = self.job.configuration.epochs;
        let mut state = std::mem::take(&mut self.state);
        let done = state.epoch();
        if done == 0 {
            let beginning = Progress { epoch: 1, epochs, step: 0, steps: self.steps() };
            self.start(&mut || {
                stop_on_break(observer.progress(beginning), || "in the review before the first epoch".to_owned())
            })?;
        }
        for (epoch, row) in &state.rows {
            let flow = observer.epoch(*epoch, row);
            if done < epochs {
                stop_on_break(flow, || format!("before it went on after epoch {done} of {epochs}"))?;
            }
        }
        for epoch in done + 1..=epochs {
            if let Err(failure) = self.pass(epoch, &mut state, observer) {
                if let Some(checkpoint_writer) = self.checkpoint_writer.as_mut().filter(|_| failure.kind.is_transient())
                {
                    checkpoint_writer.write(&state);
                }
                return Err(failure);
            }
        }
        self.checkpoint_writer = None;
        let weights = self.engine.weights().map_err(failed)?;
        self.facts.weights = weights.digest();
        let weights = state.selections.finish(Snapshot { epoch: epochs, weights });
        Ok(TrainedJob { facts: self.facts, epochs: state.rows, weights })
    }

    /// One epoch with what comes before and after. Where it fails, `state` is as it was, unless it is what `observer` says to the
    /// epoch that fails: then the epoch is done.
    fn pass(&mut self, epoch: u32, state: &mut RunState, observer: &mut dyn Observer) -> Result<(), Failure> {
        let epochs = self.job.configuration.epochs;
        let before = Progress { epoch, epochs, step: 0, steps: self.steps() };
        self.review(epoch, &state.selections, &mut || {
            stop_on_break(observer.progress(before), || format!("in the review before epoch {epoch} of {epochs}"))
        })?;
        let mut measurements = self.epoch(epoch, observer)?;
        let done = Progress { step: self.steps(), ..before };
        self.evaluate(epoch, &mut measurements, &mut || {
            stop_on_break(observer.progress(done), || format!("in the evaluation after epoch {epoch} of {epochs}"))
        })?;
        // From here on nothing is interrupted, so what the last epoch left is not needed while this one's is copied.
        self.checkpoint_writer.iter_mut().for_each(CheckpointWriter::discard_held);
        let here = self.checkpoint_writer.is_some().then(|| self.engine.checkpoint()).transpose().map_err(failed)?;
        let weights = match &here {
            Some(here) => here.weights.clone(),
            None => self.engine.weights().map_err(failed)?,
        };
        if !weights.are_finite() {
            return Err(diverged(&format!("a weight is no longer finite after epoch {epoch}")));
        }
        if let Some((metric, value)) = measurements.iter().find(|(_, value)| !value.is_finite()) {
            return Err(diverged(&format!("{metric} is {value} after epoch {epoch}")));
        }
        state.selections.offer(&measurements, epoch, &weights);
        let flow = observer.epoch(epoch, &measurements);
        state.rows.push((epoch, measurements));
        if let Some((checkpoint_writer, here)) = self.checkpoint_writer.as_mut().zip(here) {
            checkpoint_writer.epoch(state, here, self.criterion.state());
        }
        // After the last it is too late.
        if epoch < epochs { stop_on_break(flow, || format!("after epoch {epoch} of {epochs}")) } else { Ok(()) }
    }

    /// Steps in an epoch; the last takes what is left.
    fn steps(&self) -> u32 {
        self.labels.train.len().div_ceil(self.job.configuration.batch_size) as u32
    }

    /// Shows the criterion the whole training set before the first step, where it wants to see it and the network has learned something
    /// already: what random weights make of it tells nothing.
    fn start(&mut self, check_stop: StopCheck<'_>) -> Result<(), Failure> {
        if self.trained_before && self.criterion.wants_start() {
            let logits = self.logits(evaluation::Subset::Train, check_stop)?;
            self.criterion.start(&self.labels.train, &logits);
        }
        Ok(())
    }

    /// Shows the criterion the whole training set before `epoch`, where it wants to see it, under the weights best in validation so
    /// far; under those at hand where there are none. The engine goes on as if nothing had been.
    fn review(&mut self, epoch: u32, selections: &BestSnapshots, check_stop: StopCheck<'_>) -> Result<(), Failure> {
        if !self.criterion.wants_review(epoch) {
            return Ok(());
        }
        let here = self.engine.checkpoint().map_err(failed)?;
        if let Some(best) = selections.best_validation() {
            let (weights, optimizer) = (best.weights.clone(), here.optimizer.clone());
            self.engine.restore(Checkpoint { weights, optimizer }).map_err(failed)?;
        }
        let logits = self.logits(evaluation::Subset::Train, check_stop)?;
        self.engine.restore(here).map_err(failed)?;
        let classes = self.job.configuration.dataset.classes();
        let given = self.labels.train.iter().map(|sample| self.labels.given[*sample]);
        let p: Vec<f32> =
            logits.chunks_exact(classes).zip(given).map(|(z, y)| probability(z, y as usize) as f32).collect();
        self.criterion.review(&self.labels.train, &p);
        Ok(())
    }
}

/// What an evaluation does every now and then: it asks whether it shall go on.
type StopCheck<'a> = &'a mut dyn FnMut() -> Result<(), Failure>;

fn stop_on_break(flow: ControlFlow<()>, when: impl FnOnce() -> String) -> Result<(), Failure> {
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
    let kind = match error.cause {
        Cause::Device => FailureKind::Infrastructure,
        Cause::Memory => FailureKind::OutOfMemory,
        // No fault of the job's.
        Cause::Host => FailureKind::Preempted,
    };
    Failure::new(kind, format!("the engine failed: {error}"))
}

#[cfg(test)]
pub(crate) mod tests;

//! A job in training: its data, engine and loss.

use super::checkpoint_writer::CheckpointWriter;
use super::context::{EngineFactory, JobContext, RunState};
use super::device_data::DeviceData;
use super::failure::{engine_failure, user_error};
use super::inference::for_each_output;
use super::inputs::TrainInputs;
use super::observer::StopCheck;
use super::prepared_run::PreparedRun;
use crate::data::{InputPipeline, Labels, LoadedDataset, ValidationSamples};
use plusminus_core::job::Job;
use plusminus_core::methods::losses::Criterion;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::outcome::{Facts, Failure};
use plusminus_engines::{Engine, Plan, Weights, new_engine};
use std::sync::Arc;

/// A job in training.
pub(super) struct Run<'a> {
    pub job: &'a Job,
    pub data: Arc<LoadedDataset>,
    pub labels: Labels,
    pub inputs: InputPipeline,
    pub engine: Box<dyn Engine>,
    /// Present if the engine's device holds the data.
    pub device_data: Option<DeviceData>,
    pub criterion: Box<dyn Criterion>,
    /// Whether the initial weights come from another training.
    pub pretrained: bool,
    pub new_engine: Arc<EngineFactory>,
    pub facts: Facts,
    /// The state in which the training loop starts. The loop takes it.
    pub state: RunState,
    pub checkpoint_writer: Option<CheckpointWriter>,
}

/// The samples of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subset {
    /// The training samples, without augmentation.
    Train,
    /// The held-out samples.
    Validation,
    /// The samples of the test file that the job evaluates.
    Test,
}

impl<'a> Run<'a> {
    /// Loads data and weights, and resumes from the last usable checkpoint if `train_inputs` has checkpoints.
    pub fn new(job: &'a Job, train_inputs: TrainInputs<'_>) -> Result<Self, Failure> {
        let (execution, precision) = (train_inputs.execution, job.configuration.precision);
        let factory = move |network: &Network, weights: Weights, optimizer: &Optimizer| {
            new_engine(execution, precision, network, weights, optimizer)
        };
        Run::with_engines(job, train_inputs, Arc::new(factory))
    }

    /// As [`Run::new`], with engines that ignore [`TrainInputs::execution`].
    pub fn with_engines(
        job: &'a Job,
        train_inputs: TrainInputs<'_>,
        new_engine: Arc<EngineFactory>,
    ) -> Result<Self, Failure> {
        let configuration = &*job.configuration;
        if configuration.epochs == 0 || configuration.batch_size == 0 {
            return Err(user_error("epochs and batch_size must be at least 1"));
        }
        let dataset = &configuration.dataset;
        let data = train_inputs.cache.get(dataset)?;
        let labels = Labels::of(job, &data.train, train_inputs.cache.directories())?;
        let inputs = InputPipeline::new(&configuration.normalize, &data.train, &labels.train)?;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let plan = Arc::new(Plan::of(&network));
        let context = JobContext { job, network: &network, plan: &plan, data: &data, labels: &labels };
        let prepared = PreparedRun::new(context, train_inputs, &*new_engine)?;
        let PreparedRun { mut engine, criterion, facts, pretrained, state, checkpoint_writer } = prepared;
        let batch = configuration.batch_size.min(labels.train.len());
        engine.on_device().map_or(Ok(()), |device| device.reserve(batch)).map_err(engine_failure)?;
        let device_data = DeviceData::upload(&data, &inputs, &mut *engine)?;
        Ok(Run {
            job,
            data,
            labels,
            inputs,
            engine,
            device_data,
            criterion,
            pretrained,
            new_engine,
            facts,
            state,
            checkpoint_writer,
        })
    }

    /// The number of steps in an epoch. The last step takes the remaining samples.
    pub fn steps(&self) -> u32 {
        self.labels.train.len().div_ceil(self.job.configuration.batch_size) as u32
    }

    /// The samples that the job validates on.
    pub fn validation_samples(&self) -> Result<ValidationSamples<'_>, Failure> {
        ValidationSamples::of(&self.data, &self.labels, self.job.configuration.split).map_err(user_error)
    }

    /// The logits of a subset: a row for each of its samples, in their order.
    pub fn logits(&mut self, subset: Subset, stop_check: StopCheck<'_>) -> Result<Vec<f32>, Failure> {
        let Run { job, data, labels, inputs, engine, device_data, .. } = self;
        let (sample_set, samples) = match subset {
            Subset::Train => (&data.train, labels.train.clone()),
            Subset::Validation => {
                let validation = ValidationSamples::of(data, labels, job.configuration.split).map_err(user_error)?;
                (validation.sample_set, validation.samples)
            }
            Subset::Test => (&data.test, (0..job.configuration.tested(data.test.len())).collect()),
        };
        let mut all = Vec::with_capacity(samples.len() * job.configuration.dataset.classes());
        let mut append = |logits: &[f32]| {
            all.extend_from_slice(logits);
            stop_check()
        };
        match (device_data, engine.on_device()) {
            (Some(device_data), Some(device)) => {
                let offset = device_data.offset(data, sample_set);
                let samples: Vec<usize> = samples.iter().map(|sample| offset + sample).collect();
                let mut outputs = Vec::new();
                for samples in samples.chunks(device.evaluation_batch().max(1)) {
                    device.held_logits(samples, &mut outputs).map_err(engine_failure)?;
                    append(&outputs)?;
                }
            }
            _ => for_each_output(&mut **engine, (sample_set, inputs), &samples, append)?,
        }
        Ok(all)
    }
}

//! Makes a job's engine and loss, in the state of its last usable checkpoint or as at the start.

use super::best_snapshots::BestSnapshots;
use super::checkpoint_writer::CheckpointWriter;
use super::context::{EngineFactory, JobContext, RunState};
use super::failure::{engine_failure, user_error};
use super::inputs::TrainInputs;
use super::starting_point::StartingPoint;
use crate::checkpoint::{self, CheckpointError, CheckpointOrigin, CheckpointStore, SavedCheckpoint};
use crate::data::ValidationSamples;
use plusminus_core::methods::losses::{Criterion, Setting};
use plusminus_core::outcome::{Facts, Failure, Samples};
use plusminus_engines::{Cause, Engine, EngineError};
use std::collections::BTreeMap;

/// An engine and a loss, ready for the next epoch.
pub(super) struct PreparedRun {
    pub engine: Box<dyn Engine>,
    pub criterion: Box<dyn Criterion>,
    pub facts: Facts,
    /// Whether the initial weights come from another training. `false` after a resume.
    pub pretrained: bool,
    pub state: RunState,
    /// Present if the job writes checkpoints.
    pub checkpoint_writer: Option<CheckpointWriter>,
}

impl PreparedRun {
    /// Resumes from the last usable checkpoint. Starts from the first epoch if there is none, or if no checkpoints are wanted.
    pub fn new(
        context: JobContext<'_>,
        train_inputs: TrainInputs<'_>,
        new_engine: &EngineFactory,
    ) -> Result<Self, Failure> {
        let Some(options) = train_inputs.checkpoints else {
            let start = StartingPoint::of(context, train_inputs, new_engine)?;
            return PreparedRun::from_start(context, (train_inputs, new_engine), start).map(|(prepared, _)| prepared);
        };
        let store = CheckpointStore::open(options, context.job.id());
        let checkpoints = store.list().unwrap_or_else(|error| {
            tracing::warn!("cannot list the checkpoints in {}: {error}", store.directory().display());
            Vec::new()
        });
        for id in checkpoints {
            let path = store.path(id);
            match checkpoint::read(&path, context.job.id(), context.plan)
                .and_then(|saved| PreparedRun::from_checkpoint(context, (train_inputs, new_engine), saved))
            {
                Ok((mut prepared, origin)) => {
                    tracing::info!("resumes after epoch {} from {}", id.epoch, path.display());
                    let resumed = Some((id, prepared.state.epoch()));
                    prepared.checkpoint_writer = Some(CheckpointWriter::new(options, store, origin, resumed));
                    return Ok(prepared);
                }
                Err(why) => tracing::warn!(
                    "the checkpoint {} is not used: {why}; the job resumes from the one before, or starts again if there is none",
                    path.display()
                ),
            }
        }
        let start = StartingPoint::of(context, train_inputs, new_engine)?;
        let (prepared, origin) = PreparedRun::from_start(context, (train_inputs, new_engine), start)?;
        let writer = CheckpointWriter::new(options, store, origin, None);
        Ok(PreparedRun { checkpoint_writer: Some(writer), ..prepared })
    }

    /// Starts from the first epoch.
    fn from_start(
        context: JobContext<'_>,
        (train_inputs, new_engine): (TrainInputs<'_>, &EngineFactory),
        start: StartingPoint,
    ) -> Result<(Self, CheckpointOrigin), Failure> {
        let JobContext { job, network, plan, data, labels } = context;
        let StartingPoint { weights, file, transition, pretrained } = start;
        let configuration = &*job.configuration;
        let classes = configuration.dataset.classes();
        let setting = Setting { classes, given: &labels.given, transition: transition.clone() };
        let criterion = configuration.loss.criterion(setting).map_err(user_error)?;
        // An engine that was selected by name and does not support the network fails in every attempt.
        let by_name = train_inputs.execution.engine.is_some();
        let refused = |error: EngineError| match error.cause {
            Cause::Device if by_name => user_error(error),
            _ => engine_failure(error),
        };
        let engine = new_engine(network, weights, &configuration.optimizer).map_err(refused)?;
        let validation = ValidationSamples::of(data, labels, configuration.split).map_err(user_error)?.samples.len();
        let samples = Samples { train: labels.train.len(), validation, test: configuration.tested(data.test.len()) };
        let facts = Facts {
            parameters: plan.trained(),
            samples,
            noise_rate: labels.noise_rate,
            transition: labels.transition.clone(),
            data: labels.digest(&data.digest),
            engine: engine.name(),
            weights: String::new(),
            start: file,
            kept: BTreeMap::new(),
        };
        let origin = CheckpointOrigin {
            job: job.id(),
            engine: engine.reproducibility_key(),
            parent: train_inputs.parent.map(|parent| parent.digest),
            facts: facts.clone(),
            transition,
        };
        let state = RunState::default();
        Ok((PreparedRun { engine, criterion, facts, pretrained, state, checkpoint_writer: None }, origin))
    }

    /// Resumes from `saved`. It needs none of the files from which the job started. But if `train_inputs` has weights of the parent,
    /// they must be those from which the checkpoint's training started.
    fn from_checkpoint(
        context: JobContext<'_>,
        (train_inputs, new_engine): (TrainInputs<'_>, &EngineFactory),
        saved: SavedCheckpoint,
    ) -> Result<(Self, CheckpointOrigin), CheckpointError> {
        let SavedCheckpoint { origin: before, engine, criterion, best, rows } = saved;
        let epochs = context.job.configuration.epochs;
        if rows.len() > epochs as usize {
            return Err(CheckpointError::State(format!("it has {} epochs, the job {epochs}", rows.len())));
        }
        let start = StartingPoint {
            weights: engine.weights.clone(),
            file: before.facts.start.clone(),
            transition: before.transition.clone(),
            // The review before the first step has been done.
            pretrained: false,
        };
        let prepared = PreparedRun::from_start(context, (train_inputs, new_engine), start);
        let (mut prepared, mut origin) = prepared.map_err(|failure| CheckpointError::State(failure.message))?;
        if before.engine != origin.engine {
            return Err(CheckpointError::Engine { found: before.engine, expected: origin.engine });
        }
        if origin.parent.is_some() && origin.parent != before.parent {
            return Err(CheckpointError::Parent);
        }
        origin.parent = before.parent;
        // Engines with equal reproducibility keys may have different names.
        if (Facts { engine: origin.facts.engine.clone(), ..before.facts }) != origin.facts {
            return Err(CheckpointError::Data);
        }
        prepared.engine.restore(engine).map_err(|error| CheckpointError::State(error.to_string()))?;
        prepared.criterion.restore(&criterion).map_err(CheckpointError::State)?;
        prepared.state = RunState { rows, best: BestSnapshots::from_parts(best) };
        Ok((prepared, origin))
    }
}

//! Where a training begins: anew, or after the epoch of a checkpoint; and how it leaves checkpoints itself.

use super::best_snapshots::BestSnapshots;
use super::starting_point::StartingPoint;
use super::{EngineFactory, TrainInputs, failed, user_error};
use crate::checkpoint::{
    self, CheckpointError, CheckpointOptions, CheckpointOrigin, CheckpointStore, SavedCheckpoint, TrainingState,
};
use crate::data::{Labels, LoadedDataset};
use plusminus_core::job::Job;
use plusminus_core::methods::losses::{Criterion, Setting};
use plusminus_core::methods::networks::Network;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Facts, Failure, Samples};
use plusminus_engines::{Cause, Checkpoint, Engine, EngineError, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

/// How far a training has come, beside what engine and criterion hold.
#[derive(Default)]
pub(super) struct RunState {
    /// Every epoch's measurements, in order, from epoch 1.
    pub rows: Vec<(u32, Measurements)>,
    /// The weights best so far.
    pub selections: BestSnapshots,
}

impl RunState {
    /// Epochs that are done.
    pub fn epoch(&self) -> u32 {
        self.rows.len() as u32
    }
}

/// What a job is trained on: the same in all attempts.
#[derive(Clone, Copy)]
pub(super) struct JobContext<'a> {
    pub job: &'a Job,
    pub network: &'a Network,
    pub plan: &'a Arc<Plan>,
    pub data: &'a LoadedDataset,
    pub labels: &'a Labels,
}

/// A job that can be trained, from the first epoch or a later one.
pub(super) struct PreparedRun {
    pub engine: Box<dyn Engine>,
    pub criterion: Box<dyn Criterion>,
    pub facts: Facts,
    /// Whether the weights that it begins with come from another training.
    pub trained_before: bool,
    pub state: RunState,
    /// Where checkpoints are asked for.
    pub checkpoint_writer: Option<CheckpointWriter>,
}

impl PreparedRun {
    /// After the last checkpoint that is good, if one is asked for and there is one; anew otherwise.
    pub fn new(
        context: JobContext<'_>,
        train_inputs: TrainInputs<'_>,
        engine_factory: &EngineFactory,
    ) -> Result<Self, Failure> {
        let Some(checkpoints) = train_inputs.checkpoints else {
            let starting_point = StartingPoint::of(context, train_inputs, engine_factory)?;
            return PreparedRun::of(context, (train_inputs, engine_factory), starting_point)
                .map(|(prepared, _)| prepared);
        };
        let mut store = CheckpointStore::open(checkpoints, context.job.id());
        let lying = store.found().unwrap_or_else(|error| {
            tracing::warn!("no checkpoint can be looked for in {}: {error}", store.directory().display());
            Vec::new()
        });
        for found in lying {
            match checkpoint::read(&found.path, context.job.id(), context.plan)
                .and_then(|saved| PreparedRun::resume(context, (train_inputs, engine_factory), saved))
            {
                Ok((mut prepared, about)) => {
                    tracing::info!("goes on after epoch {} from {}", found.epoch, found.path.display());
                    store.keep(found);
                    prepared.checkpoint_writer =
                        Some(CheckpointWriter::new(checkpoints, store, about, prepared.state.epoch()));
                    return Ok(prepared);
                }
                Err(why) => tracing::warn!(
                    "the checkpoint {} is not used: {why}; the job goes on from the one before, or begins anew if there is none",
                    found.path.display()
                ),
            }
        }
        let starting_point = StartingPoint::of(context, train_inputs, engine_factory)?;
        let (prepared, about) = PreparedRun::of(context, (train_inputs, engine_factory), starting_point)?;
        Ok(PreparedRun { checkpoint_writer: Some(CheckpointWriter::new(checkpoints, store, about, 0)), ..prepared })
    }

    /// With these weights.
    fn of(
        context: JobContext<'_>,
        (train_inputs, engine_factory): (TrainInputs<'_>, &EngineFactory),
        starting_point: StartingPoint,
    ) -> Result<(Self, CheckpointOrigin), Failure> {
        let JobContext { job, network, plan, data, labels } = context;
        let StartingPoint { weights, file, transition, trained_before } = starting_point;
        let configuration = &*job.configuration;
        let classes = configuration.dataset.classes();
        let setting = Setting { classes, given: &labels.given, transition: transition.clone() };
        let criterion = configuration.loss.criterion(setting).map_err(user_error)?;
        // An engine that was asked for by name and cannot run the network is no accident: another try ends as this one.
        let by_name = train_inputs.execution.engine.is_some();
        let refused = |error: EngineError| match error.cause {
            Cause::Device if by_name => user_error(error),
            _ => failed(error),
        };
        let engine = engine_factory(network, weights, &configuration.optimizer).map_err(refused)?;
        let validation = data.held_out(labels, configuration.split).map_err(user_error)?.samples.len();
        let samples = Samples { train: labels.train.len(), validation, test: configuration.tested(data.test.len()) };
        let facts = Facts {
            parameters: plan.trained(),
            samples,
            noise_rate: labels.noise_rate,
            transition: labels.transition.clone(),
            data: labels.digest(data),
            engine: engine.name(),
            weights: String::new(),
            start: file,
            kept: BTreeMap::new(),
        };
        let parent = train_inputs.parent.map(|parent| parent.digest);
        let about = CheckpointOrigin {
            job: job.id(),
            engine: engine.reproducibility_key(),
            parent,
            facts: facts.clone(),
            transition,
        };
        Ok((
            PreparedRun {
                engine,
                criterion,
                facts,
                trained_before,
                state: RunState::default(),
                checkpoint_writer: None,
            },
            about,
        ))
    }

    /// Where `saved` stood. Of the files that the job began with none is asked for: what came from them is there. But where weights of the
    /// parent are given, they must be those.
    fn resume(
        context: JobContext<'_>,
        (train_inputs, engine_factory): (TrainInputs<'_>, &EngineFactory),
        saved: SavedCheckpoint,
    ) -> Result<(Self, CheckpointOrigin), CheckpointError> {
        let SavedCheckpoint { about: before, here, criterion, best, rows } = saved;
        let epochs = context.job.configuration.epochs;
        if rows.len() > epochs as usize {
            return Err(CheckpointError::State(format!("it stands after epoch {} of {epochs}", rows.len())));
        }
        let starting_point = StartingPoint {
            weights: here.weights.clone(),
            file: before.facts.start.clone(),
            transition: before.transition.clone(),
            // What was to be looked at before the first step has been.
            trained_before: false,
        };
        let prepared = PreparedRun::of(context, (train_inputs, engine_factory), starting_point);
        let (mut prepared, mut about) = prepared.map_err(|failure| CheckpointError::State(failure.message))?;
        if before.engine != about.engine {
            return Err(CheckpointError::Engine { found: before.engine, expected: about.engine });
        }
        if about.parent.is_some() && about.parent != before.parent {
            return Err(CheckpointError::Parent);
        }
        about.parent = before.parent;
        // Engines of one kin may have several names.
        if (Facts { engine: about.facts.engine.clone(), ..before.facts }) != about.facts {
            return Err(CheckpointError::Data);
        }
        prepared.engine.restore(here).map_err(|error| CheckpointError::State(error.to_string()))?;
        prepared.criterion.restore(&criterion).map_err(CheckpointError::State)?;
        prepared.state = RunState { rows, selections: BestSnapshots::from_parts(best) };
        Ok((prepared, about))
    }
}

/// Leaves checkpoints of a training.
///
/// What goes wrong with them is told and changes nothing else: the training is worth more than they are.
pub(super) struct CheckpointWriter {
    interval: checkpoint::CheckpointInterval,
    store: CheckpointStore,
    about: CheckpointOrigin,
    /// What engine and criterion held after the last epoch; nothing once it has been written.
    held: Option<(Checkpoint, Vec<u8>)>,
    /// When one was last written, or should have been.
    tried: Instant,
    /// After which epoch.
    tried_epoch: u32,
    /// What has gone wrong already: each kind is told once.
    told: BTreeSet<ErrorKind>,
}

impl CheckpointWriter {
    fn new(checkpoints: CheckpointOptions<'_>, store: CheckpointStore, about: CheckpointOrigin, epoch: u32) -> Self {
        let interval = checkpoints.interval;
        CheckpointWriter {
            interval,
            store,
            about,
            held: None,
            tried: Instant::now(),
            tried_epoch: epoch,
            told: BTreeSet::new(),
        }
    }

    /// Drops what is held: it is about to be the last but one.
    pub fn discard_held(&mut self) {
        self.held = None;
    }

    /// An epoch is done, and `state` has it: holds what the next one starts from, and writes it where that is due.
    pub fn epoch(&mut self, state: &RunState, here: Checkpoint, criterion: Vec<u8>) {
        self.held = Some((here, criterion));
        if self.interval.is_due(state.epoch() - self.tried_epoch, self.tried.elapsed()) {
            self.write(state);
        }
    }

    /// Writes what is held, if it has not been written.
    pub fn write(&mut self, state: &RunState) {
        let Some((here, criterion)) = &self.held else { return };
        let standing = TrainingState { here, criterion, best: state.selections.parts(), rows: &state.rows };
        (self.tried, self.tried_epoch) = (Instant::now(), state.epoch());
        match self.store.write(state.epoch(), |out| checkpoint::write(out, &self.about, standing)) {
            Ok(()) => self.held = None,
            Err(error) if self.told.insert(error.kind()) => tracing::warn!(
                "no checkpoint could be written to {} after epoch {}: {error}; the training goes on and it is tried again, and \
                 should it be interrupted before, what was trained since the last checkpoint is trained again",
                self.store.directory().display(),
                state.epoch()
            ),
            Err(_) => {}
        }
    }
}

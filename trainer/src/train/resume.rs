//! Where a training begins: anew, or after the epoch of a checkpoint; and how it leaves checkpoints itself.

use super::best::Selections;
use super::start::Beginning;
use super::{Engines, Supplies, failed, user_error};
use crate::checkpoint::{self, About, Checkpoints, Saved, Shelf, Standing, Unusable};
use crate::data::{Data, Labels};
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
pub(super) struct Course {
    /// Every epoch's measurements, in order, from epoch 1.
    pub rows: Vec<(u32, Measurements)>,
    /// The weights best so far.
    pub selections: Selections,
}

impl Course {
    /// Epochs that are done.
    pub fn epoch(&self) -> u32 {
        self.rows.len() as u32
    }
}

/// What a job is trained on: the same in all attempts.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub job: &'a Job,
    pub network: &'a Network,
    pub plan: &'a Arc<Plan>,
    pub data: &'a Data,
    pub labels: &'a Labels,
}

/// A job that can be trained, from the first epoch or a later one.
pub(super) struct Begun {
    pub engine: Box<dyn Engine>,
    pub criterion: Box<dyn Criterion>,
    pub facts: Facts,
    /// Whether the weights that it begins with come from another training.
    pub trained_before: bool,
    pub course: Course,
    /// Where checkpoints are asked for.
    pub keeper: Option<Keeper>,
}

impl Begun {
    /// After the last checkpoint that is good, if one is asked for and there is one; anew otherwise.
    pub fn new(ground: Ground<'_>, supplies: Supplies<'_>, engines: &Engines) -> Result<Self, Failure> {
        let Some(checkpoints) = supplies.checkpoints else {
            let beginning = Beginning::of(ground, supplies, engines)?;
            return Begun::of(ground, (supplies, engines), beginning).map(|(begun, _)| begun);
        };
        let mut shelf = Shelf::open(checkpoints, ground.job.id());
        let lying = shelf.found().unwrap_or_else(|error| {
            tracing::warn!("no checkpoint can be looked for in {}: {error}", shelf.directory().display());
            Vec::new()
        });
        for found in lying {
            match checkpoint::read(&found.path, ground.job.id(), ground.plan)
                .and_then(|saved| Begun::resume(ground, (supplies, engines), saved))
            {
                Ok((mut begun, about)) => {
                    tracing::info!("goes on after epoch {} from {}", found.epoch, found.path.display());
                    shelf.keep(found);
                    begun.keeper = Some(Keeper::new(checkpoints, shelf, about, begun.course.epoch()));
                    return Ok(begun);
                }
                Err(why) => tracing::warn!(
                    "the checkpoint {} is not used: {why}; the job goes on from the one before, or begins anew if there is none",
                    found.path.display()
                ),
            }
        }
        let beginning = Beginning::of(ground, supplies, engines)?;
        let (begun, about) = Begun::of(ground, (supplies, engines), beginning)?;
        Ok(Begun { keeper: Some(Keeper::new(checkpoints, shelf, about, 0)), ..begun })
    }

    /// With these weights.
    fn of(
        ground: Ground<'_>,
        (supplies, engines): (Supplies<'_>, &Engines),
        beginning: Beginning,
    ) -> Result<(Self, About), Failure> {
        let Ground { job, network, plan, data, labels } = ground;
        let Beginning { weights, file, transition, trained_before } = beginning;
        let configuration = &*job.configuration;
        let classes = configuration.dataset.classes();
        let setting = Setting { classes, given: &labels.given, transition: transition.clone() };
        let criterion = configuration.loss.criterion(setting).map_err(user_error)?;
        // An engine that was asked for by name and cannot run the network is no accident: another try ends as this one.
        let by_name = supplies.means.engine.is_some();
        let refused = |error: EngineError| match error.cause {
            Cause::Device if by_name => user_error(error),
            _ => failed(error),
        };
        let engine = engines(network, weights, &configuration.optimizer).map_err(refused)?;
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
        let parent = supplies.parent.map(|parent| parent.digest);
        let about =
            About { job: job.id(), engine: engine.reproducibility_key(), parent, facts: facts.clone(), transition };
        Ok((Begun { engine, criterion, facts, trained_before, course: Course::default(), keeper: None }, about))
    }

    /// Where `saved` stood. Of the files that the job began with none is asked for: what came from them is there. But where weights of the
    /// parent are given, they must be those.
    fn resume(
        ground: Ground<'_>,
        (supplies, engines): (Supplies<'_>, &Engines),
        saved: Saved,
    ) -> Result<(Self, About), Unusable> {
        let Saved { about: before, here, criterion, best, rows } = saved;
        let epochs = ground.job.configuration.epochs;
        if rows.len() > epochs as usize {
            return Err(Unusable::State(format!("it stands after epoch {} of {epochs}", rows.len())));
        }
        let beginning = Beginning {
            weights: here.weights.clone(),
            file: before.facts.start.clone(),
            transition: before.transition.clone(),
            // What was to be looked at before the first step has been.
            trained_before: false,
        };
        let begun = Begun::of(ground, (supplies, engines), beginning);
        let (mut begun, mut about) = begun.map_err(|failure| Unusable::State(failure.message))?;
        if before.engine != about.engine {
            return Err(Unusable::Engine { found: before.engine, expected: about.engine });
        }
        if about.parent.is_some() && about.parent != before.parent {
            return Err(Unusable::Parent);
        }
        about.parent = before.parent;
        // Engines of one kin may have several names.
        if (Facts { engine: about.facts.engine.clone(), ..before.facts }) != about.facts {
            return Err(Unusable::Data);
        }
        begun.engine.restore(here).map_err(|error| Unusable::State(error.to_string()))?;
        begun.criterion.restore(&criterion).map_err(Unusable::State)?;
        begun.course = Course { rows, selections: Selections::from_parts(best) };
        Ok((begun, about))
    }
}

/// Leaves checkpoints of a training.
///
/// What goes wrong with them is told and changes nothing else: the training is worth more than they are.
pub(super) struct Keeper {
    every: checkpoint::Every,
    shelf: Shelf,
    about: About,
    /// What engine and criterion held after the last epoch; nothing once it has been written.
    held: Option<(Checkpoint, Vec<u8>)>,
    /// When one was last written, or should have been.
    tried: Instant,
    /// After which epoch.
    tried_epoch: u32,
    /// What has gone wrong already: each kind is told once.
    told: BTreeSet<ErrorKind>,
}

impl Keeper {
    fn new(checkpoints: Checkpoints<'_>, shelf: Shelf, about: About, epoch: u32) -> Self {
        let every = checkpoints.every;
        Keeper { every, shelf, about, held: None, tried: Instant::now(), tried_epoch: epoch, told: BTreeSet::new() }
    }

    /// Drops what is held: it is about to be the last but one.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// An epoch is done, and `course` has it: holds what the next one starts from, and writes it where that is due.
    pub fn epoch(&mut self, course: &Course, here: Checkpoint, criterion: Vec<u8>) {
        self.held = Some((here, criterion));
        if self.every.is_due(course.epoch() - self.tried_epoch, self.tried.elapsed()) {
            self.write(course);
        }
    }

    /// Writes what is held, if it has not been written.
    pub fn write(&mut self, course: &Course) {
        let Some((here, criterion)) = &self.held else { return };
        let standing = Standing { here, criterion, best: course.selections.parts(), rows: &course.rows };
        (self.tried, self.tried_epoch) = (Instant::now(), course.epoch());
        match self.shelf.write(course.epoch(), |out| checkpoint::write(out, &self.about, standing)) {
            Ok(()) => self.held = None,
            Err(error) if self.told.insert(error.kind()) => tracing::warn!(
                "no checkpoint could be written to {} after epoch {}: {error}; the training goes on and it is tried again, and \
                 should it be interrupted before, what was trained since the last checkpoint is trained again",
                self.shelf.directory().display(),
                course.epoch()
            ),
            Err(_) => {}
        }
    }
}

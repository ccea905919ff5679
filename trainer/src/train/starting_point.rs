//! The initial weights of a job and the transition matrix of its loss. Both may come from its parent job.

use super::context::{EngineFactory, JobContext};
use super::failure::{engine_failure, user_error};
use super::inference::for_each_output;
use super::inputs::TrainInputs;
use crate::data::InputPipeline;
use crate::initial_weights::{LoadedWeights, find_and_load, from_safetensors};
use plusminus_core::id::Digest;
use plusminus_core::job::{Job, Parent, Takes};
use plusminus_core::methods::losses::{Forward, Loss};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::outcome::{Failure, FailureKind, Start};
use plusminus_core::random::Stream;
use plusminus_engines::{Plan, Weights};
use std::fs;
use std::sync::Arc;

/// The state of a job before its first epoch.
pub(super) struct StartingPoint {
    pub weights: Weights,
    /// The file of the initial weights, if the configuration names one.
    pub file: Option<Start>,
    /// The transition matrix of forward correction, true or estimated.
    pub transition: Option<TransitionMatrix>,
    /// Whether all of the weights come from another training.
    pub pretrained: bool,
}

impl StartingPoint {
    /// Reads or draws the weights, and estimates the transition matrix if the loss needs it.
    pub fn of(
        context: JobContext<'_>,
        train_inputs: TrainInputs<'_>,
        new_engine: &EngineFactory,
    ) -> Result<Self, Failure> {
        let JobContext { job, network, plan, .. } = context;
        let configuration = &*job.configuration;
        let random = plan.initial(&mut job.streams().generator(Stream::Weights, 0));
        let parent = configuration.parent.as_deref();
        if let (Some(parent), Takes::Weights) = (parent, configuration.takes()) {
            let weights = parent_weights(parent, plan, train_inputs)?;
            let transition = true_transition(job)?;
            return Ok(StartingPoint { weights, file: None, transition, pretrained: true });
        }
        let transition = match (&configuration.loss, parent) {
            (Loss::Forward(Forward::Estimated { percentile }), Some(parent)) => {
                Some(estimate_transition(*percentile, context, parent, (train_inputs, new_engine))?)
            }
            (Loss::Forward(Forward::Estimated { .. }), None) => {
                return Err(user_error(
                    "forward correction with an estimated transition matrix needs a `parent`, whose network makes the estimate",
                ));
            }
            _ => true_transition(job)?,
        };
        let (weights, file) = match &configuration.initial_weights {
            None => (random, None),
            Some(named) => {
                let loaded = find_and_load(named, train_inputs.cache.directories(), network, random);
                let LoadedWeights { weights, start } = loaded?;
                (weights, Some(start))
            }
        };
        let pretrained = file.as_ref().is_some_and(|file| !file.random_classifier);
        Ok(StartingPoint { weights, file, transition, pretrained })
    }
}

/// The noise's transition matrix, for forward correction with the true matrix; `None` for other losses.
fn true_transition(job: &Job) -> Result<Option<TransitionMatrix>, Failure> {
    let configuration = &job.configuration;
    match configuration.loss {
        Loss::Forward(Forward::True {}) => {
            configuration.noise.true_transition(&configuration.dataset).map(Some).map_err(user_error)
        }
        _ => Ok(None),
    }
}

/// Reads the weights that the parent job kept, and checks their digest.
fn parent_weights(parent: &Parent, plan: &Arc<Plan>, train_inputs: TrainInputs<'_>) -> Result<Weights, Failure> {
    let at = parent.at;
    let failure = |problem: String| Failure::new(FailureKind::Infrastructure, problem);
    let given = train_inputs.parent.ok_or_else(|| {
        failure(format!("the weights of the parent job ({at}) are missing: this attempt was started without them"))
    })?;
    let path = given.path.display();
    let unreadable = |error| failure(format!("cannot read the weights of the parent job ({at}), {path}: {error}"));
    let bytes = fs::read(given.path).map_err(unreadable)?;
    let (expected, found) = (given.digest, Digest::of(&bytes));
    if found != expected {
        return Err(failure(format!(
            "the weights of the parent job ({at}), {path}, are damaged: expected the digest {expected}, found {found}"
        )));
    }
    from_safetensors(&bytes, plan)
        .map_err(|error| failure(format!("the weights of the parent job ({at}) do not fit: {error}")))
}

/// Estimates the transition matrix from the outputs of the parent's network for the training samples.
fn estimate_transition(
    percentile: f64,
    context: JobContext<'_>,
    parent: &Parent,
    (train_inputs, new_engine): (TrainInputs<'_>, &EngineFactory),
) -> Result<TransitionMatrix, Failure> {
    let JobContext { job, data, labels, .. } = context;
    let configuration = &parent.configuration;
    let dataset = &job.configuration.dataset;
    let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
    let weights = parent_weights(parent, &Arc::new(Plan::of(&network)), train_inputs)?;
    let inputs = InputPipeline::new(&configuration.normalize, &data.train, &labels.train)?;
    let mut engine = new_engine(&network, weights, &configuration.optimizer).map_err(engine_failure)?;
    let mut all = Vec::with_capacity(labels.train.len() * dataset.classes());
    for_each_output(&mut *engine, (&data.train, &inputs), &labels.train, |logits| {
        all.extend_from_slice(logits);
        Ok(())
    })?;
    Forward::estimate(percentile, &all, dataset.classes()).map_err(user_error)
}

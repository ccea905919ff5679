//! What a job begins with: its weights, and the transition matrix that its loss has to know. Both may come from another job, its parent.

use super::evaluation::outputs;
use super::resume::Ground;
use super::{Engines, Supplies, failed, user_error};
use crate::data::Inputs;
use crate::initial::{Loaded, find_and_load, from_safetensors};
use plusminus_core::id::Digest;
use plusminus_core::job::{Job, Parent, Takes};
use plusminus_core::methods::losses::{Forward, Loss};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::outcome::{Failure, FailureKind, Start};
use plusminus_core::random::Stream;
use plusminus_engines::{Plan, Weights};
use std::fs;
use std::sync::Arc;

/// What a job begins with.
pub(super) struct Beginning {
    /// Its weights.
    pub weights: Weights,
    /// The file that they came from, if the configuration names one.
    pub file: Option<Start>,
    /// Forward correction's transition matrix, true or estimated.
    pub transition: Option<TransitionMatrix>,
    /// Whether the whole network has learned something already.
    pub trained_before: bool,
}

impl Beginning {
    /// Of a job that is trained from its first epoch.
    pub fn of(ground: Ground<'_>, supplies: Supplies<'_>, engines: &Engines) -> Result<Self, Failure> {
        let Ground { job, network, plan, .. } = ground;
        let configuration = &*job.configuration;
        let random = plan.initial(&mut job.streams().generator(Stream::Weights, 0));
        let parent = configuration.parent.as_deref();
        if let (Some(parent), Takes::Weights) = (parent, configuration.takes()) {
            let weights = of_parent(parent, plan, supplies)?;
            let transition = true_transition(job)?;
            return Ok(Beginning { weights, file: None, transition, trained_before: true });
        }
        let transition = match (&configuration.loss, parent) {
            (Loss::Forward(Forward::Estimated { percentile }), Some(parent)) => {
                Some(estimated(*percentile, ground, parent, (supplies, engines))?)
            }
            (Loss::Forward(Forward::Estimated { .. }), None) => {
                return Err(user_error("an estimated transition matrix needs a `parent`, whose network makes it"));
            }
            _ => true_transition(job)?,
        };
        let (weights, file) = match &configuration.initial_weights {
            None => (random, None),
            Some(named) => {
                let loaded = find_and_load(named, supplies.cache.datasets(), network, random);
                let Loaded { weights, start } = loaded?;
                (weights, Some(start))
            }
        };
        let trained_before = file.as_ref().is_some_and(|file| !file.random_classifier);
        Ok(Beginning { weights, file, transition, trained_before })
    }
}

/// What forward correction with the true matrix has to know; nothing for other losses.
fn true_transition(job: &Job) -> Result<Option<TransitionMatrix>, Failure> {
    let configuration = &job.configuration;
    match configuration.loss {
        Loss::Forward(Forward::True {}) => {
            configuration.noise.true_transition(&configuration.dataset).map(Some).map_err(user_error)
        }
        _ => Ok(None),
    }
}

/// The weights that the parent has left.
fn of_parent(parent: &Parent, plan: &Arc<Plan>, supplies: Supplies<'_>) -> Result<Weights, Failure> {
    let at = parent.at;
    let lost = |problem: String| Failure::new(FailureKind::Infrastructure, problem);
    let given =
        supplies.parent.ok_or_else(|| lost(format!("the weights of the parent ({at}) were not handed over")))?;
    let path = given.path.display();
    let bytes = fs::read(given.path).map_err(|error| lost(format!("{path}: {error}")))?;
    let (expected, found) = (given.digest, Digest::of(&bytes));
    if found != expected {
        let what = format!("the parent's weights ({at}), {path}, have the digest {found}, expected {expected}");
        return Err(lost(format!("{what}: the file is damaged")));
    }
    from_safetensors(&bytes, plan).map_err(|error| lost(format!("the parent's weights ({at}): {error}")))
}

/// T̂ from what the parent's network says of the samples that are trained on.
fn estimated(
    percentile: f64,
    ground: Ground<'_>,
    parent: &Parent,
    (supplies, engines): (Supplies<'_>, &Engines),
) -> Result<TransitionMatrix, Failure> {
    let Ground { job, data, labels, .. } = ground;
    let configuration = &parent.configuration;
    let dataset = &job.configuration.dataset;
    let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
    let weights = of_parent(parent, &Arc::new(Plan::of(&network)), supplies)?;
    let inputs = Inputs::new(&configuration.normalize, &data.train, &labels.train)?;
    let mut engine = engines(&network, weights, &configuration.optimizer).map_err(failed)?;
    let mut all = Vec::with_capacity(labels.train.len() * dataset.classes());
    outputs(&mut *engine, (&data.train, &inputs), &labels.train, |logits| {
        all.extend_from_slice(logits);
        Ok(())
    })?;
    Forward::estimate(percentile, &all, dataset.classes()).map_err(user_error)
}

//! A job: one fully resolved configuration under one seed.

use crate::diagnostics::Diagnostic;
use crate::id::{CellId, JobId};
use crate::methods::augment::{Augment, Normalize};
use crate::methods::dataset::Dataset;
use crate::methods::losses::Loss;
use crate::methods::networks::Model;
use crate::methods::noise::Noise;
use crate::methods::optimizer::Optimizer;
use crate::methods::schedule::Schedule;
use crate::random::Streams;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Everything about a job but its seed, with every default filled in.
///
/// Its canonical form is its JSON with the fields in this order. A job's id is a hash of that form, so results found under
/// an id stay valid only as long as a field keeps its name, place and meaning: a field that is added later is left out of
/// the form where it has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// What is learned.
    pub dataset: Dataset,
    /// The network.
    pub model: Model,
    /// What is minimised.
    pub loss: Loss,
    /// What is done to the labels.
    pub noise: Noise,
    /// Feeds the noise in place of the job's seed, so that several seeds share their corrupted labels.
    pub noise_seed: Option<u64>,
    /// How weights follow gradients.
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Passes over the training samples, ≥ 1.
    pub epochs: u32,
    /// Samples in a step, ≥ 1; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// How many training samples there are, the first of the file, 1 ≤ size < the data set's; without it all of them. The rest has
    /// no part in the job: not in the split, the noise or the statistics of the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,
    /// Share of the training samples held out for validation, with their noise, 0 ≤ share < 1.
    pub validation: f64,
    /// Random changes of training images.
    pub augment: Vec<Augment>,
    /// How pixels become inputs.
    pub normalize: Normalize,
    /// What is measured beside accuracies and losses, each once and in the order of [`Diagnostic::ALL`]. It changes nothing that is
    /// trained, and yet is part of the job, whose results have to be what was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

impl Configuration {
    /// The canonical form.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("a configuration is plain data")
    }

    /// The cell that this configuration makes.
    pub fn cell(&self) -> CellId {
        CellId::of(&[self.canonical().as_bytes()])
    }

    /// How many training samples are taken of the `samples` that the data set has.
    pub fn taken(&self, samples: usize) -> usize {
        self.train_size.map_or(samples, |size| size.min(samples))
    }

    /// How many training samples are held out of the `samples` that are taken.
    pub fn held_out(&self, samples: usize) -> usize {
        (self.validation * samples as f64).round() as usize
    }
}

/// One configuration under one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The cell's hash, kept so that it is computed once.
    pub cell: CellId,
    /// Everything but the seed.
    pub configuration: Arc<Configuration>,
    /// Feeds every random choice (the noise too, unless the configuration has a seed for it).
    pub seed: u64,
}

impl Job {
    /// A job of the cell `cell`, which is `configuration`'s.
    pub fn new(configuration: Arc<Configuration>, cell: CellId, seed: u64) -> Self {
        Job { cell, configuration, seed }
    }

    /// The job's name: a hash of its cell and seed.
    pub fn id(&self) -> JobId {
        JobId::of(&[self.cell.to_string().as_bytes(), &self.seed.to_le_bytes()])
    }

    /// The job's random streams.
    pub fn streams(&self) -> Streams {
        Streams::new(self.seed, self.configuration.noise_seed.unwrap_or(self.seed))
    }
}

//! A job: one fully resolved configuration under one seed.

use crate::diagnostics::Diagnostic;
use crate::id::{CellId, JobId};
use crate::methods::augment::{Augment, Normalize};
use crate::methods::dataset::Dataset;
use crate::methods::losses::Loss;
use crate::methods::networks::{InitialWeights, Model};
use crate::methods::noise::Noise;
use crate::methods::optimizer::Optimizer;
use crate::methods::precision::Precision;
use crate::methods::schedule::Schedule;
use crate::methods::split::Split;
use crate::metric::EpochSelection;
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
    /// The file that its initial weights come from; without it they are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_weights: Option<InitialWeights>,
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
    /// How many test samples there are, the first of the file, 1 ≤ size < the data set's; without it all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_size: Option<usize>,
    /// Training samples held out for validation, with their noise: their share, 0 ≤ share < 1, or from 1 on their number, which is
    /// whole.
    pub validation: f64,
    /// Which samples those are; with [`Split::Official`] none of the training samples, and `validation` is 0.
    #[serde(default, skip_serializing_if = "Split::is_default")]
    pub split: Split,
    /// Random changes of training images.
    pub augment: Vec<Augment>,
    /// How pixels become inputs.
    pub normalize: Normalize,
    /// In which precision convolutions and linear layers multiply.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// What is measured beside accuracies and losses, each once and in the order of [`Diagnostic::ALL`]. It changes nothing that is
    /// trained, and yet is part of the job, whose results have to be what was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The job whose weights this one builds on, under the same seed. Its whole configuration stands here, so that a job's id
    /// says what its parent was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Parent>>,
}

/// Whether GPUs alone can train jobs of the configuration with this canonical form. What is none can be trained by nobody, and is left
/// to whoever finds that out.
pub fn needs_gpu(canonical: &str) -> bool {
    #[derive(Deserialize)]
    struct Needs {
        #[serde(default)]
        precision: Precision,
    }
    // Most have no such key anywhere, and need not be read.
    canonical.contains("\"precision\"")
        && serde_json::from_str(canonical).is_ok_and(|Needs { precision }| precision.needs_gpu())
}

/// Another job whose weights a job builds on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// What the other job trains.
    pub configuration: Configuration,
    /// Which of its weights, one of [`Parent::SELECTIONS`].
    pub at: EpochSelection,
}

impl Parent {
    /// The weights of a job that another may build on, by name. The best on the test samples are not among them.
    pub const SELECTIONS: &'static [(&'static str, EpochSelection)] = &[
        ("final", EpochSelection::Final),
        ("best-validation", EpochSelection::BestValidation),
        ("best-validation-loss", EpochSelection::BestValidationLoss),
    ];
}

/// What a job takes from its parent's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// They are what it starts from.
    Weights,
    /// What the network with these weights says of the training samples: an estimate of the transition matrix. Its own weights
    /// start as they would without a parent.
    Predictions,
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

    /// The cell of the parent, and which of its weights are asked for.
    pub fn origin(&self) -> Option<(CellId, EpochSelection)> {
        self.parent.as_ref().map(|parent| (parent.configuration.cell(), parent.at))
    }

    /// What a job takes from its parent, which its loss says.
    pub fn takes(&self) -> Takes {
        if self.loss.estimates_transition() { Takes::Predictions } else { Takes::Weights }
    }

    /// How many training samples are taken of the `samples` that the data set has.
    pub fn taken(&self, samples: usize) -> usize {
        self.train_size.map_or(samples, |size| size.min(samples))
    }

    /// How many test samples are taken of the `samples` that the data set has.
    pub fn tested(&self, samples: usize) -> usize {
        self.test_size.map_or(samples, |size| size.min(samples))
    }

    /// How many training samples are held out of the `samples` that are taken.
    pub fn held_out(&self, samples: usize) -> usize {
        match self.split {
            Split::Official => 0,
            // From a number of samples nothing but a number can be made: it saturates.
            _ if self.validation >= 1.0 => self.validation as usize,
            _ => (self.validation * samples as f64).round() as usize,
        }
    }

    /// Whether there are samples to validate on.
    pub fn validates(&self) -> bool {
        self.validation > 0.0 || self.split == Split::Official
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
        Job::id_of(self.cell, self.seed)
    }

    /// The name of the job of `cell` under `seed`.
    pub fn id_of(cell: CellId, seed: u64) -> JobId {
        JobId::of(&[cell.to_string().as_bytes(), &seed.to_le_bytes()])
    }

    /// The job's random streams.
    pub fn streams(&self) -> Streams {
        Streams::new(self.seed, self.configuration.noise_seed.unwrap_or(self.seed))
    }
}

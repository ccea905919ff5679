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

/// Everything about a job except its seed, with all defaults filled in.
///
/// Its canonical form is its JSON with the fields in this order. A job's id is a hash of that form. Stored results stay valid only if every
/// field keeps its name, position and meaning, so a field that is added later is omitted from the form when it has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The data set.
    pub dataset: Dataset,
    /// The network.
    pub model: Model,
    /// The file with the initial weights; without it they are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_weights: Option<InitialWeights>,
    /// The loss function.
    pub loss: Loss,
    /// The label noise.
    pub noise: Noise,
    /// The seed of the noise in place of the job's seed, so that several jobs share their corrupted labels.
    pub noise_seed: Option<u64>,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning-rate schedule.
    pub schedule: Schedule,
    /// The number of passes over the training samples, ≥ 1.
    pub epochs: u32,
    /// The number of samples per step, ≥ 1; the last step of an epoch has the remaining samples.
    pub batch_size: usize,
    /// The number of training samples: the first of the file, 1 ≤ size < the data set's; without it all of them. The other samples are used
    /// for nothing, including the split, the noise and the statistics of the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,
    /// The number of test samples: the first of the file, 1 ≤ size < the data set's; without it all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_size: Option<usize>,
    /// The training samples held out for validation, with their noisy labels: a share if 0 ≤ value < 1, and a whole number of samples if
    /// value ≥ 1.
    pub validation: f64,
    /// How the held-out samples are chosen. With [`Split::Official`] no training samples are held out, and `validation` is 0.
    #[serde(default, skip_serializing_if = "Split::is_default")]
    pub split: Split,
    /// The augmentations of training images.
    pub augment: Vec<Augment>,
    /// The normalisation of pixels to inputs.
    pub normalize: Normalize,
    /// The precision of multiplications in convolutions and linear layers.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// The additional metrics, without duplicates and in the order of [`Diagnostic::ALL`]. They do not change the training, but they are part
    /// of the job's identity, since its results have to contain them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The parent job, which has the same seed. Its whole configuration is included, so that the id of a job identifies its parent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Parent>>,
}

/// Whether the configuration with this canonical form requires a GPU. Returns false for a malformed configuration; validation reports it
/// elsewhere.
pub fn needs_gpu(canonical: &str) -> bool {
    #[derive(Deserialize)]
    struct Needs {
        #[serde(default)]
        precision: Precision,
    }
    // Most configurations do not contain the key, so they are not parsed.
    canonical.contains("\"precision\"")
        && serde_json::from_str(canonical).is_ok_and(|Needs { precision }| precision.needs_gpu())
}

/// The parent of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The parent's configuration.
    pub configuration: Configuration,
    /// The epoch whose weights are used, one of [`Parent::SELECTIONS`].
    pub at: EpochSelection,
}

impl Parent {
    /// The epoch selections whose weights a child may use, by name. The best epoch on the test samples is not among them.
    pub const SELECTIONS: &'static [(&'static str, EpochSelection)] = &[
        ("final", EpochSelection::Final),
        ("best-validation", EpochSelection::BestValidation),
        ("best-validation-loss", EpochSelection::BestValidationLoss),
    ];
}

/// What a job uses its parent's weights for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// They are the initial weights.
    Weights,
    /// The parent's predictions for the training samples give an estimate of the transition matrix. The job's own weights start as they would
    /// without a parent.
    Predictions,
}

impl Configuration {
    /// The canonical form: JSON with the fields in order of declaration.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("a configuration is plain data")
    }

    /// The cell of this configuration.
    pub fn cell(&self) -> CellId {
        CellId::of_canonical(&self.canonical())
    }

    /// The parent's cell, and the epoch whose weights are used.
    pub fn origin(&self) -> Option<(CellId, EpochSelection)> {
        self.parent.as_ref().map(|parent| (parent.configuration.cell(), parent.at))
    }

    /// What the job uses its parent's weights for, which depends on its loss.
    pub fn takes(&self) -> Takes {
        if self.loss.estimates_transition() { Takes::Predictions } else { Takes::Weights }
    }

    /// The number of training samples used, if the data set has `samples`.
    pub fn taken(&self, samples: usize) -> usize {
        self.train_size.map_or(samples, |size| size.min(samples))
    }

    /// The number of test samples used, if the data set has `samples`.
    pub fn tested(&self, samples: usize) -> usize {
        self.test_size.map_or(samples, |size| size.min(samples))
    }

    /// The number of training samples held out, if `samples` are used.
    pub fn held_out(&self, samples: usize) -> usize {
        match self.split {
            Split::Official => 0,
            // The conversion saturates.
            _ if self.validation >= 1.0 => self.validation as usize,
            _ => (self.validation * samples as f64).round() as usize,
        }
    }

    /// Whether there are validation samples.
    pub fn validates(&self) -> bool {
        self.validation > 0.0 || self.split == Split::Official
    }
}

/// One configuration under one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The hash of the configuration, computed once.
    pub cell: CellId,
    /// Everything except the seed.
    pub configuration: Arc<Configuration>,
    /// The seed of all random choices, including the noise unless the configuration has a noise seed.
    pub seed: u64,
}

impl Job {
    /// A job. `cell` must be the hash of `configuration`.
    pub fn new(configuration: Arc<Configuration>, cell: CellId, seed: u64) -> Self {
        Job { cell, configuration, seed }
    }

    /// The id of the job: a hash of its cell and seed.
    pub fn id(&self) -> JobId {
        Job::id_of(self.cell, self.seed)
    }

    /// The id of the job of `cell` with `seed`.
    pub fn id_of(cell: CellId, seed: u64) -> JobId {
        JobId::of(&[cell.to_string().as_bytes(), &seed.to_le_bytes()])
    }

    /// The job's random streams.
    pub fn streams(&self) -> Streams {
        Streams::new(self.seed, self.configuration.noise_seed.unwrap_or(self.seed))
    }
}

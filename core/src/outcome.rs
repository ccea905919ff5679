//! How an attempt ends, and what is known of a job once it has been trained.

use crate::id::Digest;
use crate::methods::noise::TransitionMatrix;
use crate::metric::EpochSelection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Why an attempt failed. The kind decides whether another attempt is worth making; the message is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What class of failure it is.
    pub kind: FailureKind,
    /// What happened, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

/// The classes of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The job asks for what cannot be had (a data set that is not there, a damaged file): the same again would fail again.
    UserError,
    /// The loss became infinite or NaN: a result, not an accident.
    Diverged,
    /// The device or the machine has too little memory.
    OutOfMemory,
    /// No fault of the job's at all: the worker was told to stop, or its machine cannot train (no process starts, its disk is full or fails).
    Preempted,
    /// An accident that the job may have had a part in: a lost worker, a crashed runner, data that cannot be read at the moment.
    Infrastructure,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: &'static [FailureKind] = &[
        FailureKind::UserError,
        FailureKind::Diverged,
        FailureKind::OutOfMemory,
        FailureKind::Preempted,
        FailureKind::Infrastructure,
    ];

    /// The kind's name in the store and in output.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::UserError => "user-error",
            FailureKind::Diverged => "diverged",
            FailureKind::OutOfMemory => "out-of-memory",
            FailureKind::Preempted => "preempted",
            FailureKind::Infrastructure => "infrastructure",
        }
    }

    /// Whether the same job may succeed when it is tried again.
    pub fn is_transient(self) -> bool {
        match self {
            FailureKind::UserError | FailureKind::Diverged => false,
            FailureKind::OutOfMemory | FailureKind::Preempted | FailureKind::Infrastructure => true,
        }
    }
}

/// What is known of a job once it has been trained, besides its measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Trained weights of the network.
    pub parameters: usize,
    /// Samples trained on, held out for validation, and tested on.
    pub samples: Samples,
    /// Share of the training file's labels (validation part included) that are wrong.
    pub noise_rate: f64,
    /// What became of the training file's labels.
    pub transition: TransitionMatrix,
    /// BLAKE3 of the data set's pixels and labels, hexadecimal.
    pub data: String,
    /// The engine and what it chose for this machine, such as `fused 0.1.0 cpu avx512`.
    pub engine: String,
    /// BLAKE3 of the final weights: equal bytes, equal digest.
    pub weights: String,
    /// The files of weights that it left for jobs that build on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<EpochSelection, Digest>,
    /// Where the initial weights came from, if from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// The file that initial weights came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// BLAKE3 of its bytes, hexadecimal.
    pub digest: String,
    /// Whether its classifier was for another number of classes, so that the job's own started at random.
    pub random_classifier: bool,
}

/// Sizes of the parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Trained on.
    pub train: usize,
    /// Held out.
    pub validation: usize,
    /// Tested on.
    pub test: usize,
}

//! How an attempt ends: the classes of failure, and the facts about a trained job.

use crate::failure_text::bounded;
use crate::id::Digest;
use crate::methods::noise::TransitionMatrix;
use crate::metric::EpochSelection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Why an attempt failed. The kind decides whether the job is retried; the message is for users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class of failure.
    pub kind: FailureKind,
    /// States what happened, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of this kind with this message. Of a long message, the beginning and the end are kept.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure { kind, message: bounded(message.into()) }
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
    /// The job requires something that is missing (a data set that does not exist, a damaged file). A retry would fail too.
    UserError,
    /// The loss became infinite or NaN. That is a result, and a retry would give it again.
    Diverged,
    /// The device or the host has too little memory.
    OutOfMemory,
    /// Not the job's fault: the worker stopped, or its host cannot train (no process starts, the disk is full or fails). The job is requeued
    /// at no cost.
    Preempted,
    /// An accident that the job may have caused: a lost worker, a crashed runner, data that cannot be read at the moment.
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

    /// Whether a retry of the job may succeed.
    pub fn is_transient(self) -> bool {
        match self {
            FailureKind::UserError | FailureKind::Diverged => false,
            FailureKind::OutOfMemory | FailureKind::Preempted | FailureKind::Infrastructure => true,
        }
    }
}

/// Facts about a trained job, besides its metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The number of trainable parameters of the network.
    pub parameters: usize,
    /// The numbers of samples.
    pub samples: Samples,
    /// The share of wrong labels among all training labels, including those held out for validation.
    pub noise_rate: f64,
    /// The realised transitions of the training labels.
    pub transition: TransitionMatrix,
    /// The BLAKE3 hash of the data set's pixels and labels, in hexadecimal.
    pub data: String,
    /// The engine with its version and the instruction set that it uses, such as `fused 0.1.0 cpu avx512`.
    pub engine: String,
    /// The BLAKE3 hash of the final weights, in hexadecimal.
    pub weights: String,
    /// The weights files that the job saved for child jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<EpochSelection, Digest>,
    /// The file that the initial weights came from; nothing if they were random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// The file that initial weights came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The BLAKE3 hash of its bytes, in hexadecimal.
    pub digest: String,
    /// Whether its classifier has another number of classes, so that the job's classifier started at random.
    pub random_classifier: bool,
}

/// The number of samples in each part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Training samples.
    pub train: usize,
    /// Samples held out for validation.
    pub validation: usize,
    /// Test samples.
    pub test: usize,
}

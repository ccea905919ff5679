//! What a caller hands over to train a job.

use crate::checkpoint::CheckpointOptions;
use crate::data::DatasetCache;
use plusminus_core::id::Digest;
use plusminus_engines::ExecutionOptions;
use std::path::Path;

/// The resources for training one job. None of them is part of the job's identity.
#[derive(Clone, Copy, Debug)]
pub struct TrainInputs<'a> {
    /// Loads data sets.
    pub cache: &'a DatasetCache,
    /// Selects device, engine and threads.
    pub execution: ExecutionOptions,
    /// The weights of the parent job. A job that resumes from a checkpoint does not need them. If they differ from those with which
    /// the checkpoint's training started, the job starts again.
    pub parent: Option<ParentWeights<'a>>,
    /// Where to resume from and write checkpoints; `None` trains without checkpoints.
    pub checkpoints: Option<CheckpointOptions<'a>>,
}

impl<'a> TrainInputs<'a> {
    /// Inputs without parent weights and checkpoints.
    pub fn new(cache: &'a DatasetCache, execution: ExecutionOptions) -> Self {
        TrainInputs { cache, execution, parent: None, checkpoints: None }
    }
}

/// The file with the weights of a parent job.
#[derive(Clone, Copy, Debug)]
pub struct ParentWeights<'a> {
    /// A safetensors file.
    pub path: &'a Path,
    /// The expected digest of the file's bytes.
    pub digest: Digest,
}

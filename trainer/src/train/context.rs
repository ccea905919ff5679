//! What the parts of a run share: the job with its data, the factory of engines, and the epochs done so far.

use super::best_snapshots::BestSnapshots;
use crate::data::{Labels, LoadedDataset};
use plusminus_core::job::Job;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::metric::Measurements;
use plusminus_engines::{Engine, EngineError, Plan, Weights};
use std::sync::Arc;

/// Makes engines: one for the job, and others for estimates and diagnostics.
pub(super) type EngineFactory = dyn Fn(&Network, Weights, &Optimizer) -> Result<Box<dyn Engine>, EngineError>;

/// A job with its network and data, the same in all attempts.
#[derive(Clone, Copy)]
pub(super) struct JobContext<'a> {
    pub job: &'a Job,
    pub network: &'a Network,
    pub plan: &'a Arc<Plan>,
    pub data: &'a LoadedDataset,
    pub labels: &'a Labels,
}

/// The progress of a training, apart from the state in the engine and in the loss.
#[derive(Default)]
pub(super) struct RunState {
    /// The measurements of every completed epoch, from epoch 1.
    pub rows: Vec<(u32, Measurements)>,
    /// The weights that were best so far.
    pub best: BestSnapshots,
}

impl RunState {
    /// The number of completed epochs.
    pub fn epoch(&self) -> u32 {
        self.rows.len() as u32
    }
}

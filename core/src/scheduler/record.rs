//! What is written down.

use super::WallTime;
use crate::id::{Attempt, CellId, Digest, JobId, SweepName, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use crate::outcome::{Facts, Failure};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A fact that survives a restart.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A sweep has been submitted, anew or in place of one of the same name.
    Submitted {
        /// Its name.
        name: SweepName,
        /// The sweep file.
        source: Arc<str>,
        /// Configurations; those known already are named again.
        cells: Vec<NewCell>,
        /// All its jobs, in order.
        jobs: Vec<NewJob>,
        /// Of these, jobs that are queued again: they had failed or been dropped, or have finished without leaving the weights that
        /// are now wanted.
        requeued: Vec<JobId>,
        /// Jobs that the sweep of that name had before, that were to be trained, and that no sweep wants now.
        dropped: Vec<JobId>,
        /// When.
        at: WallTime,
    },
    /// A sweep has been cancelled.
    Cancelled {
        /// Which.
        name: SweepName,
        /// Its jobs that were to be trained and that no other sweep wants. Those that have a result from before keep it.
        dropped: Vec<JobId>,
        /// When.
        at: WallTime,
    },
    /// An attempt has been given to a worker.
    Assigned {
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: Attempt,
        /// Whose it is.
        worker: WorkerName,
        /// When.
        at: WallTime,
    },
    /// An epoch of a current attempt is done.
    Epoch {
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: Attempt,
        /// From 1.
        epoch: u32,
        /// What was measured.
        measurements: Measurements,
        /// When.
        at: WallTime,
    },
    /// A current attempt has ended.
    Ended {
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: Attempt,
        /// How.
        ending: Ending,
        /// What follows for the job.
        next: Next,
        /// When.
        at: WallTime,
    },
    /// Queued jobs have failed without an attempt: what they build on cannot be had. Those that have a result from before keep it.
    Stranded {
        /// Which.
        jobs: Vec<JobId>,
        /// Why.
        failure: Failure,
        /// When.
        at: WallTime,
    },
    /// A job is queued again: a failed one because a user asks for it, a finished one because weights are wanted that are not there. What
    /// has finished will give the same; its result stays, whatever becomes of that, and the weights that it has left before do not count
    /// any more.
    Requeued {
        /// Which.
        job: JobId,
        /// When.
        at: WallTime,
    },
    /// Jobs that no sweep names any more but whose results are kept: how a restart begins.
    Remembered {
        /// Their configurations.
        cells: Vec<NewCell>,
        /// The jobs.
        jobs: Vec<NewJob>,
    },
    /// A job as a store has kept it, after the record that names it: how a restart goes on.
    Restored {
        /// The job.
        job: JobId,
        /// Attempts made.
        attempts: u32,
        /// Of these, failures that count towards the limit.
        failures: u32,
        /// The furthest epoch that any of them has reached, and had reached when the last failure happened that counts.
        reached: (u32, u32),
        /// Whether it has a result, though it may be trained again for its weights.
        result: bool,
        /// Where it stands.
        state: StoredState,
    },
}

/// A configuration of a submitted sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCell {
    /// Its hash.
    pub id: CellId,
    /// Its canonical form.
    pub configuration: Arc<str>,
}

/// A job of a submitted sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewJob {
    /// Its hash.
    pub id: JobId,
    /// Its cell.
    pub cell: CellId,
    /// Its seed.
    pub seed: u64,
    /// What it builds on.
    pub origin: Option<Origin>,
}

/// The weights that a job builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whose.
    pub job: JobId,
    /// Which of them.
    pub at: EpochSelection,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The job is trained.
    Finished(Box<Facts>),
    /// It is not.
    Failed(Failure),
}

/// What follows for a job when an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it has its result.
    Done,
    /// It is queued again.
    Retry {
        /// Not assigned before then.
        not_before: WallTime,
        /// Failures so far that count towards the limit.
        failures: u32,
        /// The epoch that the job had reached when the last of them happened.
        reached: u32,
    },
    /// It has failed, or has the result that it had before.
    GiveUp,
}

/// Where a job stands, as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredState {
    /// Waiting.
    Queued {
        /// Not assigned before then.
        not_before: WallTime,
    },
    /// Given to a worker.
    Running {
        /// Whose attempt it is.
        worker: WorkerName,
        /// Since when.
        at: WallTime,
    },
    /// Has its result.
    Finished {
        /// The weights that it left for jobs that build on it.
        kept: BTreeMap<EpochSelection, Digest>,
    },
    /// Has none and is not tried again.
    Failed(Failure),
    /// Wanted by no sweep.
    Dropped,
}

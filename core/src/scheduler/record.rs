//! Records: the committed state changes.

use super::job_entry::{Reached, Reported};
use super::time::WallTime;
use crate::id::{AttemptId, CellId, Digest, JobId, SweepName, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use crate::outcome::{Facts, Failure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A state change that survives a restart.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A sweep was submitted: a new one, or one that replaces the sweep of the same name.
    Submitted {
        /// The sweep's name.
        name: SweepName,
        /// The text of the sweep file.
        source: Arc<str>,
        /// All configurations, including those stored already.
        cells: Vec<NewCell>,
        /// All jobs of the sweep, in order.
        jobs: Vec<NewJob>,
        /// The jobs of the sweep that are queued again: they had failed or been dropped, or finished without saving weights that are
        /// now wanted.
        requeued: Vec<JobId>,
        /// Queued and running jobs that only the replaced sweep wanted.
        dropped: Vec<JobId>,
        /// The time of the submission.
        at: WallTime,
    },
    /// A sweep was cancelled.
    Cancelled {
        /// The sweep's name.
        name: SweepName,
        /// Its queued and running jobs that no other sweep wants. A job with an earlier result keeps it.
        dropped: Vec<JobId>,
        /// The time of the cancellation.
        at: WallTime,
    },
    /// An attempt was assigned to a worker.
    Assigned {
        /// The attempt.
        attempt: AttemptId,
        /// The worker that holds its lease.
        worker: WorkerName,
        /// The time of the assignment.
        at: WallTime,
    },
    /// A current attempt completed an epoch.
    Epoch {
        /// The attempt.
        attempt: AttemptId,
        /// The epoch's number, from 1.
        epoch: u32,
        /// The metrics of the epoch.
        measurements: Measurements,
        /// The time of the report.
        at: WallTime,
    },
    /// A current attempt ended.
    Ended {
        /// The attempt.
        attempt: AttemptId,
        /// A result or a failure.
        ending: Ending,
        /// The job's next state.
        next: Next,
        /// The time of the report, or of the decision that the attempt was lost.
        at: WallTime,
    },
    /// Queued jobs failed without an attempt, because their parent cannot provide the weights. A job with an earlier result keeps it.
    ParentUnavailable {
        /// The jobs that failed.
        jobs: Vec<JobId>,
        /// Names the parent and the reason.
        failure: Failure,
        /// The time of the decision.
        at: WallTime,
    },
    /// A job was queued again: a failed one on a user's request, or a finished one because its weights are wanted and missing. A finished
    /// job keeps its result, whatever the new attempt gives; the weights that it saved before no longer count.
    Requeued {
        /// The job.
        job: JobId,
        /// The time of the decision.
        at: WallTime,
    },
    /// A worker under which a job's lease had expired turned out to have died.
    DiedOn {
        /// The job, which is queued or running.
        job: JobId,
        /// Where it failed since an attempt last got further than all before it.
        failed_on: Vec<Place>,
    },
    /// The dispatch of a sweep is paused.
    Paused {
        /// The sweep's name.
        name: SweepName,
        /// Why.
        paused: PausedSweep,
    },
    /// The dispatch of a paused sweep goes on.
    Released {
        /// The sweep's name.
        name: SweepName,
    },
    /// Jobs that no sweep lists any more, whose results are kept. The store returns it first on a restart.
    Unlisted {
        /// Their configurations.
        cells: Vec<NewCell>,
        /// The jobs.
        jobs: Vec<NewJob>,
    },
    /// The stored state of a job. The store returns it on a restart, after the record that lists the job.
    Restored {
        /// The job.
        job: JobId,
        /// Attempts made.
        attempts: u32,
        /// Failures that count towards the limit.
        failures: u32,
        /// Where it failed since an attempt last got further than all before it; only of a queued or running job.
        failed_on: Vec<Place>,
        /// The epochs that its attempts completed.
        reached: Reached,
        /// What the current attempt of a running job has reported.
        reported: Reported,
        /// Whether it has a result; it may be retrained for its weights all the same.
        result: bool,
        /// Its state.
        state: StoredState,
    },
}

/// A cell of a submitted sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCell {
    /// The hash of the configuration.
    pub id: CellId,
    /// The configuration in canonical form.
    pub configuration: Arc<str>,
}

/// A job of a submitted sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewJob {
    /// The hash of cell and seed.
    pub id: JobId,
    /// The job's cell.
    pub cell: CellId,
    /// The job's seed.
    pub seed: u64,
    /// The parent's weights that it starts from.
    pub origin: Option<Origin>,
}

/// The parent's weights that a child job starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The parent job.
    pub job: JobId,
    /// The epoch whose weights are used.
    pub at: EpochSelection,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It trained the job to the end.
    Finished(Box<Facts>),
    /// It failed.
    Failed(Failure),
}

/// What happens to a job after an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the job has its result.
    Done,
    /// The job is queued again.
    Retry {
        /// The end of the back-off.
        not_before: WallTime,
        /// Failures so far that count towards the limit.
        failures: u32,
        /// The furthest epoch of the job at the last of these failures.
        reached: u32,
        /// Where it failed since an attempt last got further than all before it.
        failed_on: Vec<Place>,
    },
    /// The job failed; or, if it had a result before, it keeps that.
    GiveUp,
}

/// A worker on which a job failed, or whose process died under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The worker.
    pub worker: WorkerName,
    /// Its host. Several workers may be on one.
    pub host: String,
}

/// Why the dispatch of a sweep is paused: its first jobs all failed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedSweep {
    /// The failure of one of them.
    pub failure: Failure,
    /// How many had failed.
    pub jobs: u32,
    /// When the pause began.
    pub at: WallTime,
}

/// The state of a job as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredState {
    /// Waiting for an attempt.
    Queued {
        /// The end of the back-off; 0 if there is none.
        not_before: WallTime,
    },
    /// Assigned to a worker.
    Running {
        /// The worker.
        worker: WorkerName,
        /// The time of the assignment.
        at: WallTime,
    },
    /// Finished with a result.
    Finished {
        /// The weights that it saved for child jobs.
        kept: BTreeMap<EpochSelection, Digest>,
    },
    /// Failed for good.
    Failed(Failure),
    /// Cancelled.
    Dropped,
}

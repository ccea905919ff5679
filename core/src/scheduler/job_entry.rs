//! What the scheduler stores of one job.

use super::device_class::DeviceClass;
use super::time::WallTime;
use crate::id::{Attempt, JobId, WorkerName};
use crate::metric::{Measurements, Metric};
use crate::outcome::Failure;

/// A job's index in the state's list of jobs.
pub(super) type JobIndex = u32;

/// The index of a set of sweeps; see `job_counts`.
pub(super) type SweepSetIndex = u32;

/// The state of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It waits for its parent, for the end of its back-off, or for a slot.
    Queued {
        /// The end of the back-off; 0 if the job has not failed.
        not_before: WallTime,
    },
    /// A worker holds the lease of an attempt.
    Running {
        /// The current attempt.
        attempt: Attempt,
        /// The worker that the attempt was assigned to.
        worker: WorkerName,
        /// The time of the assignment.
        since: WallTime,
    },
    /// The job has a result.
    Finished,
    /// The job has no result and is not retried.
    Failed(Failure),
    /// The job was cancelled: no sweep wants it.
    Dropped,
}

/// A job's rank in the queue: sweeps in the order of their first submission, then jobs in the order of the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    /// The ordinal of the earliest sweep that wants the job.
    pub sweep: u32,
    /// The job's position in that sweep.
    pub job: u32,
}

/// How many epochs the attempts at a job have completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The furthest epoch of any attempt.
    pub furthest: u32,
    /// The furthest epoch at the time of the last failure that counts towards the limit.
    pub at_last_failure: u32,
}

/// What the current attempt at a job has reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The number of epochs.
    pub epochs: u32,
    /// Whether a loss was infinite or NaN. Such an attempt can fail, but not finish.
    pub diverging: bool,
    /// Whether an epoch had no metric of test samples.
    pub untested: bool,
    /// Whether an epoch lacked a metric of validation samples.
    pub unvalidated: bool,
}

impl Reported {
    /// Adds an epoch.
    pub fn add(&mut self, epoch: u32, measurements: &Measurements) {
        let lacks = |metrics: &[Metric]| metrics.iter().any(|metric| !measurements.contains_key(metric));
        self.epochs = self.epochs.max(epoch);
        self.diverging |= measurements.iter().any(|(metric, value)| metric.range().diverges(*value));
        self.untested |= lacks(Metric::OF_EVERY_EPOCH);
        self.unvalidated |= lacks(Metric::OF_VALIDATION);
    }
}

/// A job, its history and its state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobEntry {
    pub id: JobId,
    /// The index of its cell.
    pub cell: u32,
    pub seed: u64,
    pub requires: DeviceClass,
    /// Attempts made, which is the number of the last one.
    pub attempts: u32,
    /// Failures since an attempt last got further than all before it.
    pub failures: u32,
    pub reached: Reached,
    /// The number of sweeps that want it and are not cancelled.
    pub wanted: u32,
    pub position: QueuePosition,
    /// The sweeps that list it, cancelled or not.
    pub sweeps: SweepSetIndex,
    /// Whether it has a result. A job that is retrained for its weights keeps its result.
    pub has_result: bool,
    pub state: JobState,
}

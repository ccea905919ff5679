//! The status of jobs and of seeds, and the number of jobs by status.

use crate::id::CellId;
use crate::outcome::FailureKind;
use crate::sweep_file::Divergence;
use serde::{Deserialize, Serialize};

/// The status of one job, as a table needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobResult {
    /// The job's cell.
    pub cell: CellId,
    /// The job's seed.
    pub seed: u64,
    /// The job's status.
    pub status: Status,
}

/// The status of a job, with the table's metric at the table's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Status {
    /// Queued, also for another attempt.
    #[default]
    Waiting,
    /// Assigned to a worker.
    Running,
    /// Cancelled by a user.
    Cancelled,
    /// Failed for a reason other than divergence, without attempts left.
    Failed(FailureKind),
    /// The loss became infinite or NaN. Holds the metric over the epochs finished before, if there is one and the sweep counts it.
    Diverged(Option<f64>),
    /// Finished; `None` if the job does not measure the metric.
    Finished(Option<f64>),
}

impl Status {
    /// The name in files; divergence is named `failed`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Running => "running",
            Status::Cancelled => "cancelled",
            Status::Failed(_) | Status::Diverged(_) => "failed",
            Status::Finished(_) => "finished",
        }
    }

    /// The metric, if there is one.
    pub fn value(self) -> Option<f64> {
        if let Status::Finished(value) | Status::Diverged(value) = self { value } else { None }
    }

    /// The kind of failure, if the job failed or diverged.
    pub fn failure(self) -> Option<FailureKind> {
        match self {
            Status::Failed(kind) => Some(kind),
            Status::Diverged(_) => Some(FailureKind::Diverged),
            _ => None,
        }
    }

    /// Turns infinite and NaN values into divergence, whatever status was reported.
    pub(super) fn normalized(self) -> Status {
        match self {
            Status::Finished(Some(value)) | Status::Diverged(Some(value)) if !value.is_finite() => {
                Status::Diverged(None)
            }
            Status::Failed(FailureKind::Diverged) => Status::Diverged(None),
            other => other,
        }
    }

    /// The status in a table with this policy: only [`Divergence::Count`] keeps the value of a diverged job.
    pub(super) fn under_policy(self, policy: Divergence) -> Status {
        match self.normalized() {
            Status::Diverged(_) if policy != Divergence::Count => Status::Diverged(None),
            other => other,
        }
    }
}

/// One seed of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "SeedRecord", try_from = "SeedRecord")]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// The status of its job.
    pub status: Status,
}

/// A seed in JSON: flat, so that a value always has the same key.
#[derive(Serialize, Deserialize)]
struct SeedRecord {
    seed: u64,
    status: String,
    failure: Option<FailureKind>,
    value: Option<f64>,
}

impl From<SeedResult> for SeedRecord {
    fn from(SeedResult { seed, status }: SeedResult) -> SeedRecord {
        SeedRecord { seed, status: status.name().to_owned(), failure: status.failure(), value: status.value() }
    }
}

impl TryFrom<SeedRecord> for SeedResult {
    type Error = String;

    fn try_from(record: SeedRecord) -> Result<SeedResult, String> {
        let status = match (record.status.as_str(), record.failure) {
            ("waiting", None) => Status::Waiting,
            ("running", None) => Status::Running,
            ("cancelled", None) => Status::Cancelled,
            ("failed", Some(FailureKind::Diverged)) => Status::Diverged(record.value),
            ("failed", Some(kind)) => Status::Failed(kind),
            ("finished", None) => Status::Finished(record.value),
            (other, _) => {
                return Err(format!(
                    "expected a status, with `failure` only if it is \"failed\"; found status {other:?}"
                ));
            }
        };
        Ok(SeedResult { seed: record.seed, status })
    }
}

/// The number of jobs by status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatusCounts {
    /// Jobs with a value: the n of the mean.
    pub n: usize,
    /// Jobs among these n that diverged and enter the mean with the value reached before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// Finished jobs that do not measure the metric.
    pub absent: usize,
    /// Jobs that failed for a reason other than divergence.
    pub failed: usize,
    /// Diverged jobs without a value in the mean.
    pub diverged: usize,
    /// Cancelled jobs.
    pub cancelled: usize,
    /// Queued jobs.
    pub waiting: usize,
    /// Jobs assigned to a worker.
    pub running: usize,
}

/// Reports omit such a count.
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl StatusCounts {
    /// Counts one more job.
    pub fn add(&mut self, status: Status) {
        self.counted += usize::from(matches!(status, Status::Diverged(Some(_))));
        *match status {
            Status::Finished(Some(_)) | Status::Diverged(Some(_)) => &mut self.n,
            Status::Finished(None) => &mut self.absent,
            Status::Diverged(None) | Status::Failed(FailureKind::Diverged) => &mut self.diverged,
            Status::Failed(_) => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
            Status::Waiting => &mut self.waiting,
            Status::Running => &mut self.running,
        } += 1;
    }

    /// All jobs.
    pub fn asked(&self) -> usize {
        self.n + self.absent + self.failed + self.diverged + self.cancelled + self.waiting + self.running
    }

    /// Jobs that finished without divergence.
    pub fn finished(&self) -> usize {
        self.n - self.counted + self.absent
    }

    /// Jobs that wait or run.
    pub fn unfinished(&self) -> usize {
        self.waiting + self.running
    }

    /// Whether running the sweep again may add values: a job waits, runs, is cancelled or has failed. A divergence is final.
    pub fn is_partial(&self) -> bool {
        self.unfinished() + self.cancelled + self.failed > 0
    }
}

impl FromIterator<Status> for StatusCounts {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> StatusCounts {
        let mut counts = StatusCounts::default();
        statuses.into_iter().for_each(|status| counts.add(status));
        counts
    }
}

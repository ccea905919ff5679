//! How a sweep's jobs stand.

use crate::id::CellId;
use crate::outcome::FailureKind;
use crate::sweep_file::Divergence;
use serde::{Deserialize, Serialize};

/// What a table needs to know of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobResult {
    /// The job's cell.
    pub cell: CellId,
    /// The job's seed.
    pub seed: u64,
    /// How it stands.
    pub status: Status,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Status {
    /// Not begun, or to be tried again.
    #[default]
    Waiting,
    /// On a worker.
    Running,
    /// Called off.
    Cancelled,
    /// Failed for another reason than divergence, and will not be tried again.
    Failed(FailureKind),
    /// Its loss became infinite or NaN: with the table's metric at the table's selection over the epochs that it finished before, where
    /// there is such a value and it counts.
    Diverged(Option<f64>),
    /// Trained, with the table's metric at the table's selection; nothing where the job has no such metric.
    Finished(Option<f64>),
}

impl Status {
    /// The status without what it carries, as files name it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Running => "running",
            Status::Cancelled => "cancelled",
            Status::Failed(_) | Status::Diverged(_) => "failed",
            Status::Finished(_) => "finished",
        }
    }

    /// The metric, where there is one.
    pub fn value(self) -> Option<f64> {
        if let Status::Finished(value) | Status::Diverged(value) = self { value } else { None }
    }

    /// Why it failed, where it did.
    pub fn failure(self) -> Option<FailureKind> {
        match self {
            Status::Failed(kind) => Some(kind),
            Status::Diverged(_) => Some(FailureKind::Diverged),
            _ => None,
        }
    }

    /// A value that is infinite or NaN is no value: such a job diverged, whatever it was reported as.
    pub(super) fn settled(self) -> Status {
        match self {
            Status::Finished(Some(value)) | Status::Diverged(Some(value)) if !value.is_finite() => {
                Status::Diverged(None)
            }
            Status::Failed(FailureKind::Diverged) => Status::Diverged(None),
            other => other,
        }
    }

    /// The status in a table: what a job had reached before it diverged is no value of it unless it counts.
    pub(super) fn under(self, policy: Divergence) -> Status {
        match self.settled() {
            Status::Diverged(_) if policy != Divergence::Count => Status::Diverged(None),
            other => other,
        }
    }
}

/// One seed of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// How its job stands.
    pub status: Status,
}

/// A seed as JSON has it: flat, so that a reader finds every value under one key.
#[derive(Serialize, Deserialize)]
struct Written {
    seed: u64,
    status: String,
    failure: Option<FailureKind>,
    value: Option<f64>,
}

impl From<SeedResult> for Written {
    fn from(SeedResult { seed, status }: SeedResult) -> Written {
        Written { seed, status: status.name().to_owned(), failure: status.failure(), value: status.value() }
    }
}

impl TryFrom<Written> for SeedResult {
    type Error = String;

    fn try_from(written: Written) -> Result<SeedResult, String> {
        let status = match (written.status.as_str(), written.failure) {
            ("waiting", None) => Status::Waiting,
            ("running", None) => Status::Running,
            ("cancelled", None) => Status::Cancelled,
            ("failed", Some(FailureKind::Diverged)) => Status::Diverged(written.value),
            ("failed", Some(kind)) => Status::Failed(kind),
            ("finished", None) => Status::Finished(written.value),
            (other, _) => return Err(format!("expected a status with its failure, if it is one, found {other:?}")),
        };
        Ok(SeedResult { seed: written.seed, status })
    }
}

/// How many jobs stand how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// With a value: the n of a mean.
    pub n: usize,
    /// Of these n, jobs that diverged and count with what they had reached before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counted: usize,
    /// Finished, without the metric.
    pub absent: usize,
    /// Failed for any reason but divergence.
    pub failed: usize,
    /// Diverged, and without a value that counts.
    pub diverged: usize,
    /// Called off.
    pub cancelled: usize,
    /// Not begun, or to be tried again.
    pub waiting: usize,
    /// On a worker.
    pub running: usize,
}

/// What a report leaves out where it does not occur.
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Counts {
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

    /// All jobs: those that were asked for.
    pub fn asked(&self) -> usize {
        self.n + self.absent + self.failed + self.diverged + self.cancelled + self.waiting + self.running
    }

    /// Trained to the end.
    pub fn finished(&self) -> usize {
        self.n - self.counted + self.absent
    }

    /// Waiting or running: what will still change by itself.
    pub fn unfinished(&self) -> usize {
        self.waiting + self.running
    }

    /// Whether running the sweep again may add values: something waits, runs, was called off or failed. A divergence is a result.
    pub fn is_partial(&self) -> bool {
        self.unfinished() + self.cancelled + self.failed > 0
    }
}

impl FromIterator<Status> for Counts {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Counts {
        let mut counts = Counts::default();
        statuses.into_iter().for_each(|status| counts.add(status));
        counts
    }
}

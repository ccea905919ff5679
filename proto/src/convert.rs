//! Conversions between wire messages and core's types. The wire is not trusted: a missing or malformed field is an [`Invalid`].

use crate::v1;
use plusminus_core::id::{Attempt, AttemptId, CellId, Digest, JobId, WorkerName};
use plusminus_core::job::{Configuration, Job};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples, Start};
use plusminus_core::scheduler::{Ending, JobState, PausedSweep, Quarantine, Report, ReportBody, WallTime};
use plusminus_core::{input, report};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A wire message with a missing or malformed field.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// A field is not set.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("field `{field}`: {problem}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// The reason.
        problem: String,
    },
}

fn malformed(field: &'static str, problem: impl ToString) -> Invalid {
    Invalid::Malformed { field, problem: problem.to_string() }
}

/// Converts an attempt id to the wire.
pub fn attempt_id(of: AttemptId) -> v1::AttemptId {
    v1::AttemptId { job: of.job.to_string(), attempt: of.attempt.0 }
}

impl v1::AttemptId {
    /// Converts to core's type.
    ///
    /// # Errors
    /// If the job id is malformed.
    pub fn to_core(&self) -> Result<AttemptId, Invalid> {
        let job = self.job.parse().map_err(|error| malformed("job", error))?;
        Ok(AttemptId { job, attempt: Attempt(self.attempt) })
    }
}

/// Converts a required attempt id.
///
/// # Errors
/// If it is missing or malformed.
pub fn required_attempt(of: Option<&v1::AttemptId>) -> Result<AttemptId, Invalid> {
    of.ok_or(Invalid::Missing("of"))?.to_core()
}

/// Converts a list of attempt ids.
///
/// # Errors
/// If one is malformed.
pub fn attempts(of: &[v1::AttemptId]) -> Result<Vec<AttemptId>, Invalid> {
    of.iter().map(v1::AttemptId::to_core).collect()
}

impl From<FailureKind> for v1::FailureKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::UserError => v1::FailureKind::UserError,
            FailureKind::Diverged => v1::FailureKind::Diverged,
            FailureKind::OutOfMemory => v1::FailureKind::OutOfMemory,
            FailureKind::Preempted => v1::FailureKind::Preempted,
            FailureKind::Infrastructure => v1::FailureKind::Infrastructure,
        }
    }
}

impl From<v1::FailureKind> for FailureKind {
    fn from(kind: v1::FailureKind) -> Self {
        match kind {
            v1::FailureKind::UserError => FailureKind::UserError,
            v1::FailureKind::Diverged => FailureKind::Diverged,
            v1::FailureKind::OutOfMemory => FailureKind::OutOfMemory,
            v1::FailureKind::Preempted => FailureKind::Preempted,
            // An unknown kind comes from a later version. It must not count as the job's own fault.
            v1::FailureKind::Infrastructure | v1::FailureKind::Unspecified => FailureKind::Infrastructure,
        }
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        v1::Failure { kind: v1::FailureKind::from(failure.kind).into(), message: failure.message }
    }
}

impl From<v1::Failure> for Failure {
    fn from(failure: v1::Failure) -> Self {
        Failure::new(failure.kind().into(), failure.message)
    }
}

/// Converts an epoch, numbered from 1, to the wire.
pub fn epoch(epoch: u32, measurements: &Measurements) -> v1::Epoch {
    let measurements = measurements.iter().map(|(metric, value)| (metric.name().to_owned(), *value)).collect();
    v1::Epoch { epoch, measurements }
}

impl v1::Epoch {
    /// The measurements. Metrics that this version does not know are omitted.
    pub fn to_core(&self) -> Measurements {
        let known = |name: &String| name.parse::<Metric>().ok();
        self.measurements.iter().filter_map(|(name, value)| Some((known(name)?, *value))).collect()
    }
}

impl From<&Facts> for v1::Facts {
    fn from(facts: &Facts) -> Self {
        let classes = facts.transition.classes();
        v1::Facts {
            parameters: facts.parameters as u64,
            train_samples: facts.samples.train as u64,
            validation_samples: facts.samples.validation as u64,
            test_samples: facts.samples.test as u64,
            noise_rate: facts.noise_rate,
            classes: classes as u32,
            transition: (0..classes).flat_map(|class| facts.transition.row(class).to_vec()).collect(),
            engine: facts.engine.clone(),
            weights: facts.weights.clone(),
            data: facts.data.clone(),
            kept: facts.kept.iter().map(|(at, digest)| (at.to_string(), digest.to_string())).collect(),
            start: facts.start.as_ref().map(|Start { digest, random_classifier }| v1::Start {
                digest: digest.clone(),
                random_classifier: *random_classifier,
            }),
        }
    }
}

impl TryFrom<v1::Facts> for Facts {
    type Error = Invalid;

    fn try_from(facts: v1::Facts) -> Result<Self, Invalid> {
        let transition = TransitionMatrix::from_rows(facts.classes as usize, facts.transition)
            .map_err(|problem| malformed("transition", problem))?;
        let samples = Samples {
            train: facts.train_samples as usize,
            validation: facts.validation_samples as usize,
            test: facts.test_samples as usize,
        };
        let kept = facts.kept.iter().map(|(at, digest)| Ok((selection(at)?, self::digest(digest)?)));
        let kept = kept.collect::<Result<BTreeMap<EpochSelection, Digest>, Invalid>>()?;
        Ok(Facts {
            parameters: facts.parameters as usize,
            samples,
            noise_rate: facts.noise_rate,
            transition,
            engine: facts.engine,
            weights: facts.weights,
            data: facts.data,
            kept,
            start: facts.start.map(|v1::Start { digest, random_classifier }| Start { digest, random_classifier }),
        })
    }
}

impl From<&Ending> for v1::Ending {
    fn from(ending: &Ending) -> Self {
        let how = match ending {
            Ending::Finished(facts) => v1::ending::How::Finished(facts.as_ref().into()),
            Ending::Failed(failure) => v1::ending::How::Failed(failure.clone().into()),
        };
        v1::Ending { how: Some(how) }
    }
}

impl TryFrom<v1::Ending> for Ending {
    type Error = Invalid;

    fn try_from(ending: v1::Ending) -> Result<Self, Invalid> {
        match ending.how.ok_or(Invalid::Missing("how"))? {
            v1::ending::How::Finished(facts) => Ok(Ending::Finished(Box::new(facts.try_into()?))),
            v1::ending::How::Failed(failure) => Ok(Ending::Failed(failure.into())),
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = Invalid;

    fn try_from(report: v1::Report) -> Result<Self, Invalid> {
        let attempt = required_attempt(report.of.as_ref())?;
        let body = match report.body.ok_or(Invalid::Missing("body"))? {
            v1::report::Body::Epoch(epoch) => ReportBody::Epoch(epoch.epoch, epoch.to_core()),
            v1::report::Body::Ended(ending) => ReportBody::Ended(ending.try_into()?),
        };
        Ok(Report { sequence: report.sequence, attempt, body })
    }
}

fn selection(name: &str) -> Result<EpochSelection, Invalid> {
    name.parse().map_err(|error| malformed("selection", error))
}

/// Parses the digest of a weight file.
///
/// # Errors
/// If it is malformed.
pub fn digest(text: &str) -> Result<Digest, Invalid> {
    text.parse().map_err(|error| malformed("digest", error))
}

/// Converts a reference to parent weights to the wire.
pub fn parent_weights(job: JobId, digest: Digest) -> v1::ParentWeights {
    v1::ParentWeights { job: job.to_string(), digest: digest.to_string() }
}

impl v1::ParentWeights {
    /// The parent job and the digest of its weight file.
    ///
    /// # Errors
    /// If either is malformed.
    pub fn to_core(&self) -> Result<(JobId, Digest), Invalid> {
        Ok((self.job.parse().map_err(|error| malformed("job", error))?, digest(&self.digest)?))
    }
}

impl v1::Assignment {
    /// The epoch selections whose weights the job must keep.
    ///
    /// # Errors
    /// If this version does not know one.
    pub fn keeps(&self) -> Result<BTreeSet<EpochSelection>, Invalid> {
        self.keeps.iter().map(|name| selection(name)).collect()
    }

    /// The parent weights; `None` for a job without parent.
    ///
    /// # Errors
    /// If they are malformed, or missing for a job with a parent.
    pub fn parent(&self, job: &Job) -> Result<Option<(JobId, Digest)>, Invalid> {
        match &self.parent {
            Some(parent) => parent.to_core().map(Some),
            None if job.configuration.parent.is_some() => Err(Invalid::Missing("parent")),
            None => Ok(None),
        }
    }

    /// The assigned job.
    ///
    /// # Errors
    /// If this version cannot read the configuration, or its hash is not the job's id.
    pub fn job(&self) -> Result<Job, Invalid> {
        let AttemptId { job: id, .. } = required_attempt(self.of.as_ref())?;
        let configuration: Configuration =
            serde_json::from_str(&self.configuration).map_err(|error| malformed("configuration", error))?;
        let cell = configuration.cell();
        let job = Job::new(Arc::new(configuration), cell, self.seed);
        if job.id() != id {
            return Err(malformed(
                "configuration",
                format!("expected job {id}, found one that hashes to {}", job.id()),
            ));
        }
        Ok(job)
    }
}

impl From<&input::Problem> for v1::Problem {
    fn from(problem: &input::Problem) -> Self {
        v1::Problem {
            title: problem.title.clone(),
            start: problem.span.start as u64,
            end: problem.span.end as u64,
            label: problem.label.clone(),
            help: problem.help.clone().unwrap_or_default(),
        }
    }
}

impl From<v1::Problem> for input::Problem {
    fn from(problem: v1::Problem) -> Self {
        input::Problem {
            title: problem.title,
            span: problem.start as usize..problem.end as usize,
            label: problem.label,
            help: Some(problem.help).filter(|help| !help.is_empty()),
        }
    }
}

impl v1::SweepStatus {
    /// The number of jobs of the sweep.
    pub fn total(&self) -> u64 {
        self.queued + self.running + self.finished + self.failed + self.dropped
    }

    /// The number of failed jobs without those that diverged.
    pub fn failed_otherwise(&self) -> u64 {
        self.failed.saturating_sub(self.diverged)
    }

    /// Whether no job is queued or running. In a cancelled sweep, unfinished jobs belong to other sweeps. A paused sweep is over once
    /// no job runs: nothing more happens until a user resumes it.
    pub fn is_over(&self) -> bool {
        self.cancelled || self.queued + self.running == 0 || self.paused.is_some() && self.running == 0
    }
}

impl From<PausedSweep> for v1::PausedSweep {
    fn from(paused: PausedSweep) -> Self {
        v1::PausedSweep { failure: Some(paused.failure.into()), jobs: paused.jobs, since: paused.at.0 }
    }
}

/// Converts a worker's quarantine to the wire.
pub fn quarantine(worker: &WorkerName, quarantine: &Quarantine, now: WallTime) -> v1::Quarantine {
    v1::Quarantine {
        worker: worker.0.clone(),
        since: quarantine.since.0,
        pause_milliseconds: quarantine.until.0.saturating_sub(now.0),
        pauses: quarantine.pauses,
        probation: quarantine.probation,
        cause: quarantine.cause.name().to_owned(),
        reason: quarantine.reason.clone(),
    }
}

/// Converts a job's state to the wire, with the kind of its failure.
pub fn job_state(state: &JobState) -> (v1::JobStatus, v1::FailureKind) {
    match state {
        JobState::Queued { .. } => (v1::JobStatus::Queued, v1::FailureKind::Unspecified),
        JobState::Running { .. } => (v1::JobStatus::Running, v1::FailureKind::Unspecified),
        JobState::Finished => (v1::JobStatus::Finished, v1::FailureKind::Unspecified),
        JobState::Failed(failure) => (v1::JobStatus::Failed, failure.kind.into()),
        JobState::Dropped => (v1::JobStatus::Dropped, v1::FailureKind::Unspecified),
    }
}

impl TryFrom<v1::JobResult> for report::JobResult {
    type Error = Invalid;

    fn try_from(job: v1::JobResult) -> Result<Self, Invalid> {
        let cell: CellId = job.cell.parse().map_err(|error| malformed("cell", error))?;
        let status = match job.status() {
            v1::JobStatus::Queued => report::Status::Waiting,
            v1::JobStatus::Running => report::Status::Running,
            v1::JobStatus::Finished => report::Status::Finished(job.value),
            v1::JobStatus::Failed if job.failure() == v1::FailureKind::Diverged => report::Status::Diverged(job.value),
            v1::JobStatus::Failed => report::Status::Failed(job.failure().into()),
            v1::JobStatus::Dropped => report::Status::Cancelled,
            v1::JobStatus::Unspecified => return Err(Invalid::Missing("status")),
        };
        Ok(report::JobResult { cell, seed: job.seed, status })
    }
}

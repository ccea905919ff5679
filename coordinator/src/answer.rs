//! What users are told, from the machine and the store; the same with and without a running coordinator.

use crate::explain::Explained;
use crate::store::{Reader, StoreError};
use plusminus_core::id::{Attempt, AttemptId, JobId, SweepName};
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::FailureKind;
use plusminus_core::scheduler::{JobState, JobView, Policy, Scheduler, Session, SweepView, WallTime};
use plusminus_core::sweep_file::{self, Sweep};
use plusminus_proto::convert::{self, attempt_id};
use plusminus_proto::v1;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Jobs in one chunk of results.
const CHUNK: usize = 1000;
/// Kinds of failure that a status tells apart: thousands of jobs may each have diverged in their own way.
const FAILURES: usize = 20;

/// How far running attempts are, and with what workers train them: kept in memory only.
#[derive(Debug, Default)]
pub struct Board {
    lines: BTreeMap<JobId, Line>,
    devices: BTreeMap<Session, Vec<v1::Device>>,
}

#[derive(Debug)]
struct Line {
    attempt: Attempt,
    progress: v1::Progress,
    last: Option<v1::Epoch>,
}

impl Board {
    pub(crate) fn progress(&mut self, job: JobId, attempt: Attempt, progress: v1::Progress) {
        self.line(job, attempt).progress = progress;
    }

    pub(crate) fn epoch(&mut self, job: JobId, attempt: Attempt, epoch: u32, measurements: &Measurements) {
        self.line(job, attempt).last = Some(convert::epoch(epoch, measurements));
    }

    pub(crate) fn devices(&mut self, session: Session, devices: Vec<v1::Device>) {
        self.devices.insert(session, devices);
    }

    pub(crate) fn no_devices(&mut self, session: Session) {
        self.devices.remove(&session);
    }

    pub(crate) fn forget(&mut self, job: JobId) {
        self.lines.remove(&job);
    }

    fn line(&mut self, job: JobId, attempt: Attempt) -> &mut Line {
        let fresh = || Line { attempt, progress: v1::Progress::default(), last: None };
        let line = self.lines.entry(job).or_insert_with(fresh);
        if line.attempt < attempt {
            *line = fresh();
        }
        line
    }

    /// A job that is being trained: on which worker, since when, and how far it is.
    pub(crate) fn running(&self, job: &JobView, now: WallTime) -> Option<v1::RunningJob> {
        let JobState::Running { attempt, worker, since } = &job.state else { return None };
        let line = self.of(job.id, *attempt);
        Some(v1::RunningJob {
            of: Some(attempt_id(AttemptId::new(job.id, *attempt))),
            cell: job.cell.to_string(),
            seed: job.seed,
            worker: worker.to_string(),
            progress: line.map(|line| line.progress),
            last: line.and_then(|line| line.last.clone()),
            running_milliseconds: now.0.saturating_sub(since.0),
        })
    }

    fn of(&self, job: JobId, attempt: Attempt) -> Option<&Line> {
        self.lines.get(&job).filter(|line| line.attempt == attempt)
    }
}

/// Why a question about a sweep has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// There is no such sweep.
    #[error("no sweep is called `{name}`{}", known_sweeps(.known))]
    UnknownSweep {
        /// What was asked for.
        name: String,
        /// The sweeps there are.
        known: Vec<String>,
    },
    /// There is no such job.
    #[error("no job's id begins with `{0}`; `plusminus status SWEEP` names those that run and one of each failure")]
    UnknownJob(String),
    /// The id of a job cannot begin so.
    #[error("expected a job's id or its beginning, up to 32 hexadecimal digits, found `{0}`")]
    NoJobId(String),
    /// There are several such jobs.
    #[error("the ids of several jobs begin with `{found}`: {}; give more of it", .jobs.join(", "))]
    AmbiguousJob {
        /// What was asked for.
        found: String,
        /// Some of the jobs.
        jobs: Vec<String>,
    },
    /// No such metric or selection.
    #[error("unknown {what} `{found}`; there are {}", .known.join(", "))]
    UnknownName {
        /// What it should name.
        what: &'static str,
        /// What was asked for.
        found: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sweep file as stored is one that this version refuses.
    #[error(
        "the sweep file that was submitted as `{0}` is not one that this version of plusminus reads; submit it again"
    )]
    OldSource(String),
}

fn known_sweeps(known: &[String]) -> String {
    match known {
        [] => "; none has been submitted".to_owned(),
        names => format!("; there are {}", names.join(", ")),
    }
}

/// Where the sweep `name` stands, or every sweep if it is empty, and the workers.
///
/// # Errors
/// If there is no such sweep.
pub fn status(
    machine: &Scheduler,
    board: &Board,
    now: WallTime,
    name: &str,
) -> Result<v1::StatusResponse, AnswerError> {
    let sweeps = match name {
        "" => machine.sweeps(),
        name => vec![find(machine, name)?],
    };
    let workers = machine.workers().map(|worker| v1::WorkerStatus {
        worker: worker.name.to_string(),
        slots: worker.slots,
        busy: worker.busy.len() as u32,
        rests_milliseconds: worker.rests_until.0.saturating_sub(now.0),
        devices: board.devices.get(&worker.session).cloned().unwrap_or_default(),
    });
    Ok(v1::StatusResponse {
        workers: workers.collect(),
        sweeps: sweeps.iter().map(|sweep| sweep_status(machine, board, sweep, now)).collect(),
    })
}

/// The sweep file that was submitted as `name`.
///
/// # Errors
/// If there is no such sweep.
pub fn source(machine: &Scheduler, name: &str) -> Result<String, AnswerError> {
    Ok(find(machine, name)?.source.to_string())
}

fn find(machine: &Scheduler, name: &str) -> Result<SweepView, AnswerError> {
    let sweep = name.parse().ok().and_then(|name: SweepName| machine.sweep(&name));
    sweep.ok_or_else(|| AnswerError::UnknownSweep {
        name: name.to_owned(),
        known: machine.sweeps().into_iter().map(|sweep| sweep.name.into()).collect(),
    })
}

fn sweep_status(machine: &Scheduler, board: &Board, sweep: &SweepView, now: WallTime) -> v1::SweepStatus {
    let mut running_jobs = Vec::new();
    let mut diverged = 0;
    let mut failures: BTreeMap<(FailureKind, String), (u64, JobId)> = BTreeMap::new();
    for job in machine.conspicuous_jobs_of(&sweep.name) {
        running_jobs.extend(board.running(&job, now));
        if let JobState::Failed(failure) = &job.state {
            diverged += u64::from(failure.kind == FailureKind::Diverged);
            failures.entry((failure.kind, failure.message.clone())).or_insert((0, job.id)).0 += 1;
        }
    }
    let mut failures: Vec<_> = failures.into_iter().collect();
    failures.sort_by_key(|(_, (jobs, _))| std::cmp::Reverse(*jobs));
    let other_failures = failures.iter().skip(FAILURES).map(|(_, (jobs, _))| jobs).sum();
    let failures = failures.into_iter().take(FAILURES).map(|((kind, message), (jobs, example))| v1::FailureCount {
        failure: Some(v1::Failure { kind: v1::FailureKind::from(kind).into(), message }),
        jobs,
        example: example.to_string(),
    });
    v1::SweepStatus {
        sweep: sweep.name.to_string(),
        submitted: sweep.submitted.0,
        cancelled: sweep.cancelled,
        queued: sweep.counts.queued as u64,
        running: sweep.counts.running as u64,
        finished: sweep.counts.finished as u64,
        failed: sweep.counts.failed as u64,
        dropped: sweep.counts.dropped as u64,
        running_jobs,
        failures: failures.collect(),
        other_failures,
        diverged,
    }
}

/// A sweep and its jobs, as the machine has them; a table wants values from the store besides.
pub struct SweepJobs {
    sweep: SweepName,
    source: Arc<str>,
    jobs: Vec<JobView>,
}

impl SweepJobs {
    /// Looks the sweep up.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub fn of(machine: &Scheduler, name: &str) -> Result<Self, AnswerError> {
        let sweep = find(machine, name)?;
        let jobs = machine.jobs_of(&sweep.name).collect();
        Ok(SweepJobs { sweep: sweep.name, source: sweep.source, jobs })
    }

    /// The jobs with the metric at the selection that `request` asks for, or else the sweep file.
    ///
    /// # Errors
    /// If there is no such metric or selection, or the store cannot be read.
    pub fn results(self, reader: &Reader, request: &v1::ResultsRequest) -> Result<Vec<v1::ResultsChunk>, AnswerError> {
        let given = |name| Some(name).filter(|name: &&String| !name.is_empty());
        let metric = given(&request.metric).map(|name| metric_named(name)).transpose()?;
        let at = given(&request.at).map(|name| at_named(name)).transpose()?;
        let (metric, at) = match (metric, at) {
            (Some(metric), Some(at)) => (metric, at),
            (metric, at) => {
                let table = as_submitted(&self.source, &request.sweep)?.table;
                (metric.unwrap_or(table.metric), at.unwrap_or(table.at))
            }
        };
        let values = reader.values(&self.sweep, metric, at)?;
        let jobs: Vec<v1::JobResult> = self
            .jobs
            .into_iter()
            .map(|job| {
                let (status, failure) = convert::job_state(&job.state);
                v1::JobResult {
                    job: job.id.to_string(),
                    cell: job.cell.to_string(),
                    seed: job.seed,
                    status: status.into(),
                    failure: failure.into(),
                    value: values.get(&job.id).copied(),
                }
            })
            .collect();
        let mut source = Some(self.source.to_string());
        let chunks = jobs
            .chunks(CHUNK)
            .map(|jobs| v1::ResultsChunk { source: source.take().unwrap_or_default(), jobs: jobs.to_vec() });
        Ok(chunks.collect())
    }
}

/// The sweep of a file that was submitted as `name`, which may be that of a profile.
///
/// # Errors
/// If the file is not one that this version reads.
pub fn as_submitted(source: &str, name: &str) -> Result<Sweep, AnswerError> {
    let sweeps = sweep_file::read_all(source, sweep_file::MAX_JOBS).ok();
    sweeps.and_then(|sweeps| sweeps.called(name)).ok_or_else(|| AnswerError::OldSource(name.to_owned()))
}

/// The metric of that name.
///
/// # Errors
/// If there is none; which there are.
pub fn metric_named(name: &str) -> Result<Metric, AnswerError> {
    named("metric", name, || Metric::ALL.iter().map(|metric| metric.name()).collect())
}

/// The selection of that name.
///
/// # Errors
/// If there is none; which there are.
pub fn at_named(name: &str) -> Result<EpochSelection, AnswerError> {
    named("selection", name, || EpochSelection::NAMES.to_vec())
}

fn named<T: FromStr>(what: &'static str, found: &str, known: fn() -> Vec<&'static str>) -> Result<T, AnswerError> {
    found.parse().map_err(|_| AnswerError::UnknownName { what, found: found.to_owned(), known: known() })
}

/// A state directory that no coordinator runs on, to be asked the same questions.
pub struct AtRest {
    machine: Scheduler,
    reader: Reader,
}

impl AtRest {
    /// Reads what is stored in `directory`.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(directory)?;
        let machine = Scheduler::restart(Policy::default(), reader.records()?, WallTime(0));
        Ok(AtRest { machine, reader })
    }

    /// Where sweeps stand.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub fn status(&self, sweep: &str) -> Result<v1::StatusResponse, AnswerError> {
        status(&self.machine, &Board::default(), WallTime(0), sweep)
    }

    /// Why a job is where it is.
    ///
    /// # Errors
    /// If there is no such job, or the store cannot be read.
    pub fn explain(&self, job: &str) -> Result<v1::ExplainResponse, AnswerError> {
        Explained::of(&self.machine, &Board::default(), WallTime(0), job)?.with_attempts(&self.reader)
    }

    /// The jobs of a sweep with one metric.
    ///
    /// # Errors
    /// If there is no such sweep, or the store cannot be read.
    pub fn results(&self, request: &v1::ResultsRequest) -> Result<Vec<v1::ResultsChunk>, AnswerError> {
        SweepJobs::of(&self.machine, &request.sweep)?.results(&self.reader, request)
    }
}

//! What users are told, from the machine and the store; the same with and without a running coordinator.

use crate::store::{Reader, StoreError};
use plusminus_core::id::{Attempt, JobId, SweepName};
use plusminus_core::metric::{At, Measurements, Metric};
use plusminus_core::schedule::{JobView, Machine, Policy, Standing, SweepView, Time};
use plusminus_core::spec;
use plusminus_proto::convert::{self, attempt_id};
use plusminus_proto::v1;
use std::collections::BTreeMap;
use std::path::Path;

/// Jobs in one chunk of results.
const CHUNK: usize = 1000;

/// How far running attempts are: kept in memory only.
#[derive(Debug, Default)]
pub struct Board {
    lines: BTreeMap<JobId, Line>,
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

pub(crate) fn known_sweeps(known: &[impl AsRef<str>]) -> String {
    match known {
        [] => "; none has been submitted".to_owned(),
        names => format!("; there are {}", names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
    }
}

/// Where the sweep `name` stands, or every sweep if it is empty, and the workers.
///
/// # Errors
/// If there is no such sweep.
pub fn status(machine: &Machine, board: &Board, now: Time, name: &str) -> Result<v1::StatusResponse, AnswerError> {
    let sweeps = match name {
        "" => machine.sweeps(),
        name => vec![find(machine, name)?],
    };
    let workers = machine.workers().map(|(worker, slots, busy)| v1::WorkerStatus {
        worker: worker.to_string(),
        slots,
        busy: busy.len() as u32,
    });
    Ok(v1::StatusResponse {
        workers: workers.collect(),
        sweeps: sweeps.iter().map(|sweep| sweep_status(machine, board, sweep, now)).collect(),
    })
}

fn find(machine: &Machine, name: &str) -> Result<SweepView, AnswerError> {
    let sweep = name.parse().ok().and_then(|name: SweepName| machine.sweep(&name));
    sweep.ok_or_else(|| AnswerError::UnknownSweep {
        name: name.to_owned(),
        known: machine.sweeps().into_iter().map(|sweep| sweep.name.into()).collect(),
    })
}

fn sweep_status(machine: &Machine, board: &Board, sweep: &SweepView, now: Time) -> v1::SweepStatus {
    let mut running_jobs = Vec::new();
    let mut failures: BTreeMap<(plusminus_core::outcome::FailureKind, String), (u64, JobId)> = BTreeMap::new();
    for job in machine.jobs_of(&sweep.name) {
        match &job.standing {
            Standing::Running { attempt, worker, since } => {
                running_jobs.push(running_job(machine, board, &job, *attempt, worker.to_string(), *since, now));
            }
            Standing::Failed(failure) => {
                failures.entry((failure.kind, failure.message.clone())).or_insert((0, job.id)).0 += 1;
            }
            Standing::Queued | Standing::Finished | Standing::Dropped => {}
        }
    }
    let failures = failures.into_iter().map(|((kind, message), (jobs, example))| v1::FailureCount {
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
    }
}

fn running_job(
    machine: &Machine,
    board: &Board,
    job: &JobView,
    attempt: Attempt,
    worker: String,
    since: Time,
    now: Time,
) -> v1::RunningJob {
    let line = board.of(job.id, attempt);
    v1::RunningJob {
        of: Some(attempt_id(job.id, attempt)),
        configuration: machine.configuration(job.cell).unwrap_or_default().to_owned(),
        seed: job.seed,
        worker,
        progress: line.map(|line| line.progress),
        last: line.and_then(|line| line.last.clone()),
        running_milliseconds: now.0.saturating_sub(since.0),
        cell: job.cell.to_string(),
    }
}

/// What a table is to show of a sweep: taken from the machine first, filled from the store after.
pub struct ResultsQuery {
    sweep: SweepName,
    source: String,
    metric: Metric,
    at: At,
    jobs: Vec<JobView>,
}

impl ResultsQuery {
    /// Looks the sweep up and settles what is asked of it.
    ///
    /// # Errors
    /// If there is no such sweep, metric or selection.
    pub fn new(machine: &Machine, request: &v1::ResultsRequest) -> Result<Self, AnswerError> {
        let sweep = find(machine, &request.sweep)?;
        let table =
            spec::read(&sweep.source, spec::MAX_JOBS).map_err(|_| AnswerError::OldSource(request.sweep.clone()))?.table;
        let metric = named("metric", &request.metric, Metric::ALL, Metric::name, table.metric)?;
        let at = named("selection", &request.at, At::ALL, At::name, table.at)?;
        let jobs = machine.jobs_of(&sweep.name).collect();
        Ok(ResultsQuery { sweep: sweep.name, source: sweep.source.to_string(), metric, at, jobs })
    }

    /// Reads the values.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn answer(self, reader: &Reader) -> Result<Vec<v1::ResultsChunk>, StoreError> {
        let values = reader.values(&self.sweep, self.metric, self.at)?;
        let mut jobs: Vec<v1::JobResult> = Vec::with_capacity(self.jobs.len());
        for job in self.jobs {
            let (status, failure) = convert::standing(&job.standing);
            jobs.push(v1::JobResult {
                job: job.id.to_string(),
                cell: job.cell.to_string(),
                seed: job.seed,
                status: status.into(),
                failure: failure.into(),
                value: values.get(&job.id).copied(),
            });
        }
        let mut source = Some(self.source);
        let chunks = jobs
            .chunks(CHUNK)
            .map(|jobs| v1::ResultsChunk { source: source.take().unwrap_or_default(), jobs: jobs.to_vec() });
        Ok(chunks.collect())
    }
}

fn named<T: Copy>(
    what: &'static str,
    found: &str,
    all: &[T],
    name: fn(T) -> &'static str,
    default: T,
) -> Result<T, AnswerError> {
    if found.is_empty() {
        return Ok(default);
    }
    all.iter().copied().find(|one| name(*one) == found).ok_or_else(|| AnswerError::UnknownName {
        what,
        found: found.to_owned(),
        known: all.iter().map(|one| name(*one)).collect(),
    })
}

/// A state directory that no coordinator runs on, to be asked the same questions.
pub struct AtRest {
    machine: Machine,
    reader: Reader,
}

impl AtRest {
    /// Reads what is stored in `directory`.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(directory)?;
        let machine = Machine::restart(Policy::default(), reader.records()?, Time(0));
        Ok(AtRest { machine, reader })
    }

    /// Where sweeps stand.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub fn status(&self, sweep: &str) -> Result<v1::StatusResponse, AnswerError> {
        status(&self.machine, &Board::default(), Time(0), sweep)
    }

    /// The jobs of a sweep with one metric.
    ///
    /// # Errors
    /// If there is no such sweep, or the store cannot be read.
    pub fn results(&self, request: &v1::ResultsRequest) -> Result<Vec<v1::ResultsChunk>, AnswerError> {
        Ok(ResultsQuery::new(&self.machine, request)?.answer(&self.reader)?)
    }
}

//! Events: what the scheduler reacts to. Effects: what it asks the driver to do.

use super::device_class::DeviceClass;
use super::fleet::Quarantine;
use super::record::{Ending, NewCell, NewJob, PausedSweep, Record};
use super::time::WallTime;
use crate::id::{AttemptId, Digest, JobId, SweepName, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One connection of a worker. A worker that reconnects has a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// Identifies a user's request that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A user submits a sweep, possibly one that exists.
    Submit(Ticket, Submission),
    /// The hyper-parameter selection of a sweep has chosen further jobs. Failed jobs are not retried, since no user asked for it. Ignored
    /// if the sweep is cancelled or unknown.
    Extend(Submission),
    /// A user cancels a sweep.
    Cancel(Ticket, SweepName),
    /// A user asks to retry failed jobs of a sweep.
    Resume(Ticket, SweepName, RetrySelection),
    /// A user ends the quarantine of a worker.
    Reinstate(Ticket, WorkerName),
    /// A worker connected.
    Connected {
        /// The new session.
        session: Session,
        /// The worker's name.
        worker: WorkerName,
        /// Identifies its host. Empty: the worker's name.
        host: String,
        /// Identifies the worker's process: it tells two processes with the same name apart.
        instance: u64,
        /// How many attempts the worker runs at once.
        slots: u32,
        /// The class of its devices.
        device: DeviceClass,
        /// The attempts that it still runs or has unacknowledged reports for.
        holds: Vec<AttemptId>,
    },
    /// A worker's connection ended. Its leases continue: it may reconnect.
    Disconnected(Session),
    /// A worker sent a heartbeat.
    Heartbeat(Heartbeat),
    /// A worker drains: it gets no further attempts.
    Draining(Session),
    /// A worker changed its number of slots. Attempts beyond that number continue.
    Resized(Session, u32),
    /// A worker sent a report.
    Reported(Session, Report),
    /// A weights file that the job saved is missing or damaged.
    WeightsLost(JobId, Digest),
    /// Time passed.
    Tick,
}

/// A heartbeat. It may overtake reports of its worker without harm: an attempt with unacknowledged reports is still held.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The session that it was sent over.
    pub session: Session,
    /// The worker's number for this heartbeat; the renewal repeats it.
    pub beat: u64,
    /// The attempts that the worker runs or has unacknowledged reports for.
    pub holds: Vec<AttemptId>,
}

/// The failed jobs of a sweep that a user wants retried. Their failed parents are retried too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetrySelection {
    /// All except jobs that diverged, which would diverge again.
    AllFailed,
    /// These jobs, whatever the reason of their failure.
    Jobs(BTreeSet<JobId>),
}

/// A sweep as submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The sweep's name.
    pub name: SweepName,
    /// The text of the sweep file.
    pub source: Arc<str>,
    /// The configurations of its jobs.
    pub cells: Vec<NewCell>,
    /// Its jobs in the order in which they are trained. A parent is listed before its children.
    pub jobs: Vec<NewJob>,
}

/// A worker's report about an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The worker's number for this report; the acknowledgement repeats it.
    pub sequence: u64,
    /// The attempt that it is about.
    pub attempt: AttemptId,
    /// Its content.
    pub body: ReportBody,
}

/// The content of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportBody {
    /// The attempt completed this epoch, numbered from 1.
    Epoch(u32, Measurements),
    /// The attempt ended.
    Ended(Ending),
}

/// The weights file that a child job starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentFile {
    /// The parent job.
    pub job: JobId,
    /// The file.
    pub digest: Digest,
}

/// An action for the driver. Effects that follow a record are performed once the record is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Commit this record.
    Record(Record),
    /// Send an assignment to a worker.
    Assign {
        /// The worker's session.
        session: Session,
        /// The new attempt.
        attempt: AttemptId,
        /// The configuration in canonical form.
        configuration: Arc<str>,
        /// The job's seed.
        seed: u64,
        /// The parent's weights, if the job starts from some.
        parent: Option<ParentFile>,
        /// The weights to save for child jobs.
        keeps: BTreeSet<EpochSelection>,
    },
    /// Tell a worker to stop an attempt and forget it.
    Stop {
        /// The worker's session.
        session: Session,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Acknowledge a worker's report by its sequence number: it is durable, or stale.
    Acknowledge(Session, u64),
    /// Accept a new session. The leases of the attempts that the worker holds are renewed, except for these, which it has to stop.
    Welcome(Session, Vec<AttemptId>),
    /// Answer a heartbeat by its number: the leases of the attempts that the worker holds are renewed.
    Renew(Session, u64),
    /// End a session: the same worker process has a newer one.
    Disconnect(Session),
    /// Refuse a new session: another process with the worker's name is connected.
    Reject(Session),
    /// Reply to a submission.
    Submitted(Ticket, SubmitSummary),
    /// Reply to a cancellation with the number of dropped jobs that have no result.
    Cancelled(Ticket, usize),
    /// Reply to a resume request with the number of jobs that were queued.
    Resumed(Ticket, usize),
    /// Reply to a reinstatement: whether the worker was in quarantine.
    Reinstated(Ticket, bool),
    /// Tell the operators.
    Notice(Notice),
    /// Refuse a user's request.
    Refuse(Ticket, Refusal),
}

/// What operators should know: a line of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A worker is in quarantine, or its probe attempt failed too.
    Quarantined {
        /// The worker.
        worker: WorkerName,
        /// The quarantine.
        quarantine: Quarantine,
        /// The present time.
        now: WallTime,
    },
    /// A worker's quarantine ended.
    QuarantineEnded {
        /// The worker.
        worker: WorkerName,
        /// Whether a user ended it. Otherwise the worker finished a job.
        lifted: bool,
    },
    /// The dispatch of a sweep is paused.
    SweepPaused {
        /// The sweep.
        sweep: SweepName,
        /// Why.
        paused: PausedSweep,
    },
    /// The dispatch of a paused sweep goes on.
    SweepReleased {
        /// The sweep.
        sweep: SweepName,
    },
}

/// What a submission did to the jobs of its sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitSummary {
    /// Jobs of the sweep.
    pub jobs: usize,
    /// Jobs that were not known before.
    pub new: usize,
    /// Jobs that have a result already.
    pub finished: usize,
    /// Jobs that are queued again: they had failed or been dropped, or they finished without saving weights that are now wanted.
    pub requeued: usize,
    /// Unfinished jobs that only the replaced sweep of that name wanted.
    pub dropped: usize,
    /// Jobs of the replaced sweep of that name, of another file, that are not of this one.
    pub replaced: usize,
    /// Those of them that have a result, which is kept.
    pub replaced_finished: usize,
}

/// Why a user's request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sweep does not exist.
    #[error("sweep `{name}` not found")]
    UnknownSweep {
        /// The requested name.
        name: SweepName,
        /// The names of all sweeps.
        known: Vec<SweepName>,
    },
    /// The sweep is cancelled.
    #[error("sweep `{name}` is cancelled; run `plusminus resume {name}` without selecting jobs to queue it again")]
    Cancelled {
        /// The sweep.
        name: SweepName,
    },
    /// The sweep does not list the job.
    #[error("sweep `{name}` has no job {job}; `plusminus status {name}` lists its failed jobs")]
    UnknownJob {
        /// The sweep.
        name: SweepName,
        /// The requested job.
        job: JobId,
    },
    /// No worker of that name is known.
    #[error("worker `{name}` not found{}", in_quarantine(.quarantined))]
    UnknownWorker {
        /// The requested name.
        name: WorkerName,
        /// The workers in quarantine.
        quarantined: Vec<WorkerName>,
    },
    /// The coordinator runs a single sweep, and this is another one.
    #[error(
        "this coordinator runs sweep `{only}` only; wait until it ends, or start a separate one with `plusminus coordinator`"
    )]
    OtherSweep {
        /// The sweep that it runs.
        only: SweepName,
    },
}

fn in_quarantine(quarantined: &[WorkerName]) -> String {
    match quarantined {
        [] => "; no worker is in quarantine".to_owned(),
        names => {
            let names: Vec<&str> = names.iter().take(20).map(|name| &*name.0).collect();
            format!("; in quarantine: {}", names.join(", "))
        }
    }
}

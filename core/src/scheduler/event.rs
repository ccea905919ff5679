//! What can happen, and what the machine asks for in return.

use super::record::{Ending, NewCell, NewJob, Record};
use crate::id::{Attempt, AttemptId, Digest, JobId, SweepName, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One connection of a worker; a worker that reconnects has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// A user's call that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A user submits a sweep, anew or again.
    Submit(Ticket, Submission),
    /// A sweep has further jobs, or others, now that some have ended: it chooses among them. No user has asked, so nothing that has
    /// failed is tried again, and nothing happens where the sweep is cancelled or not known.
    Continue(Submission),
    /// A user cancels a sweep.
    Cancel(Ticket, SweepName),
    /// A user asks for failed jobs of a sweep to be tried again.
    Resume(Ticket, SweepName, Again),
    /// A worker has connected.
    Joined {
        /// The connection.
        session: Session,
        /// Whose it is.
        worker: WorkerName,
        /// Which process it is: two that go by one name are told apart by it.
        instance: u64,
        /// How many attempts it runs at once.
        slots: u32,
        /// Whether it trains on a GPU.
        gpu: bool,
        /// The attempts that it is still training, or whose ending it has yet to deliver.
        holds: Vec<AttemptId>,
    },
    /// A worker's connection has ended. Its leases run on: it may come back.
    Left(Session),
    /// A worker is alive.
    Heartbeat {
        /// Over which connection.
        session: Session,
        /// The worker's number for this heartbeat.
        beat: u64,
        /// What it works on, or has yet to deliver the ending of.
        holds: Vec<AttemptId>,
    },
    /// A worker is about to leave: it is given nothing more.
    Draining(Session),
    /// A worker runs so many attempts at once from now on; what it has in hand beyond that it goes on with.
    Resized(Session, u32),
    /// A worker has something to say of an attempt.
    Reported(Session, Report),
    /// A file of weights that a job left is not there, or is not what it was.
    Lost(JobId, Digest),
    /// Time has passed.
    Tick,
}

/// Which failed jobs of a sweep are to be tried again; what they build on is too, where it has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// All but those that have diverged, which would again.
    Failed,
    /// These, whyever they have failed.
    Jobs(BTreeSet<JobId>),
}

/// A sweep as submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Its name.
    pub name: SweepName,
    /// The sweep file.
    pub source: Arc<str>,
    /// The configurations of its jobs.
    pub cells: Vec<NewCell>,
    /// Its jobs, in the order in which they are to be trained; what a job builds on is among them, before it.
    pub jobs: Vec<NewJob>,
}

/// What a worker says of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The worker's number for this message, given back when it is durable.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// What there is to say.
    pub body: ReportBody,
}

/// The content of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportBody {
    /// An epoch is done.
    Epoch(u32, Measurements),
    /// The attempt has ended.
    Ended(Ending),
}

/// What the machine asks for. Those behind a record are acted on once it is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this down.
    Record(Record),
    /// Have a worker begin an attempt.
    Assign {
        /// Over which connection.
        session: Session,
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: Attempt,
        /// The configuration in canonical form.
        configuration: Arc<str>,
        /// The job's seed.
        seed: u64,
        /// Whose weights it builds on, and the file that they are in.
        origin: Option<(JobId, Digest)>,
        /// Which of its weights are to be left for jobs that build on it.
        keeps: BTreeSet<EpochSelection>,
    },
    /// Have a worker stop an attempt and forget it.
    Stop {
        /// Over which connection.
        session: Session,
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// Tell a worker that its message is durable, or needs to be no more.
    Acknowledge(Session, u64),
    /// Greet a new connection: it counts. The leases of what it holds run anew, but for these attempts, which are to be stopped.
    Welcome(Session, Vec<AttemptId>),
    /// Answer a heartbeat, by its number: the leases of what its worker holds run anew.
    Renew(Session, u64),
    /// End a connection: the same worker has a newer one.
    Disconnect(Session),
    /// End a new connection: another process goes by the same name.
    Reject(Session),
    /// Answer a submission.
    Submitted(Ticket, SubmitSummary),
    /// Answer a cancellation: how many jobs no other sweep wants.
    Cancelled(Ticket, usize),
    /// Answer a user who asked for jobs to be tried again: how many are queued that were not.
    Resumed(Ticket, usize),
    /// Refuse a user's call.
    Refuse(Ticket, Refusal),
}

/// What became of a submission's jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitSummary {
    /// Jobs of the sweep.
    pub jobs: usize,
    /// Of these, jobs never heard of before.
    pub new: usize,
    /// Of these, jobs with a result.
    pub finished: usize,
    /// Of these, jobs that are queued again: they had failed or been dropped, or have weights to leave that are now wanted.
    pub requeued: usize,
    /// Unfinished jobs that the sweep of that name had before, and that no sweep wants now.
    pub dropped: usize,
}

/// Why a user's call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such sweep.
    #[error("no sweep is called `{name}`")]
    UnknownSweep {
        /// What was asked for.
        name: SweepName,
        /// The sweeps there are.
        known: Vec<SweepName>,
    },
    /// The sweep is cancelled.
    #[error("sweep `{name}` is cancelled; `plusminus resume {name}`, without choosing jobs, takes it up again")]
    Cancelled {
        /// Its name.
        name: SweepName,
    },
    /// The job is none of the sweep's.
    #[error("sweep `{name}` has no job {job}; `plusminus status {name}` names its failed ones")]
    UnknownJob {
        /// The sweep.
        name: SweepName,
        /// What was asked for.
        job: JobId,
    },
    /// The coordinator trains one sweep.
    #[error(
        "this coordinator trains `{only}` and nothing else; wait for it, or start one with `plusminus coordinator`"
    )]
    OtherSweep {
        /// The one.
        only: SweepName,
    },
}

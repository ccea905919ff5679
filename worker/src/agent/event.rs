//! What the agent is told, and what it asks for in return.

use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_core::outcome::Failure;
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::convert::attempt_id;
use plusminus_proto::v1::{self, from_runner, from_worker, report::Body, to_runner, to_worker};
use std::collections::BTreeSet;
use std::time::Duration;

/// A moment: milliseconds on the clock that all processes of the machine have in common and that goes on while it sleeps
/// (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// So many milliseconds later.
    pub fn after(self, milliseconds: u64) -> BootTime {
        BootTime(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `then`; none if that is yet to come.
    pub fn since(self, then: BootTime) -> u64 {
        self.0.saturating_sub(then.0)
    }
}

/// A device, and by what means runners train on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Equipment {
    /// What the coordinator is told of it. Its slots are those that it has at first: there are fewer once its memory was full.
    pub device: v1::Device,
    /// By what means. On a GPU one runner trains in all slots, so that one process has the device; elsewhere each slot has its own.
    pub means: ExecutionOptions,
    /// By what name NVML knows it, which reads its sensors; nothing where there are none.
    pub uuid: Option<String>,
}

impl Equipment {
    /// Jobs that one runner trains at once.
    pub fn lanes(&self) -> u32 {
        match self.means.device {
            Device::Cpu => 1,
            Device::Cuda(_) => self.device.slots,
        }
    }
}

/// What an agent is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The worker's name, no other worker's.
    pub name: String,
    /// Which process it is: drawn anew for each.
    pub instance: u64,
    /// With what it trains.
    pub equipment: Vec<Equipment>,
    /// Whether to go at once when told to while there is no connection: the coordinator has gone for good.
    pub attached: bool,
    /// How long a runner may take to stop when it is told to, before it is killed.
    pub grace: Duration,
    /// How long a runner may train without a word before it is killed; until its first word, several times as long.
    pub stall: Duration,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What an earlier process of this worker had yet to say. Comes before everything else, or never.
    Loaded(Vec<Entry>),
    /// A connection is about to be made: a Hello is wanted, to be sent over it at once.
    Connecting,
    /// The coordinator says something over the newest connection. Its Welcome comes first, and with it the connection counts.
    Told(to_worker::Message),
    /// The connection has ended.
    Disconnected,
    /// A runner says something, or has ended.
    Runner {
        /// Its number, from 0: on a processor that of its slot, on GPUs that of its device.
        runner: usize,
        /// Which of the processes that had the number.
        generation: u64,
        /// What it says.
        said: RunnerEvent,
    },
    /// The weights that an attempt builds on are here, or cannot be had.
    Fetched(AttemptId, Result<(), Failure>),
    /// The weights that an attempt leaves are with the coordinator, or cannot be.
    Delivered(AttemptId, Result<(), Failure>),
    /// What the sensors of devices say, by the name of each.
    Read(Vec<(String, v1::Reading)>),
    /// The worker is told to leave.
    Leave,
    /// Time has passed. Wanted when [`super::Agent::due`] says, or every now and then.
    Tick,
}

/// What a runner says.
#[derive(Clone, Debug, PartialEq)]
pub enum RunnerEvent {
    /// A message of one of its lanes, from 0: each trains in a slot.
    Message(u32, from_runner::Message),
    /// It has ended, or could not be started; the end of its log.
    Exited(RunnerExit, String),
}

/// How a runner has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerExit {
    /// It could not be started; why.
    NotStarted(String),
    /// Of its own will, with exit code 0: it was told to, by whomever.
    Left,
    /// Of its own will, because its device failed it: what it had in hand has to be trained by another process.
    Unwell,
    /// By SIGKILL, when the system had run out of memory.
    OutOfMemory,
    /// By SIGKILL, whoever sent it.
    Killed,
    /// In any other way, in words that go on after "the runner process".
    Crashed(String),
}

/// A report that is yet to be acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The worker's number for it.
    pub sequence: u64,
    /// The attempt that it is of.
    pub of: AttemptId,
    /// What there is to say.
    pub body: Body,
    /// Whether weights that it names are yet to be handed in before it may be said.
    pub waits: bool,
    /// The store that it is for; 0 where that is not known.
    pub store: u32,
}

impl Entry {
    /// The message.
    pub fn report(&self) -> v1::Report {
        let of = Some(attempt_id(self.of));
        v1::Report { sequence: self.sequence, of, body: Some(self.body.clone()) }
    }

    /// Whether it is the attempt's last.
    pub fn is_ending(&self) -> bool {
        matches!(self.body, Body::Ended(_))
    }

    /// The files of weights that it names: what is no digest is none.
    pub(super) fn weights(&self) -> BTreeSet<Digest> {
        match &self.body {
            Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) }) => {
                facts.kept.values().filter_map(|digest| digest.parse().ok()).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

/// What the agent asks for, to be done in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this over the newest connection. There is room for it within [`super::WINDOW`] reports; what else does not fit (progress, a
    /// heartbeat behind many reports) may be dropped.
    Send(from_worker::Message),
    /// Start a runner where there is none.
    Start {
        /// Its number, from 0.
        runner: usize,
        /// Which of the processes that have the number this will be.
        generation: u64,
    },
    /// Tell a runner something. One that has ended in the meantime hears nothing. Of leases only the latest matters.
    Tell {
        /// Its number, from 0.
        runner: usize,
        /// Which of the processes that had the number.
        generation: u64,
        /// Which lane is meant, from 0; a lease is for all.
        lane: u32,
        /// What it is told.
        message: to_runner::Message,
    },
    /// Kill a runner. That it has ended comes as an event.
    Kill {
        /// Its number, from 0.
        runner: usize,
        /// Which of the processes that had the number.
        generation: u64,
    },
    /// Have the weights that an attempt builds on here; answered by [`Event::Fetched`].
    Fetch {
        /// The attempt.
        of: AttemptId,
        /// The job that left them.
        parent: JobId,
        /// The file.
        digest: Digest,
        /// Files that must not be removed to make room.
        needed: BTreeSet<Digest>,
    },
    /// Hand in the weights that an attempt leaves; answered by [`Event::Delivered`].
    Deliver {
        /// The attempt.
        of: AttemptId,
        /// The files.
        weights: BTreeSet<Digest>,
    },
    /// End the transfer of an attempt's weights. An answer that is on its way does no harm.
    Abort(AttemptId),
    /// Remove files of weights that have lain unused, if there are too many, but none of these.
    MakeRoom(BTreeSet<Digest>),
    /// Keep an entry of the outbox on disk, in place of an earlier one of its number.
    Write(Entry),
    /// Remove an entry of the outbox from the disk, or do not begin to write it.
    Delete(u64),
    /// Remove the checkpoints of a job: it has finished.
    RemoveCheckpoints(JobId),
    /// The worker has left: nothing more is to come.
    Left {
        /// Reports that are left behind in the outbox.
        undelivered: usize,
    },
}

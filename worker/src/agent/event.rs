//! Inputs and outputs of the agent: the events that it handles, the effects that it requests, and the types in both.

use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_core::outcome::Failure;
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::convert::attempt_id;
use plusminus_proto::v1::{self, from_runner, from_worker, report::Body, to_runner, to_worker};
use std::collections::BTreeSet;
use std::time::Duration;

/// A time in milliseconds on the clock that the daemon and its runners share and that counts while the host sleeps (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// This time plus `duration`, in whole milliseconds.
    pub fn after(self, duration: Duration) -> BootTime {
        BootTime(self.0.saturating_add(duration.as_millis() as u64))
    }

    /// The time since `then`; zero if `then` is later.
    pub fn since(self, then: BootTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(then.0))
    }
}

/// A device and how runners train on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Equipment {
    /// The device as reported to the coordinator. `slots` is the initial number: the agent closes slots when memory runs out.
    pub device: v1::Device,
    /// How runners execute jobs. On a GPU one runner serves all slots, so that one process owns the device; on a CPU each slot has its
    /// own runner.
    pub execution: ExecutionOptions,
    /// NVML's identifier of the device, for its sensors; `None` for a CPU.
    pub uuid: Option<String>,
}

impl Equipment {
    /// The number of jobs that one runner trains at the same time.
    pub fn lanes(&self) -> u32 {
        match self.execution.device {
            Device::Cpu => 1,
            Device::Cuda(_) => self.device.slots,
        }
    }
}

/// The configuration of an agent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The worker's unique name.
    pub name: String,
    /// A random number that identifies this process: it distinguishes two processes with the same worker name.
    pub instance: u64,
    /// The devices to train on.
    pub equipment: Vec<Equipment>,
    /// Whether a drain without a connection ends at once: the worker was started by its coordinator, which has exited.
    pub attached: bool,
    /// How long a runner may take to stop before it is killed.
    pub grace: Duration,
    /// How long a runner may train without a message before it is killed. The limit is longer until its first message.
    pub stall: Duration,
}

/// An input of the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The outbox of an earlier process of this worker. At most one, before every other event.
    OutboxLoaded(Vec<OutboxEntry>),
    /// A connection is being opened. The agent answers with a Hello, to be sent over it at once.
    Connecting,
    /// A message of the coordinator over the newest connection. The first one is its Welcome, which makes the connection count.
    Received(to_worker::Message),
    /// The connection has ended.
    Disconnected,
    /// A message of a runner, or its exit.
    Runner {
        /// The runner's number, from 0: one per slot of a CPU, one per GPU.
        runner: usize,
        /// Which process with this number, from 1.
        generation: u64,
        /// The message or the exit.
        event: RunnerEvent,
    },
    /// The parent weights of an attempt have arrived, or cannot be fetched.
    WeightsFetched(AttemptId, Result<(), Failure>),
    /// The coordinator has received the kept weights of an attempt, or refuses them.
    WeightsDelivered(AttemptId, Result<(), Failure>),
    /// Sensor readings by device name.
    SensorsRead(Vec<(String, v1::Reading)>),
    /// The worker was asked to drain: stop all attempts, deliver all reports, exit.
    Drain,
    /// Time has passed. Due at [`super::Agent::due`]; earlier ticks do no harm.
    Tick,
}

/// An event of a runner process.
#[derive(Clone, Debug, PartialEq)]
pub enum RunnerEvent {
    /// A message from the lane of this number, from 0.
    Message(u32, from_runner::Message),
    /// The process exited or could not be started. The string is the end of its log.
    Exited(RunnerExit, String),
}

/// How a runner process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerExit {
    /// The process could not be started: a sentence that says why.
    NotStarted(String),
    /// Exited with code 0.
    Clean,
    /// Exited because its device failed. Its other attempts need another process.
    DeviceFailed,
    /// Exited because its host lacks threads, memory for them, or open files.
    HostFailed,
    /// Killed by SIGKILL when the system had run out of memory.
    OutOfMemory,
    /// Killed by SIGKILL, by an unknown sender.
    Killed,
    /// Any other end, as a predicate of "the runner process".
    Crashed(String),
}

/// A report that the coordinator has not acknowledged yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// The worker's number of the report, increasing.
    pub sequence: u64,
    /// The reported attempt.
    pub attempt: AttemptId,
    /// The epoch or the ending.
    pub body: Body,
    /// Whether weights that the report names must be delivered before it is sent.
    pub awaits_weights: bool,
    /// The id of the store that the report is for; 0 if unknown.
    pub store: u32,
}

impl OutboxEntry {
    /// The wire message.
    pub fn report(&self) -> v1::Report {
        v1::Report { sequence: self.sequence, of: Some(attempt_id(self.attempt)), body: Some(self.body.clone()) }
    }

    /// Whether the report ends its attempt.
    pub fn is_ending(&self) -> bool {
        matches!(self.body, Body::Ended(_))
    }

    /// The weight files that the report names. Malformed digests are skipped.
    pub(super) fn weights(&self) -> BTreeSet<Digest> {
        match &self.body {
            Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) }) => {
                facts.kept.values().filter_map(|digest| digest.parse().ok()).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

/// An output of the agent. Effects are performed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message over the newest connection. It has room for [`super::WINDOW`] reports; other messages that do not fit (progress,
    /// a heartbeat behind many reports) may be dropped.
    Send(from_worker::Message),
    /// Start a runner process. None with this number is running.
    StartRunner {
        /// The runner's number, from 0.
        runner: usize,
        /// The generation of the new process.
        generation: u64,
    },
    /// Send a message to a runner. It is dropped if that process has exited. A newer lease replaces an older one.
    SendToRunner {
        /// The runner's number, from 0.
        runner: usize,
        /// The generation of the process.
        generation: u64,
        /// The lane, from 0. A lease is for all lanes.
        lane: u32,
        /// The message.
        message: to_runner::Message,
    },
    /// Kill a runner process. Its exit arrives as an event.
    KillRunner {
        /// The runner's number, from 0.
        runner: usize,
        /// The generation of the process.
        generation: u64,
    },
    /// Fetch the parent weights of an attempt. [`Event::WeightsFetched`] answers.
    FetchWeights {
        /// The attempt that needs the weights.
        attempt: AttemptId,
        /// The job that kept them.
        parent: JobId,
        /// The file.
        digest: Digest,
        /// Files that must stay in the cache.
        needed: BTreeSet<Digest>,
    },
    /// Send the kept weights of an attempt to the coordinator. [`Event::WeightsDelivered`] answers.
    DeliverWeights {
        /// The attempt that kept the weights.
        attempt: AttemptId,
        /// The files.
        weights: BTreeSet<Digest>,
    },
    /// Abort the transfer of an attempt's weights. An answer that is already on its way does no harm.
    AbortTransfer(AttemptId),
    /// Remove unused files from the cache while it exceeds its limit. These files stay.
    TrimCache(BTreeSet<Digest>),
    /// Store an outbox entry on disk, in place of an earlier one with its number.
    StoreEntry(OutboxEntry),
    /// Delete the outbox entry with this number from disk, or cancel its write.
    DeleteEntry(u64),
    /// Remove the checkpoints of a finished job.
    RemoveCheckpoints(JobId),
    /// The worker is drained. The last effect of an agent.
    Exit {
        /// Reports that stay in the outbox on disk.
        undelivered: usize,
    },
}

//! What the agent's loop is told, by the link and by the runners.

use plusminus_core::id::{Attempt, JobId};
use plusminus_core::outcome::Failure;
use plusminus_proto::v1::{self, from_runner, to_worker};
use tokio::sync::{mpsc, oneshot};

/// An event.
pub(crate) enum Event {
    /// There is a new connection.
    Connected(Sender, v1::Welcome),
    /// There is none; whoever asks wants to introduce the worker anew.
    Disconnected(oneshot::Sender<v1::Hello>),
    /// The coordinator says something.
    Told(Told),
    /// The runner of a slot says something, or has ended. The number tells it from earlier runners of the slot.
    Runner(usize, u64, Said),
    /// The weights that an attempt builds on are here, or cannot be had.
    Fetched(Of, Result<(), Failure>),
    /// The weights that an attempt leaves are with the coordinator, or cannot be.
    Delivered(Of, Result<(), Failure>),
}

/// An attempt at a job.
pub(crate) type Of = (JobId, Attempt);

/// One connection to the coordinator, to send over.
pub(crate) type Sender = mpsc::Sender<v1::FromWorker>;

/// What the coordinator says.
pub(crate) type Told = to_worker::Message;

/// What a runner says.
pub(crate) enum Said {
    Message(from_runner::Message),
    /// It has ended: how, whether by SIGKILL, and the end of its log.
    Exited {
        how: String,
        killed: bool,
        log: String,
    },
}

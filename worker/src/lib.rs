//! The worker: a daemon that receives jobs from a coordinator and trains them in child processes.
//!
//! - [`agent`]: the state machine: events of the coordinator, the runners and the clock in, effects out.
//! - [`daemon`]: passes events to the agent and performs its effects.
//! - [`equipment`]: selects devices and slot counts.
//! - [`host`]: divides a host's cores and memory among jobs.
//! - [`state`]: the worker's directory and its name.
//! - `journal`: the outbox on disk.
//! - `link`: the connection to the coordinator, reopened whenever it breaks.
//! - `weights`: the cache of parent weights and kept weights, and their transfers.
//! - `clock`: the clock that the daemon and its runners share.
//! - [`probe`]: tests at start which directories can be written.
//! - [`shortage`]: describes a lack of processes, threads and open files.
//! - [`ignored_signals`]: signals that stay ignored.
//! - [`runner`]: the child processes, from both ends of the pipe.
//!
//! *Architecture invariants:* the daemon never trains, so a heartbeat is never late because of training. A crashed runner fails only its
//! own attempts. A report is kept, also on disk, until the coordinator has acknowledged it. A runner trains only while the lease is valid.

pub mod agent;
mod clock;
pub mod daemon;
pub mod equipment;
mod error;
pub mod host;
pub mod ignored_signals;
mod journal;
mod link;
pub mod probe;
pub mod runner;
pub mod shortage;
pub mod state;
mod weights;

pub use daemon::{Options, run};
pub use error::WorkerError;
pub use state::StateDirectory;

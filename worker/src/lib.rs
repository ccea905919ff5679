//! The worker: a daemon that takes jobs from a coordinator and trains them in child processes.
//!
//! - [`agent`]: the state machine: what the coordinator, the runners and the clock say, and what follows.
//! - [`daemon`]: what tells the agent of the world, and does what it asks for.
//! - [`equipment`]: with which devices it trains.
//! - [`host`]: how many jobs are trained at once, and by how many threads each.
//! - [`state`]: the worker's directory, and its name.
//! - `journal`: what is yet to be acknowledged, on disk.
//! - `link`: the connection to the coordinator, made again whenever it breaks.
//! - `weights`: files of weights that jobs build on and leave, and their transfers.
//! - `clock`: the one clock of the daemon and its runners.
//! - [`runner`]: the child processes, seen from both ends.
//!
//! *Architecture invariants:* the daemon never trains, so it always has time for a heartbeat; a runner's crash fails its own attempt
//! and no other; what an attempt has to say is kept until the coordinator has acknowledged it, on disk too; a runner trains only while
//! the lease lasts.

pub mod agent;
mod clock;
pub mod daemon;
pub mod equipment;
mod error;
pub mod host;
mod journal;
mod link;
pub mod runner;
pub mod state;
mod weights;

pub use daemon::{Options, run};
pub use error::WorkerError;
pub use state::StateDirectory;

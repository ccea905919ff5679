//! The worker: a daemon that takes jobs from a coordinator and trains them in child processes.
//!
//! - [`agent`]: the daemon's one loop: what the coordinator, the runners and the clock say, and what follows.
//! - `event`: what it is told.
//! - [`machine`]: how many jobs are trained at once, and by how many threads each.
//! - `link`: the connection to the coordinator, made again whenever it breaks.
//! - `outbox`: what is yet to be acknowledged.
//! - `weights`: files of weights that jobs build on and leave, and their transfers.
//! - [`runner`]: the child processes, seen from both ends.
//!
//! *Architecture invariants:* the daemon never trains, so it always has time for a heartbeat; a runner's crash fails its own attempt
//! and no other; what an attempt has to say is kept until the coordinator has acknowledged it.

pub mod agent;
mod error;
mod event;
mod link;
pub mod machine;
mod outbox;
pub mod runner;
mod weights;

pub use agent::{Agent, Options};
pub use error::WorkerError;

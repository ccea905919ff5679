//! Runners: the child processes that train jobs. A CPU has one runner per slot, a GPU one runner with a lane per slot: a thread and its
//! own stream on the device. A runner outlives its jobs, so that data sets stay loaded.
//!
//! - `parent`: the daemon's end of the pipe: starts, kills, sends, receives.
//! - `child`: the runner's end: trains what it receives.
//! - `lease_gate`: pauses training while the lease is expired.
//! - `out_of_memory`: detects kills for lack of memory.
//! - `framing`: the format of messages in the pipe.

mod child;
mod framing;
mod lease_gate;
mod out_of_memory;
mod parent;

pub use child::{ChildOptions, serve, serve_with};
pub(crate) use parent::Runner;
pub use parent::RunnerOptions;

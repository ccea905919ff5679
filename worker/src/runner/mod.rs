//! Runners: the child processes that train jobs. A CPU has one runner per slot, a GPU one runner with a lane per slot: a thread and its
//! own stream on the device. A runner outlives its jobs, so that data sets stay loaded.
//!
//! - `parent`: the daemon's end of the pipe: starts, kills, sends, receives.
//! - `child`: the runner's end: receives jobs, and reports on them.
//! - `work`: trains one job and saves its weights.
//! - `host_failure`: exits if the host lacks threads.
//! - `log_lines`: the lines of a runner's log: their level, their job, and which of them are shown.
//! - `lease_gate`: pauses training while the lease is expired.
//! - `out_of_memory`: detects kills for lack of memory.
//! - `framing`: the format of messages in the pipe.

mod child;
mod framing;
mod host_failure;
mod lease_gate;
mod log_lines;
mod out_of_memory;
mod parent;
mod work;

pub use child::{serve, serve_with};
pub(crate) use log_lines::ShownWarnings;
pub(crate) use parent::Runner;
pub use parent::RunnerOptions;
pub use work::ChildOptions;

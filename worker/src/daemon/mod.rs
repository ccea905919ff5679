//! The daemon: a process that connects the agent to the network, the runners, the disk and the clock. It makes no decisions.
//!
//! - [`shell`]: passes events to the agent and performs its effects; synchronous, also used by the simulation.
//! - `environment`: what the shell acts upon on a real host.
//! - `run`: the event loop.
//! - `checkpoints`: removal of checkpoints that no job needs.
//! - `sensors`: periodic readings of GPU sensors.

mod checkpoints;
mod environment;
mod run;
mod sensors;
pub mod shell;

pub use run::{Options, run};

//! The driver: the one task that owns the scheduler. It takes events, commits the records that follow, and only then performs the other
//! effects.
//!
//! - `event_loop`: the task. `queues`: how the gRPC services reach it.
//! - [`commit_gate`]: holds effects back until their records are durable; pure, and shared with the simulation.
//! - `store_thread`, `store_link`: commits on a thread of their own, and what continues while they fail.
//! - `delivery`: sends effects to workers and replies to users. `notices`: what the log tells operators.

pub mod commit_gate;
mod delivery;
mod event_loop;
mod notices;
mod queues;
mod store_link;
mod store_thread;
#[cfg(test)]
mod tests;

pub(crate) use event_loop::Driver;
pub(crate) use queues::{DriverHandle, Inbox, RequestError, UserRequest, WorkerMessage};

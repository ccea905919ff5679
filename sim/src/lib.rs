//! Whole clusters on a simulated network and clock, from one seed: the coordinator's machine and the workers' agents as they are, around
//! them a network, disks and runners that fail whenever the seed says.
//!
//! - [`world`]: the agenda of what is to happen, and everything that it happens to.
//! - `coordinator`: the machine between an inbox and a disk, as the driver has it.
//! - `worker`: an agent, its disk and its runners.
//! - `runner`: the engine that trains nothing, epoch after epoch.
//! - `network`: connections that delay, hold back and break.
//! - `plan`: the sweep, and what an undisturbed training gives.
//! - `fault`: what may befall whom.
//! - `promises`: what must hold all the time, and in the end.
//!
//! *Architecture invariant:* nothing here is random but what is drawn from the seed's generator, and nothing depends on the real clock or on
//! the order of a hash map: one seed gives the same bytes every time.

mod coordinator;
mod disk;
mod fault;
mod network;
mod plan;
mod promises;
mod rng;
mod runner;
mod trace;
mod worker;
pub mod world;

pub use fault::FaultKind;
pub use promises::BrokenPromise;
pub use worker::Flaw;
pub use world::{Fleet, Outcome, simulate};

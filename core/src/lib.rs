//! What every other room agrees on, and nothing that touches the world.
//!
//! - [`methods`]: what a job may ask for: losses, noise, networks, data sets, optimisers, schedules.
//! - [`job`]: one configuration under one seed, and the hash that names it.
//! - [`diagnostics`]: what is measured of networks under label noise where a configuration asks for it.
//! - [`logits`]: numerics on logits.
//! - [`metric`], [`outcome`]: what is measured after an epoch, and how an attempt ends.
//! - [`sweep_file`]: the sweep file: raw text with places, then checked, then expanded into jobs.
//! - [`scheduler`]: the coordinator's state machine.
//! - [`report`]: seeds to mean ± std, tables and their formats.
//!
//! *Architecture invariant:* nothing here reads a file, a clock or entropy, knows a network or awaits. Time and seeds are
//! arguments. `core/clippy.toml` and `cli/tests/rooms.rs` hold it to that.

pub mod diagnostics;
pub mod id;
pub mod input;
pub mod job;
pub mod logits;
pub mod methods;
pub mod metric;
pub mod outcome;
pub mod random;
pub mod report;
pub mod scheduler;
pub mod sweep_file;

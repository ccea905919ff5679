//! The types and algorithms that all other crates share, without input or output.
//!
//! Start with [`sweep_file`], which turns a YAML file into jobs, and [`scheduler`], which decides where and when they run.
//!
//! - [`input`]: reads YAML with positions and collects the problems found in it.
//! - [`sweep_file`]: parses a sweep file, checks it and expands it into jobs; also reads published results.
//! - [`methods`]: the values of a configuration: losses, noise, networks, data sets, optimisers, schedules.
//! - [`job`], [`id`]: a configuration under one seed, and the hashes that identify jobs and cells.
//! - [`random`]: the random streams of a job, derived from its seed.
//! - [`metric`], [`diagnostics`], [`logits`]: the metrics of an epoch, the diagnostics of label noise, and numerics on logits.
//! - [`outcome`]: how an attempt ends. [`failure_text`]: bounds what a failure says.
//! - [`display_text`]: shows text of others without letting it act on the terminal.
//! - [`parse_duration`]: durations as users write them.
//! - [`scheduler`]: the coordinator's state machine.
//! - [`report`]: tables of mean ± standard deviation, comparisons, significance tests, and their output formats.
//!
//! *Architecture invariant:* this crate reads no file, clock, entropy or environment, uses no network and is synchronous. Time and seeds
//! are arguments. `core/clippy.toml` forbids the functions, `cli/tests/rooms.rs` the dependencies.

pub mod diagnostics;
pub mod display_text;
mod duration;
pub mod failure_text;
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

pub use duration::parse_duration;

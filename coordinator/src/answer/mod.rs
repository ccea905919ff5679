//! Answers to users' queries, from the scheduler and the store; the same with and without a running coordinator.
//!
//! - [`status`]: sweeps and workers. [`explain`]: the state of one job. `results`: the jobs of a sweep with one metric.
//! - `jobs`: the jobs of a sweep that match conditions. `labels`: what distinguishes the cells of a sweep.
//! - `at_rest`: a state directory without a coordinator. `error`: why a query has no answer.

mod at_rest;
mod error;
pub mod explain;
mod jobs;
mod labels;
mod results;
mod status;

pub use at_rest::AtRest;
pub use error::AnswerError;
pub use jobs::{JobsQuery, SLICE, slice};
pub use labels::Labels;
pub use results::{RequestedJobs, SweepJobs, as_submitted, epoch_selection_named, metric_named};
pub(crate) use status::find_sweep;
pub use status::{Cursor, Sweeps, source, status, status_part, sweep_parts};

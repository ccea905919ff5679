//! The training loop: epochs of optimiser steps, each followed by an evaluation.
//!
//! From the ground up:
//! - `observer`: receives progress and may stop a job. `failure`: errors as a job's [`Failure`](plusminus_core::outcome::Failure).
//! - `inputs`: what the caller hands over. `context`: what all parts of a run share. `best_snapshots`: weights at their best so far.
//! - `inference`: logits of many samples. `device_data`: samples in a device's memory. `steps`: the optimiser steps of an epoch.
//! - `starting_point`: initial weights and transition matrix. `checkpoint_writer`: performs what the checkpoint policy decides.
//!   `prepared_run`: an engine and a loss, new or resumed from a checkpoint.
//! - `run`: a job in training. `epoch`, `review`, `diagnose` and `evaluation` are the parts of an epoch.
//! - `training_loop`: [`train`], which runs them in order.

mod best_snapshots;
mod checkpoint_writer;
mod context;
mod device_data;
mod diagnose;
mod epoch;
mod evaluation;
mod failure;
mod inference;
mod inputs;
mod observer;
mod prepared_run;
mod review;
mod run;
mod starting_point;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod training_loop;

pub(crate) use inference::EVALUATION_BATCH;
pub use inputs::{ParentWeights, TrainInputs};
pub use observer::{Observer, Progress};
pub use training_loop::{TrainedJob, train};

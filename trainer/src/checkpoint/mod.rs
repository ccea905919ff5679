//! Checkpoints: files from which a job that is tried again goes on.
//!
//! - `interval`: how often one is written.
//! - `format`: what is in a file.
//! - `directory`: which files there are, what takes whose place, and which are to go.
//!
//! One is made at the end of an epoch, and holds all that the epochs to come depend on: weights, what the optimiser and the loss
//! remember, the weights best so far, every epoch's measurements, and what was found at the start (T̂ of forward correction, where
//! the initial weights came from). No generator is in it: an epoch's random streams are made anew from the job's seeds.
//!
//! *Architecture invariant:* a job that goes on from a checkpoint gives the bytes that it would have given without. So those of
//! every attempt are as good, and one that another engine or other data made, or that is not whole, is not used at all.

mod format;
mod interval;
mod store;

pub(crate) use format::{CheckpointError, CheckpointOrigin, SavedCheckpoint, TrainingState, read, write};
pub use interval::{CheckpointInterval, InvalidCheckpointInterval};
pub(crate) use store::CheckpointStore;
pub use store::{CheckpointOptions, remove};

//! Checkpoints: files from which a job's next attempt resumes.
//!
//! - `interval`: how often a checkpoint is written.
//! - `policy`: decides when to write and which files to remove. Pure; the training loop performs its decisions.
//! - `format`: the content of a file.
//! - `store`: the files of one job in a directory.
//!
//! A checkpoint is made at the end of an epoch and holds everything that later epochs depend on: weights, the state of optimiser and
//! loss, the best weights so far, every epoch's measurements, and what was found at the start (the estimated transition matrix of
//! forward correction, the file of the initial weights). It holds no random generator, because every epoch derives its random streams
//! from the job's seeds.
//!
//! *Architecture invariant:* a job that resumes from a checkpoint gives the bytes that it gives without an interruption. Checkpoints of
//! all attempts are therefore equally good. A checkpoint of another engine or other data, or a damaged one, is not used.

mod format;
mod interval;
mod policy;
mod store;

pub(crate) use format::{CheckpointError, CheckpointOrigin, SavedCheckpoint, TrainingState, read, write};
pub use interval::{CheckpointInterval, InvalidCheckpointInterval};
pub(crate) use policy::{CheckpointAction, CheckpointEvent, CheckpointId, CheckpointPolicy};
pub(crate) use store::CheckpointStore;
pub use store::{CheckpointOptions, remove};

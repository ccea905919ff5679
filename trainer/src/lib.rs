//! Trains one job: loads data, applies noise, runs the training loop and writes checkpoints. Engines compute; losses are core's.
//!
//! - [`data`]: data sets from disk or from the binary, a job's labels and splits, and the inputs of a network.
//! - [`mod@train`]: the training loop. It reports to an [`Observer`], which can stop it.
//! - [`checkpoint`]: files from which a job's next attempt resumes.
//! - [`initial_weights`]: initial weights from a file. [`kept_weights`]: the weight files of a finished job.
//! - `diagnostics`: measurements beyond accuracies and losses, for jobs that ask for them.
//! - [`memory`]: estimates the memory that a job needs.
//!
//! *Architecture invariant:* all random numbers come from the job's own streams, and sums have a fixed order. A job that is trained
//! twice gives the same bytes, whatever the number of threads.

pub mod checkpoint;
pub mod data;
pub(crate) mod diagnostics;
pub mod initial_weights;
pub mod kept_weights;
pub mod memory;
pub mod train;

pub use checkpoint::{CheckpointInterval, CheckpointOptions};
pub use data::{DataDirectories, DatasetCache};
pub use kept_weights::KeptWeights;
pub use memory::MemoryEstimate;
pub use train::{Observer, ParentWeights, Progress, TrainInputs, TrainedJob, train};

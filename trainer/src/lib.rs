//! Trains one job: data, noise, batches, the loop. It knows what a job is and nothing of the network.
//!
//! - [`data`]: data sets from disk or from the binary, checked in full; what a job makes of one.
//! - `diagnostics`: what is measured beside accuracies where a job asks for it.
//! - [`mod@train`]: the loop, which reports to an [`Observer`] and stops where that says so.
//! - [`memory`]: what memory a job takes, told beforehand.
//! - [`initial`]: initial weights from a file.
//! - [`checkpoint`]: files from which a job that is tried again goes on.
//! - [`keep`]: the weights that a finished job leaves, as files.
//!
//! *Architecture invariant:* everything random comes from the job's own streams, and everything is summed in one order: a job
//! trained twice gives the same bytes, whatever the number of threads. No loss is written here; they are core's.

pub(crate) mod atomic_file;
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

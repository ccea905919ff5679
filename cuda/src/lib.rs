//! CUDA without its toolkit: kernels of our own, compiled when the program runs, and what runs them.
//!
//! - `kernels/`: their sources, in what CUDA C and C have in common.
//! - [`ops`]: what they compute, as the trainer asks for it: lengths checked, then launched.
//! - [`convolution`]: convolutions, by a library that the device has or by kernels of our own.
//! - [`device`]: what a device does, whichever it is.
//! - [`gpu`]: a GPU behind CUDA's driver, with cuDNN; [`compile`] and [`cache`] make the kernels' code, `libraries` finds NVIDIA's.
//! - [`mod@survey`]: which GPUs there are, and how they are.
//! - `twin`: the processor as a device: the very same sources, compiled by a C compiler, for tests alone.
//!
//! *Architecture invariant:* every sum has one order, which follows from the shapes alone. No kernel adds by atomics, and no compiler
//! joins a product and a sum unless the source says so.

pub mod cache;
pub mod compile;
pub mod convolution;
pub mod device;
mod error;
pub mod gpu;
mod launch;
mod libraries;
mod memory;
pub mod ops;
mod signature;
mod sources;
pub mod survey;
#[cfg(feature = "twin")]
pub mod twin;

pub use cache::Cache;
pub use convolution::{Convolution, Factors, Geometry, Pass};
pub use device::{Device, Recording};
pub use error::DeviceError;
pub use gpu::{Gpu, is_well};
pub use launch::Launch;
pub use libraries::{DIRECTORIES, what_is_missing};
pub use memory::{Memory, Room, Values};
pub use signature::Kind;
pub use survey::{Found, Monitor, Reading, Survey, survey};

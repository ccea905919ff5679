//! GPU support without the CUDA toolkit: our own kernels, compiled at run time, and the devices that run them.
//!
//! - `kernels/`: kernel sources, in the common subset of CUDA C and C. `sources` embeds them, `signature` reads their parameters.
//! - [`ops`]: the operations that the trainer calls. Each checks its lengths and launches kernels.
//! - [`convolution`]: what a convolution is given. A device's library or our own kernels compute it.
//! - [`device`]: the interface of a device. `memory` and `launch` hold what passes through it.
//! - [`gpu`]: a GPU behind the CUDA driver, with cuDNN. [`compile`] and [`cache`] produce its code; `libraries` finds NVIDIA's libraries.
//! - [`mod@survey`]: lists the GPUs of the host and reads their load.
//! - `twin`: the CPU as a device, for tests: the same sources, compiled by a C compiler.
//!
//! *Architecture invariant:* every sum has a fixed order, determined by the shapes alone. Kernels do not add with atomics, and
//! compilers do not contract a multiplication and an addition into one unless the source does.

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
pub use convolution::{Convolution, Geometry, Pass, ProductPrecision};
pub use device::{Device, Recording};
pub use error::DeviceError;
pub use gpu::{Gpu, is_usable};
pub use launch::Launch;
pub use libraries::{LIBRARY_DIRECTORIES, missing_libraries};
pub use memory::{DeviceMemory, HostBuffer, HostValues};
pub use signature::Kind;
pub use survey::{GpuInfo, Monitor, Reading, Survey, survey};

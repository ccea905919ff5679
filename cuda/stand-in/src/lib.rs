//! A stand-in for NVIDIA's libraries, for tests: one C library with the functions of the driver (`libcuda`), NVRTC and NVML that this
//! project calls. It simulates GPUs: their memory is host memory, and kernels run as their twins.
//!
//! A program with the stand-in's directory in `LD_LIBRARY_PATH` loads it instead of NVIDIA's libraries, so tests run the program unchanged.
//! *This checks our calls, not NVIDIA's libraries:* the stand-in follows NVIDIA's documentation as we read it. It has no cuDNN, so our own
//! kernels compute convolutions.
//!
//! - [`settings`]: environment variables that control it.
//! - [`test()`], [`tests`], [`program`], [`directory`]: how tests use it.
//! - `cards`: the GPUs. `state`: memory, streams and everything else with a handle.
//! - `driver`, `nvrtc`, `nvml`: the functions, by library.
//!
//! It detects these errors of callers: a launch that writes outside its memory or gets an invalid address corrupts the context, as on a real
//! GPU; an invalid handle is refused; a call that is forbidden during a capture invalidates the capture; uninitialised memory reads as NaN;
//! an allocation beyond the GPU's memory fails. Work executes at once, which is one of the orders that a stream allows: a missing
//! synchronisation goes unnoticed.

mod cards;
mod code;
#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod nvml;
#[cfg(target_os = "linux")]
mod nvrtc;
pub mod settings;
#[cfg(target_os = "linux")]
mod state;

#[cfg(target_os = "linux")]
pub use harness::{CUDA, NVML, NVRTC, directory, directory_of, program, test, tests};

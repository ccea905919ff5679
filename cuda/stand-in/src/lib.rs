//! A stand-in for NVIDIA's libraries, for tests alone: one library that has the functions of the driver (`libcuda`), of NVRTC and of NVML
//! that our program calls. GPUs are made up, their memory is the processor's, and kernels run as their twins.
//!
//! A program that is started with the stand-in's directory in `LD_LIBRARY_PATH` finds it instead of NVIDIA's libraries, so the program is
//! tested as it is shipped: nothing in it knows of this. *It shows that our calls are in order, not that NVIDIA's libraries do what we
//! think:* what it answers is what their documentation says, as we read it. cuDNN is not there, so our own convolutions run.
//!
//! - [`settings`]: the variables that say how it behaves.
//! - [`test()`], [`tests`], [`program`], [`directory`]: how tests use it.
//! - `cards`: the GPUs. `state`: memory, streams and all else that has a handle.
//! - `driver`, `nvrtc`, `nvml`: the functions, by library.
//!
//! What it holds against its callers: a launch that writes beside its memory, or is given an address where no memory is, poisons the
//! GPU for its process, as on a real one; a handle that was never given or is gone is refused; calls that a recording forbids break it;
//! memory that was not set is full of NaN; memory beyond a GPU's is refused. Work is done at once, which is one of the orders that a
//! stream may have: a missing wait does not show.

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

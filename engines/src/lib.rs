//! Engines run a network forward and backward and update its weights.
//!
//! Every engine takes the same [`Network`](plusminus_core::methods::networks::Network), [`Weights`] and random generators, so that engines
//! can be compared with each other. The loss comes from the caller, as a function of the logits.
//!
//! - `engine`, `device_engine`: the interface of an engine, and of one whose device has memory and a queue of its own.
//! - `batch`, `transform`: what a training step reads.
//! - `weights`, `optimizer`: the flat list of weights and the optimisers, which all engines share.
//! - `candle`: the reference engine, on candle's tensors. `fused`: the fast engine for CPUs. `cuda`: the engine for NVIDIA GPUs.
//! - `factory`: makes engines and estimates their memory.
//!
//! *Architecture invariant:* engines draw random numbers only from the generators that they are given, and every sum has a fixed order:
//! equal calls give equal bytes, whatever the number of threads.

mod batch;
mod candle;
mod cuda;
mod device_engine;
mod engine;
mod error;
mod factory;
mod fused;
mod gemm;
mod optimizer;
mod options;
#[cfg(any(test, feature = "twin"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod transform;
mod weights;

pub use batch::{Batch, BatchInputs, LossOfLogits, Samples, StepLoss};
pub use device_engine::DeviceEngine;
pub use engine::{Checkpoint, Engine};
pub use error::{Cause, EngineError};
pub use factory::{device_loss_memory, device_memory, host_memory, is_usable, new_engine, new_engine_on_device};
pub use optimizer::{OptimizerState, optimizer_values_per_weight};
pub use options::{Device, ENVIRONMENT, EngineKind, ExecutionOptions};
pub use transform::{AxisTransform, ImageTransform};
pub use weights::{Plan, Role, WeightEntry, Weights};

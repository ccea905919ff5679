//! The engine for GPUs: runs the fused engine's program, step by step, over device memory that is allocated once.
//!
//! - `memory`: the device memory of a model and of a batch. `held_samples`: the data on the device. `device_loss`: the loss on the device.
//! - `step_parameters`: the numbers that the host sends for every step. `recording`: recorded parts of a step.
//! - `state`, `batch_view`: the engine's state, and the buffers of one batch.
//! - `forward`, `backward`, `update`: the parts of a step. `step`: a whole step. `engine`: the engine's interfaces.
//!
//! Devices are accessed only through the trait [`Device`](plusminus_cuda::Device), so tests run every line on a CPU, with the kernels that
//! a GPU runs. A convolution's input is copied through its view (batch norm and ReLU) where cuDNN cannot apply the view; other steps apply
//! the view in their own kernels.
//!
//! If the device has the loss, a step is one recording from the inputs to the new weights. Otherwise it is two, and the host computes the
//! loss between them. A part is recorded when it runs for the second time with the same number of samples, and replayed afterwards. Values
//! that change between steps (inputs or sample indices, positions in random streams, the host's gradient, learning rates) are read from
//! device memory and are not part of a recording.

mod backward;
mod batch_view;
mod device_loss;
mod engine;
mod forward;
mod held_samples;
mod memory;
mod recording;
mod state;
mod step;
mod step_parameters;
#[cfg(test)]
pub(super) mod tests;
mod update;

pub(super) use device_loss::loss_memory;
pub(super) use memory::memory;
pub(super) use state::CudaEngine;

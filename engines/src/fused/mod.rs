//! The fused engine: compiles a network once into a list of steps over buffers that are allocated once.
//!
//! Batch norm, bias and ReLU are not steps. They are the view through which readers see the output of a convolution or linear layer, and
//! are computed while that output is copied into the next step's input.
//!
//! - `program`: the compiler, from layers to steps. `parameters`: the weights in the order that the kernels read.
//! - `buffer`, `threads`, `state`: memory, the thread pool, and the state of one batch.
//! - `affine`: biases and batch norm. `convolution`, `linear`: the steps with weights. `text`: the steps of text networks.
//! - `forward`, `backward`: the two passes. `engine`: the engine itself.
//! - `estimate`: the memory that an engine occupies, computed in advance.
//!
//! The GPU engine (`cuda`) runs the same program and uses the same parameter layout. The arithmetic is in `plusminus_kernels`.

mod affine;
mod backward;
mod buffer;
mod convolution;
mod engine;
mod estimate;
mod forward;
mod gradient_target;
mod linear;
mod parameters;
mod program;
mod state;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod threads;

pub(super) use affine::{EPSILON, MOMENTUM};
pub(super) use engine::FusedEngine;
pub(super) use estimate::memory;
#[cfg(test)]
pub(super) use forward::draw_mask;
pub(super) use parameters::WeightOrder;
pub(super) use program::{Affine, Convolution, GradientFlow, Input, Program, Shape, Step, Value, ValueId, compile};

//! The inner loops of training on a CPU. They know nothing about networks, start no threads and allocate nothing.
//!
//! Every kernel is a struct with slices and extents. Its `run` checks that they match before it computes, and panics with a message
//! otherwise. This crate contains no `unsafe`; `pulp` provides vector instructions, selected at run time ([`Instructions`]).
//!
//! Images are channels-last, with channels in blocks of [`BLOCK`]. Padding channels are zero, and every kernel keeps them zero. Only the
//! images that windows are cut from may have any number of channels. Sums have the same order with all instruction sets: equal inputs
//! give equal bytes on every CPU.
//!
//! | file | content |
//! |---|---|
//! | `lanes` | vector arithmetic and the choice of the instruction set |
//! | `grid` | positions of pixels |
//! | `correlate`, `outer` | products: convolutions and linear layers, forward and backward |
//! | `winograd` | 3×3 convolutions with fewer multiplications |
//! | `view`, `pixels`, `pool` | operations between products: batch norm, ReLU, sums, pooling |
//! | `update` | optimiser steps |
//! | `tangent` | tanh |

#![allow(
    clippy::needless_range_loop,
    reason = "several arrays are walked together, which the optimiser unrolls as it stands"
)]

mod correlate;
mod grid;
mod lanes;
mod outer;
mod pixels;
mod pool;
mod tangent;
mod update;
mod view;
mod winograd;

pub use correlate::Correlation;
pub use grid::{Extents, Strides};
pub use lanes::{BLOCK, Instructions};
pub use outer::OuterSum;
pub use pixels::{Add, ChannelMoments, GradientApply, GradientSums, Join, Mask, Pad};
pub use pool::{Average, MaxPool, MaxPoolGradient, Windows};
pub use tangent::tanh;
pub use update::{Adam, Sgd};
pub use view::View;
pub use winograd::{
    InputGradient, InputTransform, KernelGradient, KernelTransform, OutputGradient, OutputTransform, PLACES, Tiles,
};

//! The loops that training on a CPU spends its time in, and nothing else: no networks, no threads, no memory of their own.
//!
//! Every kernel is a struct whose fields name slices and extents, and whose `run` checks that they fit each other before it
//! computes: a wrong extent is a panic with a sentence, never a read beyond the end. There is no `unsafe` in this crate; vector
//! instructions are used through `pulp`, chosen when the program runs ([`Instructions`]).
//!
//! Images are channels-last: a pixel's values stand together, in blocks of [`BLOCK`] (channels that are lacking are zeroes, which
//! every kernel keeps zeroes); only the images that windows are cut from may have any number of channels. Sums have one order,
//! whatever the instructions: equal inputs give equal bytes on every processor.
//!
//! | file | what |
//! |---|---|
//! | `lanes` | vectors of numbers, and the choice of instructions |
//! | `grid` | where pixels stand |
//! | `correlate`, `outer` | products: convolutions and linear layers, forward and backward |
//! | `winograd` | 3×3 convolutions with fewer products |
//! | `view`, `pixels`, `pool` | what stands between products |
//! | `update` | steps of optimisers |
//! | `tangent` | the hyperbolic tangent |

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
pub use grid::{Extents, Steps};
pub use lanes::{BLOCK, Instructions};
pub use outer::OuterSum;
pub use pixels::{Add, GradientApply, GradientSums, Join, Mask, Moments, Pad};
pub use pool::{Average, MaxPool, MaxPoolGradient, Windows};
pub use tangent::tanh;
pub use update::{Adam, Sgd};
pub use view::View;
pub use winograd::{
    InputGradient, InputTransform, KernelGradient, KernelTransform, OutputGradient, OutputTransform, PLACES, Tiles,
};

//! Operations with gradients of our own for candle's graph, images as sample × row × column × channel.
//!
//! candle 0.11's own do not serve: `max_pool2d` spreads the gradient wrongly, ReLU's gradient at 0 is 1, the gradient of `conv2d`
//! is an order of magnitude slower than its value (and fails where the step leaves over another number of rows than of columns),
//! and batch norm makes a dozen full-size temporaries.
//!
//! On the CPU each runs code of our own; on other devices it is composed of those of candle's operations that are right.

mod batch_norm;
mod convolution;
mod pool;
mod relu;

pub(super) use batch_norm::{Affine, BatchNorm};
pub(super) use convolution::Convolve;
pub(super) use pool::{GlobalAverage, MaxPool, PadChannels};
pub(super) use relu::{AddRelu, Relu};

use candle_core::{CpuStorage, Error, Layout, Result, Storage, StorageRef, Tensor};
use std::ops::Deref;

/// An operation on `N` tensors in two forms, which agree in values and gradients but for rounding.
pub(super) trait Operation<const N: usize>: Sized {
    /// Code of our own: for the CPU, and fast.
    fn custom(self, arguments: [&Tensor; N]) -> Result<Tensor>;

    /// candle's operations and their gradients: for every device that candle has.
    fn composed(self, arguments: [&Tensor; N]) -> Result<Tensor>;

    /// The form for the device that holds the arguments.
    fn apply(self, arguments: [&Tensor; N]) -> Result<Tensor> {
        if arguments.iter().all(|argument| argument.device().is_cpu()) {
            self.custom(arguments)
        } else {
            self.composed(arguments)
        }
    }
}

/// The values of a contiguous argument.
fn argument<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or_else(|| Error::Msg("the argument is not contiguous".into()))?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The values of a tensor on the CPU, borrowed.
pub(super) struct Values<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> Values<'a> {
    /// Those of `tensor`, which must be contiguous, on the CPU and of `f32`.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) =
            layout.contiguous_offsets().ok_or_else(|| Error::Msg("a tensor is not contiguous".into()))?;
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Values { storage, start, end }),
            _ => Err(Error::Msg("a tensor is not of f32 on the CPU".into())),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // `of` lets nothing else in.
            _ => &[],
        }
    }
}

/// A tensor like `like` with other values.
fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// As many rows and columns of images as `extent` says, from the pixel `first` on, each `stride` after the one before.
fn every(x: &Tensor, stride: usize, first: (usize, usize), extent: (usize, usize)) -> Result<Tensor> {
    let along = |x: &Tensor, dim: usize, first: usize, count: usize| {
        if stride == 1 {
            return x.narrow(dim, first, count);
        }
        // Pieces of `stride`, of which the first value each. The last piece may need filling.
        let there = (x.dim(dim)? - first).min(count * stride);
        let x = x.narrow(dim, first, there)?.pad_with_zeros(dim, 0, count * stride - there)?;
        let mut pieces = x.dims().to_vec();
        pieces.splice(dim..=dim, [count, stride]);
        x.reshape(pieces)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)
    };
    along(&along(x, 1, first.0, extent.0)?, 2, first.1, extent.1)
}

/// Every window of images, pixel by pixel of the window: each `[n, rows, columns, channels]`, where `extent` is how many windows
/// there are down and across.
fn windows(x: &Tensor, kernel: (usize, usize), stride: usize, extent: (usize, usize)) -> Result<Vec<Tensor>> {
    let places = (0..kernel.0).flat_map(|row| (0..kernel.1).map(move |column| (row, column)));
    places.map(|place| every(x, stride, place, extent)).collect()
}

/// Sums over rows, a value a column: blocks in `f32`, which vectorises, and blocks together in `f64`, which does not round.
///
/// `term` adds the row with the index it is given to the block's sums.
fn column_sums(rows: usize, columns: usize, mut term: impl FnMut(usize, &mut [f32])) -> Vec<f64> {
    const BLOCK: usize = 64;
    let mut total = vec![0.0; columns];
    let mut block = vec![0.0; columns];
    for start in (0..rows).step_by(BLOCK) {
        block.fill(0.0);
        (start..rows.min(start + BLOCK)).for_each(|row| term(row, &mut block));
        total.iter_mut().zip(&block).for_each(|(total, block)| *total += f64::from(*block));
    }
    total
}

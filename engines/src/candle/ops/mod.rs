//! Operations for candle's graph with our own gradients. Images are `[samples, rows, columns, channels]`.
//!
//! candle 0.11's operations are unsuitable: `max_pool2d` distributes the gradient incorrectly, the gradient of ReLU at 0 is 1, the gradient
//! of `conv2d` is an order of magnitude slower than its value (and fails if the stride leaves over different numbers of rows and columns),
//! and batch norm allocates a dozen full-size temporaries.
//!
//! On the CPU each operation runs our own code. On other devices it is composed of candle's correct operations.

mod batch_norm;
mod convolution;
mod pool;
mod relu;

pub(super) use batch_norm::{BatchNorm, BatchNormEvaluation};
pub(super) use convolution::Convolve;
pub(super) use pool::{GlobalAverage, MaxPool, PadChannels};
pub(super) use relu::{AddRelu, Relu};

use candle_core::{CpuStorage, Error, Layout, Result, Storage, StorageRef, Tensor};
use std::ops::Deref;

/// An operation on `N` tensors in two forms, whose values and gradients agree up to rounding.
pub(super) trait Operation<const N: usize>: Sized {
    /// Our own code, for the CPU.
    fn custom(self, arguments: [&Tensor; N]) -> Result<Tensor>;

    /// A composition of candle's operations, for every device that candle supports.
    fn composed(self, arguments: [&Tensor; N]) -> Result<Tensor>;

    /// Applies the form for the arguments' device.
    fn apply(self, arguments: [&Tensor; N]) -> Result<Tensor> {
        if arguments.iter().all(|argument| argument.device().is_cpu()) {
            self.custom(arguments)
        } else {
            self.composed(arguments)
        }
    }
}

/// The values of a contiguous argument on the CPU.
fn argument_values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or_else(|| Error::Msg("the argument is not contiguous".into()))?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The borrowed values of a tensor on the CPU.
pub(super) struct TensorValues<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> TensorValues<'a> {
    /// The values of `tensor`, which must be contiguous, on the CPU and of `f32`.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) =
            layout.contiguous_offsets().ok_or_else(|| Error::Msg("a tensor is not contiguous".into()))?;
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(TensorValues { storage, start, end }),
            _ => Err(Error::Msg("a tensor is not an f32 tensor on the CPU".into())),
        }
    }
}

impl Deref for TensorValues<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // `of` rejects other storage.
            _ => &[],
        }
    }
}

/// A tensor of these values with the shape and device of `like`.
fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// Every `stride`-th row and column from the pixel `first` on: `extent` rows and columns.
fn strided(x: &Tensor, stride: usize, first: (usize, usize), extent: (usize, usize)) -> Result<Tensor> {
    let along = |x: &Tensor, dim: usize, first: usize, count: usize| {
        if stride == 1 {
            return x.narrow(dim, first, count);
        }
        // The first value of each group of `stride` values. The last group may need padding.
        let available = (x.dim(dim)? - first).min(count * stride);
        let x = x.narrow(dim, first, available)?.pad_with_zeros(dim, 0, count * stride - available)?;
        let mut groups = x.dims().to_vec();
        groups.splice(dim..=dim, [count, stride]);
        x.reshape(groups)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)
    };
    along(&along(x, 1, first.0, extent.0)?, 2, first.1, extent.1)
}

/// For each position within a window, the pixels at that position of all windows: `[samples, rows, columns, channels]`, where `extent` is the
/// number of rows and columns of windows.
fn windows(x: &Tensor, kernel: (usize, usize), stride: usize, extent: (usize, usize)) -> Result<Vec<Tensor>> {
    let places = (0..kernel.0).flat_map(|row| (0..kernel.1).map(move |column| (row, column)));
    places.map(|place| strided(x, stride, place, extent)).collect()
}

/// Sums over rows, one per column: within blocks in `f32`, which vectorises, and over blocks in `f64`, for accuracy.
///
/// `term` adds the row with the given index to the sums of a block.
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

//! Operations with gradients of our own for candle's graph, on the CPU, images as sample × row × column × channel.
//!
//! candle 0.11's own do not serve: `max_pool2d` spreads the gradient wrongly, ReLU's gradient at 0 is 1, the gradient of
//! `conv2d` is an order of magnitude slower than its value, and batch norm makes a dozen full-size temporaries.

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

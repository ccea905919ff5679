//! Max pooling, the mean over an image, and the shortcut that pads channels.

use super::{Operation, TensorValues, argument_values, strided, tensor_like, windows};
use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};
use std::ops::Range;

/// Max pooling. Of equal maxima the first, row by row, receives the gradient.
pub(crate) struct MaxPool {
    /// Rows and columns of the window.
    pub kernel: (usize, usize),
    /// The stride of the windows.
    pub stride: usize,
    /// How far windows extend beyond every side of the image: at most half their extent, so every window covers a pixel.
    pub padding: usize,
}

impl MaxPool {
    /// Calls `visit` for each pixel of each window, with the offset of the output pixel, the offset of the input pixel, and whether it is the
    /// window's first.
    #[inline(always)]
    fn windows(&self, (n, h, w, c): (usize, usize, usize, usize), mut visit: impl FnMut(usize, usize, bool)) {
        let (rows, columns) = self.extent(h, w);
        let mut output = 0;
        for line in 0..n * rows {
            let (image, down) = (line / rows, self.covered(line % rows, self.kernel.0, h));
            for column in 0..columns {
                let right = self.covered(column, self.kernel.1, w);
                for i in down.clone() {
                    for j in right.clone() {
                        let first = i == down.start && j == right.start;
                        visit(output, ((image * h + i) * w + j) * c, first);
                    }
                }
                output += c;
            }
        }
    }

    /// The range of rows (or columns) that a window covers, out of `extent`.
    #[inline(always)]
    fn covered(&self, window: usize, kernel: usize, extent: usize) -> Range<usize> {
        let start = window * self.stride;
        let end = (start + kernel).min(extent + self.padding);
        start.saturating_sub(self.padding)..end - self.padding
    }

    fn extent(&self, h: usize, w: usize) -> (usize, usize) {
        let along = |extent: usize, kernel: usize| (extent + 2 * self.padding - kernel) / self.stride + 1;
        (along(h, self.kernel.0), along(w, self.kernel.1))
    }
}

/// Pads `x` along `dim` with `layers` of −∞ at both ends.
fn pad_with_negative_infinity(x: &Tensor, dim: usize, layers: usize) -> Result<Tensor> {
    if layers == 0 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[dim] = layers;
    let margin = Tensor::full(f32::NEG_INFINITY, shape, x.device())?;
    Tensor::cat(&[&margin, x, &margin], dim)?.contiguous()
}

/// The maximum along `dim`, which is removed. NaN counts as the largest value. The first of equal maxima receives the gradient.
fn first_maximum(x: &Tensor, dim: usize) -> Result<Tensor> {
    let (values, count) = (x.detach(), x.dim(dim)?);
    let mut along = vec![1; x.rank()];
    along[dim] = count;
    let early = Tensor::arange_step(count as f32, 0.0, -1.0, x.device())?.reshape(along)?;
    let largest = values.broadcast_ge(&values.max_keepdim(dim)?)?.to_dtype(DType::F32)?;
    let nan = values.ne(&values)?.to_dtype(DType::F32)?;
    let merit = (largest.broadcast_mul(&early)? + nan.affine(2.0 * count as f64, 0.0)?)?;
    let taken = merit.broadcast_eq(&merit.max_keepdim(dim)?)?;
    taken.where_cond(x, &x.zeros_like()?)?.sum(dim)
}

impl Operation<1> for MaxPool {
    fn custom(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }

    fn composed(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        let extent = self.extent(h, w);
        let padded =
            [1, 2].into_iter().try_fold(x.clone(), |x, dim| pad_with_negative_infinity(&x, dim, self.padding))?;
        first_maximum(&Tensor::stack(&windows(&padded, self.kernel, self.stride, extent)?, 3)?, 3)
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = argument_values(x, layout)?;
        let (n, h, w, c) = layout.shape().dims4()?;
        let (rows, columns) = self.extent(h, w);
        let mut y = vec![f32::NEG_INFINITY; n * rows * columns * c];
        self.windows((n, h, w, c), |output, input, _| {
            for (y, x) in y[output..output + c].iter_mut().zip(&x[input..input + c]) {
                // NaN propagates, so that a divergence is detected.
                *y = if *x > *y || x.is_nan() { *x } else { *y };
            }
        });
        Ok((CpuStorage::F32(y), Shape::from((n, rows, columns, c))))
    }

    fn bwd(&self, x: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (xs, y, g) = (TensorValues::of(x)?, TensorValues::of(output)?, TensorValues::of(&gradient)?);
        // Plain slices: dereferencing the guards for every pixel would cost more than the computation.
        let (xs, y, g): (&[f32], &[f32], &[f32]) = (&xs, &y, &g);
        let (n, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; xs.len()];
        let mut left = vec![0.0f32; c];
        // The gradient that each channel has left: the first pixel that equals the maximum receives all of it.
        self.windows((n, h, w, c), |output, input, first| {
            if first {
                left.copy_from_slice(&g[output..output + c]);
            }
            let (dx, x, y, left) =
                (&mut dx[input..input + c], &xs[input..input + c], &y[output..output + c], &mut left[..c]);
            // Indexing slices of equal length without a branch, which the compiler vectorises.
            for k in 0..c {
                let takes = u32::from(x[k] == y[k]).wrapping_neg();
                let taken = f32::from_bits(left[k].to_bits() & takes);
                dx[k] += taken;
                left[k] -= taken;
            }
        });
        tensor_like(dx, x).map(Some)
    }
}

/// The mean of each channel over the image: `[n, h, w, c]` to `[n, 1, 1, c]`.
pub(crate) struct GlobalAverage;

impl Operation<1> for GlobalAverage {
    fn custom(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }

    fn composed(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.mean_keepdim((1, 2))
    }
}

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global-average"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = argument_values(x, layout)?;
        let (n, h, w, c) = layout.shape().dims4()?;
        let mut y = vec![0.0; n * c];
        for (y, image) in y.chunks_exact_mut(c).zip(x.chunks_exact(h * w * c)) {
            for pixel in image.chunks_exact(c) {
                y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y /= (h * w) as f32);
        }
        Ok((CpuStorage::F32(y), Shape::from((n, 1, 1, c))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let g = TensorValues::of(&gradient)?;
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        for (image, g) in dx.chunks_exact_mut(h * w * c).zip(g.chunks_exact(c)) {
            for pixel in image.chunks_exact_mut(c) {
                pixel.iter_mut().zip(g).for_each(|(dx, g)| *dx = g / (h * w) as f32);
            }
        }
        tensor_like(dx, x).map(Some)
    }
}

/// Every `stride`-th pixel, with additional channels of zeros (He et al. 2016, option A).
pub(crate) struct PadChannels {
    /// The stride.
    pub stride: usize,
    /// Output channels, at least as many as input channels.
    pub channels: usize,
}

impl PadChannels {
    fn extent(&self, h: usize, w: usize) -> (usize, usize) {
        (h.div_ceil(self.stride), w.div_ceil(self.stride))
    }

    /// The offset of an output pixel's source in an input of extent h × w × c.
    fn input(&self, output: usize, (h, w, c): (usize, usize, usize)) -> usize {
        let (rows, columns) = self.extent(h, w);
        let (image, row, column) = (output / (rows * columns), output / columns % rows, output % columns);
        ((image * h + row * self.stride) * w + column * self.stride) * c
    }
}

impl Operation<1> for PadChannels {
    fn custom(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }

    fn composed(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        strided(x, self.stride, (0, 0), self.extent(h, w))?.pad_with_zeros(D::Minus1, 0, self.channels - c)
    }
}

impl CustomOp1 for PadChannels {
    fn name(&self) -> &'static str {
        "pad-channels"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = argument_values(x, layout)?;
        let (n, h, w, c) = layout.shape().dims4()?;
        let (rows, columns) = self.extent(h, w);
        let mut y = vec![0.0; n * rows * columns * self.channels];
        for (output, y) in y.chunks_exact_mut(self.channels).enumerate() {
            y[..c].copy_from_slice(&x[self.input(output, (h, w, c))..][..c]);
        }
        Ok((CpuStorage::F32(y), Shape::from((n, rows, columns, self.channels))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let g = TensorValues::of(&gradient)?;
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        for (output, g) in g.chunks_exact(self.channels).enumerate() {
            dx[self.input(output, (h, w, c))..][..c].copy_from_slice(&g[..c]);
        }
        tensor_like(dx, x).map(Some)
    }
}

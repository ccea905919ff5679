//! Convolutions as matrix products (im2col): the windows of a few lines of output are laid out as rows, and their product with the kernels
//! gives the pixels of those lines.
//!
//! A linear layer is the 1×1 convolution of a 1×1 image.

use super::{Operation, TensorValues, argument_values, column_sums, tensor_like, windows};
use crate::gemm::{Matrix, multiply};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor};
use std::ops::Range;

/// Values of windows per product: 256 KiB, which fit into a core's second-level cache together with the result.
const CHUNK: usize = 64 * 1024;

/// Minimum number of pixels per product. Every product reads all kernels, which dominates its time if there are few pixels.
const PIXELS: usize = 256;

/// Outputs whose kernels are packed together, so that whole cache lines are written.
const OUTPUTS: usize = 16;

/// x ∗ kernels on (x, kernels), or x ∗ kernels + bias on (x, kernels, bias).
///
/// x is `[samples, rows, columns, input]`; the kernels are `[output, input, rows, columns]`.
#[derive(Clone, Copy)]
pub(crate) struct Convolve {
    /// The stride of the windows.
    pub stride: usize,
    /// Rows of zeros above and below the image, and columns of zeros on both sides.
    pub margin: (usize, usize),
}

/// The extents of a convolution.
#[derive(Clone, Copy)]
struct Geometry {
    images: usize,
    height: usize,
    width: usize,
    input: usize,
    output: usize,
    /// Rows and columns of a kernel.
    kernel: (usize, usize),
    stride: usize,
    margin: (usize, usize),
    rows: usize,
    columns: usize,
}

impl Convolve {
    fn geometry(&self, x: &Shape, kernels: &Shape) -> Result<Geometry> {
        let (images, height, width, input) = x.dims4()?;
        let (output, kernel_input, down, across) = kernels.dims4()?;
        let Convolve { stride, margin } = *self;
        let slide =
            |extent: usize, margin: usize, kernel| Some((extent + 2 * margin).checked_sub(kernel)? / stride + 1);
        match (slide(height, margin.0, down), slide(width, margin.1, across)) {
            (Some(rows), Some(columns)) if kernel_input == input => {
                let kernel = (down, across);
                Ok(Geometry { images, height, width, input, output, kernel, stride, margin, rows, columns })
            }
            _ => Err(Error::Msg(format!("kernels {kernels:?} do not fit images {x:?}"))),
        }
    }

    fn forward(
        &self,
        x: (&CpuStorage, &Layout),
        kernels: (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let g = self.geometry(x.1.shape(), kernels.1.shape())?;
        let (x, kernels) = (argument_values(x.0, x.1)?, g.packed(argument_values(kernels.0, kernels.1)?));
        let kernels = Matrix::new(&kernels, g.depth(), g.output);
        let mut y = vec![0.0; g.images * g.rows * g.columns * g.output];
        if let Some(bias) = bias {
            y.chunks_exact_mut(g.output).for_each(|pixel| pixel.copy_from_slice(bias));
        }
        let mut windows = Vec::new();
        for lines in g.chunks() {
            let y = &mut y[g.pixels(&lines, g.output)];
            multiply(g.windows(x, lines, &mut windows), kernels, y, bias.is_some());
        }
        Ok((CpuStorage::F32(y), Shape::from((g.images, g.rows, g.columns, g.output))))
    }

    /// The gradients of x (if the graph requires it) and of the kernels.
    fn backward(&self, x: &Tensor, kernels: &Tensor, dy: &[f32]) -> Result<(Option<Tensor>, Tensor)> {
        let g = self.geometry(x.shape(), kernels.shape())?;
        let xs = TensorValues::of(x)?;
        let packed = g.packed(&TensorValues::of(kernels)?);
        let mut d_packed = vec![0.0; packed.len()];
        let mut dx = if x.track_op() { vec![0.0; xs.len()] } else { Vec::new() };
        let (mut windows, mut d_windows) = (Vec::new(), Vec::new());
        for lines in g.chunks() {
            let pixels = lines.len() * g.columns;
            let dy = Matrix::new(&dy[g.pixels(&lines, g.output)], pixels, g.output);
            // The transposed gradient of the kernels, so that the longer side of the product is along its rows.
            multiply(g.windows(&xs, lines.clone(), &mut windows).transposed(), dy, &mut d_packed, true);
            if dx.is_empty() {
                continue;
            }
            let kernels = Matrix::new(&packed, g.depth(), g.output).transposed();
            if g.is_plain() {
                multiply(dy, kernels, &mut dx[g.pixels(&lines, g.input)], false);
            } else {
                d_windows.resize(pixels * g.depth(), 0.0);
                multiply(dy, kernels, &mut d_windows, false);
                g.scatter(&d_windows, lines, &mut dx);
            }
        }
        let dx = if dx.is_empty() { None } else { Some(tensor_like(dx, x)?) };
        Ok((dx, tensor_like(g.unpacked(&d_packed), kernels)?))
    }
}

impl Geometry {
    /// Pixels per window.
    fn area(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Values per window.
    fn depth(&self) -> usize {
        self.area() * self.input
    }

    /// Whether every window is one pixel, so that the image needs no copy.
    fn is_plain(&self) -> bool {
        self.area() == 1 && self.stride == 1 && self.margin == (0, 0)
    }

    /// Ranges of output lines. Lines are numbered across all images.
    fn chunks(self) -> impl Iterator<Item = Range<usize>> {
        let total = self.images * self.rows;
        let columns = self.columns.max(1);
        let step = (CHUNK / (columns * self.depth()).max(1)).max(PIXELS.div_ceil(columns));
        (0..total).step_by(step).map(move |start| start..total.min(start + step))
    }

    /// The range of these lines' pixels in values of `channels` channels.
    fn pixels(&self, lines: &Range<usize>, channels: usize) -> Range<usize> {
        lines.start * self.columns * channels..lines.end * self.columns * channels
    }

    /// The windows of these lines as a matrix: `[pixel, kernel row · kernel column · channel]`.
    fn windows<'a>(&self, x: &'a [f32], lines: Range<usize>, buffer: &'a mut Vec<f32>) -> Matrix<'a> {
        let pixels = lines.len() * self.columns;
        if self.is_plain() {
            return Matrix::new(&x[self.pixels(&lines, self.input)], pixels, self.input);
        }
        buffer.resize(pixels * self.depth(), 0.0);
        if self.input == 1 && self.stride == 1 && self.margin == (0, 0) {
            return self.grey_windows(x, lines, buffer);
        }
        let strip = self.kernel.1 * self.input;
        let mut strips = buffer.chunks_exact_mut(strip);
        self.strips(lines, |source, before| {
            let Some(to) = strips.next() else { return };
            to[..before].fill(0.0);
            to[before..before + source.len()].copy_from_slice(&x[source.clone()]);
            to[before + source.len()..].fill(0.0);
        });
        Matrix::new(buffer, pixels, self.depth())
    }

    /// [`Geometry::windows`] for images of one channel, whose window rows are too short to copy efficiently: builds the transposed matrix, whose
    /// rows are lines of pixels.
    fn grey_windows<'a>(&self, x: &[f32], lines: Range<usize>, buffer: &'a mut [f32]) -> Matrix<'a> {
        let pixels = lines.len() * self.columns;
        for (place, row) in buffer.chunks_exact_mut(pixels).enumerate() {
            let (down, right) = (place / self.kernel.1, place % self.kernel.1);
            for (line, to) in lines.clone().zip(row.chunks_exact_mut(self.columns)) {
                let (image, top) = (line / self.rows, line % self.rows);
                to.copy_from_slice(&x[(image * self.height + top + down) * self.width + right..][..self.columns]);
            }
        }
        Matrix::new(buffer, self.depth(), pixels).transposed()
    }

    /// Adds the gradients of windows to the gradients of their pixels.
    fn scatter(&self, windows: &[f32], lines: Range<usize>, dx: &mut [f32]) {
        let mut strips = windows.chunks_exact(self.kernel.1 * self.input);
        self.strips(lines, |target, before| {
            let Some(from) = strips.next() else { return };
            let from = &from[before..before + target.len()];
            dx[target].iter_mut().zip(from).for_each(|(dx, d)| *dx += d);
        });
    }

    /// Visits each row of each window: the range of its values in the images, and the number of zeros of padding before them.
    fn strips(&self, lines: Range<usize>, mut visit: impl FnMut(Range<usize>, usize)) {
        let ((down, across), (above, left)) = (self.kernel, self.margin);
        for line in lines {
            let (image, row) = (line / self.rows, line % self.rows);
            for column in 0..self.columns {
                // The window's first column in the padded image. Clipped to the image, its columns are first..last.
                let start = column * self.stride;
                let first = start.max(left);
                let last = (start + across).min(left + self.width).max(first);
                let before = (first - start).min(across) * self.input;
                for kernel_row in 0..down {
                    let y = row * self.stride + kernel_row;
                    if y < above || y >= above + self.height || first >= left + self.width {
                        visit(0..0, 0);
                        continue;
                    }
                    let at = (image * self.height + y - above) * self.width;
                    visit((at + first - left) * self.input..(at + last - left) * self.input, before);
                }
            }
        }
    }

    /// The kernels as a matrix, `[row · column · input, output]`.
    fn packed(&self, kernels: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; kernels.len()];
        self.pairs(|from, to| packed[to] = kernels[from]);
        packed
    }

    /// The inverse of [`Geometry::packed`].
    fn unpacked(&self, packed: &[f32]) -> Vec<f32> {
        let mut kernels = vec![0.0; packed.len()];
        self.pairs(|to, from| kernels[to] = packed[from]);
        kernels
    }

    /// Visits each kernel value's index in `[output, input, row, column]` and in `[row, column, input, output]`.
    fn pairs(&self, mut visit: impl FnMut(usize, usize)) {
        let area = self.area();
        for start in (0..self.output).step_by(OUTPUTS) {
            for value in 0..self.input * area {
                let (input, place) = (value / area, value % area);
                for output in start..self.output.min(start + OUTPUTS) {
                    visit(output * self.depth() + value, (place * self.input + input) * self.output + output);
                }
            }
        }
    }
}

impl Operation<2> for Convolve {
    fn custom(self, [x, kernels]: [&Tensor; 2]) -> Result<Tensor> {
        x.apply_op2(kernels, self)
    }

    /// Lays all windows out at once for one product with the kernels.
    fn composed(self, [x, kernels]: [&Tensor; 2]) -> Result<Tensor> {
        let g = self.geometry(x.shape(), kernels.shape())?;
        let (above, left) = g.margin;
        let padded = x.pad_with_zeros(1, above, above)?.pad_with_zeros(2, left, left)?;
        let windows = Tensor::cat(&windows(&padded, g.kernel, g.stride, (g.rows, g.columns))?, 3)?;
        let kernels = kernels.permute((2, 3, 1, 0))?.reshape((g.depth(), g.output))?;
        windows.reshape(((), g.depth()))?.matmul(&kernels)?.reshape((g.images, g.rows, g.columns, g.output))
    }
}

impl Operation<3> for Convolve {
    fn custom(self, [x, kernels, bias]: [&Tensor; 3]) -> Result<Tensor> {
        x.apply_op3(kernels, bias, self)
    }

    fn composed(self, [x, kernels, bias]: [&Tensor; 3]) -> Result<Tensor> {
        self.composed([x, kernels])?.broadcast_add(bias)
    }
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        "convolve"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, kernels: &CpuStorage, lk: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((x, lx), (kernels, lk), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        kernels: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, d_kernels) = self.backward(x, kernels, &TensorValues::of(&gradient.contiguous()?)?)?;
        Ok((dx, Some(d_kernels)))
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "convolve-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        kernels: &CpuStorage,
        lk: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, lx), (kernels, lk), Some(argument_values(bias, lb)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        kernels: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let dy = TensorValues::of(&gradient)?;
        let (dx, d_kernels) = self.backward(x, kernels, &dy)?;
        let outputs = bias.elem_count();
        let d_bias = column_sums(dy.len() / outputs, outputs, |pixel, sums| {
            sums.iter_mut().zip(&dy[pixel * outputs..][..outputs]).for_each(|(sum, dy)| *sum += dy);
        });
        let d_bias = d_bias.into_iter().map(|sum| sum as f32).collect();
        Ok((dx, Some(d_kernels), Some(tensor_like(d_bias, bias)?)))
    }
}

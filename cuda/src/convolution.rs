//! What a convolution is given: extents, pass, precision and memory. A linear layer is a convolution over images of one pixel.

use crate::error::DeviceError;
use crate::memory::DeviceMemory;

/// Upper limit for the partial sums of a weight gradient, in values. A single chunk may exceed it.
const MAX_PARTIAL_SUMS: usize = 1 << 22;

/// Upper limit for the number of chunks of a weight gradient.
const MAX_CHUNKS: usize = 64;

/// Extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Number of images.
    pub samples: usize,
    /// Rows and columns of the input.
    pub from: [usize; 2],
    /// Input channels.
    pub inputs: usize,
    /// Rows and columns of the output.
    pub to: [usize; 2],
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// Zero padding: rows above and below, columns on the left and on the right.
    pub margin: [usize; 2],
}

impl Geometry {
    /// Length of the input, in values.
    pub fn input_len(&self) -> usize {
        self.samples * self.from[0] * self.from[1] * self.inputs
    }

    /// Length of the output, in values.
    pub fn output_len(&self) -> usize {
        self.samples * self.to[0] * self.to[1] * self.outputs
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.outputs * self.kernel[0] * self.kernel[1] * self.inputs
    }

    /// Returns the rows of pixels per chunk and the number of chunks. Both follow from the extents alone, so sums have the same order on
    /// every device.
    pub(crate) fn chunks(&self) -> [usize; 2] {
        let lines = (self.samples * self.to[0]).max(1);
        let chunk = lines.div_ceil(self.max_chunks());
        [chunk, lines.div_ceil(chunk)]
    }

    /// Upper limit for the number of chunks, for any number of samples.
    fn max_chunks(&self) -> usize {
        (MAX_PARTIAL_SUMS / self.weights().max(1)).clamp(1, MAX_CHUNKS)
    }

    /// Scratch memory for a weight gradient that no library computes, in values: enough for this number of samples or fewer.
    /// Fewer samples may be cut into more chunks: 72 rows into 36 chunks of two, 64 rows into 64 chunks of one.
    pub fn scratch(&self) -> usize {
        match self.max_chunks().min(self.samples * self.to[0]) {
            0 | 1 => 0,
            chunks => chunks * self.weights(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let fits = |i: usize| {
            let reach = self.from[i] + 2 * self.margin[i];
            self.stride > 0
                && self.kernel[i] > 0
                && reach >= self.kernel[i]
                && self.to[i] == (reach - self.kernel[i]) / self.stride + 1
        };
        if fits(0) && fits(1) {
            Ok(())
        } else {
            Err(DeviceError::InvalidArgument(format!("a convolution's extents do not match: {self:?}")))
        }
    }
}

/// One of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// y = x ∗ w
    Forward,
    /// Computes x, the gradient with respect to the input, from y, the gradient with respect to the output.
    Back {
        /// Adds to x; otherwise overwrites it.
        add: bool,
    },
    /// Computes w, the gradient with respect to the weights, from the input x and from y, the gradient with respect to the output.
    Weights,
}

/// Precision of the factors of a product. Sums are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProductPrecision {
    /// Factors are used as they are.
    #[default]
    F32,
    /// Factors are rounded to 10 mantissa bits. Our own kernels round to nearest, ties away from zero; a GPU's library rounds in its own
    /// way.
    Tf32,
    /// Factors and results are rounded to bfloat16, to nearest, ties to even.
    Bf16 {
        /// Memory for x, w and y in 16 bits, each at least as long as its `f32` counterpart.
        buffers: [DeviceMemory; 3],
    },
}

/// A product of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Extents.
    pub geometry: Geometry,
    /// The product to compute.
    pub pass: Pass,
    /// The input or its gradient, NHWC.
    pub x: DeviceMemory,
    /// The weights or their gradient, `[output, row, column, input]`.
    pub w: DeviceMemory,
    /// The output or its gradient, NHWC.
    pub y: DeviceMemory,
    /// At least [`Geometry::scratch`] values.
    pub scratch: DeviceMemory,
    /// Precision of the factors.
    pub factors: ProductPrecision,
}

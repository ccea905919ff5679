//! Convolutions: forward, and the gradients with respect to input and weights. A linear layer is one over images of one pixel.

use crate::error::DeviceError;
use crate::memory::Memory;

/// Values that the chunks of a sum over weights take at max_chunks, unless a single chunk has more.
const MAX_PARTIAL_SUMS: usize = 1 << 22;

/// Chunks at max_chunks.
const MAX_CHUNKS: usize = 64;

/// Extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// How many images.
    pub samples: usize,
    /// Rows and columns of what is read.
    pub from: [usize; 2],
    /// Channels of what is read.
    pub inputs: usize,
    /// Rows and columns of what comes out.
    pub to: [usize; 2],
    /// Channels of what comes out.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// From a window to the next.
    pub stride: usize,
    /// Rows of zeroes above and below, columns on the left and on the right.
    pub margin: [usize; 2],
}

impl Geometry {
    /// Values that are read.
    pub fn reads(&self) -> usize {
        self.samples * self.from[0] * self.from[1] * self.inputs
    }

    /// Values that come out.
    pub fn leaves(&self) -> usize {
        self.samples * self.to[0] * self.to[1] * self.outputs
    }

    /// Weights.
    pub fn weights(&self) -> usize {
        self.outputs * self.kernel[0] * self.kernel[1] * self.inputs
    }

    /// Rows of pixels of a chunk, and how many chunks there are: from the extents alone, so that sums have one order everywhere.
    pub(crate) fn chunks(&self) -> [usize; 2] {
        let lines = (self.samples * self.to[0]).max(1);
        let chunk = lines.div_ceil(self.max_chunks());
        [chunk, lines.div_ceil(chunk)]
    }

    /// Chunks at max_chunks, of any number of samples.
    fn max_chunks(&self) -> usize {
        (MAX_PARTIAL_SUMS / self.weights().max(1)).clamp(1, MAX_CHUNKS)
    }

    /// Values that a sum over weights takes at max_chunks beside the weights' gradient, where no library does it, for so many samples or fewer.
    /// (Fewer samples may be cut into more chunks: 72 rows into 36 of two, 64 into 64 of one.)
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
        if fits(0) && fits(1) { Ok(()) } else { Err(DeviceError::Unfit(format!("extents that do not fit: {self:?}"))) }
    }
}

/// Which of its three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// y = x ∗ w
    Forward,
    /// x is the gradient with respect to the input, from y, that with respect to the output.
    Back {
        /// Whether it is added to what is there.
        add: bool,
    },
    /// w is the gradient with respect to the weights, from x and from y, the gradient with respect to the output.
    Weights,
}

/// What becomes of the factors of a product before they are multiplied. Sums are `f32` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factors {
    /// Nothing.
    #[default]
    F32,
    /// They are rounded to 10 bits after the leading one: by our own kernels to nearest, ties away from zero; a GPU's library does it in its
    /// own way.
    Tf32,
    /// They are rounded to bfloat16, to nearest, ties to even, and what comes out is, too.
    Bf16 {
        /// Room for x, w and y in 16 bits: for as many values each, or more.
        room: [Memory; 3],
    },
}

/// A product of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Its extents.
    pub geometry: Geometry,
    /// Which of its products.
    pub pass: Pass,
    /// The input, or its gradient: NHWC.
    pub x: Memory,
    /// The weights, or their gradient: `[output, row, column, input]`.
    pub w: Memory,
    /// The output, or its gradient: NHWC.
    pub y: Memory,
    /// [`Geometry::scratch`] values or more.
    pub scratch: Memory,
    /// In what precision.
    pub factors: Factors,
}

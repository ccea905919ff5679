//! Convolutions: forward, and the gradients with respect to input and weights. A linear layer is one over images of one pixel.

use crate::device::{Argument, Device, DeviceError, Memory};
use crate::ops::{Narrow, Widen, at_least, exactly, int, over};
use Argument::{Int, Memory as At};

/// Values that the chunks of a sum over weights take at most, unless a single chunk has more.
const SUMS: usize = 1 << 22;

/// Chunks at most.
const CHUNKS: usize = 64;

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
    fn chunks(&self) -> [usize; 2] {
        let lines = (self.samples * self.to[0]).max(1);
        let chunk = lines.div_ceil(self.most());
        [chunk, lines.div_ceil(chunk)]
    }

    /// Chunks at most, of any number of samples.
    fn most(&self) -> usize {
        (SUMS / self.weights().max(1)).clamp(1, CHUNKS)
    }

    /// Values that a sum over weights takes at most beside the weights' gradient, where no library does it, for so many samples or fewer.
    /// (Fewer samples may be cut into more chunks: 72 rows into 36 of two, 64 into 64 of one.)
    pub fn scratch(&self) -> usize {
        match self.most().min(self.samples * self.to[0]) {
            0 | 1 => 0,
            chunks => chunks * self.weights(),
        }
    }

    fn check(&self) -> Result<(), DeviceError> {
        let fits = |i: usize| {
            let reach = self.from[i] + 2 * self.margin[i];
            self.stride > 0
                && self.kernel[i] > 0
                && reach >= self.kernel[i]
                && self.to[i] == (reach - self.kernel[i]) / self.stride + 1
        };
        if fits(0) && fits(1) { Ok(()) } else { Err(DeviceError::Unfit(format!("extents that do not fit: {self:?}"))) }
    }

    fn numbers(&self) -> Result<Vec<Argument>, DeviceError> {
        let ([height, width], [from_height, from_width], [rows, columns]) = (self.to, self.from, self.kernel);
        let [above, left] = self.margin;
        let all = [
            height,
            width,
            self.outputs,
            from_height,
            from_width,
            self.inputs,
            rows,
            columns,
            self.stride,
            above,
            left,
        ];
        all.into_iter().map(int).collect()
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

impl Factors {
    fn number(self) -> Argument {
        Int(match self {
            Factors::F32 => 0,
            Factors::Tf32 => 1,
            Factors::Bf16 { .. } => 2,
        })
    }
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

impl Convolution {
    /// Computes it, by the device's library if that can, else by kernels of our own.
    ///
    /// # Errors
    /// If lengths differ, or what the device says.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Convolution { geometry, pass, x, w, y, factors, .. } = self;
        geometry.check()?;
        exactly("a convolution's input", x, geometry.reads())?;
        exactly("a convolution's weights", w, geometry.weights())?;
        exactly("a convolution's output", y, geometry.leaves())?;
        for count in [x.len(), w.len(), y.len()] {
            int(count)?;
        }
        let Factors::Bf16 { room } = factors else { return self.multiply(device) };
        let whats = ["a convolution's input in 16 bits", "its weights in 16 bits", "its output in 16 bits"];
        for ((what, room), wide) in whats.into_iter().zip(room).zip([x, w, y]) {
            at_least(what, room, wide.len())?;
        }
        let [narrow_x, narrow_w, narrow_y] =
            [(room[0], x), (room[1], w), (room[2], y)].map(|(room, wide)| room.part(0, wide.len()));
        let (read, left) = match pass {
            Pass::Forward => ([(x, narrow_x), (w, narrow_w)], (narrow_y, y, false)),
            Pass::Back { add } => ([(y, narrow_y), (w, narrow_w)], (narrow_x, x, add)),
            Pass::Weights => ([(x, narrow_x), (y, narrow_y)], (narrow_w, w, false)),
        };
        read.into_iter().try_for_each(|(from, to)| Narrow { from, to }.run(device))?;
        let pass = if let Pass::Back { .. } = pass { Pass::Back { add: false } } else { pass };
        Convolution { pass, x: narrow_x, w: narrow_w, y: narrow_y, ..self }.multiply(device)?;
        let (from, to, add) = left;
        Widen { from, to, add }.run(device)
    }

    /// The product, over values of the bits that it says.
    fn multiply(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Convolution { geometry, pass, x, w, y, scratch, factors } = self;
        let narrow = matches!(factors, Factors::Bf16 { .. });
        if [x, w, y].iter().any(|memory| memory.is_narrow() != narrow) {
            return Err(DeviceError::Unfit(format!("values of other bits than {factors:?} says")));
        }
        if device.convolve(&self)? {
            return Ok(());
        }
        let (numbers, precision) = (geometry.numbers()?, factors.number());
        match pass {
            Pass::Forward => {
                let start = [At(x), At(w), At(y), precision, int(y.len())?];
                over(device, "convolve", y.len(), start.into_iter().chain(numbers))
            }
            Pass::Back { add } => {
                let start = [At(y), At(w), At(x), precision, Int(add.into()), int(x.len())?];
                over(device, "convolve_back", x.len(), start.into_iter().chain(numbers))
            }
            Pass::Weights => {
                let [chunk, chunks] = geometry.chunks();
                let (partial, sums) = if chunks == 1 { (w, precision) } else { (scratch, Factors::F32.number()) };
                if partial.len() < chunks * w.len() {
                    let (wanted, found) = (chunks * w.len(), partial.len());
                    return Err(DeviceError::Unfit(format!(
                        "sums of weights: expected {wanted} values, found {found}"
                    )));
                }
                let lines = geometry.samples * geometry.to[0];
                let start = [At(x), At(y), At(partial), precision, sums, int(w.len())?, int(lines)?, int(chunk)?];
                over(device, "convolve_weights", chunks * w.len(), start.into_iter().chain(numbers))?;
                if chunks == 1 {
                    return Ok(());
                }
                let arguments = [At(partial), At(w), precision, int(w.len())?, int(chunks)?];
                over(device, "sum_chunks", w.len(), arguments)
            }
        }
    }
}

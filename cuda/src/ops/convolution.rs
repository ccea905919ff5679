//! Runs convolutions: with the device's library if it supports them, otherwise with our own kernels.

use super::{Narrow, Widen, check_len, check_min_len, int, launch_over};
use crate::convolution::{Convolution, Geometry, Pass, ProductPrecision};
use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Argument;
use Argument::{Buffer, Int};

impl Convolution {
    /// Computes the product with the device's library if it supports it, otherwise with our own kernels.
    ///
    /// # Errors
    /// Returns an error if a length does not match or a launch fails.
    pub fn run(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Convolution { geometry, pass, x, w, y, factors, .. } = self;
        geometry.check()?;
        check_len("input of a convolution", x, geometry.input_len())?;
        check_len("weights of a convolution", w, geometry.weights())?;
        check_len("output of a convolution", y, geometry.output_len())?;
        for count in [x.len(), w.len(), y.len()] {
            int(count)?;
        }
        let ProductPrecision::Bf16 { buffers } = factors else { return self.multiply(device) };
        let labels = [
            "bfloat16 input of a convolution",
            "bfloat16 weights of a convolution",
            "bfloat16 output of a convolution",
        ];
        for ((label, buffer), wide) in labels.into_iter().zip(buffers).zip([x, w, y]) {
            check_min_len(label, buffer, wide.len())?;
        }
        let [narrow_x, narrow_w, narrow_y] =
            [(buffers[0], x), (buffers[1], w), (buffers[2], y)].map(|(buffer, wide)| buffer.part(0, wide.len()));
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

    /// Computes the product of values that already have the precision of `factors`.
    fn multiply(self, device: &mut dyn Device) -> Result<(), DeviceError> {
        let Convolution { geometry, pass, x, w, y, scratch, factors } = self;
        let narrow = matches!(factors, ProductPrecision::Bf16 { .. });
        if [x, w, y].iter().any(|memory| memory.is_narrow() != narrow) {
            return Err(DeviceError::InvalidArgument(format!("expected values in the precision {factors:?}")));
        }
        if device.convolve(&self)? {
            return Ok(());
        }
        let (numbers, precision) = (extent_arguments(&geometry)?, precision_argument(factors));
        match pass {
            Pass::Forward => {
                let start = [Buffer(x), Buffer(w), Buffer(y), precision, int(y.len())?];
                launch_over(device, "convolve", y.len(), start.into_iter().chain(numbers))
            }
            Pass::Back { add } => {
                let start = [Buffer(y), Buffer(w), Buffer(x), precision, Int(add.into()), int(x.len())?];
                launch_over(device, "convolve_back", x.len(), start.into_iter().chain(numbers))
            }
            Pass::Weights => {
                let [chunk, chunks] = geometry.chunks();
                let (partial, sums) =
                    if chunks == 1 { (w, precision) } else { (scratch, precision_argument(ProductPrecision::F32)) };
                if partial.len() < chunks * w.len() {
                    let (wanted, found) = (chunks * w.len(), partial.len());
                    return Err(DeviceError::InvalidArgument(format!(
                        "scratch memory of a weight gradient: expected at least {wanted} values, found {found}"
                    )));
                }
                let lines = geometry.samples * geometry.to[0];
                let start =
                    [Buffer(x), Buffer(y), Buffer(partial), precision, sums, int(w.len())?, int(lines)?, int(chunk)?];
                launch_over(device, "convolve_weights", chunks * w.len(), start.into_iter().chain(numbers))?;
                if chunks == 1 {
                    return Ok(());
                }
                let arguments = [Buffer(partial), Buffer(w), precision, int(w.len())?, int(chunks)?];
                launch_over(device, "sum_chunks", w.len(), arguments)
            }
        }
    }
}

/// The extents, in the order in which all convolution kernels take them.
fn extent_arguments(geometry: &Geometry) -> Result<Vec<Argument>, DeviceError> {
    let ([height, width], [from_height, from_width], [rows, columns]) = (geometry.to, geometry.from, geometry.kernel);
    let [above, left] = geometry.margin;
    let all = [
        height,
        width,
        geometry.outputs,
        from_height,
        from_width,
        geometry.inputs,
        rows,
        columns,
        geometry.stride,
        above,
        left,
    ];
    all.into_iter().map(int).collect()
}

/// The precision as kernels take it: `F32`, `TF32` or `BF16` of `common.h`.
fn precision_argument(factors: ProductPrecision) -> Argument {
    Int(match factors {
        ProductPrecision::F32 => 0,
        ProductPrecision::Tf32 => 1,
        ProductPrecision::Bf16 { .. } => 2,
    })
}

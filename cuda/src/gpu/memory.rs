//! Allocations of a GPU, with copies to and from the host.

use super::driver::failed;
use crate::error::DeviceError;
use crate::memory::{DeviceMemory, HostBuffer, HostValues};
use crate::signature::Kind;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError, ValidAsZeroBits};
use std::sync::Arc;

/// An allocation, by element type.
pub(super) enum Block {
    Floats(CudaSlice<f32>),
    Doubles(CudaSlice<f64>),
    Ints(CudaSlice<i32>),
    Bytes(CudaSlice<u8>),
    Halves(CudaSlice<u16>),
}

impl Block {
    /// Allocates `length` values and sets them to zero. Returns the allocation and its address.
    pub(super) fn allocate(kind: Kind, length: usize, stream: &Arc<CudaStream>) -> Result<(Block, u64), DeviceError> {
        Ok(match kind {
            Kind::Doubles => {
                let values = allocated(stream, length)?;
                let address = values.device_ptr(stream).0;
                (Block::Doubles(values), address)
            }
            Kind::Ints => {
                let values = allocated(stream, length)?;
                let address = values.device_ptr(stream).0;
                (Block::Ints(values), address)
            }
            Kind::Bytes => {
                let values = allocated(stream, length)?;
                let address = values.device_ptr(stream).0;
                (Block::Bytes(values), address)
            }
            Kind::Halves => {
                let values = allocated(stream, length)?;
                let address = values.device_ptr(stream).0;
                (Block::Halves(values), address)
            }
            _ => {
                let values = allocated(stream, length)?;
                let address = values.device_ptr(stream).0;
                (Block::Floats(values), address)
            }
        })
    }

    /// Length in values.
    pub(super) fn len(&self) -> usize {
        match self {
            Block::Floats(values) => values.len(),
            Block::Doubles(values) => values.len(),
            Block::Ints(values) => values.len(),
            Block::Bytes(values) => values.len(),
            Block::Halves(values) => values.len(),
        }
    }

    /// Queues a copy of host values into the range `to`.
    pub(super) fn write(
        &mut self,
        values: HostValues<'_>,
        to: DeviceMemory,
        stream: &Arc<CudaStream>,
    ) -> Result<(), DeviceError> {
        let range = to.start..to.start + to.length;
        let done = match (self, values) {
            (Block::Floats(all), HostValues::Floats(values)) => stream.memcpy_htod(values, &mut all.slice_mut(range)),
            (Block::Doubles(all), HostValues::Doubles(values)) => stream.memcpy_htod(values, &mut all.slice_mut(range)),
            (Block::Ints(all), HostValues::Ints(values)) => stream.memcpy_htod(values, &mut all.slice_mut(range)),
            (Block::Bytes(all), HostValues::Bytes(values)) => stream.memcpy_htod(values, &mut all.slice_mut(range)),
            _ => return Err(DeviceError::InvalidArgument(format!("values of another type for {to:?}"))),
        };
        done.map_err(failed("cuMemcpyHtoDAsync"))
    }

    /// Queues a copy of the range `from` to the host.
    pub(super) fn read(
        &self,
        from: DeviceMemory,
        values: HostBuffer<'_>,
        stream: &Arc<CudaStream>,
    ) -> Result<(), DeviceError> {
        let range = from.start..from.start + from.length;
        let done = match (self, values) {
            (Block::Floats(all), HostBuffer::Floats(values)) => stream.memcpy_dtoh(&all.slice(range), values),
            (Block::Doubles(all), HostBuffer::Doubles(values)) => stream.memcpy_dtoh(&all.slice(range), values),
            (Block::Ints(all), HostBuffer::Ints(values)) => stream.memcpy_dtoh(&all.slice(range), values),
            (Block::Bytes(all), HostBuffer::Bytes(values)) => stream.memcpy_dtoh(&all.slice(range), values),
            _ => return Err(DeviceError::InvalidArgument(format!("values of another type from {from:?}"))),
        };
        done.map_err(failed("cuMemcpyDtoHAsync"))
    }
}

/// Allocates `length` values and sets them to zero. Freed memory may become available only when the stream has been synchronised, so a
/// failed allocation is repeated after that.
pub(super) fn allocated<T: DeviceRepr + ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    length: usize,
) -> Result<CudaSlice<T>, DeviceError> {
    let is_short = |error: &DriverError| error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    let again = |error: DriverError| match stream.synchronize() {
        Ok(()) if is_short(&error) => stream.alloc_zeros(length),
        _ => Err(error),
    };
    stream.alloc_zeros(length).or_else(again).map_err(|error| match error {
        short if is_short(&short) => DeviceError::OutOfMemory { wanted: length * size_of::<T>() },
        other => failed("cuMemAlloc")(other),
    })
}

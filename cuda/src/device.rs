//! The interface of a device: memory, copies, kernel launches, and launches that are captured once and replayed.
//!
//! There are two devices: a GPU behind the CUDA driver (`gpu`), and the CPU, on which tests run the same kernels (`twin`).
//! Only `ops` creates launches. It checks that kernels stay within their memory, so this interface is safe to use.

use crate::convolution::Convolution;
use crate::error::DeviceError;
use crate::launch::Launch;
use crate::memory::{DeviceMemory, HostBuffer, HostValues};
use crate::signature::Kind;

/// Returns an error if `recording` is set: only launches can be captured. `action` is what the caller asked for.
pub(crate) fn refuse_while_recording(recording: bool, action: &str) -> Result<(), DeviceError> {
    if recording {
        Err(DeviceError::InvalidArgument(format!("cannot {action} while launches are recorded")))
    } else {
        Ok(())
    }
}

/// Launches captured by a device, to be replayed with [`Device::play`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub(crate) usize);

/// A device with one queue: it executes copies and launches in the order of the calls.
pub trait Device: Send {
    /// The model, such as `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> String;

    /// A string that names everything besides this program that results may depend on: model, architecture and libraries, such as
    /// `NVIDIA H100 80GB HBM3 sm_90 nvrtc 12.9 cudnn 9.10.2`.
    fn reproducibility_key(&self) -> String;

    /// Allocates memory for `length` values and sets them to zero.
    ///
    /// # Errors
    /// Returns [`DeviceError::OutOfMemory`] if the device has too little free memory.
    fn allocate(&mut self, kind: Kind, length: usize) -> Result<DeviceMemory, DeviceError>;

    /// Frees the allocation that contains `memory` once all earlier calls have finished with it.
    ///
    /// # Errors
    /// Returns an error if the memory does not belong to this device.
    fn free(&mut self, memory: DeviceMemory) -> Result<(), DeviceError>;

    /// Total memory of the device in bytes.
    fn capacity(&self) -> usize;

    /// Copies values from the host to the device.
    ///
    /// # Errors
    /// Returns an error if the type or the number of the values differs from that of `to`, or if the copy fails.
    fn write(&mut self, values: HostValues<'_>, to: DeviceMemory) -> Result<(), DeviceError>;

    /// Waits for all earlier calls and copies values from the device to the host.
    ///
    /// # Errors
    /// Returns the error of an earlier call, or an error if the type or the number of the values differs from that of `from`.
    fn read(&self, from: DeviceMemory, values: HostBuffer<'_>) -> Result<(), DeviceError>;

    /// Calls [`Device::write`] with `f32` values.
    ///
    /// # Errors
    /// Returns the errors of [`Device::write`].
    fn upload(&mut self, values: &[f32], to: DeviceMemory) -> Result<(), DeviceError> {
        self.write(HostValues::Floats(values), to)
    }

    /// Calls [`Device::read`] with `f32` values.
    ///
    /// # Errors
    /// Returns the errors of [`Device::read`].
    fn download(&self, from: DeviceMemory, values: &mut [f32]) -> Result<(), DeviceError> {
        self.read(from, HostBuffer::Floats(values))
    }

    /// Queues a kernel.
    ///
    /// # Errors
    /// Returns an error if the arguments do not match the kernel's parameters or the driver refuses the launch.
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError>;

    /// Computes a convolution with a library, in its `precision`. Returns false if the device has no library that supports it.
    ///
    /// # Errors
    /// Returns the library's error.
    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError>;

    /// Captures launches from now on, instead of executing them, until [`Device::recorded`]. Other calls fail in the meantime: copies and
    /// allocations cannot be captured.
    ///
    /// # Errors
    /// Returns an error if the device cannot capture launches or is already capturing.
    fn record(&mut self) -> Result<(), DeviceError>;

    /// Ends the capture. Later launches execute at once again.
    ///
    /// # Errors
    /// Returns an error if nothing is being captured or the captured launches cannot be replayed.
    fn recorded(&mut self) -> Result<Recording, DeviceError>;

    /// Queues all launches of a recording.
    ///
    /// # Errors
    /// Returns an error if the recording does not exist or the driver refuses it.
    fn play(&mut self, recording: Recording) -> Result<(), DeviceError>;

    /// Destroys all recordings.
    fn forget(&mut self);
}

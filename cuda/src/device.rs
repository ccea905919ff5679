//! What the host's side of training asks of a device, whichever that is: memory, copies, launches, and steps that are recorded once and
//! played again.
//!
//! There are two: a GPU behind CUDA's driver (`gpu`), and the processor, on which tests run the very same kernels (`twin`).
//! Launches are made by [`ops`](crate::ops) alone, which checks that kernels stay within what they are given; so nothing here is
//! `unsafe` for those who use it.

use crate::convolution::Convolution;
use crate::error::DeviceError;
use crate::launch::Launch;
use crate::memory::{Memory, Room, Values};
use crate::signature::Kind;

/// That a device does not record while something is asked that is no launch.
pub(crate) fn refuse_while_recording(recording: bool, what: &str) -> Result<(), DeviceError> {
    if recording { Err(DeviceError::Unfit(format!("{what} while launches are recorded"))) } else { Ok(()) }
}

/// What a device has recorded, to be played again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub(crate) usize);

/// A device with a queue of its own: what it is given is done in order.
pub trait Device: Send {
    /// What it is, such as `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> String;

    /// What its results follow from, beside the program: its model and architecture and the libraries that compute for it, such as
    /// `NVIDIA H100 80GB HBM3 sm_90 nvrtc 12.9 cudnn 9.10.2`.
    fn kin(&self) -> String;

    /// Memory for so many values, all of them zero.
    ///
    /// # Errors
    /// That there is not so much.
    fn allocate(&mut self, kind: Kind, length: usize) -> Result<Memory, DeviceError>;

    /// Gives back the memory that `memory` is, or is a part of, after all that was asked for before.
    ///
    /// # Errors
    /// That it is none of this device's.
    fn free(&mut self, memory: Memory) -> Result<(), DeviceError>;

    /// Bytes of memory that it has in all.
    fn capacity(&self) -> usize;

    /// Copies values to the device.
    ///
    /// # Errors
    /// That they are of another kind, or not as many as there is memory for, or the driver's refusal.
    fn write(&mut self, values: Values<'_>, to: Memory) -> Result<(), DeviceError>;

    /// Copies values from the device, after all that was asked for before.
    ///
    /// # Errors
    /// What went wrong in any of that; or that they are of another kind, or not as many.
    fn read(&self, from: Memory, values: Room<'_>) -> Result<(), DeviceError>;

    /// [`Device::write`] of `f32`.
    ///
    /// # Errors
    /// As there.
    fn upload(&mut self, values: &[f32], to: Memory) -> Result<(), DeviceError> {
        self.write(Values::Floats(values), to)
    }

    /// [`Device::read`] of `f32`.
    ///
    /// # Errors
    /// As there.
    fn download(&self, from: Memory, values: &mut [f32]) -> Result<(), DeviceError> {
        self.read(from, Room::Floats(values))
    }

    /// Puts a kernel into the queue.
    ///
    /// # Errors
    /// That its arguments are not what it takes, or the driver's refusal.
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError>;

    /// Computes a convolution by a library that is at hand, in the precision that it says; whether there is one that does.
    ///
    /// # Errors
    /// The library's refusal.
    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError>;

    /// From now on launches are recorded and not done, until [`Device::recorded`]. Meanwhile nothing else may be asked: what is copied or
    /// allocated is no part of a recording.
    ///
    /// # Errors
    /// That it cannot record, or does already.
    fn record(&mut self) -> Result<(), DeviceError>;

    /// Ends a recording.
    ///
    /// # Errors
    /// That it cannot be played, or there is none. Launches are done again at once from now on.
    fn recorded(&mut self) -> Result<Recording, DeviceError>;

    /// Puts all that was recorded into the queue.
    ///
    /// # Errors
    /// That there is no such recording, or the driver's refusal.
    fn play(&mut self, recording: Recording) -> Result<(), DeviceError>;

    /// Lets all recordings go.
    fn forget(&mut self);
}

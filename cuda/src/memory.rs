//! Handles of device memory, and typed host slices for copies to and from it.

use crate::error::DeviceError;
use crate::signature::Kind;

/// A range of values in a device's memory. The handle is valid on the device that allocated it until the memory is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    pub(crate) block: usize,
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl DeviceMemory {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns true if the values have 16 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.kind == Kind::Halves
    }

    /// Returns true if the range has no values.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the `length` values from index `start` on.
    ///
    /// # Panics
    /// Panics if the range is shorter than that.
    pub fn part(&self, start: usize, length: usize) -> DeviceMemory {
        assert!(
            start.checked_add(length).is_some_and(|end| end <= self.length),
            "expected a range within {} values, found {length} values from index {start} on",
            self.length
        );
        DeviceMemory { start: self.start + start, length, ..*self }
    }
}

/// Host values to copy to a device.
#[derive(Clone, Copy, Debug)]
pub enum HostValues<'a> {
    /// Values of [`Kind::Floats`].
    Floats(&'a [f32]),
    /// Values of [`Kind::Doubles`].
    Doubles(&'a [f64]),
    /// Values of [`Kind::Ints`].
    Ints(&'a [i32]),
    /// Values of [`Kind::Bytes`].
    Bytes(&'a [u8]),
}

impl HostValues<'_> {
    /// Returns an error unless `to` has the same type and length.
    pub(crate) fn check_fits(&self, to: DeviceMemory) -> Result<(), DeviceError> {
        let (kind, count) = match self {
            HostValues::Floats(values) => (Kind::Floats, values.len()),
            HostValues::Doubles(values) => (Kind::Doubles, values.len()),
            HostValues::Ints(values) => (Kind::Ints, values.len()),
            HostValues::Bytes(values) => (Kind::Bytes, values.len()),
        };
        if (kind, count) == (to.kind, to.length) {
            return Ok(());
        }
        Err(DeviceError::InvalidArgument(format!("expected values that match {to:?}, found {count} of {kind:?}")))
    }
}

/// Host slices that values are copied to from a device.
#[derive(Debug)]
pub enum HostBuffer<'a> {
    /// Values of [`Kind::Floats`].
    Floats(&'a mut [f32]),
    /// Values of [`Kind::Doubles`].
    Doubles(&'a mut [f64]),
    /// Values of [`Kind::Ints`].
    Ints(&'a mut [i32]),
    /// Values of [`Kind::Bytes`].
    Bytes(&'a mut [u8]),
}

impl HostBuffer<'_> {
    /// Returns an error unless `from` has the same type and length.
    pub(crate) fn check_fits(&self, from: DeviceMemory) -> Result<(), DeviceError> {
        match self {
            HostBuffer::Floats(values) => HostValues::Floats(values).check_fits(from),
            HostBuffer::Doubles(values) => HostValues::Doubles(values).check_fits(from),
            HostBuffer::Ints(values) => HostValues::Ints(values).check_fits(from),
            HostBuffer::Bytes(values) => HostValues::Bytes(values).check_fits(from),
        }
    }
}

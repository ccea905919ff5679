//! Handles of device memory, and typed slices of host memory for copies.

use crate::error::DeviceError;
use crate::signature::Kind;

/// Values in a device's memory: a handle, valid for the device that gave it until that is told to free the memory it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub(crate) block: usize,
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl Memory {
    /// How many values.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether they are of 16 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.kind == Kind::Halves
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Some of them: `length` values from number `start` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn part(&self, start: usize, length: usize) -> Memory {
        assert!(
            start.checked_add(length).is_some_and(|end| end <= self.length),
            "a part of {length} from {start} on within {}",
            self.length
        );
        Memory { start: self.start + start, length, ..*self }
    }
}

/// Values that are copied to a device.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// For [`Kind::Floats`].
    Floats(&'a [f32]),
    /// For [`Kind::Doubles`].
    Doubles(&'a [f64]),
    /// For [`Kind::Ints`].
    Ints(&'a [i32]),
    /// For [`Kind::Bytes`].
    Bytes(&'a [u8]),
}

impl Values<'_> {
    /// Checks that `to` is of their kind and number.
    pub(crate) fn check_fits(&self, to: Memory) -> Result<(), DeviceError> {
        let (kind, count) = match self {
            Values::Floats(values) => (Kind::Floats, values.len()),
            Values::Doubles(values) => (Kind::Doubles, values.len()),
            Values::Ints(values) => (Kind::Ints, values.len()),
            Values::Bytes(values) => (Kind::Bytes, values.len()),
        };
        if (kind, count) == (to.kind, to.length) {
            return Ok(());
        }
        Err(DeviceError::Unfit(format!("{count} {kind:?} for {to:?}")))
    }
}

/// Room for values that are copied from a device.
#[derive(Debug)]
pub enum Room<'a> {
    /// Of [`Kind::Floats`].
    Floats(&'a mut [f32]),
    /// Of [`Kind::Doubles`].
    Doubles(&'a mut [f64]),
    /// Of [`Kind::Ints`].
    Ints(&'a mut [i32]),
    /// Of [`Kind::Bytes`].
    Bytes(&'a mut [u8]),
}

impl Room<'_> {
    /// Checks that `from` is of its kind and length.
    pub(crate) fn check_fits(&self, from: Memory) -> Result<(), DeviceError> {
        match self {
            Room::Floats(values) => Values::Floats(values).check_fits(from),
            Room::Doubles(values) => Values::Doubles(values).check_fits(from),
            Room::Ints(values) => Values::Ints(values).check_fits(from),
            Room::Bytes(values) => Values::Bytes(values).check_fits(from),
        }
    }
}

//! The driver's functions (`libcuda`), those that our program calls: they have its names and take what they take there.

#![allow(non_snake_case, reason = "the driver's names")]

mod device;
mod memory;
mod work;

use crate::code::Code;

/// Puts a value where a caller wants it.
///
/// # Safety
/// The place is null or the caller's to be written to.
unsafe fn write_out<T>(place: *mut T, value: T) -> Result<(), Code> {
    if place.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: as promised.
    unsafe { place.write(value) };
    Ok(())
}

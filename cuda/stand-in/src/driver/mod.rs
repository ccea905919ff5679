//! The functions of the driver (`libcuda`) that this project calls, with NVIDIA's names and signatures.

#![allow(non_snake_case, reason = "names of the driver's functions")]

mod device;
mod memory;
mod work;

use crate::code::Code;

/// Writes a result through a caller's pointer.
///
/// # Safety
/// The pointer is null or valid for writes.
unsafe fn write_out<T>(out: *mut T, value: T) -> Result<(), Code> {
    if out.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: guaranteed by the caller.
    unsafe { out.write(value) };
    Ok(())
}

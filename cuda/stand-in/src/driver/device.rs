//! Initialisation, devices, contexts and error names.

use super::write_out;
use crate::cards::{CAPABILITY, NAME, uuid, visible};
use crate::code::{Code, status};
use crate::settings::settings;
use crate::state::{CURRENT, current_context, state};
use std::ffi::{c_char, c_int, c_uint};

/// CUDA 12.9.
const VERSION: c_int = 12_090;

#[unsafe(no_mangle)]
extern "C" fn cuInit(_: c_uint) -> u32 {
    if settings().start != 0 {
        return settings().start;
    }
    if visible().is_empty() {
        return Code::NO_DEVICE.0;
    }
    state().started = true;
    Code::SUCCESS.0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(unsafe { write_out(version, VERSION) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: c_uint, name: *mut *const c_char) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(unsafe { error_text(code, 0, name) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(code: c_uint, words: *mut *const c_char) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(unsafe { error_text(code, 1, words) })
}

unsafe fn error_text(code: c_uint, which: usize, out: *mut *const c_char) -> Result<(), Code> {
    let texts = Code(code).name_and_description().ok_or(Code::INVALID_VALUE)?;
    // SAFETY: guaranteed by the caller.
    unsafe { write_out(out, texts[which].as_ptr()) }
}

/// The index of a device; an error if it does not exist.
fn check_device(device: c_int) -> Result<usize, Code> {
    let state = state();
    if !state.started {
        return Err(Code::NOT_INITIALIZED);
    }
    usize::try_from(device).ok().filter(|card| *card < state.cards.len()).ok_or(Code::INVALID_DEVICE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    let cards = { state().started.then_some(visible().len()) };
    let cards = cards.ok_or(Code::NOT_INITIALIZED);
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(cards.and_then(|cards| unsafe { write_out(count, cards as c_int) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(check_device(ordinal).and_then(|_| unsafe { write_out(device, ordinal) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> u32 {
    let bytes = NAME.to_bytes_with_nul();
    status(check_device(device).and_then(|_| {
        if name.is_null() || usize::try_from(length).unwrap_or_default() < bytes.len() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller's buffer has the length that it passed, which was checked above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), name, bytes.len()) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(check_device(device).and_then(|_| unsafe { write_out(bytes, settings().memory as usize) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(out: *mut [u8; 16], device: c_int) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(check_device(device).and_then(|card| unsafe { write_out(out, uuid(visible()[card])) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) -> u32 {
    status(check_device(device).and_then(|_| {
        let found = match attribute {
            75 => CAPABILITY[0],
            76 => CAPABILITY[1],
            // CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS
            88 => 0,
            // CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED
            115 => settings().pools.into(),
            _ => return Err(Code::INVALID_VALUE),
        };
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(value, found) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> u32 {
    status(check_device(device).and_then(|card| {
        let (mut state, settings) = (state(), settings());
        let of = &mut state.cards[card];
        if of.retained == 0 {
            if settings.context > settings.memory {
                return Err(Code::OUT_OF_MEMORY);
            }
            of.used = settings.context;
        }
        of.retained += 1;
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(context, card + 1) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> u32 {
    status(check_device(device).and_then(|card| {
        let mut state = state();
        let left = state.cards[card].retained.checked_sub(1).ok_or(Code::INVALID_CONTEXT)?;
        state.cards[card].retained = left;
        if left == 0 {
            state.destroy_context(card);
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    status(unsafe { write_out(context, CURRENT.get()) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> u32 {
    if context > state().cards.len() {
        return Code::INVALID_CONTEXT.0;
    }
    CURRENT.set(context);
    Code::SUCCESS.0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> u32 {
    status(current_context().and_then(|mut context| context.check_captures(true)))
}

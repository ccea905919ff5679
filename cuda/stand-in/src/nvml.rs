//! The functions of NVML that this project calls. Like NVML they see all GPUs, whatever `CUDA_VISIBLE_DEVICES` selects. Memory in use is
//! that of this process only.

use crate::cards::{uuid, visible, written};
use crate::settings::settings;
use crate::state::state;
use std::ffi::{CStr, c_char, c_uint};

const SUCCESS: u32 = 0;
const INVALID_ARGUMENT: u32 = 2;
const NOT_FOUND: u32 = 6;
const INSUFFICIENT_SIZE: u32 = 7;

const VERSION: &CStr = c"575.57.08";

/// Bytes that the driver reserves.
const RESERVED: u64 = 1 << 20;

#[repr(C)]
struct Memory {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

#[repr(C)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> u32 {
    settings();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> u32 {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> u32 {
    let bytes = VERSION.to_bytes_with_nul();
    if version.is_null() {
        return INVALID_ARGUMENT;
    }
    if (length as usize) < bytes.len() {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the caller's buffer has the length that it passed, which was checked above.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), version, bytes.len()) };
    SUCCESS
}

/// Handles are the index of the card plus one.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(text: *const c_char, device: *mut usize) -> u32 {
    if text.is_null() || device.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: the caller passes a string that ends with NUL.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let Some(card) = (0..settings().gpus).find(|card| written(uuid(*card)) == text) else { return NOT_FOUND };
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe { *device = card + 1 };
    SUCCESS
}

/// Lets `write` fill in a value about a card.
unsafe fn with_card<T>(device: usize, out: *mut T, write: impl FnOnce(usize, &mut T)) -> u32 {
    match device.checked_sub(1).filter(|card| *card < settings().gpus) {
        Some(card) if !out.is_null() => {
            // SAFETY: the caller passes a pointer to an initialised value.
            write(card, unsafe { &mut *out });
            SUCCESS
        }
        _ => INVALID_ARGUMENT,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: usize, memory: *mut Memory) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe {
        with_card(device, memory, |card, memory| {
            let seen = visible().iter().position(|seen| *seen == card);
            memory.total = settings().memory;
            memory.reserved = RESERVED.min(memory.total);
            memory.used = seen.map_or(0, |card| state().cards[card].used);
            memory.free = (memory.total - memory.reserved).saturating_sub(memory.used);
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: usize, load: *mut Utilization) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe { with_card(device, load, |card, load| *load = Utilization { gpu: 50 + card as c_uint, memory: 10 }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(device: usize, sensor: c_uint, celsius: *mut c_uint) -> u32 {
    if sensor != 0 {
        return INVALID_ARGUMENT;
    }
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe { with_card(device, celsius, |card, celsius| *celsius = 40 + card as c_uint) }
}

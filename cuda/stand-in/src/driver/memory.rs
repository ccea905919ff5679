//! Memory: allocations, fills and copies.

use super::work::submit;
use super::write_out;
use crate::code::{Code, status};
use crate::settings::settings;
use crate::state::{Work, current_context};
use std::ffi::c_void;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        context.check_captures(false)?;
        let start = context.allocate(bytes)?;
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(address, start) }
    }))
}

/// NVIDIA's driver can capture this call; this project never captures it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        context.require_not_capturing(stream)?;
        let start = context.allocate(bytes)?;
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(address, start) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    status(current_context().and_then(|mut context| {
        context.check_captures(false)?;
        context.free(address)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        context.require_not_capturing(stream)?;
        context.free(address)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    status(current_context().and_then(|context| {
        let (all, used) = (settings().memory, context.cards[context.card].used);
        // SAFETY: the caller passes pointers that are valid for writes.
        unsafe { write_out(free, (all - used) as usize).and(write_out(total, all as usize)) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: u8, bytes: usize, stream: usize) -> u32 {
    status(submit(stream, Work::Set { address, value, bytes }))
}

/// Copies from pageable host memory, which is all that this project uses. Such a copy cannot be captured.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(address: u64, from: *const c_void, bytes: usize, stream: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        context.require_not_capturing(stream)?;
        let block = context.block(address, bytes).ok_or(Code::INVALID_VALUE)?;
        drop(context);
        // SAFETY: the caller's buffer and the block both have `bytes` bytes from these addresses.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), block.at(address), bytes) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, address: u64, bytes: usize, stream: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        context.require_not_capturing(stream)?;
        let block = context.block(address, bytes).ok_or(Code::INVALID_VALUE)?;
        drop(context);
        // SAFETY: the caller's buffer and the block both have `bytes` bytes from these addresses.
        unsafe { std::ptr::copy_nonoverlapping(block.at(address), to.cast(), bytes) };
        Ok(())
    }))
}

//! Memory: had, freed, set and copied.

use super::put;
use super::work::perform;
use crate::code::{Code, answer};
use crate::settings::settings;
use crate::state::{Work, enter};
use std::ffi::c_void;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        here.undisturbed(false)?;
        let start = here.allocate(bytes)?;
        // SAFETY: the caller's place.
        unsafe { put(address, start) }
    }))
}

/// A real one can record this; our program does not do it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        here.idle(stream)?;
        let start = here.allocate(bytes)?;
        // SAFETY: the caller's place.
        unsafe { put(address, start) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    answer(enter().and_then(|mut here| {
        here.undisturbed(false)?;
        here.free(address)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        here.idle(stream)?;
        here.free(address)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    answer(enter().and_then(|here| {
        let (all, used) = (settings().memory, here.cards[here.card].used);
        // SAFETY: the caller's places.
        unsafe { put(free, (all - used) as usize).and(put(total, all as usize)) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: u8, bytes: usize, stream: usize) -> u32 {
    answer(perform(stream, Work::Set { address, value, bytes }))
}

/// Of memory of the host's that is not pinned, as all of ours: such a copy cannot be recorded.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(address: u64, from: *const c_void, bytes: usize, stream: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        here.idle(stream)?;
        let block = here.block(address, bytes).ok_or(Code::INVALID_VALUE)?;
        drop(here);
        // SAFETY: so many bytes are there on either side, the caller's and the block's.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), block.at(address), bytes) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, address: u64, bytes: usize, stream: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        here.idle(stream)?;
        let block = here.block(address, bytes).ok_or(Code::INVALID_VALUE)?;
        drop(here);
        // SAFETY: so many bytes are there on either side, the caller's and the block's.
        unsafe { std::ptr::copy_nonoverlapping(block.at(address), to.cast(), bytes) };
        Ok(())
    }))
}

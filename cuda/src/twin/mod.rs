//! The CPU as a device, for tests: the kernels' sources, compiled by a C compiler, run thread by thread. It is slow, and it detects kernels
//! that write outside their memory.

#![allow(unsafe_code, reason = "calls compiled kernels by name and passes them raw pointers")]

use crate::convolution::Convolution;
use crate::device::{Device, Recording, refuse_while_recording};
use crate::error::DeviceError;
use crate::launch::{Argument, Launch, check};
use crate::memory::{DeviceMemory, HostBuffer, HostValues};
use crate::signature::Kind;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};

unsafe extern "C" {
    fn twin_launch(name: *const c_char, grid: c_uint, threads: c_uint, arguments: *mut *mut c_void) -> c_int;
}

/// Guard words on either side of an allocation.
const GUARD: usize = 16;

/// Value of the guard words.
const GUARD_PATTERN: u64 = 0xA5C3_96E1_7D0F_B428;

/// An allocation. Kernels hold its address, so it is only accessed through this pointer.
struct Block {
    words: *mut [u64],
    kind: Kind,
    length: usize,
}

// SAFETY: the memory belongs to the block and is only accessed through it.
unsafe impl Send for Block {}

impl Block {
    fn new(kind: Kind, length: usize) -> Self {
        let words = (length * value_size(kind)).div_ceil(size_of::<u64>());
        let mut all = vec![0; words + 2 * GUARD].into_boxed_slice();
        all[..GUARD].fill(GUARD_PATTERN);
        all[GUARD + words..].fill(GUARD_PATTERN);
        Block { words: Box::into_raw(all), kind, length }
    }

    /// The address of the value at index `start`.
    fn address(&self, start: usize) -> *mut c_void {
        // SAFETY: `start` is at most `length`, as `Twin::find` checks, so the address stays within the allocation.
        unsafe { self.words.cast::<u64>().add(GUARD).cast::<u8>().add(start * value_size(self.kind)).cast() }
    }

    fn guards_are_intact(&self) -> bool {
        // SAFETY: no kernel is running, so the memory does not change.
        let words = unsafe { &*self.words };
        let (before, after) = (&words[..GUARD], &words[words.len() - GUARD..]);
        before.iter().chain(after).all(|word| *word == GUARD_PATTERN)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `Block::new` made the pointer with `Box::into_raw`, and it is dropped once.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

/// Size of a value in bytes.
fn value_size(kind: Kind) -> usize {
    kind.size().unwrap_or_default()
}

/// The CPU as a device.
#[derive(Default)]
pub struct Twin {
    blocks: Vec<Option<Block>>,
    recording: Option<Vec<Launch>>,
    recorded: Vec<Vec<Launch>>,
    /// Makes [`Device::record`] fail, so that callers must launch directly.
    pub refuses_to_record: bool,
    /// Total memory to report, in bytes; none means unlimited.
    pub capacity: Option<usize>,
    /// Number of launches so far, including replayed ones.
    pub launches: usize,
    /// Bytes copied to the device so far.
    pub written: usize,
}

impl Twin {
    /// A device without allocations.
    pub fn new() -> Self {
        Twin::default()
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().flatten().map(|block| block.length * value_size(block.kind)).sum()
    }

    fn find(&self, memory: DeviceMemory) -> Result<&Block, DeviceError> {
        let block = self.blocks.get(memory.block).and_then(Option::as_ref);
        block.filter(|block| block.kind == memory.kind && memory.start + memory.length <= block.length).ok_or_else(
            || DeviceError::InvalidArgument(format!("the memory does not belong to this device: {memory:?}")),
        )
    }

    /// The address of a range of memory.
    fn address(&self, memory: DeviceMemory) -> Result<*mut c_void, DeviceError> {
        Ok(self.find(memory)?.address(memory.start))
    }

    fn run(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.launches += 1;
        let mut values = vec![0u64; launch.arguments.len()];
        for (value, argument) in values.iter_mut().zip(&launch.arguments) {
            *value = match *argument {
                Argument::Buffer(memory) => self.find(memory)?.address(memory.start) as u64,
                Argument::Null => 0,
                Argument::Int(value) => u64::from(value.cast_unsigned()),
                Argument::Float(value) => u64::from(value.to_bits()),
            };
        }
        let failed = |reason: &str| DeviceError::failed(launch.kernel, reason);
        // SAFETY: `check` has matched the arguments with the kernel's parameters, and `find` has checked that memory belongs to this device.
        // Only `ops` creates launches, and it checks the lengths that kernels access.
        unsafe { run_kernel(launch.kernel, launch.blocks, launch.threads, &mut values) }.map_err(failed)?;
        if self.blocks.iter().flatten().all(Block::guards_are_intact) {
            return Ok(());
        }
        Err(failed("the kernel wrote outside its memory"))
    }
}

/// Parameter types of a kernel; none if there is no such kernel.
pub fn parameters(kernel: &str) -> Option<&'static [Kind]> {
    crate::sources::parameters(kernel)
}

/// The static name of a kernel, if it exists.
pub fn kernel_name(kernel: &str) -> Option<&'static str> {
    crate::sources::kernels().find(|name| *name == kernel)
}

/// Runs all threads of all blocks of a kernel. `values` are its arguments in order: addresses, or the bits of numbers.
///
/// # Errors
/// Returns a message if there is no such kernel or it cannot run with this grid.
///
/// # Safety
/// The values match the kernel's [`parameters`]. No other thread accesses the memory behind the addresses meanwhile, apart from guard
/// words around it.
pub unsafe fn run_kernel(kernel: &str, blocks: u32, threads: u32, values: &mut [u64]) -> Result<(), &'static str> {
    if cfg!(target_endian = "big") {
        return Err("the twins require a little-endian CPU");
    }
    // Eight bytes hold any argument.
    let mut addresses: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
    let name = CString::new(kernel).map_err(|_| "the name contains NUL")?;
    // SAFETY: guaranteed by the caller.
    match unsafe { twin_launch(name.as_ptr(), blocks, threads, addresses.as_mut_ptr()) } {
        0 => Ok(()),
        2 => Err("no memory for the stacks of a block's threads"),
        3 => Err("some threads of a block finished while others wait at a barrier"),
        _ => Err("there is no such kernel, or the block has too many threads"),
    }
}

impl Device for Twin {
    fn name(&self) -> String {
        "twin".into()
    }

    fn reproducibility_key(&self) -> String {
        "twin".into()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<DeviceMemory, DeviceError> {
        refuse_while_recording(self.recording.is_some(), "allocate memory")?;
        if kind.size().is_none() {
            return Err(DeviceError::InvalidArgument(format!("memory of type {kind:?} cannot be allocated")));
        }
        self.blocks.push(Some(Block::new(kind, length)));
        Ok(DeviceMemory { block: self.blocks.len() - 1, kind, start: 0, length })
    }

    fn free(&mut self, memory: DeviceMemory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "free memory")?;
        self.find(memory)?;
        self.blocks[memory.block] = None;
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity.unwrap_or(usize::MAX)
    }

    fn write(&mut self, values: HostValues<'_>, to: DeviceMemory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "write to device memory")?;
        values.check_fits(to)?;
        let bytes = to.length * value_size(to.kind);
        self.written += bytes;
        let to = self.address(to)?.cast::<u8>();
        let from = match values {
            HostValues::Floats(values) => values.as_ptr().cast::<u8>(),
            HostValues::Doubles(values) => values.as_ptr().cast(),
            HostValues::Ints(values) => values.as_ptr().cast(),
            HostValues::Bytes(values) => values.as_ptr(),
        };
        // SAFETY: `to` points to that many values of a block, which no host slice overlaps.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
        Ok(())
    }

    fn read(&self, from: DeviceMemory, values: HostBuffer<'_>) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "read from device memory")?;
        values.check_fits(from)?;
        let bytes = from.length * value_size(from.kind);
        let from = self.address(from)?.cast::<u8>();
        let to = match values {
            HostBuffer::Floats(values) => values.as_mut_ptr().cast::<u8>(),
            HostBuffer::Doubles(values) => values.as_mut_ptr().cast(),
            HostBuffer::Ints(values) => values.as_mut_ptr().cast(),
            HostBuffer::Bytes(values) => values.as_mut_ptr(),
        };
        // SAFETY: `from` points to that many values of a block, which no host slice overlaps.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        check(launch)?;
        match &mut self.recording {
            Some(recording) => {
                recording.push(launch.clone());
                Ok(())
            }
            None => self.run(launch),
        }
    }

    fn convolve(&mut self, _: &Convolution) -> Result<bool, DeviceError> {
        Ok(false)
    }

    fn record(&mut self) -> Result<(), DeviceError> {
        if self.refuses_to_record {
            return Err(DeviceError::failed("recording", "this twin refuses to record"));
        }
        if self.recording.is_some() {
            return Err(DeviceError::InvalidArgument("launches are already being recorded".into()));
        }
        self.recording = Some(Vec::new());
        Ok(())
    }

    fn recorded(&mut self) -> Result<Recording, DeviceError> {
        let launches =
            self.recording.take().ok_or_else(|| DeviceError::InvalidArgument("nothing is being recorded".into()))?;
        self.recorded.push(launches);
        Ok(Recording(self.recorded.len() - 1))
    }

    fn play(&mut self, recording: Recording) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "play a recording")?;
        let launches = self.recorded.get(recording.0).cloned();
        let launches = launches.ok_or_else(|| DeviceError::InvalidArgument("no such recording".into()))?;
        launches.iter().try_for_each(|launch| self.run(launch))
    }

    fn forget(&mut self) {
        self.recorded.clear();
    }
}

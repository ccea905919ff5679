//! The processor as a device: the kernels' own sources, compiled by a C compiler, run thread by thread. For tests alone: it is slow, and
//! it watches that no kernel writes beside what it was given.

#![allow(unsafe_code, reason = "kernels are called by their addresses, and memory is handed to them")]

use crate::convolution::Convolution;
use crate::device::{Device, Recording, refuse_while_recording};
use crate::error::DeviceError;
use crate::launch::{Argument, Launch, check};
use crate::memory::{Memory, Room, Values};
use crate::signature::Kind;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};

unsafe extern "C" {
    fn twin_launch(name: *const c_char, grid: c_uint, threads: c_uint, arguments: *mut *mut c_void) -> c_int;
}

/// Words on either side of a block of memory that nobody may write to.
const GUARD: usize = 16;

/// What stands in them.
const GUARD_PATTERN: u64 = 0xA5C3_96E1_7D0F_B428;

/// A block of memory. Kernels have its address, so nothing but this address leads to it.
struct Block {
    words: *mut [u64],
    kind: Kind,
    length: usize,
}

// SAFETY: the memory is the block's own, and is reached through it alone.
unsafe impl Send for Block {}

impl Block {
    fn new(kind: Kind, length: usize) -> Self {
        let words = (length * value_size(kind)).div_ceil(size_of::<u64>());
        let mut all = vec![0; words + 2 * GUARD].into_boxed_slice();
        all[..GUARD].fill(GUARD_PATTERN);
        all[GUARD + words..].fill(GUARD_PATTERN);
        Block { words: Box::into_raw(all), kind, length }
    }

    /// The address of value number `start`.
    fn address(&self, start: usize) -> *mut c_void {
        // SAFETY: `start` is at most `length`, as `Twin::find` checks, so it stays within the allocation.
        unsafe { self.words.cast::<u64>().add(GUARD).cast::<u8>().add(start * value_size(self.kind)).cast() }
    }

    fn guards_are_intact(&self) -> bool {
        // SAFETY: no kernel runs now, so the memory is not changed meanwhile.
        let words = unsafe { &*self.words };
        let (before, after) = (&words[..GUARD], &words[words.len() - GUARD..]);
        before.iter().chain(after).all(|word| *word == GUARD_PATTERN)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `Block::new`, and dropped once.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

/// Bytes of a value.
fn value_size(kind: Kind) -> usize {
    kind.size().unwrap_or_default()
}

/// The processor as a device.
#[derive(Default)]
pub struct Twin {
    blocks: Vec<Option<Block>>,
    recording: Option<Vec<Launch>>,
    recorded: Vec<Vec<Launch>>,
    /// Whether it refuses to record, so that its user has to do without.
    pub refuses_to_record: bool,
    /// Bytes of memory that it says it has; any number, where nothing is said.
    pub capacity: Option<usize>,
    /// Launches so far, played ones included.
    pub launches: usize,
    /// Bytes that were copied to it so far.
    pub written: usize,
}

impl Twin {
    /// A device without memory.
    pub fn new() -> Self {
        Twin::default()
    }

    /// Bytes that are in use.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().flatten().map(|block| block.length * value_size(block.kind)).sum()
    }

    fn find(&self, memory: Memory) -> Result<&Block, DeviceError> {
        let block = self.blocks.get(memory.block).and_then(Option::as_ref);
        block
            .filter(|block| block.kind == memory.kind && memory.start + memory.length <= block.length)
            .ok_or_else(|| DeviceError::Unfit(format!("no memory of this device's: {memory:?}")))
    }

    /// The address of some memory.
    fn address(&self, memory: Memory) -> Result<*mut c_void, DeviceError> {
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
        // SAFETY: `check` has found that the kernel parameters these arguments; memory is this device's own, as `find` has found, and
        // `ops`, which alone makes launches, gives kernels the lengths that they stay within.
        unsafe { run_kernel(launch.kernel, launch.blocks, launch.threads, &mut values) }.map_err(failed)?;
        if self.blocks.iter().flatten().all(Block::guards_are_intact) {
            return Ok(());
        }
        Err(failed("it wrote beside the memory that it was given"))
    }
}

/// What a kernel parameters; nothing if there is no such kernel.
pub fn parameters(kernel: &str) -> Option<&'static [Kind]> {
    crate::sources::parameters(kernel)
}

/// The name of a kernel, if there is one.
pub fn kernel_name(kernel: &str) -> Option<&'static str> {
    crate::sources::kernels().find(|name| *name == kernel)
}

/// Runs a kernel, every thread of every block. `values` are its arguments in their order: addresses, and the bits of numbers.
///
/// # Errors
/// That there is no such kernel or it cannot be run so, in words.
///
/// # Safety
/// The values are what the kernel [`parameters`], and what it goes through from each address is memory that nobody else uses meanwhile, but
/// for some words on either side of it.
pub unsafe fn run_kernel(kernel: &str, blocks: u32, threads: u32, values: &mut [u64]) -> Result<(), &'static str> {
    if cfg!(target_endian = "big") {
        return Err("the twins run on processors with the low byte first");
    }
    // Eight bytes hold any argument.
    let mut addresses: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
    let name = CString::new(kernel).map_err(|_| "its name has a zero in it")?;
    // SAFETY: as promised by the caller.
    match unsafe { twin_launch(name.as_ptr(), blocks, threads, addresses.as_mut_ptr()) } {
        0 => Ok(()),
        2 => Err("there is no memory for the threads of a block"),
        3 => Err("some threads of a block are over while others wait for them"),
        _ => Err("there is no such kernel, or it has too many threads"),
    }
}

impl Device for Twin {
    fn name(&self) -> String {
        "twin".into()
    }

    fn kin(&self) -> String {
        "twin".into()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<Memory, DeviceError> {
        refuse_while_recording(self.recording.is_some(), "allocate memory")?;
        if kind.size().is_none() {
            return Err(DeviceError::Unfit(format!("no memory is made of {kind:?}")));
        }
        self.blocks.push(Some(Block::new(kind, length)));
        Ok(Memory { block: self.blocks.len() - 1, kind, start: 0, length })
    }

    fn free(&mut self, memory: Memory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "free memory")?;
        self.find(memory)?;
        self.blocks[memory.block] = None;
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity.unwrap_or(usize::MAX)
    }

    fn write(&mut self, values: Values<'_>, to: Memory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "write to device memory")?;
        values.check_fits(to)?;
        let bytes = to.length * value_size(to.kind);
        self.written += bytes;
        let to = self.address(to)?.cast::<u8>();
        let from = match values {
            Values::Floats(values) => values.as_ptr().cast::<u8>(),
            Values::Doubles(values) => values.as_ptr().cast(),
            Values::Ints(values) => values.as_ptr().cast(),
            Values::Bytes(values) => values.as_ptr(),
        };
        // SAFETY: `to` leads to as many values of that kind within a block, which no slice does.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
        Ok(())
    }

    fn read(&self, from: Memory, values: Room<'_>) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "read from device memory")?;
        values.check_fits(from)?;
        let bytes = from.length * value_size(from.kind);
        let from = self.address(from)?.cast::<u8>();
        let to = match values {
            Room::Floats(values) => values.as_mut_ptr().cast::<u8>(),
            Room::Doubles(values) => values.as_mut_ptr().cast(),
            Room::Ints(values) => values.as_mut_ptr().cast(),
            Room::Bytes(values) => values.as_mut_ptr(),
        };
        // SAFETY: `from` leads to as many values of that kind within a block, which no slice does.
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
            return Err(DeviceError::failed("recording", "this twin does not"));
        }
        if self.recording.is_some() {
            return Err(DeviceError::Unfit("it records already".into()));
        }
        self.recording = Some(Vec::new());
        Ok(())
    }

    fn recorded(&mut self) -> Result<Recording, DeviceError> {
        let launches = self.recording.take().ok_or_else(|| DeviceError::Unfit("nothing is being recorded".into()))?;
        self.recorded.push(launches);
        Ok(Recording(self.recorded.len() - 1))
    }

    fn play(&mut self, recording: Recording) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording.is_some(), "play a recording")?;
        let launches = self.recorded.get(recording.0).cloned();
        let launches = launches.ok_or_else(|| DeviceError::Unfit("no such recording".into()))?;
        launches.iter().try_for_each(|launch| self.run(launch))
    }

    fn forget(&mut self) {
        self.recorded.clear();
    }
}

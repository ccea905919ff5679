//! Streams, modules, launches and recordings.

use super::put;
use crate::cards::CAPABILITY;
use crate::code::{Code, answer};
use crate::nvrtc::kernels_of;
use crate::state::{Block, Here, Object, Recorded, Work, enter};
use plusminus_cuda::{Kind, twin};
use std::ffi::{CStr, c_char, c_uint, c_ulonglong, c_void};
use std::sync::Arc;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _: c_uint) -> u32 {
    answer(enter().and_then(|mut here| {
        let handle = here.give(Object::Stream(None));
        // SAFETY: the caller's place.
        unsafe { put(stream, handle) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> u32 {
    answer(enter().and_then(|mut here| here.forget(stream, |object| matches!(object, Object::Stream(_)))))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    answer(enter().and_then(|mut here| here.idle(stream)))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: c_uint) -> u32 {
    answer(enter().and_then(|mut here| {
        let recorded = here.stream(stream)?;
        if recorded.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        // 2 is relaxed. In global mode other threads are forbidden the same; our program does not use it.
        let (thread, forbids) = (std::thread::current().id(), mode != 2);
        *recorded = Some(Recorded { work: Vec::new(), broken: false, thread, forbids });
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> u32 {
    answer(enter().and_then(|mut here| {
        let recorded = here.stream(stream)?;
        let ended = recorded.take().ok_or(Code::ILLEGAL_STATE)?;
        if ended.forbids && ended.thread != std::thread::current().id() {
            *recorded = Some(ended);
            return Err(Code::CAPTURE_WRONG_THREAD);
        }
        if ended.broken {
            // SAFETY: the caller's place.
            unsafe { put(graph, 0)? };
            return Err(Code::CAPTURE_INVALIDATED);
        }
        let handle = here.give(Object::Graph(Arc::new(ended.work)));
        // SAFETY: the caller's place.
        unsafe { put(graph, handle) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(playable: *mut usize, graph: usize, _: c_ulonglong) -> u32 {
    answer(enter().and_then(|mut here| {
        let Object::Graph(work) = here.object(graph)? else { return Err(Code::INVALID_HANDLE) };
        let work = work.clone();
        let handle = here.give(Object::Playable(work));
        // SAFETY: the caller's place.
        unsafe { put(playable, handle) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: usize) -> u32 {
    answer(enter().and_then(|mut here| here.forget(graph, |object| matches!(object, Object::Graph(_)))))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(playable: usize) -> u32 {
    answer(enter().and_then(|mut here| here.forget(playable, |object| matches!(object, Object::Playable(_)))))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(playable: usize, stream: usize) -> u32 {
    answer(enter().and_then(|mut here| {
        // A real one can record this; our program does not do it.
        here.idle(stream)?;
        let Object::Playable(work) = here.object(playable)? else { return Err(Code::INVALID_HANDLE) };
        let work = work.clone();
        drop(here);
        work.iter().try_for_each(run)
    }))
}

/// The image is a text that NVRTC's stand-in has written.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_char) -> u32 {
    answer(enter().and_then(|mut here| {
        if image.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: an image of NVRTC's stand-in ends with a zero; one of NVIDIA's has some near its beginning.
        let text = unsafe { CStr::from_ptr(image) };
        let (architecture, kernels) = kernels_of(text).ok_or(Code::INVALID_IMAGE)?;
        if architecture != 10 * CAPABILITY[0] + CAPABILITY[1] {
            return Err(Code::NO_BINARY);
        }
        let handle = here.give(Object::Module(kernels));
        // SAFETY: the caller's place.
        unsafe { put(module, handle) }
    }))
}

/// What functions it had stays, for want of knowing them; to launch one that is gone is a mistake that does not show.
#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> u32 {
    answer(enter().and_then(|mut here| here.forget(module, |object| matches!(object, Object::Module(_)))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, module: usize, name: *const c_char) -> u32 {
    answer(enter().and_then(|mut here| {
        if name.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller's text, which ends with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let Object::Module(kernels) = here.object(module)? else { return Err(Code::INVALID_HANDLE) };
        let kernel = kernels.iter().copied().find(|kernel| *kernel == name).ok_or(Code::NOT_FOUND)?;
        let handle = here.give(Object::Function(kernel));
        // SAFETY: the caller's place.
        unsafe { put(function, handle) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    blocks: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    stream: usize,
    arguments: *const *const c_void,
    extra: *const *const c_void,
) -> u32 {
    let kernel = enter().and_then(|mut here| match here.object(function)? {
        Object::Function(kernel) => Ok(*kernel),
        _ => Err(Code::INVALID_HANDLE),
    });
    answer(kernel.and_then(|kernel| {
        let plain = [blocks_y, blocks_z, threads_y, threads_z] == [1; 4] && shared == 0 && extra.is_null();
        if !plain || blocks == 0 || i32::try_from(blocks).is_err() || !(1..=1024).contains(&threads) {
            return Err(Code::INVALID_VALUE);
        }
        let kinds = twin::takes(kernel).unwrap_or_default();
        // SAFETY: the caller has an address for each of the kernel's parameters, which leads to a value of its type.
        let values = unsafe { kinds.iter().enumerate().map(|(i, kind)| value(*kind, *arguments.add(i))).collect() };
        perform(stream, Work::Launch { kernel, blocks, threads, values })
    }))
}

/// An argument: an address, or the bits of a number.
unsafe fn value(kind: Kind, at: *const c_void) -> u64 {
    match kind {
        // SAFETY: as the caller says.
        Kind::Floats | Kind::Doubles | Kind::Ints | Kind::Bytes | Kind::Halves | Kind::Values => unsafe {
            at.cast::<u64>().read()
        },
        // SAFETY: as the caller says.
        Kind::Int | Kind::Float => unsafe { at.cast::<u32>().read() }.into(),
    }
}

/// Does work, or has it recorded.
pub(super) fn perform(stream: usize, work: Work) -> Result<(), Code> {
    let mut here = enter()?;
    if let Some(recorded) = here.stream(stream)? {
        recorded.work.push(work);
        return Ok(());
    }
    drop(here);
    run(&work)
}

/// Does work. What goes wrong in it is told to the next call, as by a GPU that is still at it when the call returns.
fn run(work: &Work) -> Result<(), Code> {
    let mut here = enter()?;
    let outcome = match work {
        Work::Set { address, value, bytes } => {
            let block = here.block(*address, *bytes).ok_or(Code::INVALID_VALUE)?;
            // SAFETY: the block has so many bytes from there on.
            unsafe { block.at(*address).write_bytes(*value, *bytes) };
            return Ok(());
        }
        Work::Launch { kernel, values, .. } => {
            let blocks = touched(&here, kernel, values);
            if here.is_to_fail() { Err(Code::ILLEGAL_ADDRESS) } else { blocks }
        }
    };
    let card = here.card;
    drop(here);
    if let Err(code) = outcome.and_then(|blocks| launch(work, &blocks)) {
        crate::state::state().cards[card].ill = Some(code);
    }
    Ok(())
}

/// The blocks that a launch has addresses in.
fn touched(here: &Here, kernel: &str, values: &[u64]) -> Result<Vec<Arc<Block>>, Code> {
    let kinds = twin::takes(kernel).unwrap_or_default();
    let addresses =
        kinds.iter().zip(values).filter(|(kind, value)| !matches!(kind, Kind::Int | Kind::Float) && **value != 0);
    addresses.map(|(_, address)| here.block(*address, 0).ok_or(Code::ILLEGAL_ADDRESS)).collect()
}

fn launch(work: &Work, touched: &[Arc<Block>]) -> Result<(), Code> {
    let Work::Launch { kernel, blocks, threads, values } = work else { return Ok(()) };
    // SAFETY: the values are of the kernel's types, and the addresses lead into blocks, which live meanwhile. That the kernel stays
    // within them is for the program that is tested to see to; a step beyond is caught below.
    let done = unsafe { twin::call(kernel, *blocks, *threads, &mut values.clone()) };
    done.map_err(|_| Code::LAUNCH_FAILED)?;
    if touched.iter().all(|block| block.is_untouched_beside()) { Ok(()) } else { Err(Code::ILLEGAL_ADDRESS) }
}

//! Streams, captures and graphs, modules and launches.

use super::write_out;
use crate::cards::CAPABILITY;
use crate::code::{Code, status};
use crate::nvrtc::read_image;
use crate::state::{Block, Capture, Context, Object, Work, current_context};
use plusminus_cuda::{Kind, twin};
use std::ffi::{CStr, c_char, c_uint, c_ulonglong, c_void};
use std::sync::Arc;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _: c_uint) -> u32 {
    status(current_context().and_then(|mut context| {
        let handle = context.register(Object::Stream(None));
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(stream, handle) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> u32 {
    status(
        current_context().and_then(|mut context| context.destroy(stream, |object| matches!(object, Object::Stream(_)))),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    status(current_context().and_then(|mut context| context.require_not_capturing(stream)))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: c_uint) -> u32 {
    status(current_context().and_then(|mut context| {
        let capture = context.stream(stream)?;
        if capture.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        // Mode 2 is relaxed. Global mode, which also restricts other threads, is not used by this project.
        let (thread, restricted) = (std::thread::current().id(), mode != 2);
        *capture = Some(Capture { work: Vec::new(), broken: false, thread, restricted });
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> u32 {
    status(current_context().and_then(|mut context| {
        let capture = context.stream(stream)?;
        let ended = capture.take().ok_or(Code::ILLEGAL_STATE)?;
        if ended.restricted && ended.thread != std::thread::current().id() {
            *capture = Some(ended);
            return Err(Code::CAPTURE_WRONG_THREAD);
        }
        if ended.broken {
            // SAFETY: the caller passes a pointer that is valid for writes, or null.
            unsafe { write_out(graph, 0)? };
            return Err(Code::CAPTURE_INVALIDATED);
        }
        let handle = context.register(Object::Graph(Arc::new(ended.work)));
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(graph, handle) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(exec: *mut usize, graph: usize, _: c_ulonglong) -> u32 {
    status(current_context().and_then(|mut context| {
        let Object::Graph(work) = context.object(graph)? else { return Err(Code::INVALID_HANDLE) };
        let work = work.clone();
        let handle = context.register(Object::GraphExec(work));
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(exec, handle) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: usize) -> u32 {
    status(
        current_context().and_then(|mut context| context.destroy(graph, |object| matches!(object, Object::Graph(_)))),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(exec: usize) -> u32 {
    status(
        current_context()
            .and_then(|mut context| context.destroy(exec, |object| matches!(object, Object::GraphExec(_)))),
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(exec: usize, stream: usize) -> u32 {
    status(current_context().and_then(|mut context| {
        // NVIDIA's driver can capture this call; this project never captures it.
        context.require_not_capturing(stream)?;
        let Object::GraphExec(work) = context.object(exec)? else { return Err(Code::INVALID_HANDLE) };
        let work = work.clone();
        drop(context);
        work.iter().try_for_each(execute)
    }))
}

/// Loads a code that this library's NVRTC produced.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_char) -> u32 {
    status(current_context().and_then(|mut context| {
        if image.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: codes of this library end with NUL; NVIDIA's contain one near their start.
        let text = unsafe { CStr::from_ptr(image) };
        let (architecture, kernels) = read_image(text).ok_or(Code::INVALID_IMAGE)?;
        if architecture != 10 * CAPABILITY[0] + CAPABILITY[1] {
            return Err(Code::NO_BINARY);
        }
        let handle = context.register(Object::Module(kernels));
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(module, handle) }
    }))
}

/// The module's functions stay valid, because the state does not link them to it. A launch after the unload goes unnoticed.
#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> u32 {
    status(
        current_context().and_then(|mut context| context.destroy(module, |object| matches!(object, Object::Module(_)))),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, module: usize, name: *const c_char) -> u32 {
    status(current_context().and_then(|mut context| {
        if name.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller passes a string that ends with NUL.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let Object::Module(kernels) = context.object(module)? else { return Err(Code::INVALID_HANDLE) };
        let kernel = kernels.iter().copied().find(|kernel| *kernel == name).ok_or(Code::NOT_FOUND)?;
        let handle = context.register(Object::Function(kernel));
        // SAFETY: the caller passes a pointer that is valid for writes, or null.
        unsafe { write_out(function, handle) }
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
    let kernel = current_context().and_then(|mut context| match context.object(function)? {
        Object::Function(kernel) => Ok(*kernel),
        _ => Err(Code::INVALID_HANDLE),
    });
    status(kernel.and_then(|kernel| {
        let plain = [blocks_y, blocks_z, threads_y, threads_z] == [1; 4] && shared == 0 && extra.is_null();
        if !plain || blocks == 0 || i32::try_from(blocks).is_err() || !(1..=1024).contains(&threads) {
            return Err(Code::INVALID_VALUE);
        }
        let kinds = twin::parameters(kernel).unwrap_or_default();
        // SAFETY: the caller passes an address for each of the kernel's parameters, valid for a read of its type.
        let values = unsafe { kinds.iter().enumerate().map(|(i, kind)| value(*kind, *arguments.add(i))).collect() };
        submit(stream, Work::Launch { kernel, blocks, threads, values })
    }))
}

/// An argument: an address, or the bits of a number.
unsafe fn value(kind: Kind, at: *const c_void) -> u64 {
    match kind {
        // SAFETY: guaranteed by the caller.
        Kind::Floats | Kind::Doubles | Kind::Ints | Kind::Bytes | Kind::Halves | Kind::FloatsOrHalves => unsafe {
            at.cast::<u64>().read()
        },
        // SAFETY: guaranteed by the caller.
        Kind::Int | Kind::Float => unsafe { at.cast::<u32>().read() }.into(),
    }
}

/// Executes an operation, or adds it to the stream's capture.
pub(super) fn submit(stream: usize, work: Work) -> Result<(), Code> {
    let mut context = current_context()?;
    if let Some(capture) = context.stream(stream)? {
        capture.work.push(work);
        return Ok(());
    }
    drop(context);
    execute(&work)
}

/// Executes an operation. Its error is returned by the next call, as if the GPU were still working when this call returns.
fn execute(work: &Work) -> Result<(), Code> {
    let mut context = current_context()?;
    let outcome = match work {
        Work::Set { address, value, bytes } => {
            let block = context.block(*address, *bytes).ok_or(Code::INVALID_VALUE)?;
            // SAFETY: the block contains that many bytes from this address on.
            unsafe { block.at(*address).write_bytes(*value, *bytes) };
            return Ok(());
        }
        Work::Launch { kernel, values, .. } => {
            let blocks = referenced_blocks(&context, kernel, values);
            if context.should_fail() { Err(Code::ILLEGAL_ADDRESS) } else { blocks }
        }
    };
    let card = context.card;
    drop(context);
    if let Err(code) = outcome.and_then(|blocks| launch(work, &blocks)) {
        crate::state::state().cards[card].error = Some(code);
    }
    Ok(())
}

/// The blocks that the addresses of a launch point into.
fn referenced_blocks(context: &Context, kernel: &str, values: &[u64]) -> Result<Vec<Arc<Block>>, Code> {
    let kinds = twin::parameters(kernel).unwrap_or_default();
    let addresses =
        kinds.iter().zip(values).filter(|(kind, value)| !matches!(kind, Kind::Int | Kind::Float) && **value != 0);
    addresses.map(|(_, address)| context.block(*address, 0).ok_or(Code::ILLEGAL_ADDRESS)).collect()
}

fn launch(work: &Work, referenced_blocks: &[Arc<Block>]) -> Result<(), Code> {
    let Work::Launch { kernel, blocks, threads, values } = work else { return Ok(()) };
    // SAFETY: the values match the kernel's parameters, and the addresses point into blocks that stay allocated. The program under test must
    // keep the kernel within them; a write into the guards is detected below.
    let done = unsafe { twin::run_kernel(kernel, *blocks, *threads, &mut values.clone()) };
    done.map_err(|_| Code::LAUNCH_FAILED)?;
    if referenced_blocks.iter().all(|block| block.guards_are_intact()) { Ok(()) } else { Err(Code::ILLEGAL_ADDRESS) }
}

//! A GPU behind the CUDA driver: memory, copies, launches and graphs, with cuDNN for convolutions.
//!
//! *Not yet tested on a GPU.* The code is thin enough to check by reading; tests run everything above it on the `twin`.

#![allow(unsafe_code, reason = "calls the driver and shares device addresses with it")]

mod cudnn;
pub(crate) mod driver;
mod memory;

pub use driver::is_usable;

use crate::cache::Cache;
use crate::compile;
use crate::convolution::Convolution;
use crate::device::{Device, Recording, refuse_while_recording};
use crate::error::DeviceError;
use crate::launch::{Argument, Launch, check};
use crate::libraries::Library;
use crate::memory::{DeviceMemory, HostBuffer, HostValues};
use crate::signature::Kind;
use crate::sources::kernels;
use cudarc::driver::sys::{
    CUdevice_attribute_enum as Attribute, CUgraphInstantiate_flags, CUstreamCaptureMode_enum as Mode,
};
use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use driver::failed;
use memory::Block;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A GPU with its own stream, memory and graphs.
pub struct Gpu {
    // Dropped before the stream that they belong to.
    graphs: Vec<CudaGraph>,
    cudnn: Option<cudnn::Cudnn>,
    /// Allocations with their element type and address; none once freed.
    blocks: Vec<Option<(Block, Kind, u64)>>,
    functions: BTreeMap<&'static str, CudaFunction>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    name: String,
    reproducibility_key: String,
    recording: bool,
    /// The GPU accesses pageable host memory directly: a copy may still read its source after the call has returned.
    reads_host_memory: bool,
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // cudarc frees memory in the current context of the thread, which may be another one. Running kernels must not lose their code.
        // Errors are ignored: the next call returns them.
        let _ = self.context.check_err();
        let _ = self.stream.synchronize();
    }
}

// SAFETY: one thread at a time may use graphs and cuDNN's handle, and any thread may. They belong to this `Gpu`, which is not `Sync`,
// and all methods that use them take `&mut self`.
unsafe impl Send for Gpu {}

impl Gpu {
    /// Opens GPU `ordinal` in the driver's list (see `CUDA_VISIBLE_DEVICES`), with kernels from `cache` or compiled for it.
    ///
    /// # Errors
    /// Returns an error if the driver, a required library or the GPU is missing, or if a call to them fails.
    pub fn open(ordinal: usize, cache: Option<&Cache>) -> Result<Self, DeviceError> {
        let count = if driver::init()? { driver::count()? } else { 0 };
        Library::Nvrtc.require()?;
        if count <= ordinal {
            return Err(DeviceError::Missing(format!(
                "there is no cuda:{ordinal}: the driver lists {count} GPUs, numbered from 0; CUDA_VISIBLE_DEVICES selects them"
            )));
        }
        let context = CudaContext::new(ordinal).map_err(failed("cuDevicePrimaryCtxRetain"))?;
        driver::retain_context(ordinal);
        // SAFETY: all work of this GPU goes into one stream, in order, so accesses need no events between them.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed("cuStreamCreate"))?;
        let attribute = |which| context.attribute(which).map_err(failed("cuDeviceGetAttribute"));
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let architecture = 10 * major + minor;
        // A driver that does not support this attribute has no such GPU.
        let reads_host_memory = attribute(Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS).unwrap_or(0) != 0;
        let code = compile::kernels(architecture, cache)?;
        let module = context.load_module(Ptx::from_binary(code)).map_err(failed("cuModuleLoadData"))?;
        let functions = kernels()
            .map(|name| Ok((name, module.load_function(name).map_err(failed("cuModuleGetFunction"))?)))
            .collect::<Result<_, DeviceError>>()?;
        let cudnn = cudnn::Cudnn::open(&stream)?;
        let libraries = cudnn.as_ref().map_or_else(|| "own convolutions".to_owned(), |cudnn| cudnn.version());
        let [nvrtc, minor] = compile::version()?;
        let name = context.name().map_err(failed("cuDeviceGetName"))?;
        // The model is included because cuDNN's heuristics may differ between GPUs of one architecture.
        let reproducibility_key = format!("{name} sm_{architecture} nvrtc {nvrtc}.{minor} {libraries}");
        Ok(Gpu {
            graphs: Vec::new(),
            cudnn,
            blocks: Vec::new(),
            functions,
            stream,
            context,
            name,
            reproducibility_key,
            recording: false,
            reads_host_memory,
        })
    }

    /// Allows cuDNN's non-deterministic algorithms, which are a little faster. [`Device::reproducibility_key`] includes this from now on.
    #[must_use]
    pub fn nondeterministic(mut self) -> Self {
        if let Some(cudnn) = &mut self.cudnn {
            cudnn.allow_nondeterministic();
        }
        self.reproducibility_key += " nondeterministic";
        self
    }

    /// Returns the allocation that contains `memory`, and the address of `memory`.
    fn find(&self, memory: DeviceMemory) -> Result<(&Block, u64), DeviceError> {
        let found = self.blocks.get(memory.block).and_then(Option::as_ref);
        let fits = |(block, kind, _): &&(Block, Kind, u64)| {
            *kind == memory.kind && memory.start + memory.length <= block.len()
        };
        let (block, _, address) = found.filter(fits).ok_or_else(|| {
            DeviceError::InvalidArgument(format!("the memory does not belong to this device: {memory:?}"))
        })?;
        Ok((block, address + (memory.start * memory.kind.size().unwrap_or_default()) as u64))
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn reproducibility_key(&self) -> String {
        self.reproducibility_key.clone()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<DeviceMemory, DeviceError> {
        refuse_while_recording(self.recording, "allocate memory")?;
        if kind.size().is_none() {
            return Err(DeviceError::InvalidArgument(format!("memory of type {kind:?} cannot be allocated")));
        }
        // The driver rejects allocations of length zero.
        let at_least_one = length.max(1);
        let (block, address) = Block::allocate(kind, at_least_one, &self.stream)?;
        self.blocks.push(Some((block, kind, address)));
        Ok(DeviceMemory { block: self.blocks.len() - 1, kind, start: 0, length })
    }

    fn free(&mut self, memory: DeviceMemory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "free memory")?;
        self.find(memory)?;
        // cudarc does not set the context before it frees.
        self.context.bind_to_thread().map_err(failed("cuCtxSetCurrent"))?;
        self.blocks[memory.block] = None;
        Ok(())
    }

    fn capacity(&self) -> usize {
        // If the driver cannot report the total, 0 keeps callers from leaving anything in device memory.
        self.context.total_mem().unwrap_or_default()
    }

    fn write(&mut self, values: HostValues<'_>, to: DeviceMemory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "write to device memory")?;
        self.find(to)?;
        values.check_fits(to)?;
        match &mut self.blocks[to.block] {
            Some((block, ..)) if !to.is_empty() => block.write(values, to, &self.stream)?,
            _ => return Ok(()),
        }
        // Otherwise the driver has copied the source before the call returns.
        if self.reads_host_memory { self.stream.synchronize().map_err(failed("cuStreamSynchronize")) } else { Ok(()) }
    }

    fn read(&self, from: DeviceMemory, values: HostBuffer<'_>) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "read from device memory")?;
        values.check_fits(from)?;
        let (block, _) = self.find(from)?;
        if !from.is_empty() {
            block.read(from, values, &self.stream)?;
        }
        self.stream.synchronize().map_err(failed("cuStreamSynchronize"))?;
        // Errors that cudarc could not return at the time, such as a failed free.
        self.context.check_err().map_err(failed("an earlier call"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        check(launch)?;
        let Some(function) = self.functions.get(launch.kernel) else {
            return Err(DeviceError::InvalidArgument(format!("no kernel has the name `{}`", launch.kernel)));
        };
        /// An argument in the form that the launch takes.
        enum Parameter {
            Address(u64),
            Int(i32),
            Float(f32),
        }
        let parameter = |argument: &Argument| {
            Ok(match *argument {
                Argument::Buffer(memory) => Parameter::Address(self.find(memory)?.1),
                Argument::Null => Parameter::Address(0),
                Argument::Int(value) => Parameter::Int(value),
                Argument::Float(value) => Parameter::Float(value),
            })
        };
        let parameters = launch.arguments.iter().map(parameter).collect::<Result<Vec<_>, DeviceError>>()?;
        let mut builder = self.stream.launch_builder(function);
        for argument in &parameters {
            match argument {
                Parameter::Address(address) => builder.arg(address),
                Parameter::Int(value) => builder.arg(value),
                Parameter::Float(value) => builder.arg(value),
            };
        }
        let config =
            LaunchConfig { grid_dim: (launch.blocks, 1, 1), block_dim: (launch.threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: `check` has matched the arguments with the kernel's parameters, and `find` has checked that memory belongs to this
        // device. Only `ops` creates launches, and it checks the lengths that kernels access.
        unsafe { builder.launch(config) }.map_err(failed("cuLaunchKernel"))?;
        Ok(())
    }

    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError> {
        let Convolution { x, w, y, .. } = *convolution;
        let addresses = [self.find(x)?.1, self.find(w)?.1, self.find(y)?.1];
        let Some(cudnn) = &mut self.cudnn else { return Ok(false) };
        if !cudnn.has_plan(convolution) {
            refuse_while_recording(self.recording, "choose an algorithm of cuDNN")?;
        }
        cudnn.convolve(convolution, addresses, &self.stream)
    }

    fn record(&mut self) -> Result<(), DeviceError> {
        let mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("cuStreamBeginCapture"))?;
        self.recording = true;
        Ok(())
    }

    fn recorded(&mut self) -> Result<Recording, DeviceError> {
        self.recording = false;
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed("cuStreamEndCapture"))?;
        let graph = graph.ok_or_else(|| DeviceError::failed("cuStreamEndCapture", "nothing was recorded"))?;
        self.graphs.push(graph);
        Ok(Recording(self.graphs.len() - 1))
    }

    fn play(&mut self, recording: Recording) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "play a recording")?;
        let graph = self.graphs.get(recording.0);
        let graph = graph.ok_or_else(|| DeviceError::InvalidArgument("no such recording".into()))?;
        graph.launch().map_err(failed("cuGraphLaunch"))
    }

    fn forget(&mut self) {
        // A running graph must not be destroyed. Errors are ignored: the next call returns them.
        let _ = self.stream.synchronize();
        self.graphs.clear();
    }
}

//! A GPU behind CUDA's driver: memory, copies, launches and graphs, and cuDNN for convolutions.
//!
//! *This has not run on a GPU yet.* It is kept so thin that what it does can be read at a glance; all above it is run in tests, on the
//! `twin`.

#![allow(unsafe_code, reason = "the driver's functions are called by address")]

mod cudnn;
pub(crate) mod driver;
mod memory;

pub use driver::is_well;

use crate::cache::Cache;
use crate::compile;
use crate::convolution::Convolution;
use crate::device::{Device, Recording, refuse_while_recording};
use crate::error::DeviceError;
use crate::launch::{Argument, Launch, check};
use crate::libraries::Library;
use crate::memory::{Memory, Room, Values};
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

/// A GPU with a stream, memory and graphs of its own.
pub struct Gpu {
    // Dropped before the stream that they belong to.
    graphs: Vec<CudaGraph>,
    cudnn: Option<cudnn::Cudnn>,
    blocks: Vec<Option<(Block, Kind, u64)>>,
    functions: BTreeMap<&'static str, CudaFunction>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    name: String,
    kin: String,
    recording: bool,
    /// Whether it reads the machine's memory by itself: then a copy may still read what it copies when the call has returned.
    reads_host_memory: bool,
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // cudarc frees memory in whatever context the thread is in, which need not be this one or any; and no code may go that still runs.
        // What failed before has been found or is found again by whoever asks next.
        let _ = self.context.check_err();
        let _ = self.stream.synchronize();
    }
}

// SAFETY: graphs and cuDNN's handle may be used by one thread at a time, from whichever thread. They are the GPU's own, which is not
// `Sync`, and every method that uses them takes it by `&mut`.
unsafe impl Send for Gpu {}

impl Gpu {
    /// GPU number `ordinal` of those that the driver shows (`CUDA_VISIBLE_DEVICES` says which), with the kernels compiled for it or taken
    /// from `cache`.
    ///
    /// # Errors
    /// That there is no driver, library or such GPU, or what they refuse.
    pub fn open(ordinal: usize, cache: Option<&Cache>) -> Result<Self, DeviceError> {
        let count = if driver::init()? { driver::count()? } else { 0 };
        Library::Nvrtc.require()?;
        if count <= ordinal {
            return Err(DeviceError::Missing(format!(
                "there is no cuda:{ordinal}: the driver shows {count} GPUs, numbered from 0 (CUDA_VISIBLE_DEVICES says which)"
            )));
        }
        let context = CudaContext::new(ordinal).map_err(failed("cuDevicePrimaryCtxRetain"))?;
        driver::retain_context(ordinal);
        // SAFETY: all that is asked of this GPU goes into one stream, in order, so no event has to keep accesses apart.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed("cuStreamCreate"))?;
        let attribute = |which| context.attribute(which).map_err(failed("cuDeviceGetAttribute"));
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let architecture = 10 * major + minor;
        // A driver that does not know of it has no such GPU.
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
        // With its name, for what cuDNN thinks fastest may differ between GPUs of one architecture.
        let kin = format!("{name} sm_{architecture} nvrtc {nvrtc}.{minor} {libraries}");
        Ok(Gpu {
            graphs: Vec::new(),
            cudnn,
            blocks: Vec::new(),
            functions,
            stream,
            context,
            name,
            kin,
            recording: false,
            reads_host_memory,
        })
    }

    /// The same GPU, where cuDNN may take ways that give other bytes every time: a little faster. [`Device::kin`] says so from now on.
    #[must_use]
    pub fn nondeterministic(mut self) -> Self {
        if let Some(cudnn) = &mut self.cudnn {
            cudnn.allow_nondeterministic();
        }
        self.kin += " nondeterministic";
        self
    }

    /// The block that some memory lies in, and the address of the memory.
    fn find(&self, memory: Memory) -> Result<(&Block, u64), DeviceError> {
        let found = self.blocks.get(memory.block).and_then(Option::as_ref);
        let fits = |(block, kind, _): &&(Block, Kind, u64)| {
            *kind == memory.kind && memory.start + memory.length <= block.len()
        };
        let (block, _, address) =
            found.filter(fits).ok_or_else(|| DeviceError::Unfit(format!("no memory of this device's: {memory:?}")))?;
        Ok((block, address + (memory.start * memory.kind.size().unwrap_or_default()) as u64))
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn kin(&self) -> String {
        self.kin.clone()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<Memory, DeviceError> {
        refuse_while_recording(self.recording, "allocate memory")?;
        if kind.size().is_none() {
            return Err(DeviceError::Unfit(format!("no memory is made of {kind:?}")));
        }
        // The driver gives no memory of no length.
        let at_least_one = length.max(1);
        let (block, address) = Block::allocate(kind, at_least_one, &self.stream)?;
        self.blocks.push(Some((block, kind, address)));
        Ok(Memory { block: self.blocks.len() - 1, kind, start: 0, length })
    }

    fn free(&mut self, memory: Memory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "free memory")?;
        self.find(memory)?;
        // cudarc does not when it frees.
        self.context.bind_to_thread().map_err(failed("cuCtxSetCurrent"))?;
        self.blocks[memory.block] = None;
        Ok(())
    }

    fn capacity(&self) -> usize {
        // One that cannot say it is given nothing that could be left elsewhere.
        self.context.total_mem().unwrap_or_default()
    }

    fn write(&mut self, values: Values<'_>, to: Memory) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "write to device memory")?;
        self.find(to)?;
        values.check_fits(to)?;
        match &mut self.blocks[to.block] {
            Some((block, ..)) if !to.is_empty() => block.write(values, to, &self.stream)?,
            _ => return Ok(()),
        }
        // Elsewhere the driver has copied what is to be copied before the call returns.
        if self.reads_host_memory { self.stream.synchronize().map_err(failed("cuStreamSynchronize")) } else { Ok(()) }
    }

    fn read(&self, from: Memory, values: Room<'_>) -> Result<(), DeviceError> {
        refuse_while_recording(self.recording, "read from device memory")?;
        values.check_fits(from)?;
        let (block, _) = self.find(from)?;
        if !from.is_empty() {
            block.read(from, values, &self.stream)?;
        }
        self.stream.synchronize().map_err(failed("cuStreamSynchronize"))?;
        // What cudarc could not say when it happened, such as that something was not freed.
        self.context.check_err().map_err(failed("an earlier call"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        check(launch)?;
        let Some(function) = self.functions.get(launch.kernel) else {
            return Err(DeviceError::Unfit(format!("no kernel is called {}", launch.kernel)));
        };
        /// What an argument is while the kernel is launched.
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
        // SAFETY: `check` has found that the kernel takes these arguments; memory is this device's own, as `find` has found, and `ops`,
        // which alone makes launches, gives kernels the lengths that they stay within.
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
        let graph = graph.ok_or_else(|| DeviceError::Unfit("no such recording".into()))?;
        graph.launch().map_err(failed("cuGraphLaunch"))
    }

    fn forget(&mut self) {
        // What is being played now must not lose its graph. An error shows in the next call, too.
        let _ = self.stream.synchronize();
        self.graphs.clear();
    }
}

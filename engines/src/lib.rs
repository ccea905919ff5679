//! Engines: what runs a network forward and backward and changes its weights.
//!
//! Every engine takes the same [`Network`], [`Weights`] and streams of random numbers, so that one can be set beside another.
//! What is the same in all of them stands here: initial weights, the flat list of them, the optimisers. A loss comes to a step from
//! outside, as a function of the logits: losses are core's, and what they remember between steps is the training loop's.

mod candle;
mod cuda;
mod device_engine;
mod fused;
mod gemm;
mod optimizer;
#[cfg(any(test, feature = "twin"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod transform;
mod weights;

pub use device_engine::{Batch, BatchInputs, DeviceEngine, Samples, StepLoss};
pub use optimizer::OptimizerState;
pub use transform::{AxisTransform, ImageTransform};
pub use weights::{Plan, Role, WeightEntry, Weights};

use self::candle::CandleEngine;
use self::cuda::CudaEngine;
use self::fused::FusedEngine;
use self::optimizer::Updater;
use plusminus_core::methods::losses::DeviceLoss;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_kernels::Instructions;
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// What a process that trains should be started with.
///
/// candle adds gradients up on a pool of threads that only the environment can make small: with this it uses one core. (The sums
/// are element by element, so no result depends on it.) The fused engine has a pool of its own, which heeds none of it. glibc
/// gives large blocks back to the system and fetches them anew in every step unless it is told not to, which costs a quarter of
/// the speed.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("CANDLE_NUM_THREADS", "1"),
    ("RAYON_NUM_THREADS", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
];

/// What networks are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU of NVIDIA's, by its number among those that the driver shows.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        if text == "cpu" {
            return Ok(Device::Cpu);
        }
        // Digits alone: `parse` would take a sign, too.
        let number = text.strip_prefix("cuda:").filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|number| number.parse().ok());
        number.map(Device::Cuda).ok_or_else(|| {
            EngineError::new(format!("no device is called `{text}`; there are `cpu` and `cuda:0`, `cuda:1` and so on"))
        })
    }
}

/// The loss of a batch as a function of its logits, a row a sample: it gives the loss and writes its gradient.
///
/// What the loss has to know beside the logits (labels, pruned samples, latent labels) is its own affair.
pub type LossOfLogits<'a> = dyn FnMut(&[f32], &mut [f32]) -> f64 + 'a;

/// A network with its weights and its optimiser.
///
/// One engine serves one job. Equal calls give equal bytes, whatever the number of threads.
pub trait Engine: Send {
    /// The engine and what it chose for this machine, such as `fused 0.1.0 cpu avx512`.
    fn name(&self) -> String;

    /// Names everything that results may depend on in this engine, such as `fused 0.1.0 cpu`. Engines with equal keys give equal bytes,
    /// so a job may resume with another engine that has the key of its checkpoint.
    ///
    /// By default the engine's name.
    fn reproducibility_key(&self) -> String {
        self.name()
    }

    /// One step of the optimiser at the learning rate `lr` down the gradient of `loss`; that loss before the step.
    ///
    /// `inputs` are a sample after the other, each channels × height × width. `loss` is called once.
    ///
    /// Dropout's masks come from `dropout`, one draw a value in the order of layers, samples and a sample's values.
    ///
    /// # Errors
    /// What went wrong on the device. A loss that is not finite is no error here.
    fn train_step(
        &mut self,
        inputs: &[f32],
        loss: &mut LossOfLogits<'_>,
        lr: f64,
        dropout: &mut ChaCha8Rng,
    ) -> Result<f64, EngineError>;

    /// Writes the logits of `inputs`, a row a sample: running statistics, no dropout.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn logits(&mut self, inputs: &[f32], logits: &mut Vec<f32>) -> Result<(), EngineError>;

    /// The weights as they stand, running statistics included.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn weights(&self) -> Result<Weights, EngineError>;

    /// All that the steps to come depend on.
    ///
    /// # Errors
    /// What went wrong on the device.
    fn checkpoint(&self) -> Result<Checkpoint, EngineError>;

    /// Goes on from a checkpoint of the same network and optimiser. The same engine then gives the same bytes as one that was never
    /// interrupted.
    ///
    /// # Errors
    /// That it is another network's or optimiser's, or what went wrong on the device.
    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), EngineError>;

    /// The engine as one that takes whole steps where its memory is, if it does.
    fn on_device(&mut self) -> Option<&mut dyn DeviceEngine> {
        None
    }
}

/// What a job goes on from, whichever engine it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Every weight.
    pub weights: Weights,
    /// What the optimiser remembers of every trained weight, in the plan's order.
    pub optimizer: OptimizerState,
}

impl Checkpoint {
    /// Checks that it is one of a network with this plan.
    fn fits(&self, plan: &Plan) -> Result<(), EngineError> {
        if **self.weights.plan() == *plan {
            return Ok(());
        }
        Err(EngineError::new("the checkpoint is of another network: its weights have other names or shapes"))
    }
}

/// By what means a job is trained here. None of it is a part of what the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionOptions {
    /// Where.
    pub device: Device,
    /// By which engine; `None` for the fastest that can run the network.
    pub engine: Option<EngineKind>,
    /// Threads of the fused engine. Its results do not depend on their number.
    pub threads: NonZeroUsize,
    /// Whether the same job is to give the same bytes every time. A processor's engines know nothing else; on a GPU it costs a little
    /// speed. What was trained without says so in its engine's name.
    pub deterministic: bool,
}

impl Default for ExecutionOptions {
    /// One core, and the fastest engine.
    fn default() -> Self {
        ExecutionOptions { device: Device::Cpu, engine: None, threads: NonZeroUsize::MIN, deterministic: true }
    }
}

/// The engines that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Kernels of our own over memory that is had once: the fastest on a processor, and the only one on a GPU.
    Fused,
    /// candle's tensors: the plain engine, which runs every network, and which the other is compared with.
    Candle,
}

impl EngineKind {
    /// Every engine, the fastest first.
    pub const ALL: &'static [EngineKind] = &[EngineKind::Fused, EngineKind::Candle];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Fused => "fused",
            EngineKind::Candle => "candle",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let found = EngineKind::ALL.iter().find(|kind| kind.name() == text);
        found
            .copied()
            .ok_or_else(|| EngineError::new(format!("no engine is called `{text}`; there are `fused` and `candle`")))
    }
}

/// An engine for a network that starts with `weights`, and multiplies in this precision.
///
/// # Errors
/// The device's refusal, or that the engine asked for cannot run the network, or not there.
pub fn new_engine(
    means: ExecutionOptions,
    precision: Precision,
    network: &Network,
    weights: Weights,
    optimizer: &Optimizer,
) -> Result<Box<dyn Engine>, EngineError> {
    let ExecutionOptions { device, engine, threads, deterministic } = means;
    if let Device::Cuda(number) = device {
        if engine == Some(EngineKind::Candle) {
            return Err(EngineError::new(format!(
                "candle runs on the processor alone: expected `--engine fused` for {device}, found `--engine candle`"
            )));
        }
        let cache = plusminus_cuda::Cache::of_user();
        // A GPU that cannot even be opened is no fault of the job's.
        let gpu = plusminus_cuda::Gpu::open(number as usize, cache.as_ref()).map_err(|error| {
            let error = EngineError::from(error);
            let cause = if error.cause == Cause::Device { Cause::Host } else { error.cause };
            EngineError { message: format!("cannot use {device}: {error}"), cause }
        })?;
        let gpu = if deterministic { gpu } else { gpu.nondeterministic() };
        return new_engine_on_device(Box::new(gpu), precision, network, weights, optimizer);
    }
    if precision.needs_gpu() {
        // Another machine may have a GPU.
        let cause = Cause::Host;
        let message = format!(
            "GPUs alone train in `precision: {}`: expected `--device cuda:0` or another, found `--device cpu`; or leave `precision` away",
            precision.name()
        );
        return Err(EngineError { message, cause });
    }
    if engine != Some(EngineKind::Candle) {
        let instructions = Instructions::best();
        let made = FusedEngine::new(network, weights.clone(), optimizer.clone(), threads, instructions)?;
        match made {
            Ok(fused) => return Ok(Box::new(fused)),
            Err(unsupported) if engine.is_some() => return Err(EngineError::new(unsupported.to_string())),
            Err(_) => {}
        }
    }
    Ok(Box::new(CandleEngine::new(network, weights, optimizer.clone(), candle_core::Device::Cpu)?))
}

/// An engine for a network on a device that has been opened.
///
/// # Errors
/// The device's refusal, or that no device runs the network.
pub fn new_engine_on_device(
    device: Box<dyn plusminus_cuda::Device>,
    precision: Precision,
    network: &Network,
    weights: Weights,
    optimizer: &Optimizer,
) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CudaEngine::new(network, weights, optimizer.clone(), device)?.in_precision(precision)))
}

/// Bytes of the machine's memory that an engine for `network` holds while it trains on batches of so many samples; nothing where that is
/// not known: candle asks for each tensor anew, and may have several times what the fused engine has, and a GPU's driver takes what it
/// wants.
pub fn host_memory(
    means: ExecutionOptions,
    network: &Network,
    optimizer: &Optimizer,
    batch_size: usize,
) -> Option<usize> {
    match (means.device, means.engine) {
        (Device::Cuda(_), _) | (_, Some(EngineKind::Candle)) => None,
        (Device::Cpu, Some(EngineKind::Fused) | None) => fused::memory(network, optimizer, batch_size, means.threads),
    }
}

/// Bytes of a GPU's memory that an engine for `network` holds there while it trains on batches of so many samples, beside the driver's
/// context and what cuDNN asks for; nothing where no GPU runs the network. The data and the loss that it may hold besides are no part of it.
pub fn device_memory(
    network: &Network,
    optimizer: &Optimizer,
    batch_size: usize,
    precision: Precision,
) -> Option<usize> {
    cuda::memory(network, optimizer, batch_size, precision)
}

/// Bytes of a GPU's memory that it takes to know a loss, for batches of so many of the `given` samples of the training file.
pub fn device_loss_memory(loss: &DeviceLoss, classes: usize, given: usize, batch_size: usize) -> usize {
    cuda::loss_memory(loss, classes, given, batch_size)
}

/// How many values an optimiser remembers of every weight that it trains.
pub fn optimizer_values_per_weight(optimizer: &Optimizer) -> usize {
    Updater::lists(optimizer).into_iter().filter(|there| *there).count()
}

/// What a batch gives in training, before anything is made of it: what engines are compared by.
pub(crate) struct Gradients {
    /// Mean loss.
    pub loss: f64,
    /// A row a sample.
    #[cfg_attr(not(test), expect(dead_code, reason = "what engines are compared by, in tests"))]
    pub logits: Vec<f32>,
    /// The loss's gradient in every trained weight, in the plan's order.
    pub weights: Vec<f32>,
}

/// What went wrong on a device, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    message: String,
    /// Whose fault it is.
    pub cause: Cause,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The device's or the network's: another try may have more luck.
    Device,
    /// There is too little memory.
    Memory,
    /// This machine's, which lacks something that another may have.
    Host,
}

impl EngineError {
    /// An error of the device's or the network's.
    pub fn new(message: impl Into<String>) -> Self {
        EngineError { message: message.into(), cause: Cause::Device }
    }
}

/// Whether this process can still train on a device. On a GPU there are errors after which nothing more comes of it but errors, until
/// another process begins anew.
pub fn is_usable(device: Device) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(number) => plusminus_cuda::is_well(number as usize),
    }
}

//! Engines: what runs a network forward and backward and changes its weights.
//!
//! Every engine takes the same [`Network`], [`Weights`] and streams of random numbers, so that one can be set beside another.
//! What is the same in all of them stands here: initial weights, the flat list of them, the optimisers. Losses are core's.

mod candle;
mod gemm;
mod optimizer;
mod weights;

pub use weights::{Entry, Plan, Role, Weights};

use plusminus_core::methods::losses::Loss;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::str::FromStr;

/// What a process that trains should be started with.
///
/// candle adds gradients up on a pool of threads that only the environment can make small: with this a job uses the one core
/// that its slot stands for. (The sums are element by element, so no result depends on it.) glibc gives large blocks back to
/// the system and fetches them anew in every step unless it is told not to, which costs a quarter of the speed.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("CANDLE_NUM_THREADS", "1"),
    ("RAYON_NUM_THREADS", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
];

/// What a network is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// One core of the processor.
    Cpu,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
        }
    }
}

impl FromStr for Device {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "cpu" => Ok(Device::Cpu),
            _ => Err(EngineError::new(format!("no device is called `{text}`; there is `cpu`"))),
        }
    }
}

/// Samples that are trained on together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// A sample after the other, each channels × height × width.
    pub inputs: &'a [f32],
    /// Their given labels.
    pub labels: &'a [u32],
}

/// A network with its weights, its loss and its optimiser.
///
/// One engine serves one job and uses one thread. On one kind of processor equal calls give equal bytes; another kind may have
/// another kernel, which rounds in another way.
pub trait Engine: Send {
    /// The engine and what it chose for this machine, such as `candle 0.11.1 cpu, gemm 0.19.0 fma`.
    fn name(&self) -> String;

    /// One step of the optimiser at the learning rate `lr`; the mean loss of the batch before it.
    ///
    /// Dropout's masks come from `dropout`, one draw a value in the order of layers, samples and a sample's values.
    ///
    /// # Errors
    /// What went wrong on the device. A loss that is not finite is no error here.
    fn train_step(&mut self, batch: Batch<'_>, lr: f64, dropout: &mut ChaCha8Rng) -> Result<f64, EngineError>;

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
}

/// An engine on `device` for a network that starts with `weights`.
///
/// # Errors
/// The device's refusal.
pub fn engine(
    device: Device,
    network: &Network,
    weights: Weights,
    loss: &Loss,
    optimizer: &Optimizer,
) -> Result<Box<dyn Engine>, EngineError> {
    match device {
        Device::Cpu => {
            let (loss, optimizer) = (loss.clone(), optimizer.clone());
            Ok(Box::new(candle::CandleEngine::new(network, weights, loss, optimizer, candle_core::Device::Cpu)?))
        }
    }
}

/// What went wrong on a device, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    message: String,
}

impl EngineError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        EngineError { message: message.into() }
    }
}

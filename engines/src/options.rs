//! How a job is executed: device, engine, threads. None of it is part of a job's configuration or id.

use super::error::EngineError;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// Environment variables to set for a process that trains.
///
/// candle adds gradients on a thread pool whose size only the environment sets: these values restrict it to one core. (candle adds
/// element by element, so results do not depend on it.) The fused engine has its own thread pool and ignores both variables. The two
/// glibc variables keep large blocks mapped between steps; without them every step requests the blocks from the system again, which
/// costs a quarter of the speed.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("CANDLE_NUM_THREADS", "1"),
    ("RAYON_NUM_THREADS", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
];

/// The device that a network is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its index among the GPUs that the driver lists.
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
        // Digits only: `parse` would also accept a sign.
        let number = text.strip_prefix("cuda:").filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|number| number.parse().ok());
        number.map(Device::Cuda).ok_or_else(|| {
            EngineError::new(format!("unknown device `{text}`: expected `cpu`, or `cuda:0`, `cuda:1`, …"))
        })
    }
}

/// How a job is executed on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionOptions {
    /// The device to train on.
    pub device: Device,
    /// The engine; `None` selects the fastest that supports the network.
    pub engine: Option<EngineKind>,
    /// Threads of the fused engine. Results do not depend on their number.
    pub threads: NonZeroUsize,
    /// Whether to use only kernels that give the same bytes in every run. CPU engines always do; on a GPU this costs a little speed.
    /// An engine without this guarantee has `nondeterministic` in its name.
    pub deterministic: bool,
}

impl Default for ExecutionOptions {
    /// One CPU core and the fastest engine.
    fn default() -> Self {
        ExecutionOptions { device: Device::Cpu, engine: None, threads: NonZeroUsize::MIN, deterministic: true }
    }
}

/// An engine by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// The project's own kernels over buffers that are allocated once: the fastest engine on a CPU and the only one on a GPU.
    Fused,
    /// candle's tensors: the reference engine, which supports every network.
    Candle,
}

impl EngineKind {
    /// Every engine, the fastest first.
    pub const ALL: &'static [EngineKind] = &[EngineKind::Fused, EngineKind::Candle];

    /// The name on the command line.
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
        found.copied().ok_or_else(|| EngineError::new(format!("unknown engine `{text}`: expected `fused` or `candle`")))
    }
}

//! Makes engines and estimates their memory.

use super::candle::{self, CandleEngine};
use super::cuda::{self, CudaEngine};
use super::engine::Engine;
use super::error::{Cause, EngineError};
use super::fused::{self, FusedEngine};
use super::options::{Device, EngineKind, ExecutionOptions};
use super::weights::Weights;
use plusminus_core::methods::losses::DeviceLoss;
use plusminus_core::methods::networks::Network;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::precision::Precision;
use plusminus_kernels::Instructions;

/// An engine for `network` with these initial weights, whose matrix products have this precision.
///
/// # Errors
/// The selected engine does not support the network, the device or the precision, or the device cannot be used.
pub fn new_engine(
    options: ExecutionOptions,
    precision: Precision,
    network: &Network,
    weights: Weights,
    optimizer: &Optimizer,
) -> Result<Box<dyn Engine>, EngineError> {
    let ExecutionOptions { device, engine, threads, deterministic } = options;
    if let Device::Cuda(number) = device {
        if engine == Some(EngineKind::Candle) {
            return Err(EngineError::new(format!(
                "the candle engine runs on the CPU only: expected `--engine fused` for {device}, found `--engine candle`"
            )));
        }
        let cache = plusminus_cuda::Cache::of_user();
        // The job is not at fault if the GPU cannot be opened.
        let gpu = plusminus_cuda::Gpu::open(number as usize, cache.as_ref()).map_err(|error| {
            let error = EngineError::from(error);
            let cause = if error.cause == Cause::Device { Cause::Host } else { error.cause };
            EngineError { message: format!("cannot use {device}: {error}"), cause }
        })?;
        let gpu = if deterministic { gpu } else { gpu.nondeterministic() };
        return new_engine_on_device(Box::new(gpu), precision, network, weights, optimizer);
    }
    if precision.needs_gpu() {
        // Another host may have a GPU.
        let message = format!(
            "`precision: {}` requires a GPU: expected `--device cuda:0` or another GPU, found `--device cpu`; or remove `precision`",
            precision.name()
        );
        return Err(EngineError { message, cause: Cause::Host });
    }
    if engine != Some(EngineKind::Candle) {
        let instructions = Instructions::best();
        match FusedEngine::new(network, weights.clone(), optimizer.clone(), threads, instructions)? {
            Ok(fused) => return Ok(Box::new(fused)),
            Err(unsupported) if engine.is_some() => return Err(EngineError::new(unsupported.to_string())),
            Err(_) => {}
        }
    }
    Ok(Box::new(CandleEngine::new(network, weights, optimizer.clone(), candle_core::Device::Cpu)?))
}

/// An engine for `network` on an open device.
///
/// # Errors
/// The GPU engine does not support the network, or the device fails.
pub fn new_engine_on_device(
    device: Box<dyn plusminus_cuda::Device>,
    precision: Precision,
    network: &Network,
    weights: Weights,
    optimizer: &Optimizer,
) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CudaEngine::new(network, weights, optimizer.clone(), device)?.in_precision(precision)))
}

/// Bytes of host memory that an engine for `network` occupies while it trains on batches of `batch_size` samples.
///
/// `None` if unknown: candle allocates every tensor separately and may occupy several times the memory of the fused engine, and the host
/// memory of a GPU's driver varies.
pub fn host_memory(
    options: ExecutionOptions,
    network: &Network,
    optimizer: &Optimizer,
    batch_size: usize,
) -> Option<usize> {
    match (options.device, options.engine) {
        (Device::Cuda(_), _) | (_, Some(EngineKind::Candle)) => None,
        (Device::Cpu, Some(EngineKind::Fused) | None) => fused::memory(network, optimizer, batch_size, options.threads),
    }
}

/// Bytes of a GPU's memory that an engine for `network` occupies while it trains on batches of `batch_size` samples. `None` if the GPU
/// engine does not support the network.
///
/// Excludes the driver's context, cuDNN's workspace, held samples and the loss.
pub fn device_memory(
    network: &Network,
    optimizer: &Optimizer,
    batch_size: usize,
    precision: Precision,
) -> Option<usize> {
    cuda::memory(network, optimizer, batch_size, precision)
}

/// Bytes of a GPU's memory that a loss occupies, for batches of `batch_size` out of `samples` samples of the training file.
pub fn device_loss_memory(loss: &DeviceLoss, classes: usize, samples: usize, batch_size: usize) -> usize {
    cuda::loss_memory(loss, classes, samples, batch_size)
}

/// Whether this process can still train on a device. After some errors of a GPU, every further call in the same process fails; so does
/// candle after its threads could not be started.
pub fn is_usable(device: Device) -> bool {
    match device {
        Device::Cpu => candle::has_threads(),
        Device::Cuda(number) => plusminus_cuda::is_usable(number as usize),
    }
}

//! The devices that a worker uses, and the number of jobs that it trains on each.

use crate::agent::Equipment;
use crate::host::{Division, Host, SlotRequest};
use plusminus_engines::{Device, EngineKind, ExecutionOptions};
use plusminus_proto::v1;
use plusminus_trainer::MemoryEstimate;
use std::num::{NonZeroU32, NonZeroUsize};

/// The largest automatic number of jobs per GPU. Each job has its own stream, and more streams hardly increase the throughput.
pub(super) const MAX_LANES: u32 = 8;
/// The part of a GPU's memory, in bytes, that is left for the driver's context, cuDNN and other processes.
const RESERVED_MEMORY: u64 = 1 << 30;

/// A GPU that the worker uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The number that the driver gives it, from 0.
    pub number: u32,
    /// The model name that the driver reports.
    pub model: String,
    /// The total memory in bytes.
    pub memory: u64,
    /// NVML's identifier.
    pub uuid: String,
    /// The driver's version.
    pub driver: String,
}

/// The devices that a worker uses.
#[derive(Clone, Debug, PartialEq)]
pub enum Devices {
    /// The CPU, with the reason why no GPU is used if one was wanted.
    Processor(Option<String>),
    /// At least one GPU, with a warning if they are slower than they could be.
    Gpus(Vec<Gpu>, Option<String>),
}

/// Estimates the largest memory of a job under these options. `None` if it is unknown.
pub type Need<'a> = &'a dyn Fn(ExecutionOptions) -> Option<MemoryEstimate>;

impl Devices {
    /// The equipment of a worker on these devices. Slots and threads are those requested, or else as many as cores and memory allow.
    pub fn equip(
        &self,
        host: &Host,
        request: SlotRequest,
        execution: ExecutionOptions,
        need: Need<'_>,
    ) -> Vec<Equipment> {
        match self {
            Devices::Processor(_) => {
                // The candle engine uses a single thread.
                let single = (execution.engine == Some(EngineKind::Candle)).then_some(NonZeroUsize::MIN);
                let request = SlotRequest { threads: request.threads.or(single), ..request };
                let execution = ExecutionOptions { device: Device::Cpu, ..execution };
                let division = host.divide(request, |threads| Some(need(ExecutionOptions { threads, ..execution })?.0));
                let device =
                    v1::Device { name: Device::Cpu.to_string(), slots: division.slots.get(), ..v1::Device::default() };
                vec![Equipment {
                    device,
                    execution: ExecutionOptions { threads: division.threads, ..execution },
                    uuid: None,
                }]
            }
            Devices::Gpus(gpus, _) => {
                let equip = |gpu: &Gpu| {
                    let execution = ExecutionOptions {
                        device: Device::Cuda(gpu.number),
                        threads: request.threads.unwrap_or(NonZeroUsize::MIN),
                        ..execution
                    };
                    let device = v1::Device {
                        name: execution.device.to_string(),
                        slots: lanes(gpu, gpus.len(), host, request, need(execution)).get(),
                        model: gpu.model.clone(),
                        memory: gpu.memory,
                        driver: gpu.driver.clone(),
                        reading: None,
                    };
                    Equipment { device, execution, uuid: Some(gpu.uuid.clone()) }
                };
                let mut equipment: Vec<Equipment> = gpus.iter().map(equip).collect();
                // `--slots` is a single number, so that every GPU gets as many slots as the smallest one.
                let fewest = equipment.iter().map(|equipment| equipment.device.slots).min().unwrap_or(1);
                equipment.iter_mut().for_each(|equipment| equipment.device.slots = fewest);
                equipment
            }
        }
    }
}

/// The number of slots of one of `gpus` GPUs. Each job occupies a CPU core with launching kernels and preparing batches.
fn lanes(gpu: &Gpu, gpus: usize, host: &Host, request: SlotRequest, need: Option<MemoryEstimate>) -> NonZeroU32 {
    if let Some(slots) = request.slots {
        return slots;
    }
    let cores = host.cores.get() / gpus;
    let jobs = request.jobs.map_or(usize::MAX, |jobs| jobs.div_ceil(gpus));
    let fit = match need {
        Some(MemoryEstimate(bytes)) if bytes > 0 => {
            (gpu.memory.saturating_sub(RESERVED_MEMORY) / bytes as u64) as usize
        }
        _ => usize::MAX,
    };
    let most = cores.min(jobs).min(fit).min(MAX_LANES as usize);
    NonZeroU32::new(most as u32).unwrap_or(NonZeroU32::MIN)
}

/// Describes the equipment for users: one line per device.
pub fn describe(equipment: &[Equipment]) -> Vec<String> {
    let describe = |Equipment { device, execution, .. }: &Equipment| {
        let slots = NonZeroU32::new(device.slots).unwrap_or(NonZeroU32::MIN);
        let division = Division { slots, threads: execution.threads };
        match execution.device {
            Device::Cpu => division.to_string(),
            Device::Cuda(_) => {
                let gibibytes = device.memory as f64 / (1u64 << 30) as f64;
                format!("{}  {}, {gibibytes:.0} GiB, driver {}: {division}", device.name, device.model, device.driver)
            }
        }
    };
    equipment.iter().map(describe).collect()
}

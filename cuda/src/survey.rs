//! Lists the GPUs of the host and reads their load through NVML. It creates no context and works without a GPU.
//!
//! *Not yet tested on a GPU.*

use crate::error::DeviceError;
use crate::gpu::driver;
use crate::libraries;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

/// A GPU that the driver lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// The number in `cuda:0`: its index in the driver's list, which `CUDA_VISIBLE_DEVICES` selects and orders.
    pub number: usize,
    /// Model, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Total memory in bytes.
    pub memory: u64,
    /// Compute capability, such as 90 for `sm_90`.
    pub architecture: i32,
    /// UUID as `nvidia-smi -L` prints it: `GPU-…`, or `MIG-…` for a MIG instance.
    pub uuid: String,
}

/// The driver and its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Driver version, such as `570.86.15`; none without NVML.
    pub driver: Option<String>,
    /// Highest CUDA version that the driver supports, such as 12 and 8.
    pub cuda: [i32; 2],
    /// GPUs in the driver's order; may be empty.
    pub gpus: Vec<GpuInfo>,
}

/// Lists the GPUs. Returns none if the host has no driver.
///
/// # Errors
/// Returns the driver's error with a remedy if there is a driver and it fails. A driver without GPUs is not an error.
pub fn survey() -> Result<Option<Survey>, DeviceError> {
    if !libraries::Library::Driver.is_available() {
        return Ok(None);
    }
    let devices = if driver::init()? { driver::devices()? } else { Vec::new() };
    let monitor = Monitor::open();
    let found = |(number, device): (usize, driver::DeviceProperties)| {
        let known = |uuid: &str| monitor.as_ref().map(|monitor| monitor.nvml.device_by_uuid(uuid).is_ok());
        let uuid = uuid_text(device.uuid, &device.name, known);
        GpuInfo { number, name: device.name, memory: device.memory, architecture: device.architecture, uuid }
    };
    Ok(Some(Survey {
        driver: monitor.as_ref().and_then(|monitor| monitor.nvml.sys_driver_version().ok()),
        cuda: version(driver::version()?),
        gpus: devices.into_iter().enumerate().map(found).collect(),
    }))
}

/// Splits the driver's version number: 12080 is 12.8.
fn version(number: i32) -> [i32; 2] {
    [number / 1000, number % 1000 / 10]
}

/// Formats a UUID as NVML and nvidia-smi print it. The driver does not tell a GPU from a MIG instance, so NVML is asked which of the two
/// it lists. Without NVML the model decides, such as `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
fn uuid_text(uuid: [u8; 16], name: &str, known: impl Fn(&str) -> Option<bool>) -> String {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
    let (whole, part) = (format!("GPU-{text}"), format!("MIG-{text}"));
    match (known(&whole), known(&part)) {
        (Some(true), _) => whole,
        (_, Some(true)) => part,
        _ if name.contains(" MIG ") => part,
        _ => whole,
    }
}

/// A GPU's load as NVML reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes in use by all processes.
    pub memory_used: u64,
    /// Total memory in bytes.
    pub memory_total: u64,
    /// Percentage of the last sampling period (at most one second) in which a kernel ran; none for MIG instances.
    pub load: Option<u32>,
    /// Temperature in °C; none for MIG instances.
    pub temperature: Option<u32>,
}

/// A connection to NVML that reads the load of GPUs.
#[derive(Debug)]
pub struct Monitor {
    nvml: Nvml,
}

impl Monitor {
    /// Connects to NVML. Returns none if it is missing or fails; only the readings are lost then.
    pub fn open() -> Option<Monitor> {
        libraries::load_directories();
        Some(Monitor { nvml: Nvml::init().ok()? })
    }

    /// Reads the GPU or MIG instance with this UUID (`GPU-…`, `MIG-…`). Returns none if NVML does not list it or fails.
    pub fn read(&self, uuid: &str) -> Option<Reading> {
        let gpu = self.nvml.device_by_uuid(uuid).ok()?;
        let memory = gpu.memory_info().ok()?;
        Some(Reading {
            memory_used: memory.used,
            memory_total: memory.total,
            load: gpu.utilization_rates().ok().map(|load| load.gpu),
            temperature: gpu.temperature(TemperatureSensor::Gpu).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] =
        [0x0A, 0x1B, 0x2C, 0x3D, 0x4E, 0x5F, 0x60, 0x71, 0x82, 0x93, 0xA4, 0xB5, 0xC6, 0xD7, 0xE8, 0xF9];
    const DIGITS: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

    #[test]
    fn cuda_versions_are_split_into_major_and_minor() {
        assert_eq!([12080, 13000, 11020].map(version), [[12, 8], [13, 0], [11, 2]]);
    }

    #[test]
    fn uuids_are_formatted_as_nvml_formats_them() {
        let by_nvml = |kind: &'static str| move |uuid: &str| Some(uuid.starts_with(kind));
        assert_eq!(uuid_text(UUID, "NVIDIA A100", by_nvml("GPU-")), format!("GPU-{DIGITS}"));
        assert_eq!(uuid_text(UUID, "NVIDIA A100", by_nvml("MIG-")), format!("MIG-{DIGITS}"));
        assert_eq!(uuid_text(UUID, "NVIDIA A100", |_| Some(false)), format!("GPU-{DIGITS}"));
    }

    #[test]
    fn without_nvml_a_mig_instance_is_recognised_by_its_name() {
        assert_eq!(uuid_text(UUID, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", |_| None), format!("MIG-{DIGITS}"));
        assert_eq!(uuid_text(UUID, "NVIDIA A100-SXM4-40GB", |_| None), format!("GPU-{DIGITS}"));
    }

    #[test]
    fn a_survey_needs_a_driver_and_numbers_its_gpus() {
        match survey() {
            Ok(None) => assert!(Monitor::open().is_none_or(|monitor| monitor.read("GPU-0").is_none())),
            Ok(Some(survey)) => assert!(survey.gpus.iter().enumerate().all(|(i, gpu)| gpu.number == i)),
            Err(error) => assert!(error.to_string().contains("failed"), "{error}"),
        }
    }

    #[test]
    fn a_monitor_may_move_to_another_thread() {
        fn may<T: Send + Sync>() {}
        may::<Monitor>();
    }
}

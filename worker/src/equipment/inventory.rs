//! What a host offers for training on GPUs, and the selection of devices from it.

use super::devices::{Devices, Gpu};
use super::selection::DeviceSelection;
use plusminus_cuda::{DeviceError, GpuInfo, Survey};
use plusminus_engines::EngineKind;

/// The GPUs, libraries and compilers of a host.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// The GPUs; `None` without a driver.
    pub survey: Result<Option<Survey>, DeviceError>,
    /// Whether the required libraries are installed, and a warning about missing optional ones.
    pub libraries: Result<Option<String>, DeviceError>,
    /// The architectures for which kernels can be compiled, such as 90 for `sm_90`.
    pub architectures: Vec<i32>,
}

/// The requested devices cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {option}: {why}")]
pub struct NoDevices {
    option: String,
    why: String,
}

impl Inventory {
    /// The inventory of this host. Takes a moment if the driver is idle.
    pub fn here() -> Self {
        let architectures = plusminus_cuda::compile::architectures().unwrap_or_default();
        Inventory { survey: plusminus_cuda::survey(), libraries: plusminus_cuda::missing_libraries(), architectures }
    }

    /// Selects devices for an engine, if one is named.
    ///
    /// # Errors
    /// If devices were requested by name and cannot be used. `auto` falls back to the CPU.
    pub fn select(self, selection: &DeviceSelection, engine: Option<EngineKind>) -> Result<Devices, NoDevices> {
        let refused = |why: String| NoDevices { option: format!("--device {selection}"), why };
        if engine == Some(EngineKind::Candle) {
            return match selection {
                DeviceSelection::Auto | DeviceSelection::Cpu => Ok(Devices::Processor(None)),
                _ => {
                    let why = "the candle engine runs only on the CPU: use --device cpu or --engine fused";
                    Err(refused(why.to_owned()))
                }
            };
        }
        match selection {
            DeviceSelection::Cpu => Ok(Devices::Processor(None)),
            DeviceSelection::Auto => {
                let gpus = self.usable_gpus();
                Ok(gpus
                    .map_or_else(|why| Devices::Processor(Some(why)), |(gpus, warning)| Devices::Gpus(gpus, warning)))
            }
            DeviceSelection::Gpus => {
                self.usable_gpus().map(|(gpus, warning)| Devices::Gpus(gpus, warning)).map_err(refused)
            }
            DeviceSelection::Named(numbers) => {
                let (gpus, warning) = self.usable_gpus().map_err(refused)?;
                let find = |number: &u32| {
                    gpus.iter().find(|gpu| gpu.number == *number).cloned().ok_or_else(|| {
                        let usable: Vec<String> = gpus.iter().map(|gpu| format!("cuda:{}", gpu.number)).collect();
                        refused(format!("cuda:{number} not found; usable GPUs: {}", usable.join(", ")))
                    })
                };
                Ok(Devices::Gpus(numbers.iter().map(find).collect::<Result<_, _>>()?, warning))
            }
        }
    }

    /// The GPUs that can train, at least one, with a warning if something that would speed them up is missing; or why there are none.
    fn usable_gpus(self) -> Result<(Vec<Gpu>, Option<String>), String> {
        let survey = match self.survey {
            Ok(Some(survey)) => survey,
            Ok(None) => return Err("no NVIDIA driver found".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let driver = survey.driver.unwrap_or_else(|| {
            let [major, minor] = survey.cuda;
            format!("for CUDA {major}.{minor}")
        });
        let count = match survey.gpus.len() {
            0 => return Err("the NVIDIA driver shows no GPU (check CUDA_VISIBLE_DEVICES)".to_owned()),
            1 => "found a GPU".to_owned(),
            several => format!("found {several} GPUs"),
        };
        let missing = self.libraries.map_err(|error| format!("{count}, but {error}"))?;
        let supported = |found: &GpuInfo| self.architectures.contains(&found.architecture);
        let (usable, others): (Vec<_>, Vec<_>) = survey.gpus.into_iter().partition(supported);
        let unsupported = |found: &GpuInfo| {
            format!("the installed NVRTC cannot compile for {} (sm_{})", found.name, found.architecture)
        };
        let others: Vec<String> = others.iter().map(unsupported).collect();
        if usable.is_empty() {
            return Err(format!("{count}, but {}: install another version of NVRTC", others.join("; ")));
        }
        let gpu = |found: GpuInfo| Gpu {
            number: found.number as u32,
            model: found.name,
            memory: found.memory,
            uuid: found.uuid,
            driver: driver.clone(),
        };
        let warning = missing.into_iter().chain(others).collect::<Vec<_>>().join("; ");
        Ok((usable.into_iter().map(gpu).collect(), Some(warning).filter(|warning| !warning.is_empty())))
    }
}

//! With what a worker trains: which devices, and how many jobs at once on each.
//!
//! GPUs where there are any, and nothing else then: the processor's cores are busy enough with what feeds them. What computes on a GPU
//! in `f32` is not byte for byte what a processor computes, so a sweep that shall be reproduced names its devices.

use crate::agent::Equipment;
use crate::host::{Division, Host, Wanted};
use plusminus_cuda::{DeviceError, Survey};
use plusminus_engines::{Device, EngineError, EngineKind, ExecutionOptions};
use plusminus_proto::v1;
use plusminus_trainer::MemoryEstimate;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

/// Jobs at once on a GPU at most, where their number is chosen: each has a stream of its own, and more than so many hardly get in between.
const LANES: u32 = 8;
/// Bytes of a GPU's memory that are nobody's: the driver's context, cuDNN, what others have.
const DRIVERS: u64 = 1 << 30;

/// Which devices are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All GPUs, or the processor where there is none.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// All GPUs.
    Gpus,
    /// These GPUs, by their numbers.
    These(Vec<u32>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Choice::Auto),
            "cpu" => return Ok(Choice::Cpu),
            "cuda" => return Ok(Choice::Gpus),
            _ => {}
        }
        let mut numbers = Vec::new();
        for name in text.split(',') {
            match name.parse().map_err(|error: EngineError| error.to_string())? {
                Device::Cuda(number) if numbers.contains(&number) => return Err(format!("{name} is named twice")),
                Device::Cuda(number) => numbers.push(number),
                Device::Cpu => {
                    let why = "a worker trains on the processor or on GPUs, not on both: start two workers";
                    return Err(why.to_owned());
                }
            }
        }
        Ok(Choice::These(numbers))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Cpu => f.write_str("cpu"),
            Choice::Gpus => f.write_str("cuda"),
            Choice::These(numbers) => {
                let names: Vec<String> = numbers.iter().map(|number| Device::Cuda(*number).to_string()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// A GPU that is to be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its number among those that the driver shows.
    pub number: u32,
    /// Its maker's name for it.
    pub model: String,
    /// Bytes.
    pub memory: u64,
    /// As NVIDIA's tools name it.
    pub uuid: String,
    /// The driver's version.
    pub driver: String,
}

/// What is trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum Devices {
    /// The processor; why, where GPUs would have been taken.
    Processor(Option<String>),
    /// GPUs, at least one; and what keeps them from being fast, if anything does.
    Gpus(Vec<Gpu>, Option<String>),
}

/// What this machine has, of which devices are chosen.
#[derive(Clone, Debug)]
pub struct Stock {
    /// The GPUs; nothing where there is no driver.
    pub survey: Result<Option<Survey>, DeviceError>,
    /// Whether what they take besides is there, and what is missing that can be done without.
    pub libraries: Result<Option<String>, DeviceError>,
    /// Architectures for which kernels can be compiled here, such as 90 for `sm_90`.
    pub architectures: Vec<i32>,
}

/// Why the devices that were asked for cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be used: {why}")]
pub struct NoDevices {
    what: String,
    why: String,
}

impl Stock {
    /// What there is here. It takes a moment: a driver that has been idle wakes up.
    pub fn here() -> Self {
        let architectures = plusminus_cuda::compile::architectures().unwrap_or_default();
        Stock { survey: plusminus_cuda::survey(), libraries: plusminus_cuda::missing_libraries(), architectures }
    }

    /// Chooses among it, for an engine where one is asked for by name.
    ///
    /// # Errors
    /// That what was asked for by name is not there. Where nothing was, the processor is always there.
    pub fn choose(self, choice: &Choice, engine: Option<EngineKind>) -> Result<Devices, NoDevices> {
        let refused = |why: String| NoDevices { what: format!("--device {choice}"), why };
        if engine == Some(EngineKind::Candle) {
            return match choice {
                Choice::Auto | Choice::Cpu => Ok(Devices::Processor(None)),
                _ => {
                    let why = "candle runs on the processor alone: take --device cpu, or --engine fused";
                    Err(refused(why.to_owned()))
                }
            };
        }
        let gpus = || {
            let survey = match self.survey {
                Ok(Some(survey)) => survey,
                Ok(None) => return Err("no NVIDIA driver is here".to_owned()),
                Err(error) => return Err(error.to_string()),
            };
            let driver = survey.driver.unwrap_or_else(|| {
                let [major, minor] = survey.cuda;
                format!("for CUDA {major}.{minor}")
            });
            let count = match survey.gpus.len() {
                0 => {
                    let why = "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES says which it may)";
                    return Err(why.to_owned());
                }
                1 => "a GPU is here".to_owned(),
                several => format!("{several} GPUs are here"),
            };
            let missing = self.libraries.map_err(|error| format!("{count}, but {error}"))?;
            let (able, others): (Vec<_>, Vec<_>) =
                survey.gpus.into_iter().partition(|found| self.architectures.contains(&found.architecture));
            let others: Vec<String> = others
                .iter()
                .map(|found| {
                    let architecture = found.architecture;
                    format!("the NVRTC that is here compiles nothing for {} (sm_{architecture})", found.name)
                })
                .collect();
            if able.is_empty() {
                return Err(format!("{count}, but {}: install another version of it", others.join("; ")));
            }
            let gpus: Vec<Gpu> = able
                .into_iter()
                .map(|found| Gpu {
                    number: found.number as u32,
                    model: found.name,
                    memory: found.memory,
                    uuid: found.uuid,
                    driver: driver.clone(),
                })
                .collect();
            let missing = Some(missing.into_iter().chain(others).collect::<Vec<_>>().join("; "));
            let missing = missing.filter(|missing| !missing.is_empty());
            Ok((gpus, missing))
        };
        match choice {
            Choice::Cpu => Ok(Devices::Processor(None)),
            Choice::Auto => {
                Ok(gpus().map_or_else(|why| Devices::Processor(Some(why)), |(gpus, slow)| Devices::Gpus(gpus, slow)))
            }
            Choice::Gpus => gpus().map(|(gpus, slow)| Devices::Gpus(gpus, slow)).map_err(refused),
            Choice::These(numbers) => {
                let (gpus, slow) = gpus().map_err(refused)?;
                let find = |number: &u32| {
                    gpus.iter().find(|gpu| gpu.number == *number).cloned().ok_or_else(|| {
                        let there: Vec<String> = gpus.iter().map(|gpu| format!("cuda:{}", gpu.number)).collect();
                        refused(format!("there is no cuda:{number} here; there are {}", there.join(", ")))
                    })
                };
                Ok(Devices::Gpus(numbers.iter().map(find).collect::<Result<_, _>>()?, slow))
            }
        }
    }
}

/// What jobs take of a device's memory, where it is known: by what means, to how many bytes.
pub type Need<'a> = &'a dyn Fn(ExecutionOptions) -> Option<MemoryEstimate>;

impl Devices {
    /// With what a worker trains on them: jobs at once on each device, and threads of each job, as `wanted` says or as there is room for.
    pub fn equip(&self, machine: &Host, wanted: Wanted, means: ExecutionOptions, need: Need<'_>) -> Vec<Equipment> {
        match self {
            Devices::Processor(_) => {
                // candle has one thread.
                let single = (means.engine == Some(EngineKind::Candle)).then_some(NonZeroUsize::MIN);
                let wanted = Wanted { threads: wanted.threads.or(single), ..wanted };
                let means = ExecutionOptions { device: Device::Cpu, ..means };
                let division = machine.divide(wanted, |threads| Some(need(ExecutionOptions { threads, ..means })?.0));
                let device =
                    v1::Device { name: Device::Cpu.to_string(), slots: division.slots.get(), ..v1::Device::default() };
                vec![Equipment { device, means: ExecutionOptions { threads: division.threads, ..means }, uuid: None }]
            }
            Devices::Gpus(gpus, _) => {
                let equip = |gpu: &Gpu| {
                    let means = ExecutionOptions {
                        device: Device::Cuda(gpu.number),
                        threads: wanted.threads.unwrap_or(NonZeroUsize::MIN),
                        ..means
                    };
                    let device = v1::Device {
                        name: means.device.to_string(),
                        slots: lanes(gpu, gpus.len(), machine, wanted, need(means)).get(),
                        model: gpu.model.clone(),
                        memory: gpu.memory,
                        driver: gpu.driver.clone(),
                        reading: None,
                    };
                    Equipment { device, means, uuid: Some(gpu.uuid.clone()) }
                };
                let mut equipment: Vec<Equipment> = gpus.iter().map(equip).collect();
                // `--slots` is one number: GPUs of several sizes take as many jobs as the smallest of them.
                let fewest = equipment.iter().map(|equipment| equipment.device.slots).min().unwrap_or(1);
                equipment.iter_mut().for_each(|equipment| equipment.device.slots = fewest);
                equipment
            }
        }
    }
}

/// Jobs at once on one of `gpus` GPUs. Each takes a thread of the processor that launches its steps, and one that has its next batch ready.
fn lanes(gpu: &Gpu, gpus: usize, machine: &Host, wanted: Wanted, need: Option<MemoryEstimate>) -> NonZeroU32 {
    if let Some(slots) = wanted.slots {
        return slots;
    }
    let cores = machine.cores.get() / gpus;
    let jobs = wanted.jobs.map_or(usize::MAX, |jobs| jobs.div_ceil(gpus));
    let fit = match need {
        Some(MemoryEstimate(bytes)) if bytes > 0 => (gpu.memory.saturating_sub(DRIVERS) / bytes as u64) as usize,
        _ => usize::MAX,
    };
    let most = cores.min(jobs).min(fit).min(LANES as usize);
    NonZeroU32::new(most as u32).unwrap_or(NonZeroU32::MIN)
}

/// What is trained on and how many jobs at once, for people: a line, or one a device.
pub fn describe(equipment: &[Equipment]) -> Vec<String> {
    let describe = |Equipment { device, means, .. }: &Equipment| {
        let slots = NonZeroU32::new(device.slots).unwrap_or(NonZeroU32::MIN);
        let division = Division { slots, threads: means.threads };
        match means.device {
            Device::Cpu => division.to_string(),
            Device::Cuda(_) => {
                let gibibytes = device.memory as f64 / (1u64 << 30) as f64;
                format!("{}  {}, {gibibytes:.0} GiB, driver {}: {division}", device.name, device.model, device.driver)
            }
        }
    };
    equipment.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_cuda::GpuInfo;

    fn found(number: usize) -> GpuInfo {
        GpuInfo {
            number,
            name: "NVIDIA H200".into(),
            memory: 140 << 30,
            architecture: 90,
            uuid: format!("GPU-{number}"),
        }
    }

    fn stock(gpus: usize) -> Stock {
        let survey = Survey { driver: Some("570.86".into()), cuda: [12, 8], gpus: (0..gpus).map(found).collect() };
        Stock { survey: Ok(Some(survey)), libraries: Ok(None), architectures: vec![80, 90] }
    }

    fn numbers(devices: &Devices) -> Vec<u32> {
        match devices {
            Devices::Gpus(gpus, _) => gpus.iter().map(|gpu| gpu.number).collect(),
            Devices::Processor(_) => panic!("{devices:?}"),
        }
    }

    #[test]
    fn a_choice_is_read_and_said_again() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3,cuda:1"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        for (text, expected) in [
            ("gpu", "unknown device `gpu`"),
            ("cuda:0,cuda:0", "cuda:0 is named twice"),
            ("cuda:0,cpu", "start two workers"),
            ("", "unknown device ``"),
        ] {
            let error = text.parse::<Choice>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn all_gpus_are_taken_where_none_is_named_and_in_the_order_in_which_they_are() {
        assert_eq!(numbers(&stock(2).choose(&Choice::Auto, None).unwrap()), [0, 1]);
        assert_eq!(numbers(&stock(2).choose(&Choice::Gpus, None).unwrap()), [0, 1]);
        assert_eq!(numbers(&stock(3).choose(&Choice::These(vec![2, 0]), None).unwrap()), [2, 0]);
        assert_eq!(stock(2).choose(&Choice::Cpu, None).unwrap(), Devices::Processor(None));
    }

    #[test]
    fn without_a_gpu_the_processor_is_taken_with_the_reason_unless_gpus_were_asked_for() {
        let without = |why: &str| Err::<(), _>(DeviceError::Missing(why.into()));
        let broken = without("the driver is of another version");
        let stocks = [
            (Stock { survey: Ok(None), ..stock(0) }, "no NVIDIA driver is here"),
            (stock(0), "shows no GPU"),
            (
                Stock { libraries: without("NVRTC is not here").map(|()| None), ..stock(1) },
                "a GPU is here, but NVRTC is not here",
            ),
            (Stock { survey: broken.map(|()| None), ..stock(0) }, "the driver is of another version"),
            (Stock { architectures: vec![75], ..stock(1) }, "compiles nothing for NVIDIA H200 (sm_90)"),
        ];
        for (stock, why) in stocks {
            match stock.clone().choose(&Choice::Auto, None).unwrap() {
                Devices::Processor(Some(said)) => assert!(said.contains(why), "{said}"),
                other => panic!("{other:?}"),
            }
            let error = stock.choose(&Choice::Gpus, None).unwrap_err().to_string();
            assert!(error.starts_with("--device cuda cannot be used: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_gpu_that_nothing_can_be_compiled_for_is_left_out_and_told() {
        let mut mixed = stock(2);
        if let Ok(Some(survey)) = &mut mixed.survey {
            (survey.gpus[0].architecture, survey.gpus[0].name) = (120, "NVIDIA RTX 5090".into());
        }
        let Devices::Gpus(gpus, Some(told)) = mixed.choose(&Choice::Auto, None).unwrap() else { panic!() };
        assert_eq!(gpus.iter().map(|gpu| gpu.number).collect::<Vec<_>>(), [1]);
        assert!(told.contains("compiles nothing for NVIDIA RTX 5090 (sm_120)"), "{told}");
    }

    #[test]
    fn candle_trains_on_the_processor_whatever_there_is() {
        let candle = Some(EngineKind::Candle);
        assert_eq!(stock(2).choose(&Choice::Auto, candle).unwrap(), Devices::Processor(None));
        let error = stock(2).choose(&Choice::Gpus, candle).unwrap_err().to_string();
        assert!(error.contains("--device cpu") && error.contains("--engine fused"), "{error}");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_told_with_those_that_are() {
        let error = stock(2).choose(&Choice::These(vec![0, 5]), None).unwrap_err().to_string();
        assert_eq!(error, "--device cuda:0,cuda:5 cannot be used: there is no cuda:5 here; there are cuda:0, cuda:1");
    }

    #[test]
    fn jobs_at_once_on_a_gpu_are_no_more_than_cores_jobs_and_memory_allow() {
        let devices = stock(2).choose(&Choice::Auto, None).unwrap();
        let slots = |cores: usize, wanted: Wanted, need: Option<usize>| {
            let machine = Host { cores: NonZeroUsize::new(cores).unwrap(), memory: None };
            let equipment = devices.equip(&machine, wanted, ExecutionOptions::default(), &|_| need.map(MemoryEstimate));
            equipment.iter().map(|equipment| equipment.device.slots).collect::<Vec<_>>()
        };
        let none = Wanted::default();
        assert_eq!(slots(64, none, None), [LANES; 2]);
        assert_eq!(slots(8, none, None), [4, 4], "a core for each");
        assert_eq!(slots(1, none, None), [1, 1]);
        assert_eq!(slots(64, Wanted { jobs: Some(5), ..none }, None), [3, 3], "five jobs");
        assert_eq!(slots(64, none, Some(50 << 30)), [2, 2], "139 of 140 GiB");
        assert_eq!(slots(64, none, Some(500 << 30)), [1, 1], "it may do all the same");
        assert_eq!(slots(1, Wanted { slots: NonZeroU32::new(20), ..none }, Some(50 << 30)), [20, 20], "as asked for");
    }

    #[test]
    fn gpus_of_several_sizes_take_as_many_jobs_as_the_smallest() {
        let mut mixed = stock(2);
        if let Ok(Some(survey)) = &mut mixed.survey {
            survey.gpus[1].memory = 25 << 30;
        }
        let machine = Host { cores: NonZeroUsize::new(64).unwrap(), memory: None };
        let devices = mixed.choose(&Choice::Auto, None).unwrap();
        let equipment =
            devices.equip(&machine, Wanted::default(), ExecutionOptions::default(), &|_| Some(MemoryEstimate(8 << 30)));
        assert_eq!(equipment.iter().map(|equipment| equipment.device.slots).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn what_is_trained_on_is_told() {
        let machine = Host { cores: NonZeroUsize::new(4).unwrap(), memory: None };
        let equip = |devices: &Devices| {
            describe(&devices.equip(&machine, Wanted::default(), ExecutionOptions::default(), &|_| None))
        };
        assert_eq!(equip(&Devices::Processor(None)), ["4 jobs at once, one thread each"]);
        let two = equip(&stock(2).choose(&Choice::Auto, None).unwrap());
        assert_eq!(two[1], "cuda:1  NVIDIA H200, 140 GiB, driver 570.86: 2 jobs at once, one thread each");
    }
}

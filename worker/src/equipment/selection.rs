//! The devices that a user asks for: the value of `--device`.

use plusminus_engines::{Device, EngineError};
use std::fmt;
use std::str::FromStr;

/// The value of `--device`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceSelection {
    /// All usable GPUs, or the CPU if there are none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// All usable GPUs; an error if there are none.
    Gpus,
    /// The GPUs with these numbers.
    Named(Vec<u32>),
}

impl FromStr for DeviceSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(DeviceSelection::Auto),
            "cpu" => return Ok(DeviceSelection::Cpu),
            "cuda" => return Ok(DeviceSelection::Gpus),
            _ => {}
        }
        let mut numbers = Vec::new();
        for name in text.split(',') {
            match name.parse().map_err(|error: EngineError| error.to_string())? {
                Device::Cuda(number) if numbers.contains(&number) => return Err(format!("{name} is given twice")),
                Device::Cuda(number) => numbers.push(number),
                Device::Cpu => {
                    let why = "a worker uses either the CPU or GPUs: start two workers to use both";
                    return Err(why.to_owned());
                }
            }
        }
        Ok(DeviceSelection::Named(numbers))
    }
}

impl fmt::Display for DeviceSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSelection::Auto => f.write_str("auto"),
            DeviceSelection::Cpu => f.write_str("cpu"),
            DeviceSelection::Gpus => f.write_str("cuda"),
            DeviceSelection::Named(numbers) => {
                let names: Vec<String> = numbers.iter().map(|number| Device::Cuda(*number).to_string()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

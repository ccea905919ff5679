//! Selects devices and slot counts.
//!
//! By default a worker uses all GPUs, or the CPU if there are none: with GPUs the CPU's cores are busy preparing batches. Results in `f32`
//! differ in their bytes between CPU and GPU, so a sweep that must be reproduced names its devices.
//!
//! - `selection`: the value of `--device`.
//! - `inventory`: what the host offers.
//! - `devices`: the selected devices, and the slots on each.

mod devices;
mod inventory;
mod selection;
#[cfg(test)]
mod tests;

pub use devices::{Devices, Gpu, Need, describe};
pub use inventory::{Inventory, NoDevices};
pub use selection::DeviceSelection;

//! Environment variables that control the stand-in. A process reads them once.
//!
//! `CUDA_VISIBLE_DEVICES` selects and orders the GPUs, as with NVIDIA's driver.

use std::path::PathBuf;
use std::sync::LazyLock;

/// Number of GPUs; 1 by default.
pub const GPUS: &str = "PLUSMINUS_STAND_IN_GPUS";

/// Memory per GPU in bytes; 1 GiB by default. Only allocations of the process itself count.
pub const MEMORY: &str = "PLUSMINUS_STAND_IN_MEMORY";

/// Size of a context in bytes; 0 by default.
pub const CONTEXT: &str = "PLUSMINUS_STAND_IN_CONTEXT";

/// Number of launches, including replayed ones, before a launch fails with an illegal address. All later calls fail as well.
pub const FAIL_AFTER: &str = "PLUSMINUS_STAND_IN_FAIL_AFTER";

/// A file that is created when [`FAIL_AFTER`] takes effect. If it exists already, nothing fails: so only one of several processes fails.
pub const FAIL_ONCE: &str = "PLUSMINUS_STAND_IN_FAIL_ONCE";

/// Result of `cuInit`, such as 803 for a driver whose library and kernel module have different versions.
pub const START: &str = "PLUSMINUS_STAND_IN_START";

/// 0 removes the GPUs' memory pools, as on old GPUs, so that allocations use the synchronous calls.
pub const POOLS: &str = "PLUSMINUS_STAND_IN_POOLS";

/// All variables.
pub const ALL: [&str; 7] = [GPUS, MEMORY, CONTEXT, FAIL_AFTER, FAIL_ONCE, START, POOLS];

/// Values of the variables.
pub(crate) struct Settings {
    pub gpus: usize,
    pub memory: u64,
    pub context: u64,
    pub fail_after: Option<u64>,
    pub fail_once: Option<PathBuf>,
    pub start: u32,
    pub pools: bool,
}

/// The settings of this process.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings {
        gpus: number(GPUS).unwrap_or(1),
        memory: number(MEMORY).unwrap_or(1 << 30),
        context: number(CONTEXT).unwrap_or(0),
        fail_after: number(FAIL_AFTER),
        fail_once: std::env::var_os(FAIL_ONCE).map(PathBuf::from),
        start: number(START).unwrap_or(0),
        pools: number(POOLS) != Some(0),
    });
    &SETTINGS
}

/// # Panics
/// Panics if the variable is not a number, so that a misconfigured test fails.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(number) = text.parse() else { panic!("{name} is `{text}`: expected a number") };
    Some(number)
}

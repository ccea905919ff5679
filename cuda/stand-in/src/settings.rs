//! How the stand-in behaves: environment variables, which a process reads once.
//!
//! `CUDA_VISIBLE_DEVICES` chooses and orders the GPUs as it does for NVIDIA's driver.

use std::path::PathBuf;
use std::sync::LazyLock;

/// How many GPUs the machine has; 1 if it is not set.
pub const GPUS: &str = "PLUSMINUS_STAND_IN_GPUS";

/// Bytes that each GPU has; 1 GiB if it is not set. All that one process has is counted, and nothing of what others have.
pub const MEMORY: &str = "PLUSMINUS_STAND_IN_MEMORY";

/// Bytes that a context parameters; none if it is not set.
pub const CONTEXT: &str = "PLUSMINUS_STAND_IN_CONTEXT";

/// Launches that a process may make, those of recordings included; the next one fails with an illegal address, and all that follows.
pub const FAIL_AFTER: &str = "PLUSMINUS_STAND_IN_FAIL_AFTER";

/// A file that is made when [`FAIL_AFTER`] strikes. If it is there already, nothing fails: so of several processes one does.
pub const FAIL_ONCE: &str = "PLUSMINUS_STAND_IN_FAIL_ONCE";

/// What `cuInit` answers, such as 803 for a driver whose library and kernel module differ.
pub const START: &str = "PLUSMINUS_STAND_IN_START";

/// Set to 0, GPUs have no pools of memory, as old ones, and memory is had and freed by the calls that wait.
pub const POOLS: &str = "PLUSMINUS_STAND_IN_POOLS";

/// All of them.
pub const ALL: [&str; 7] = [GPUS, MEMORY, CONTEXT, FAIL_AFTER, FAIL_ONCE, START, POOLS];

/// What the variables say.
pub(crate) struct Settings {
    pub gpus: usize,
    pub memory: u64,
    pub context: u64,
    pub fail_after: Option<u64>,
    pub fail_once: Option<PathBuf>,
    pub start: u32,
    pub pools: bool,
}

/// What they say to this process.
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
/// If it is set and is no number: a test that is wrong shall not pass.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(number) = text.parse() else { panic!("{name} is `{text}`, which is no such number") };
    Some(number)
}

//! Tests of the whole program, through its binary. They are one test binary, so that they link once and run in parallel.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../common/mod.rs"]
mod common;

mod command_line;
mod compare;
mod divergence;
mod errors;
#[cfg(unix)]
mod following;
#[cfg(target_os = "linux")]
mod hosts;
mod parents;
#[cfg(unix)]
mod private_files;
mod resume;
mod select;
mod shipped;
mod sweeps;
#[cfg(target_os = "linux")]
mod workers;

//! Tests that kill, freeze and starve real processes. They are a test binary of their own, so that no other test competes with them for
//! the cores: they depend on leases and timeouts.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../common/mod.rs"]
mod common;

mod chaos;
mod gpus;

//! The coordinator: sweeps in, jobs out to workers, results into the store.
//!
//! - [`driver`]: the one task that owns the state machine: event → `handle` → commit → act.
//! - [`store`]: SQLite in the state directory.
//! - [`server`]: listening, the gRPC services, health and reflection.
//! - [`explain`]: why a job is where it is.
//! - `file`: files written whole; `lease`: how long leases were before a restart; `selection`: sweeps that choose hyper-parameters.
//! - [`answer`]: what users are told, from the machine and the store; the same with and without a running coordinator.
//!
//! *Architecture invariants:* gRPC handlers only translate; only the driver's task touches the machine; only the store's thread writes.

pub mod address;
pub mod answer;
pub mod driver;
pub mod explain;
mod file;
mod lease;
mod selection;
pub mod server;
mod services;
pub mod store;

pub use server::{Coordinator, ServerError};
pub use store::backup::{BackupError, Copied, backup, restore};
pub use store::{Reader, Store, StoreError};

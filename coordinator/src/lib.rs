//! The coordinator: accepts sweeps, assigns their jobs to workers, and stores the results.
//!
//! - [`driver`]: the one task that owns the scheduler: event → `handle` → commit → perform.
//! - [`store`]: SQLite in the state directory.
//! - [`server`]: connections and calls within limits, the gRPC services, health and reflection. `services`: the handlers.
//! - [`answer`]: answers to users' queries, the same with and without a running coordinator.
//! - [`progress`]: the progress of running attempts, in memory only.
//! - `selection`: sweeps with hyper-parameter selection. [`mod@resume`]: queues jobs in a state directory without a coordinator.
//! - [`address`], `lease_file`: small files in the state directory.
//!
//! *Architecture invariants:* gRPC handlers only translate; only the driver's task changes the scheduler; only the store's thread writes.

pub mod address;
pub mod answer;
pub mod driver;
mod lease_file;
pub mod progress;
pub mod resume;
mod selection;
pub mod server;
mod services;
pub mod store;

pub use driver::commit_gate::CommitGate;
pub use resume::{ResumeError, resume};
pub use server::{Coordinator, ServerError};
pub use store::backup::{BackupError, Copied, backup, restore};
pub use store::forget::{ForgetError, Removed, collect, forget};
pub use store::verify::{Verified, verify};
pub use store::{Reader, Rows, Store, StoreError};

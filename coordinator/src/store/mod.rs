//! The store: one SQLite file in the state directory, written by one thread, many records to a transaction.
//!
//! - `database`: the open store. `write`: records to rows. `read`: rows to records. `attempts`, `last_attempts`: the attempts at a job, and the last at many.
//!   `values`, `values_of_jobs`: rows to metrics, of a sweep and of jobs that no sweep need list. `checksum`: of rows.
//!   `kept`: the weights files that results refer to.
//! - `connection`: SQLite's settings. `lock`: who has the state directory. `on_disk`: whether the open files are those on disk.
//!   `platform`: files and locks of the system.
//! - `migrate`: tables of older versions. [`backup`]: copies of a state directory. `manifest`: of a backup.
//! - [`forget`]: removes sweeps and orphans. [`verify`]: checks everything. `rows`: checks all rows.
//!
//! *Architecture invariant:* the store mirrors `core::scheduler::State`. It takes the same records in the same order and decides
//! nothing. Applying [`Store::records`] to an empty `State` gives the same state.

mod attempts;
pub mod backup;
mod backup_error;
mod checksum;
mod connection;
mod database;
mod error;
pub mod forget;
mod kept;
mod last_attempts;
mod lock;
mod manifest;
mod migrate;
mod on_disk;
mod platform;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod values;
mod values_of_jobs;
pub mod verify;
mod write;

pub use attempts::AttemptRow;
pub(crate) use connection::FILE;
pub use database::Store;
pub use error::StoreError;
pub use last_attempts::LastAttempt;
pub(crate) use lock::is_open;
pub use read::Reader;
pub use rows::Rows;

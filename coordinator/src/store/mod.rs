//! The store: one SQLite file in the state directory, written by one thread, many records to a transaction.
//!
//! - `database`: the open store. `write`: records to rows. `read`: rows to records and metrics. `attempts`: the attempts at a job.
//!   `kept`: the weights files that results refer to.
//! - `connection`: SQLite's settings, and the lock. `migrate`: tables of older versions. [`backup`]: copies of a state directory.
//!
//! *Architecture invariant:* the store mirrors `core::scheduler::State`. It takes the same records in the same order and decides
//! nothing. Applying [`Store::records`] to an empty `State` gives the same state.

mod attempts;
pub mod backup;
mod connection;
mod database;
mod error;
mod kept;
mod migrate;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use attempts::AttemptRow;
pub(crate) use connection::{FILE, is_open};
pub use database::Store;
pub use error::StoreError;
pub use read::Reader;

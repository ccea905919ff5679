//! Weight files on the worker: parent weights and kept weights.
//!
//! - `cache`: the directory of files.
//! - `transfer`: fetches parent weights from the coordinator and delivers kept weights to it.

mod cache;
mod transfer;

pub(crate) use cache::Cache;
pub(crate) use transfer::{deliver, fetch};

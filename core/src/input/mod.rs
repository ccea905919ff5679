//! The ground of every file that users write: YAML text to values with their places, declared keys, and problems.
//!
//! - `yaml`: text to [`node`] trees within limits of size, depth and count.
//! - `node`: values that carry the byte range they were read from.
//! - `fields`: typed, range-checked access to the keys of one map. Methods declare their parameters with it.
//! - `problem`, `problems`: a diagnostic with its place, label and remedy, and the collection of a file's diagnostics.
//!
//! *Architecture invariant:* nothing here knows what a sweep or a method is.

pub(crate) mod fields;
pub(crate) mod node;
mod problem;
pub(crate) mod problems;
pub(crate) mod yaml;

pub use fields::{Choice, Fields, Flag, Increasing, Integer, Number, Numbers, Read, Text};
pub use problem::Problem;

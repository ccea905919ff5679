//! Reads files that users write: YAML text becomes values with their places, keys are declared once, and every problem is
//! collected with a remedy.
//!
//! - `yaml`: text to `node` trees, within limits on size, depth and count.
//! - `node`: values that carry the byte range they were read from.
//! - `fields`: typed, range-checked access to the keys of one map. Methods declare their parameters with it.
//! - [`declaration`]: the same declarations as data; `json_schema` turns them into a JSON Schema.
//! - `problem`, `problems`: a diagnostic with its place, label and remedy, and the collection of a file's diagnostics.
//!
//! *Architecture invariant:* nothing here depends on sweeps or methods.

mod bounds;
pub mod declaration;
pub(crate) mod fields;
pub(crate) mod json_schema;
pub(crate) mod node;
mod problem;
pub(crate) mod problems;
pub(crate) mod yaml;

pub use bounds::Bounds;
pub use declaration::{Declaration, Presence, Shape, Variant};
pub(crate) use fields::SHARES_TOLERANCE;
pub use fields::{Fields, ReadMethod};
pub use problem::Problem;

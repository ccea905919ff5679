//! Comparison of a sweep's table with published results, cell by cell.

mod csv;
mod document;
mod matching;
mod model;
mod protocol;
mod render;

pub use matching::Obstacle;
pub use model::{ComparedCell, Comparison, Ours, PublishedValue, Reference, Verdict};
pub use protocol::Difference;

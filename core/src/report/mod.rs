//! Tables of mean ± standard deviation over seeds, and reports built on them.
//!
//! A [`Table`] is computed from a [sweep](crate::sweep_file::Sweep) and the results of its jobs, at any time during the sweep;
//! [`render`] prints it. A [`Comparison`] sets a table beside [published results](crate::sweep_file::Published). A [`Significance`]
//! tests the sweep's losses against one another.
//!
//! *Invariant:* no seed is omitted silently. Every seed of the sweep is counted under exactly one status in its cell's
//! [`StatusCounts`], and every format prints n for a cell whose mean lacks a seed.

mod axis;
pub mod comparison;
mod csv;
mod document;
mod format;
pub mod inference;
mod label;
mod latex;
mod markdown;
mod names;
mod precision;
mod printed;
mod render;
mod selection;
pub mod significance;
mod statistics;
mod status;
mod table;
mod text;

pub use axis::Axis;
pub use comparison::Comparison;
pub use format::{Emphasis, Format};
pub use names::cell_names;
pub use render::render;
pub use selection::{CellSelection, SelectionOutcome, SelectionRule, decisions};
pub use significance::Significance;
pub use statistics::MeanStd;
pub use status::{JobResult, SeedResult, Status, StatusCounts};
pub use table::{CellSummary, Table};

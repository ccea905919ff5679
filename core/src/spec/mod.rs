//! The sweep file: raw text with places, then checked, then expanded into jobs; every problem reported at once.

mod fields;
mod problem;
mod sweep;

pub use fields::Fields;
pub use problem::Problem;
pub use sweep::{Cell, Path, Std, Sweep, TableSpec};

/// The largest grid that is accepted unless told otherwise, in jobs.
pub const MAX_JOBS: u64 = 1_000_000;

/// Reads and checks a sweep file of at most `max_jobs` jobs.
///
/// # Errors
/// Every problem of the file, in its order.
pub fn read(_text: &str, _max_jobs: u64) -> Result<Sweep, Vec<Problem>> {
    todo!()
}

//! The sweep file: raw text with places, then checked, then expanded into jobs; every problem reported at once.
//!
//! - `yaml`, `node`: text to values that know where they stand.
//! - `fields`: the keys of one map, asked for one after another; methods read their parameters with it.
//! - `file`, `grid`, `rules`, `table`: the keys of the file, each in a room of its own.
//! - `configuration`, `checks`: one combination of the grid to one configuration, and what its parts ask of one another.
//! - `expand`: the grid to cells.
//! - `published`: another file of the same language, a paper's table.
//!
//! *Architecture invariant:* a text of any content is answered in bounded time and memory: values are counted before
//! aliases are followed, jobs before the grid is unfolded.

mod checks;
mod combination;
mod configuration;
mod expand;
mod fields;
mod file;
mod grid;
mod node;
mod problem;
mod problems;
mod published;
mod rules;
mod sweep;
mod table;
mod yaml;

pub use fields::{Choice, Fields, Flag, Increasing, Integer, Number, Numbers, Read, Text};
pub use problem::Problem;
pub use published::{Condition, Protocol, Published, PublishedResult, Spread, read_published};
pub use sweep::{Cell, Path, Std, Sweep, TableSpec};

use configuration::Schema;
use problems::Problems;

/// The largest grid that is accepted unless told otherwise, in jobs.
pub const MAX_JOBS: u64 = 1_000_000;

/// Reads and checks a sweep file of at most `max_jobs` jobs.
///
/// # Errors
/// Every problem of the file, in its order.
pub fn read(text: &str, max_jobs: u64) -> Result<Sweep, Vec<Problem>> {
    let mut problems = Problems::default();
    match checked(text, max_jobs, &mut problems) {
        Some(sweep) if problems.reports() == 0 => Ok(sweep),
        _ => Err(problems.into_sorted()),
    }
}

fn checked(text: &str, max_jobs: u64, problems: &mut Problems) -> Option<Sweep> {
    let schema = Schema::new();
    let root = yaml::parse(text, &file::EXPECTED, problems)?;
    let mut file = file::read(&root, &schema, problems)?;
    let whole = grid::is_small_enough(&file.axes, file.seeds.len(), max_jobs, file.size_place.clone(), problems);
    let cells = expand::expand(&mut file, &schema, whole, problems);
    Some(Sweep {
        name: file.name?,
        description: file.description,
        // Only what was counted before is listed.
        seeds: if whole { file.seeds.list() } else { Vec::new() },
        cells,
        table: file.table.spec,
    })
}

//! The sweep file: raw text with places, then checked, then expanded into jobs; every problem reported at once.
//!
//! - `file`, `grid`, `rules`, `select`, `table`: the keys of the file, each in a room of its own.
//! - `configuration`, `parent`, `checks`: one combination of the grid to one configuration, what it builds on, and what its parts
//!   ask of one another.
//! - `expand`: the grid to cells; `selection`: which of them are trained under every seed; `profile`: the same in another size.
//! - `published`: another file of the same language, a paper's table.
//!
//! *Architecture invariant:* a text of any content is answered in bounded time and memory: values are counted before
//! aliases are followed, jobs before the grid is unfolded.

mod checks;
mod combination;
mod configuration;
mod expand;
mod file;
mod grid;
mod initial_weights;
mod parent;
mod profile;
mod published;
mod rules;
mod select;
mod selection;
mod sweep;
mod table;

pub use published::{Condition, Protocol, Published, PublishedResult, Spread, read_published};
pub use selection::{Decision, Select, Trial};
pub use sweep::{Cell, Divergence, Path, Std, Sweep, TableSpec};

use crate::input::problems::Problems;
use crate::input::{Problem, yaml};
use configuration::Schema;
use expand::Expanded;
use file::File;

/// The largest grid that is accepted unless told otherwise, in jobs.
pub const MAX_JOBS: u64 = 1_000_000;

/// The sweeps of one file: its own, and one for each of its profiles, in the file's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweeps {
    /// The file's own.
    pub main: Sweep,
    /// By name of the profile. The sweep of a profile is called `SWEEP-PROFILE`.
    pub profiles: Vec<(String, Sweep)>,
}

impl Sweeps {
    /// The sweep of that name.
    pub fn called(self, name: &str) -> Option<Sweep> {
        let profiles = self.profiles.into_iter().map(|(_, sweep)| sweep);
        [self.main].into_iter().chain(profiles).find(|sweep| sweep.name.as_str() == name)
    }

    /// The file's own sweep, or that of the profile.
    ///
    /// # Errors
    /// The profiles that there are, if that is not one of them.
    pub fn of_profile(self, profile: Option<&str>) -> Result<Sweep, Vec<String>> {
        let Some(wanted) = profile else { return Ok(self.main) };
        let names = self.profiles.iter().map(|(name, _)| name.clone()).collect();
        let found = self.profiles.into_iter().find(|(name, _)| name == wanted);
        found.map(|(_, sweep)| sweep).ok_or(names)
    }
}

/// Reads and checks a sweep file of at most `max_jobs` jobs, its profiles too.
///
/// # Errors
/// Every problem of the file, in its order.
pub fn read_all(text: &str, max_jobs: u64) -> Result<Sweeps, Vec<Problem>> {
    let mut problems = Problems::default();
    match checked(text, max_jobs, &mut problems) {
        Some(sweeps) if problems.reports() == 0 => Ok(sweeps),
        _ => Err(problems.into_sorted()),
    }
}

/// As [`read_all`], for the file's own sweep.
///
/// # Errors
/// Every problem of the file, in its order.
pub fn read(text: &str, max_jobs: u64) -> Result<Sweep, Vec<Problem>> {
    read_all(text, max_jobs).map(|sweeps| sweeps.main)
}

fn checked(text: &str, max_jobs: u64, problems: &mut Problems) -> Option<Sweeps> {
    let schema = Schema::new();
    let root = yaml::parse(text, &file::EXPECTED, problems)?;
    let file = file::read(&root, &schema, problems)?;
    let before = problems.reports();
    let main = sweep(file.clone(), &schema, max_jobs, problems);
    // What is wrong with the sweep is wrong with its parts, and told once.
    let sound = problems.reports() == before;
    let profiles = file.profiles.iter().filter(|_| sound);
    let profiles = profiles.map(|profile| {
        let part = sweep(profile.of(&file), &schema, max_jobs, problems);
        Some((profile.name.clone(), part?))
    });
    let profiles = profiles.collect::<Option<Vec<_>>>();
    Some(Sweeps { main: main?, profiles: profiles? })
}

fn sweep(mut file: File, schema: &Schema, max_jobs: u64, problems: &mut Problems) -> Option<Sweep> {
    let whole = grid::is_small_enough(&file.axes, file.seeds.len(), max_jobs, file.size_place.clone(), problems);
    let Expanded { cells, parents, groups } = expand::expand(&mut file, schema, whole, problems);
    Some(Sweep {
        name: file.name?,
        description: file.description,
        // Only what was counted before is listed.
        seeds: if whole { file.seeds.list() } else { Vec::new() },
        cells,
        parents,
        select: file.select.map(|select| select.of(groups)),
        table: file.table.spec,
    })
}

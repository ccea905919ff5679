//! Reads a sweep file: the sweep itself and those of its profiles.

use super::expand::{self, Expanded};
use super::file::{self, File};
use super::paths::Paths;
use super::sweep::Sweep;
use super::{configuration, grid};
use crate::input::problems::Problems;
use crate::input::{Problem, yaml};

/// The largest number of jobs of a sweep, unless the caller sets another limit.
pub const MAX_JOBS: u64 = 1_000_000;

/// The sweeps of one file: the file's own, and one for each of its profiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweeps {
    /// The sweep without a profile.
    pub main: Sweep,
    /// Profile names and their sweeps, in the order of the file. The sweep of a profile is named `SWEEP-PROFILE`.
    pub profiles: Vec<(String, Sweep)>,
}

impl Sweeps {
    /// The sweep with this name.
    pub fn called(self, name: &str) -> Option<Sweep> {
        let profiles = self.profiles.into_iter().map(|(_, sweep)| sweep);
        [self.main].into_iter().chain(profiles).find(|sweep| sweep.name.as_str() == name)
    }

    /// The sweep of a profile, or the file's own for `None`.
    ///
    /// # Errors
    /// The names of all profiles, if `profile` is none of them.
    pub fn of_profile(self, profile: Option<&str>) -> Result<Sweep, Vec<String>> {
        let Some(wanted) = profile else { return Ok(self.main) };
        let names = self.profiles.iter().map(|(name, _)| name.clone()).collect();
        let found = self.profiles.into_iter().find(|(name, _)| name == wanted);
        found.map(|(_, sweep)| sweep).ok_or(names)
    }
}

/// Reads and checks a sweep file and its profiles, each of at most `max_jobs` jobs.
///
/// # Errors
/// All problems of the file, in the order of their places.
pub fn read_all(text: &str, max_jobs: u64) -> Result<Sweeps, Vec<Problem>> {
    read_with(Problems::default(), text, max_jobs)
}

/// As [`read_all`], for a sweep file from a store. It may have been submitted to an earlier version, which refused less: what only later
/// versions refuse is accepted, with its meaning of then.
///
/// # Errors
/// All problems of the file, in the order of their places.
pub fn read_stored(text: &str, max_jobs: u64) -> Result<Sweeps, Vec<Problem>> {
    read_with(Problems::of_stored_file(), text, max_jobs)
}

fn read_with(mut problems: Problems, text: &str, max_jobs: u64) -> Result<Sweeps, Vec<Problem>> {
    match checked(text, max_jobs, &mut problems) {
        Some(sweeps) if problems.reports() == 0 => Ok(sweeps),
        _ => Err(problems.into_sorted()),
    }
}

/// As [`read_all`]; returns only the file's own sweep.
///
/// # Errors
/// All problems of the file, in the order of their places.
pub fn read(text: &str, max_jobs: u64) -> Result<Sweep, Vec<Problem>> {
    read_all(text, max_jobs).map(|sweeps| sweeps.main)
}

fn checked(text: &str, max_jobs: u64, problems: &mut Problems) -> Option<Sweeps> {
    let paths = Paths::new(&configuration::declarations());
    let root = yaml::parse(text, &file::EXPECTED, problems)?;
    let file = file::read(&root, &paths, problems)?;
    let before = problems.reports();
    let main = sweep(file.clone(), &paths, max_jobs, problems);
    // A problem of the sweep would be repeated by each of its profiles.
    let valid = problems.reports() == before;
    let profiles = file.profiles.iter().filter(|_| valid).map(|profile| {
        let part = sweep(file.with_profile(profile), &paths, max_jobs, problems);
        Some((profile.name.clone(), part?))
    });
    let profiles = profiles.collect::<Option<Vec<_>>>();
    Some(Sweeps { main: main?, profiles: profiles? })
}

fn sweep(mut file: File, paths: &Paths, max_jobs: u64, problems: &mut Problems) -> Option<Sweep> {
    let complete = grid::is_small_enough(&file.axes, file.seeds.len(), max_jobs, file.size_place.clone(), problems);
    let Expanded { cells, parents, groups } = expand::expand(&mut file, paths, complete, problems);
    Some(Sweep {
        name: file.name?,
        description: file.description,
        // Listed only after their number has been checked.
        seeds: if complete { file.seeds.list() } else { Vec::new() },
        cells,
        parents,
        select: file.select.map(|select| select.with_groups(groups)),
        table: file.table.spec,
    })
}

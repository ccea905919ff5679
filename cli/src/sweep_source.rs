//! The sweep that a command is about: a sweep file, read and checked, or the name of a sweep that was submitted before.

use crate::arguments::SweepArgs;
use crate::error::CliError;
use crate::text_file;
use plusminus_core::sweep_file::{self, Sweep, Sweeps};
use std::path::Path;

/// A sweep as the user names it.
pub enum SweepSource {
    /// A file, read and checked.
    File(Box<SweepFile>),
    /// The name of a submitted sweep.
    Name(String),
}

/// A sweep file without problems.
pub struct SweepFile {
    /// The text of the file.
    pub text: String,
    /// Its sweep, or the sweep of the selected profile.
    pub sweep: Sweep,
}

impl SweepSource {
    /// Resolves the command line's sweep and profile.
    ///
    /// # Errors
    /// If the argument is a file that cannot be read, has problems, or has no such profile.
    pub fn resolve(arguments: &SweepArgs) -> Result<SweepSource, CliError> {
        SweepSource::new(&arguments.sweep, arguments.profile.as_deref())
    }

    /// Reads `argument` if it is an existing file or looks like a path; otherwise takes it as a name.
    ///
    /// The profile of a named sweep is the sweep `NAME-PROFILE`.
    ///
    /// # Errors
    /// If the argument is a file that cannot be read, has problems, or has no such profile.
    pub fn new(argument: &str, profile: Option<&str>) -> Result<SweepSource, CliError> {
        let path = Path::new(argument);
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml || argument.contains(std::path::MAIN_SEPARATOR) || path.is_file() {
            return Ok(SweepSource::File(Box::new(SweepFile::read(path, profile)?)));
        }
        Ok(SweepSource::Name(profile.map_or_else(|| argument.to_owned(), |profile| format!("{argument}-{profile}"))))
    }

    /// Returns the sweep's name.
    pub fn name(&self) -> &str {
        match self {
            SweepSource::File(file) => file.sweep.name.as_str(),
            SweepSource::Name(name) => name,
        }
    }
}

impl SweepFile {
    /// Reads and checks a sweep file, and selects one of its profiles.
    ///
    /// # Errors
    /// If it cannot be read, has problems, or has no such profile.
    pub fn read(path: &Path, profile: Option<&str>) -> Result<SweepFile, CliError> {
        let (text, sweeps) = SweepFile::read_all(path)?;
        let sweep = sweeps.of_profile(profile).map_err(|known| {
            let profile = profile.unwrap_or_default().to_owned();
            CliError::UnknownProfile { file: path.display().to_string(), profile, known }
        })?;
        Ok(SweepFile { text, sweep })
    }

    /// Returns the text of a sweep file, its sweep, and the sweeps of all its profiles.
    ///
    /// # Errors
    /// If it cannot be read or has problems.
    pub fn read_all(path: &Path) -> Result<(String, Sweeps), CliError> {
        let text = text_file::read(path).map_err(|error| CliError::Unreadable { path: path.to_owned(), error })?;
        match sweep_file::read_all(&text, sweep_file::MAX_JOBS) {
            Ok(sweeps) => Ok((text, sweeps)),
            Err(problems) => Err(CliError::Problems { file: path.display().to_string(), source_text: text, problems }),
        }
    }
}

//! The file in the state directory with the lease length, for the next coordinator process. A worker that is cut off relies on the lease
//! that it was given, even if the coordinator has been restarted with shorter leases since.

use crate::store::StoreError;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "lease";

/// The longest lease on which workers may rely, in milliseconds.
pub(crate) struct LeaseFile {
    path: PathBuf,
    /// The lease length that the file had before; zero if there was none.
    pub before: Duration,
}

impl LeaseFile {
    /// Writes the length of the leases that are given from now on, unless the file has a longer one.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn open(directory: &Path, length: Duration) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let before = match fs::read_to_string(&path) {
            // A coordinator writes only numbers; anything else is ignored.
            Ok(text) => text.trim().parse().map_or(Duration::ZERO, Duration::from_millis),
            Err(error) if error.kind() == ErrorKind::NotFound => Duration::ZERO,
            Err(error) => return Err(StoreError::Unusable { path, error }),
        };
        let file = LeaseFile { path, before };
        if length > before {
            file.write(length)?;
        }
        Ok(file)
    }

    /// Writes that all longer leases have expired.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write(&self, length: Duration) -> Result<(), StoreError> {
        let written = plusminus_files::replace(&self.path, ".part", |out| writeln!(out, "{}", length.as_millis()));
        written.map_err(|error| StoreError::Unusable { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_leases_stays_until_it_has_expired() {
        let place = tempfile::tempdir().unwrap();
        let [short, long, longest] = [1_000, 15_000, 60_000].map(Duration::from_millis);
        let before = |length| LeaseFile::open(place.path(), length).unwrap().before;
        assert_eq!([before(long), before(short), before(short)], [Duration::ZERO, long, long]);
        LeaseFile::open(place.path(), short).unwrap().write(short).unwrap();
        assert_eq!([before(longest), before(short)], [short, longest]);
        fs::write(place.path().join(FILE), "soon").unwrap();
        assert_eq!(before(short), Duration::ZERO);
    }
}

//! How long the leases are that a coordinator gives: a file in the state directory, for the next one. A worker that is cut off counts on
//! the lease that it was given, whatever a coordinator that has been started again since gives to others.

use crate::file;
use crate::store::StoreError;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FILE: &str = "lease";

/// The length of leases that workers may count on, in milliseconds.
pub(crate) struct LeaseFile {
    path: PathBuf,
    /// What was given before; 0 if nothing is known of that.
    pub before: u64,
}

impl LeaseFile {
    /// Writes down that leases of `length` are given now, and shorter ones no more than so.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn begin(directory: &Path, length: u64) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let before = match fs::read_to_string(&path) {
            // What is not a number was not written by a coordinator.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(StoreError::Unusable { path, error }),
        };
        let file = LeaseFile { path, before };
        if length > before {
            file.write(length)?;
        }
        Ok(file)
    }

    /// Writes down that no longer leases than these last any more.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write(&self, length: u64) -> Result<(), StoreError> {
        let written = file::replace(&self.path, &format!("{length}\n"));
        written.map_err(|error| StoreError::Unusable { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_leases_stands_until_it_has_passed() {
        let place = tempfile::tempdir().unwrap();
        let before = |length| LeaseFile::begin(place.path(), length).unwrap().before;
        assert_eq!([before(15_000), before(2_000), before(2_000)], [0, 15_000, 15_000]);
        LeaseFile::begin(place.path(), 2_000).unwrap().write(2_000).unwrap();
        assert_eq!([before(60_000), before(1_000)], [2_000, 60_000]);
        fs::write(place.path().join(FILE), "soon").unwrap();
        assert_eq!(before(2_000), 0);
    }
}

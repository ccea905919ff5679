//! The worker's state directory: outbox, weights, checkpoints and the worker's name.

use crate::error::WorkerError;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const NAME: &str = "name";

/// The directory of one worker. It is locked while it is open.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl StateDirectory {
    /// Opens the directory at `path`, creating it if necessary.
    ///
    /// # Errors
    /// [`WorkerError::StateInUse`] if another worker has locked it, [`WorkerError::State`] if it cannot be used.
    pub fn open(path: &Path) -> Result<Self, WorkerError> {
        let failed = |error| WorkerError::State { path: path.to_owned(), error };
        // Absolute, because runners may have another working directory.
        let path = std::path::absolute(path).map_err(failed)?;
        plusminus_files::own_dir(&path).map_err(failed)?;
        match plusminus_files::lock(&path.join(LOCK)) {
            Ok(lock) => Ok(StateDirectory { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(WorkerError::StateInUse(path)),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The worker's name: the stored one, else `given`, else the result of `make`. A new name is stored, because only a worker with the
    /// same name can deliver the reports in the directory.
    ///
    /// # Errors
    /// [`WorkerError::OtherName`] if the stored name differs from `given`, [`WorkerError::State`] if the name cannot be read or written.
    pub fn name(&self, given: Option<String>, make: impl FnOnce() -> String) -> Result<String, WorkerError> {
        let path = self.path.join(NAME);
        let failed = |error| WorkerError::State { path: path.clone(), error };
        let before = match fs::read_to_string(&path) {
            Ok(name) => Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match (before, given) {
            (Some(before), Some(given)) if before != given => {
                Err(WorkerError::OtherName { path: self.path.clone(), before, given })
            }
            (Some(before), _) => Ok(before),
            (None, given) => {
                let name = given.unwrap_or_else(make);
                plusminus_files::replace(&path, ".part", |out| writeln!(out, "{name}")).map_err(failed)?;
                Ok(name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_worker_can_open_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("below");
        let state = StateDirectory::open(&path).unwrap();
        assert!(matches!(StateDirectory::open(&path), Err(WorkerError::StateInUse(_))));
        drop(state);
        assert!(StateDirectory::open(&path).is_ok());
        fs::write(place.path().join("file"), "").unwrap();
        let error = StateDirectory::open(&place.path().join("file/below")).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
    }

    #[test]
    fn its_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&place.path().join("below")).unwrap();
        state.name(None, || "made".into()).unwrap();
        let (journal, _) = crate::journal::Journal::open(state.path()).unwrap();
        assert_eq!(journal.close(), 0);
        let modes = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().permissions());
        let modes: Vec<u32> = modes.map(|mode| mode.mode() & 0o7777).collect();
        assert!(modes.len() >= 3 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn it_keeps_the_first_name_of_its_worker() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(place.path()).unwrap();
        assert_eq!(state.name(None, || "made".into()).unwrap(), "made");
        assert_eq!(state.name(None, || "another".into()).unwrap(), "made");
        assert_eq!(state.name(Some("made".into()), || unreachable!()).unwrap(), "made");
        let error = state.name(Some("given".into()), || unreachable!()).unwrap_err().to_string();
        assert!(error.contains("`made`") && error.contains("`given`"), "{error}");
    }
}

//! The checkpoint files of a job.
//!
//! They lie in `DIRECTORY/<job>/` as `epoch-<epoch>-attempt-<attempt>.checkpoint`. Several workers may share the directory, so that any
//! of them can resume a job, and a stale attempt may still run. Therefore no file is changed in place, and a temporary file of a later
//! attempt is left alone.

use super::interval::CheckpointInterval;
use super::policy::CheckpointId;
use plusminus_core::id::{Attempt, JobId};
use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

/// The extension of checkpoint files.
const CHECKPOINT: &str = ".checkpoint";
/// The extension of temporary files.
const TEMPORARY: &str = ".tmp";

/// Where and how often an attempt writes checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions<'a> {
    /// The directory of all jobs' checkpoints. The first write creates it.
    pub directory: &'a Path,
    /// The number of this attempt.
    pub attempt: Attempt,
    /// How often a checkpoint is written.
    pub interval: CheckpointInterval,
}

/// Removes the checkpoints of all attempts at `job` from `directory`, once its result is safe or the job is abandoned. It succeeds if
/// there are none.
///
/// # Errors
/// The file system's, with the path. Some checkpoints may remain.
pub fn remove(directory: &Path, job: JobId) -> io::Result<()> {
    let directory = directory.join(job.to_string());
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

/// The checkpoints of one job, usable or not.
#[derive(Debug)]
pub(crate) struct CheckpointStore {
    directory: PathBuf,
}

impl CheckpointStore {
    /// Opens the checkpoints of `job`, and removes the temporary files that this and earlier attempts left behind.
    pub fn open(options: CheckpointOptions<'_>, job: JobId) -> Self {
        let CheckpointOptions { directory, attempt, .. } = options;
        let store = CheckpointStore { directory: directory.join(job.to_string()) };
        for name in store.names().unwrap_or_default() {
            let id = name
                .strip_suffix(TEMPORARY)
                .and_then(|name| name.split_once(CHECKPOINT))
                .and_then(|(stem, _)| parse_stem(stem));
            if id.is_some_and(|id| id.attempt <= attempt) {
                // A file that cannot be removed only takes space.
                let _ = fs::remove_file(store.directory.join(name));
            }
        }
        store
    }

    /// The job's checkpoints, the latest epoch first.
    ///
    /// # Errors
    /// The directory exists and cannot be read.
    pub fn list(&self) -> io::Result<Vec<CheckpointId>> {
        let id = |name: String| parse_stem(name.strip_suffix(CHECKPOINT)?).filter(|id| file_name(*id) == name);
        let mut all: Vec<CheckpointId> = self.names()?.into_iter().filter_map(id).collect();
        all.sort_by_key(|id| Reverse(*id));
        Ok(all)
    }

    /// The path of a checkpoint.
    pub fn path(&self, id: CheckpointId) -> PathBuf {
        self.directory.join(file_name(id))
    }

    /// Writes a checkpoint, with the content that `write_content` produces. It is on disk when this returns.
    ///
    /// # Errors
    /// The file system's. Existing checkpoints are unchanged.
    pub fn write(
        &self,
        id: CheckpointId,
        write_content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.directory.is_dir() {
            plusminus_files::create_dir(&self.directory)?;
            self.directory.parent().map_or(Ok(()), plusminus_files::sync_dir)?;
        }
        plusminus_files::replace(&self.path(id), TEMPORARY, write_content)?;
        plusminus_files::sync_dir(&self.directory)
    }

    /// Removes these checkpoints as far as possible.
    pub fn remove(&self, ids: &[CheckpointId]) {
        for id in ids {
            let _ = fs::remove_file(self.path(*id));
        }
    }

    /// The directory of the job's checkpoints.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names in the directory; none if it does not exist.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

fn file_name(CheckpointId { epoch, attempt }: CheckpointId) -> String {
    format!("epoch-{epoch}-attempt-{attempt}{CHECKPOINT}")
}

/// Parses a file name without its extension.
fn parse_stem(stem: &str) -> Option<CheckpointId> {
    let (epoch, attempt) = stem.strip_prefix("epoch-")?.split_once("-attempt-")?;
    Some(CheckpointId { epoch: epoch.parse().ok()?, attempt: Attempt(attempt.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn job() -> JobId {
        "00112233445566778899aabbccddeeff".parse().unwrap()
    }

    fn store(directory: &Path, attempt: u32) -> CheckpointStore {
        let interval = CheckpointInterval::default();
        CheckpointStore::open(CheckpointOptions { directory, attempt: Attempt(attempt), interval }, job())
    }

    fn id(epoch: u32, attempt: u32) -> CheckpointId {
        CheckpointId { epoch, attempt: Attempt(attempt) }
    }

    fn put(store: &CheckpointStore, epoch: u32, attempt: u32) {
        store.write(id(epoch, attempt), |out| write!(out, "{epoch}")).unwrap();
    }

    #[test]
    fn checkpoints_are_written_listed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("made/when/needed");
        let store = store(&root, 1);
        assert_eq!(store.list().unwrap(), []);
        [1, 12, 5, 2].into_iter().for_each(|epoch| put(&store, epoch, 1));
        put(&store, 5, 2);
        assert_eq!(store.list().unwrap(), [id(12, 1), id(5, 2), id(5, 1), id(2, 1), id(1, 1)]);
        assert_eq!(fs::read(store.path(id(12, 1))).unwrap(), b"12");
        assert!(store.path(id(12, 1)).ends_with(format!("{}/epoch-12-attempt-1.checkpoint", job())));
        store.remove(&[id(5, 1), id(7, 7), id(1, 1)]);
        assert_eq!(store.list().unwrap(), [id(12, 1), id(5, 2), id(2, 1)]);
        assert_eq!(store.names().unwrap().len(), 3, "no other file remains");
        remove(&root, job()).unwrap();
        assert_eq!(store.list().unwrap(), []);
        remove(directory.path(), job()).unwrap();
        put(&store, 13, 1);
        assert_eq!(store.list().unwrap(), [id(13, 1)], "a write creates the directory again");
    }

    #[test]
    fn temporary_files_of_this_and_earlier_attempts_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(directory.path(), 1);
        put(&first, 1, 1);
        for name in ["epoch-2-attempt-1.checkpoint.x1y2.tmp", "notes.txt", "epoch-x-attempt-1.checkpoint", ".tmp"] {
            fs::write(first.directory.join(name), b"half").unwrap();
        }
        let second = store(directory.path(), 2);
        let mut names = second.names().unwrap();
        names.sort();
        assert_eq!(names, [".tmp", "epoch-1-attempt-1.checkpoint", "epoch-x-attempt-1.checkpoint", "notes.txt"]);
        assert_eq!(second.list().unwrap(), [id(1, 1)]);
    }

    #[test]
    fn a_temporary_file_of_a_later_attempt_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let later = store(directory.path(), 2);
        put(&later, 3, 2);
        fs::write(later.directory.join("epoch-5-attempt-2.checkpoint.abc.tmp"), b"half").unwrap();
        store(directory.path(), 1);
        assert_eq!(later.names().unwrap().len(), 2, "the later attempt is writing");
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(job().to_string()), b"in the way").unwrap();
        let store = store(directory.path(), 1);
        assert!(store.list().is_err());
        assert!(store.write(id(1, 1), |_| Ok(())).is_err());
        fs::remove_file(directory.path().join(job().to_string())).unwrap();
        let full = store.write(id(1, 1), |_| Err(io::Error::from(ErrorKind::StorageFull))).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert!(store.names().unwrap().is_empty(), "a failed write leaves no file");
        put(&store, 1, 1);
        assert_eq!(store.list().unwrap(), [id(1, 1)]);
    }
}

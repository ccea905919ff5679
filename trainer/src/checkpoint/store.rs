//! Which files a job's checkpoints are.
//!
//! They lie in `DIRECTORY/<job>/` as `epoch-<epoch>-attempt-<attempt>.checkpoint`. The directory may be on a disk that several workers
//! share, so that any of them can go on, and a past attempt may still be at work: it is not known to be gone. So no file is ever changed
//! in place, and no attempt takes away what a later one has written.

use super::CheckpointInterval;
use crate::atomic_file;
use plusminus_core::id::{Attempt, JobId};
use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

/// How many checkpoints are kept: should the last turn out to be damaged, there is the one before.
const KEPT: usize = 2;

/// The last part of a file's name.
const CHECKPOINT: &str = ".checkpoint";

/// Where a job's checkpoints are kept, who writes them, and how often.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions<'a> {
    /// The directory of all jobs' checkpoints. It is made when the first is written.
    pub directory: &'a Path,
    /// Which attempt at the job this is.
    pub attempt: Attempt,
    /// How often one is written.
    pub interval: CheckpointInterval,
}

/// Removes every checkpoint of `job` from `directory`, of all attempts, for when its result is safe or it is given up. There need be none.
///
/// # Errors
/// The file system's, with the path; the checkpoints may then be there in part.
pub fn remove(directory: &Path, job: JobId) -> io::Result<()> {
    let directory = directory.join(job.to_string());
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

/// A checkpoint that lies in a directory, which may be good or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The file.
    pub path: PathBuf,
    /// The epoch after which it was made.
    pub epoch: u32,
    /// By which attempt.
    pub attempt: Attempt,
}

/// The checkpoints of one job, as one attempt at it sees them.
#[derive(Debug)]
pub(crate) struct CheckpointStore {
    directory: PathBuf,
    attempt: Attempt,
    /// Those that this attempt went on from or has written, the last one last.
    good: Vec<PathBuf>,
}

impl CheckpointStore {
    /// The checkpoints of `job`. What past attempts and this one have left of files that they were writing goes.
    pub fn open(checkpoints: CheckpointOptions<'_>, job: JobId) -> Self {
        let CheckpointOptions { directory, attempt, .. } = checkpoints;
        let store = CheckpointStore { directory: directory.join(job.to_string()), attempt, good: Vec::new() };
        for name in store.names().unwrap_or_default() {
            let of = name
                .strip_suffix(atomic_file::TEMPORARY_SUFFIX)
                .and_then(|name| name.split_once(CHECKPOINT))
                .and_then(|(s, _)| parsed(s));
            if of.is_some_and(|(_, of)| of <= attempt) {
                // What cannot be removed takes up room and nothing else.
                let _ = fs::remove_file(store.directory.join(name));
            }
        }
        store
    }

    /// The job's checkpoints, those of the latest epoch first.
    ///
    /// # Errors
    /// That the directory is there and cannot be read.
    pub fn found(&self) -> io::Result<Vec<Found>> {
        let found = |name: String| {
            let (epoch, attempt) = parsed(name.strip_suffix(CHECKPOINT)?)?;
            Some(Found { path: self.directory.join(&name), epoch, attempt })
        };
        let mut all: Vec<Found> = self.names()?.into_iter().filter_map(found).collect();
        all.sort_by_key(|found| Reverse((found.epoch, found.attempt)));
        Ok(all)
    }

    /// This one has proved to be good: it is kept until two others are.
    pub fn keep(&mut self, found: Found) {
        self.good.push(found.path);
    }

    /// Has `write` write the checkpoint after `epoch`. It is on disk when this returns; then all but the last two that are good go, but
    /// for those of later attempts.
    ///
    /// # Errors
    /// The file system's. What was there before is there still.
    pub fn write(
        &mut self,
        epoch: u32,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.directory.is_dir() {
            fs::create_dir_all(&self.directory)?;
            self.directory.parent().map_or(Ok(()), atomic_file::sync_directory)?;
        }
        let path = self.directory.join(format!("epoch-{epoch}-attempt-{}{CHECKPOINT}", self.attempt));
        atomic_file::write(&path, write)?;
        atomic_file::sync_directory(&self.directory)?;
        self.good.push(path);
        self.good.drain(..self.good.len().saturating_sub(KEPT));
        for old in self.found()? {
            if old.attempt <= self.attempt && !self.good.contains(&old.path) {
                // It is tried again with the next one.
                let _ = fs::remove_file(&old.path);
            }
        }
        Ok(())
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names in the directory, which need not be there.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

/// Epoch and attempt of a file's name without its last part.
fn parsed(name: &str) -> Option<(u32, Attempt)> {
    let (epoch, attempt) = name.strip_prefix("epoch-")?.split_once("-attempt-")?;
    Some((epoch.parse().ok()?, Attempt(attempt.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn job() -> JobId {
        "00112233445566778899aabbccddeeff".parse().unwrap()
    }

    fn store(directory: &Path, attempt: u32) -> CheckpointStore {
        CheckpointStore::open(
            CheckpointOptions { directory, attempt: Attempt(attempt), interval: CheckpointInterval::default() },
            job(),
        )
    }

    fn put(store: &mut CheckpointStore, epoch: u32) {
        store.write(epoch, |out| write!(out, "{epoch}")).unwrap();
    }

    fn lying(store: &CheckpointStore) -> Vec<(u32, u32)> {
        store.found().unwrap().into_iter().map(|found| (found.epoch, found.attempt.0)).collect()
    }

    #[test]
    fn the_last_two_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(&directory.path().join("made/when/needed"), 1);
        for epoch in [1, 2, 5, 12] {
            put(&mut store, epoch);
        }
        assert_eq!(lying(&store), [(12, 1), (5, 1)]);
        assert_eq!(fs::read(&store.found().unwrap()[0].path).unwrap(), b"12");
        assert_eq!(store.names().unwrap().len(), 2, "and nothing else");
        remove(&directory.path().join("made/when/needed"), job()).unwrap();
        assert_eq!(lying(&store), []);
        remove(directory.path(), job()).unwrap();
        put(&mut store, 13);
        assert_eq!(lying(&store), [(13, 1)], "the directory is made again");
    }

    #[test]
    fn what_was_not_good_goes_once_there_is_another_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = store(directory.path(), 1);
        [7, 8, 9].into_iter().for_each(|epoch| put(&mut first, epoch));
        let mut second = store(directory.path(), 2);
        // The newest is damaged, say.
        let before = second.found().unwrap().remove(1);
        second.keep(before);
        assert_eq!(lying(&second), [(9, 1), (8, 1)]);
        put(&mut second, 9);
        assert_eq!(lying(&second), [(9, 2), (8, 1)]);
    }

    #[test]
    fn a_past_attempt_takes_nothing_away_from_a_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let (mut past, mut later) = (store(directory.path(), 1), store(directory.path(), 2));
        put(&mut later, 3);
        put(&mut later, 4);
        fs::write(later.directory.join("epoch-5-attempt-2.checkpoint.abc.tmp"), b"half").unwrap();
        [5, 6, 7].into_iter().for_each(|epoch| put(&mut past, epoch));
        assert_eq!(lying(&past), [(7, 1), (6, 1), (4, 2), (3, 2)]);
        store(directory.path(), 1);
        assert_eq!(past.names().unwrap().len(), 5, "the later attempt is writing");
        put(&mut later, 5);
        assert_eq!(lying(&past), [(5, 2), (4, 2)]);
    }

    #[test]
    fn what_is_left_of_a_file_that_was_being_written_goes_and_what_others_have_put_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = store(directory.path(), 1);
        put(&mut first, 1);
        for name in ["epoch-2-attempt-1.checkpoint.x1y2.tmp", "notes.txt", "epoch-x-attempt-1.checkpoint", ".tmp"] {
            fs::write(first.directory.join(name), b"half").unwrap();
        }
        let second = store(directory.path(), 2);
        let mut names = second.names().unwrap();
        names.sort();
        assert_eq!(names, [".tmp", "epoch-1-attempt-1.checkpoint", "epoch-x-attempt-1.checkpoint", "notes.txt"]);
        assert_eq!(lying(&second), [(1, 1)]);
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_an_error_and_no_loss() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(job().to_string()), b"in the way").unwrap();
        let mut store = store(directory.path(), 1);
        assert!(store.found().is_err());
        assert!(store.write(1, |_| Ok(())).is_err());
        fs::remove_file(directory.path().join(job().to_string())).unwrap();
        let full = store.write(1, |_| Err(io::Error::from(ErrorKind::StorageFull))).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert!(store.names().unwrap().is_empty(), "nothing is left of it");
        put(&mut store, 1);
        assert_eq!(lying(&store), [(1, 1)]);
    }
}

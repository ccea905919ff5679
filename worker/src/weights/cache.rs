//! The worker's cache of weight files: parent weights that it has fetched and kept weights of its own jobs.

use crate::error::WorkerError;
use plusminus_core::id::Digest;
use plusminus_proto::weights;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tracing::warn;

/// The size that the directory should not exceed, in bytes. Files in use are exempt from the limit.
const LIMIT: u64 = 4 << 30;
/// Files used within this time stay: a runner may be about to read them.
const RECENT: Duration = Duration::from_secs(3_600);
/// Unfinished files of this age are left over from a killed process.
const ABANDONED: Duration = Duration::from_secs(24 * 3_600);

/// The directory of weight files. It is not shared: a worker does not know which files other workers need.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    limit: u64,
}

impl Cache {
    /// Opens the cache in `directory`, creating it if necessary.
    pub fn open(directory: &Path) -> Result<Self, WorkerError> {
        let failed = |error| WorkerError::Cache { path: directory.to_owned(), error };
        // Absolute, because runners may have another working directory.
        let directory = std::path::absolute(directory).map_err(failed)?;
        plusminus_files::create_dir(&directory).map_err(failed)?;
        let cache = Cache { directory, limit: LIMIT };
        if let Err(error) = cache.remove_abandoned() {
            warn!(%error, "cannot remove unfinished files from the directory for weights");
        }
        Ok(cache)
    }

    /// Removes unfinished files of workers and runners that were killed long ago.
    fn remove_abandoned(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let temporary = name.to_str().is_some_and(|name| name.starts_with(".tmp") && name.ends_with(".tmp"));
            if !temporary && !weights::is_unfinished(Path::new(&name)) {
                continue;
            }
            let Some(metadata) = weights::if_there(entry.metadata())? else { continue };
            if metadata.is_file() && age(metadata.modified()?) >= ABANDONED {
                weights::if_there(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the file exists and is undamaged. It then counts as used now.
    pub fn has(&self, digest: Digest) -> io::Result<bool> {
        if !weights::is_whole(&self.directory, digest)? {
            return Ok(false);
        }
        let file = File::options().write(true).open(weights::path(&self.directory, digest));
        let Some(file) = weights::if_there(file)? else { return Ok(false) };
        file.set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// Removes the least recently used files while the cache exceeds its limit, but none of `needed`. Errors are logged. Blocks.
    pub fn trim(&self, needed: &BTreeSet<Digest>) {
        if let Err(error) = self.try_trim(needed) {
            warn!(%error, "cannot remove unused files from the directory for weights");
        }
    }

    fn try_trim(&self, needed: &BTreeSet<Digest>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split('.').next()?.parse::<Digest>().ok());
            let Some(digest) = digest.filter(|digest| name == *digest.file_name()) else { continue };
            // The file may have been removed meanwhile.
            if let Some(metadata) = weights::if_there(entry.metadata())? {
                files.push((metadata.modified()?, digest, metadata.len()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, length)| length).sum();
        let keep = |used: SystemTime, digest: &Digest| needed.contains(digest) || age(used) < RECENT;
        for (_, digest, length) in files.into_iter().filter(|(used, digest, _)| !keep(*used, digest)) {
            if total <= self.limit {
                break;
            }
            weights::if_there(fs::remove_file(weights::path(&self.directory, digest)))?;
            total -= length;
        }
        Ok(())
    }
}

/// The time since `then`; zero if the clock was set back.
fn age(then: SystemTime) -> Duration {
    then.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, content: &[u8], age: u64) -> Digest {
        let digest = Digest::of(content);
        let path = weights::path(cache.directory(), digest);
        fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        digest
    }

    #[test]
    fn the_least_recently_used_files_are_removed_and_needed_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let cache = Cache { limit: 20, ..Cache::open(parent.path()).unwrap() };
        const HOUR: u64 = 3_600;
        let files = [(b"0123456789", 4 * HOUR), (b"abcdefghij", 3 * HOUR), (b"ABCDEFGHIJ", 2 * HOUR)];
        let [oldest, older, newest] = files.map(|(content, age)| put(&cache, content, age));
        let directory = cache.directory().to_owned();
        let exist = || [oldest, older, newest].map(|digest| weights::path(&directory, digest).exists());
        cache.try_trim(&BTreeSet::from([oldest])).unwrap();
        assert_eq!(exist(), [true, false, true]);
        assert!(cache.has(oldest).unwrap(), "it counts as used now");
        let recent = put(&cache, b"klmnopqrst", 5);
        cache.try_trim(&BTreeSet::new()).unwrap();
        assert_eq!(exist(), [true, false, false]);
        let cache = Cache { limit: 1, ..cache };
        cache.try_trim(&BTreeSet::new()).unwrap();
        assert!(
            exist()[0] && cache.has(recent).unwrap(),
            "recently used files stay: a runner may be about to read them"
        );
        fs::remove_file(weights::path(cache.directory(), recent)).unwrap();
        assert!(!cache.has(recent).unwrap());
    }

    #[test]
    fn old_unfinished_files_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let cache = Cache::open(parent.path()).unwrap();
        const DAY: u64 = 24 * 3_600;
        let files = [
            ("ab.0f.part", 2 * DAY),
            (".tmpAbCdEf.tmp", 2 * DAY),
            ("cd.0f.part", DAY / 2),
            (".tmpGhIjKl.tmp", DAY / 2),
            ("foreign.tmp", 2 * DAY),
        ];
        for (name, age) in files {
            let then = SystemTime::now() - Duration::from_secs(age);
            File::create_new(cache.directory().join(name)).unwrap().set_modified(then).unwrap();
        }
        let reopened = Cache::open(cache.directory()).unwrap();
        assert_eq!(
            files.map(|(name, _)| reopened.directory().join(name).exists()),
            [false, false, true, true, true],
            "recent files may still be written, and foreign files stay"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("--cache"), "{error}");
    }
}

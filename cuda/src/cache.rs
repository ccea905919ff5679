//! A cache of compiled kernels on disk. A file's name is the hash of everything that its content depends on. The content starts with its
//! own hash, so a truncated or altered file is detected and compiled again.

use crate::error::DeviceError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Length of a hash in bytes.
const HASH: usize = blake3::OUT_LEN;

/// A directory of compiled kernels. Several processes may share it.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Uses `directory`, which is created on the first write.
    pub fn at(directory: PathBuf) -> Self {
        Cache { directory }
    }

    /// The user's cache: `plusminus/kernels` in `XDG_CACHE_HOME` or `~/.cache`. Returns none if neither variable nor `HOME` is set.
    pub fn of_user() -> Option<Self> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
        Some(Cache::at(home.join("plusminus").join("kernels")))
    }

    /// Returns the content for `parts`, from disk or else from `make`. A failed write to disk is ignored: the content can be made again.
    pub(crate) fn get_or_make<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a str>,
        make: impl FnOnce() -> Result<Vec<u8>, DeviceError>,
    ) -> Result<Vec<u8>, DeviceError> {
        let path = self.directory.join(file_name(parts));
        if let Some(found) = read(&path) {
            return Ok(found);
        }
        let made = make()?;
        let _ = self.write(&path, &made);
        Ok(made)
    }

    /// Writes a temporary file, syncs and renames it, so that no other process sees a partial file.
    fn write(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        plusminus_files::create_dir(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(blake3::hash(content).as_bytes())?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

fn file_name<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // The length prefix keeps different lists from hashing the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{}.cubin", hasher.finalize().to_hex())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let all = fs::read(path).ok()?;
    let (hash, content) = all.split_at_checked(HASH)?;
    (blake3::hash(content).as_bytes() == hash).then(|| content.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A cache that counts how often its content was made.
    struct Counted {
        _directory: tempfile::TempDir,
        cache: Cache,
        made: Cell<u32>,
    }

    impl Counted {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let cache = Cache::at(directory.path().join("kernels"));
            Counted { _directory: directory, cache, made: Cell::new(0) }
        }

        fn get(&self, parts: &[&str]) -> Vec<u8> {
            let make = || {
                self.made.set(self.made.get() + 1);
                Ok(parts.concat().into_bytes())
            };
            self.cache.get_or_make(parts.iter().copied(), make).unwrap()
        }

        fn only_file(&self) -> PathBuf {
            let mut files = fs::read_dir(&self.cache.directory).unwrap();
            let file = files.next().unwrap().unwrap().path();
            assert!(files.next().is_none(), "no other file");
            file
        }
    }

    #[test]
    fn cached_content_is_not_made_again() {
        let cache = Counted::new();
        assert_eq!(cache.get(&["sm_80", "source"]), b"sm_80source");
        assert_eq!(cache.get(&["sm_80", "source"]), b"sm_80source");
        assert_eq!(cache.made.get(), 1);
        cache.only_file();
    }

    #[test]
    fn different_parts_have_different_entries() {
        let cache = Counted::new();
        cache.get(&["sm_80", "source"]);
        cache.get(&["sm_90", "source"]);
        cache.get(&["sm_80", "sources"]);
        cache.get(&["sm_80s", "ource"]);
        assert_eq!(cache.made.get(), 4);
    }

    #[test]
    fn an_altered_or_truncated_entry_is_made_again() {
        let cache = Counted::new();
        cache.get(&["sm_80", "source"]);
        let file = cache.only_file();
        let whole = fs::read(&file).unwrap();
        let mut altered = whole.clone();
        *altered.last_mut().unwrap() ^= 1;
        for (times, broken) in
            [&altered[..], &whole[..whole.len() - 1], &whole[..HASH - 1], &[]].into_iter().enumerate()
        {
            fs::write(&file, broken).unwrap();
            assert_eq!(cache.get(&["sm_80", "source"]), b"sm_80source");
            assert_eq!(cache.made.get() as usize, 2 + times);
            assert_eq!(fs::read(&file).unwrap(), whole, "the file is complete again");
        }
    }

    #[test]
    fn without_a_directory_content_is_made_every_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "no directory").unwrap();
        let cache = Cache::at(file.join("kernels"));
        assert_eq!(cache.get_or_make(["part"], || Ok(vec![1])).unwrap(), [1]);
    }

    #[test]
    fn failed_content_is_not_cached() {
        let cache = Counted::new();
        let failed = cache.cache.get_or_make(["part"], || Err(DeviceError::InvalidArgument("broken".into())));
        assert!(failed.is_err() && !cache.cache.directory.exists());
    }
}

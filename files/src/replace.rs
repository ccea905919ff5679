//! Atomic writes: after a crash, a file has its old content or all of the new one.

use super::create;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The number of random names that are tried.
const TRIES: usize = 8;

/// A temporary file beside the file that it will become. It is removed on drop unless it was renamed.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    to: PathBuf,
    file: File,
}

impl Unfinished {
    /// Creates the temporary file for `to`. Its name is that of `to`, a random number and `suffix`: processes in different containers may
    /// share a disk and have equal process ids, and no other user can guess the name and prepare a link.
    ///
    /// # Errors
    /// The file system's, and for a path without a file name.
    pub fn create(to: &Path, suffix: &str) -> io::Result<Unfinished> {
        let name = to.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "expected a file name"))?;
        let mut tries = 0;
        loop {
            let mut temporary = name.to_owned();
            temporary.push(format!(".{:016x}{suffix}", RandomState::new().hash_one(tries)));
            let path = to.with_file_name(temporary);
            match create(&path) {
                Ok(file) => return Ok(Unfinished { path, to: to.to_owned(), file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The file, for writing.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The temporary path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the content is on disk, and gives the file its name. The name is on disk after [`sync_dir`].
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.to)?;
        self.file.try_clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A renamed file no longer exists under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces the content of a file. Readers see the old content or all of the new one, even after a power failure. The content is on disk
/// when this returns; the new name is on disk after [`sync_dir`]. On an error, such as a full disk, nothing changes.
///
/// # Errors
/// The file system's, and those of `write`.
pub fn replace(
    path: &Path,
    suffix: &str,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut unfinished = Unfinished::create(path, suffix)?;
    let mut out = BufWriter::with_capacity(1 << 16, unfinished.file());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    unfinished.finish().map(drop)
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// The file system's.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::super::tests::mode;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_gets_its_whole_content_or_keeps_the_old_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("address");
        replace(&path, ".part", |out| out.write_all(b"old")).unwrap();
        let failed = replace(&path, ".part", |out| {
            out.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((fs::read_to_string(&path).unwrap(), names(place.path())), ("old".into(), vec!["address".into()]));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn unfinished_files_have_unique_names_and_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("weights");
        let both = [0; 2].map(|_| Unfinished::create(&to, ".part").unwrap());
        assert_eq!(names(place.path()).len(), 2);
        assert!(both.iter().all(|unfinished| unfinished.path().extension().unwrap() == "part"));
        drop(both);
        assert_eq!(names(place.path()), [""; 0]);
        assert!(Unfinished::create(Path::new("/"), ".part").is_err());
    }
}

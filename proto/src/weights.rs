//! Files of weights on their way: cut into parts that fit into messages, put together again, and checked against their digest.
//!
//! A file is called by its digest, so that what is there under a name is what was meant, or is damaged. What is called here blocks.

use plusminus_core::id::{Digest, Digester};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes in a part.
pub const PART: usize = 1 << 19;
/// A file longer than this holds no weights of ours.
const LONGEST: u64 = 8 << 30;
/// How names end of files that are not whole yet.
const UNFINISHED: &str = "part";

/// Why a file cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// What came is something else, or not all of it.
    #[error("expected weights with the digest {expected}, found {found}; they were damaged or cut off on their way")]
    Other {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// It goes on and on.
    #[error("the weights are longer than {LONGEST} bytes")]
    TooLong,
    /// The disk says no.
    #[error("cannot keep the weights in {path}: {error}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Where the file lies.
pub fn path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(digest.file_name())
}

/// Whether the file is there and is what it is called; a damaged one is removed.
///
/// # Errors
/// If it cannot be read.
pub fn is_whole(directory: &Path, digest: Digest) -> io::Result<bool> {
    let path = path(directory, digest);
    let Some(mut file) = if_there(File::open(&path))? else { return Ok(false) };
    let (mut digester, mut buffer) = (Digester::default(), vec![0; PART]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digester.update(&buffer[..read]),
        }
    }
    let whole = digester.finish() == digest;
    if !whole {
        if_there(fs::remove_file(&path))?;
    }
    Ok(whole)
}

/// What came of something done with a file, or none if the file is not there.
///
/// # Errors
/// Every other error.
pub fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file's parts, in order; a part that cannot be read is the last.
///
/// # Errors
/// If it cannot be opened.
pub fn parts(directory: &Path, digest: Digest) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + use<>> {
    let mut file = File::open(path(directory, digest))?;
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut part = Vec::with_capacity(PART);
        match (&mut file).take(PART as u64).read_to_end(&mut part) {
            Ok(0) => None,
            Ok(_) => Some(Ok(part)),
            Err(error) => {
                ended = true;
                Some(Err(error))
            }
        }
    }))
}

/// Puts `parts` together and checks them. When it returns the file is on the disk in full; if it fails, there is none.
///
/// # Errors
/// If the parts are not what `digest` says, or the disk fails.
pub fn receive(directory: &Path, digest: Digest, parts: impl IntoIterator<Item = Vec<u8>>) -> Result<(), ReceiveError> {
    let failed = |error| ReceiveError::Disk { path: directory.to_owned(), error };
    fs::create_dir_all(directory).map_err(failed)?;
    let (unfinished, mut file) = Unfinished::create(directory, digest).map_err(failed)?;
    let (mut digester, mut length) = (Digester::default(), 0);
    for part in parts {
        length += part.len() as u64;
        if length > LONGEST {
            return Err(ReceiveError::TooLong);
        }
        digester.update(&part);
        file.write_all(&part).map_err(failed)?;
    }
    let found = digester.finish();
    if found != digest {
        return Err(ReceiveError::Other { expected: digest, found });
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished.0, path(directory, digest)).map_err(failed)?;
    // The new name is on disk once its directory is.
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed)
}

/// Removes what a process that was killed has left unfinished. Nobody else may be writing into `directory`.
///
/// # Errors
/// If it cannot be read or written.
pub fn clean(directory: &Path) -> io::Result<()> {
    let Some(entries) = if_there(fs::read_dir(directory))? else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if is_unfinished(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Whether what lies there is, by its name, a file that is not whole yet.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// A file under a name that no other has, which goes when it is not renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes it. Its name is random: processes in different containers that share a disk may have the same numbers.
    fn create(directory: &Path, digest: Digest) -> io::Result<(Self, File)> {
        let random = RandomState::new().hash_one(());
        let path = directory.join(format!("{digest}.{random:016x}.{UNFINISHED}"));
        // What is there under that name already is somebody else's, and stays.
        let file = File::create_new(&path)?;
        Ok((Unfinished(path), file))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed, it is not there, and that is right.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn content() -> Vec<u8> {
        (0..PART * 2 + 17).map(|i| (i % 251) as u8).collect()
    }

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_that_is_cut_and_put_together_again_is_the_same() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (content, digest) = (content(), Digest::of(&content()));
        fs::write(path(from.path(), digest), &content).unwrap();
        assert!(is_whole(from.path(), digest).unwrap() && !is_whole(to.path(), digest).unwrap());
        for _ in 0..2 {
            let parts: Vec<_> = parts(from.path(), digest).unwrap().map(Result::unwrap).collect();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [PART, PART, 17]);
            receive(to.path(), digest, parts).unwrap();
            assert_eq!(fs::read(path(to.path(), digest)).unwrap(), content);
            assert_eq!(names(to.path()), [digest.file_name()], "again, and nothing is left beside it");
        }
    }

    #[test]
    fn what_is_cut_off_on_its_way_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(&content());
        let error = receive(directory.path(), digest, [content()[..PART].to_vec()]).unwrap_err();
        assert!(matches!(error, ReceiveError::Other { expected, .. } if expected == digest), "{error}");
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn two_unfinished_files_of_the_same_weights_have_names_of_their_own_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"weights");
        let made = [0; 2].map(|_| Unfinished::create(directory.path(), digest).unwrap());
        assert_eq!(names(directory.path()).len(), 2);
        assert!(made.iter().all(|(unfinished, _)| is_unfinished(&unfinished.0)));
        drop(made);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_damaged_file_is_not_there_and_what_was_left_unfinished_is_cleared_away() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(&content());
        fs::write(path(directory.path(), digest), "something else").unwrap();
        assert!(!is_whole(directory.path(), digest).unwrap());
        fs::write(directory.path().join("x.1-1.part"), "half").unwrap();
        clean(directory.path()).unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        clean(&directory.path().join("absent")).unwrap();
    }
}

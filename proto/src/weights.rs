//! Weight files in transit: split into parts that fit into messages, reassembled, and checked against their digest.
//!
//! A file is named after its digest, so a file with the right name has the right content or is damaged. All functions block.

use plusminus_core::id::{Digest, Digester};
use plusminus_files::Unfinished;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The size of a part in bytes. Receivers accept larger ones, up to 1 MiB.
pub const PART: usize = 1 << 17;
/// The largest valid weight file, in bytes.
pub const MAX_LENGTH: u64 = 4 << 30;
/// How many bytes are written between two looks at the free space.
const LOOK: u64 = 8 << 20;
/// The extension of unfinished files.
const UNFINISHED: &str = "part";

/// Why a file cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The content does not match the digest.
    #[error("expected weights with the digest {expected}, found {found}; they were damaged or truncated in transit")]
    Other {
        /// The announced digest.
        expected: Digest,
        /// The digest of the received content.
        found: Digest,
    },
    /// The file exceeds the limit.
    #[error("the weights are longer than a file may be")]
    TooLong,
    /// The disk is full, except for the reserved space, or fails.
    #[error("cannot store the weights in {path}: {error}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// The path of a weight file.
pub fn path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(digest.file_name())
}

/// Whether the file exists and matches its digest. A damaged file is removed.
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

/// Turns the error that a file does not exist into `None`.
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

/// The parts of a file, in order. The iterator ends after the first read error.
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

/// Writes `parts` into the file named after `digest`. On success the file is complete and durable; on an error there is no file.
///
/// # Errors
/// If the content does not match `digest` or is too long, or the disk fails.
pub fn receive(directory: &Path, digest: Digest, parts: impl IntoIterator<Item = Vec<u8>>) -> Result<(), ReceiveError> {
    receive_within(directory, digest, parts, Space::default())
}

/// The space that a file may take.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// The most bytes of the file.
    pub most: u64,
    /// The bytes that stay free on the disk.
    pub reserved: u64,
}

impl Default for Space {
    fn default() -> Self {
        Space { most: MAX_LENGTH, reserved: 0 }
    }
}

impl Space {
    /// Looks whether the disk has more than the reserved space.
    fn look(&self, directory: &Path) -> Result<(), ReceiveError> {
        if self.reserved == 0 {
            return Ok(());
        }
        let failed = |error| ReceiveError::Disk { path: directory.to_owned(), error };
        let free = free_bytes(directory).map_err(failed)?;
        if free < self.reserved {
            let (free, reserved) = (free >> 20, self.reserved >> 20);
            let found = format!("{free} MiB are free, and {reserved} MiB are reserved for the coordinator's store");
            return Err(failed(io::Error::new(io::ErrorKind::StorageFull, found)));
        }
        Ok(())
    }
}

/// The bytes that this process may still write to the disk of `directory`.
///
/// # Errors
/// If the system does not say.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The bytes of the disk of `directory`, or of the nearest directory above it that exists.
///
/// # Errors
/// If the system does not say.
pub fn disk_bytes(directory: &Path) -> io::Result<u64> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
    let found = rustix::fs::statvfs(existing)?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// As [`receive`], within limits on the space.
///
/// # Errors
/// As [`receive`], and if only the reserved space is free.
pub fn receive_within(
    directory: &Path,
    digest: Digest,
    parts: impl IntoIterator<Item = Vec<u8>>,
    space: Space,
) -> Result<(), ReceiveError> {
    let failed = |error| ReceiveError::Disk { path: directory.to_owned(), error };
    plusminus_files::create_dir(directory).map_err(failed)?;
    space.look(directory)?;
    let mut unfinished = unfinished(directory, digest).map_err(failed)?;
    let (mut digester, mut length, mut next_look) = (Digester::default(), 0, LOOK);
    for part in parts {
        length += part.len() as u64;
        if length > space.most {
            return Err(ReceiveError::TooLong);
        }
        if length > next_look {
            next_look = length + LOOK;
            space.look(directory)?;
        }
        digester.update(&part);
        unfinished.file().write_all(&part).map_err(failed)?;
    }
    let found = digester.finish();
    if found != digest {
        return Err(ReceiveError::Other { expected: digest, found });
    }
    unfinished.finish().map_err(failed)?;
    // The new name is durable once the directory is synced.
    plusminus_files::sync_dir(directory).map_err(failed)
}

/// Removes unfinished files of killed processes. No other process may be writing into `directory`.
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

/// Whether the path is that of an unfinished file.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// A temporary file for the weights.
fn unfinished(directory: &Path, digest: Digest) -> io::Result<Unfinished> {
    Unfinished::create(&path(directory, digest), &format!(".{UNFINISHED}"))
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
    fn a_file_that_is_split_and_reassembled_is_the_same() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (content, digest) = (content(), Digest::of(&content()));
        fs::write(path(from.path(), digest), &content).unwrap();
        assert!(is_whole(from.path(), digest).unwrap() && !is_whole(to.path(), digest).unwrap());
        for _ in 0..2 {
            let parts: Vec<_> = parts(from.path(), digest).unwrap().map(Result::unwrap).collect();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [PART, PART, 17]);
            receive(to.path(), digest, parts).unwrap();
            assert_eq!(fs::read(path(to.path(), digest)).unwrap(), content);
            assert_eq!(names(to.path()), [digest.file_name()], "no unfinished file remains, also after a repetition");
        }
    }

    #[test]
    fn a_truncated_file_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(&content());
        let error = receive(directory.path(), digest, [content()[..PART].to_vec()]).unwrap_err();
        assert!(matches!(error, ReceiveError::Other { expected, .. } if expected == digest), "{error}");
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_file_that_takes_more_than_its_space_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(&content());
        let receive = |space| receive_within(directory.path(), digest, [content()], space);
        let short = Space { most: PART as u64, reserved: 0 };
        assert!(matches!(receive(short), Err(ReceiveError::TooLong)));
        let all = Space { most: MAX_LENGTH, reserved: u64::MAX };
        assert!(matches!(receive(all), Err(ReceiveError::Disk { .. })));
        assert_eq!(names(directory.path()), [""; 0]);
        receive(Space { most: content().len() as u64, reserved: 1 }).unwrap();
    }

    #[test]
    fn unfinished_files_of_the_same_weights_have_unique_names() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"weights");
        let made = [0; 2].map(|_| unfinished(directory.path(), digest).unwrap());
        assert_eq!(names(directory.path()).len(), 2);
        assert!(made.iter().all(|unfinished| is_unfinished(unfinished.path())));
        drop(made);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn damaged_and_unfinished_files_are_removed() {
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

//! Locks that no other user can hold.
//!
//! A lock belongs to an open file, and a user who can open the file, even for reading only, can lock it. New lock files are private. But
//! a lock file of an older version could be opened by every user, and another user may still hold its lock. Such a file is replaced.

use super::{Unfinished, open, user};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How often a lock file may be replaced by another process while this one tries to lock it.
const TRIES: usize = 4;

/// Locks the file at `path`, and creates it if it is missing. The lock lasts as long as the file is open.
///
/// # Errors
/// `WouldBlock` if another process of this user holds the lock; the file system's.
pub fn lock(path: &Path) -> Result<File, TryLockError> {
    for _ in 0..TRIES {
        let file = open(path).map_err(TryLockError::Error)?;
        match file.try_lock() {
            // The file may have been replaced since it was opened.
            Ok(()) if is_at(&file, path)? => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if is_held_by_others(&file)? => return take_over(&file, path),
            Err(error) => return Err(error),
        }
    }
    Err(TryLockError::WouldBlock)
}

/// Replaces a lock file that another user holds by a new one, which is locked.
fn take_over(held: &File, path: &Path) -> Result<File, TryLockError> {
    // Only one process replaces it at a time.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".takeover");
    let guard = open(&path.with_file_name(name)).map_err(TryLockError::Error)?;
    guard.try_lock()?;
    if !is_at(held, path)? {
        // Another process of this user has replaced it.
        return Err(TryLockError::WouldBlock);
    }
    let mut new = Unfinished::create(path, ".part").map_err(TryLockError::Error)?;
    new.file().try_lock()?;
    let locked = new.finish().map_err(TryLockError::Error)?;
    tracing::warn!(path = %path.display(), "another user held this lock; the file is replaced by a private one");
    Ok(locked)
}

/// Whether the open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> Result<bool, TryLockError> {
    let open = file.metadata().map_err(TryLockError::Error)?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((open.dev(), open.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(TryLockError::Error(error)),
    }
}

/// Whether the lock is held, and by processes of other users only. False if the system does not tell.
fn is_held_by_others(file: &File) -> Result<bool, TryLockError> {
    let inode = file.metadata().map_err(TryLockError::Error)?.ino();
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return Ok(false) };
    let holders: Vec<Option<u32>> = holders(&locks, inode).map(owner).collect();
    Ok(!holders.is_empty() && holders.iter().all(|owner| owner.is_some_and(|owner| owner != user())))
}

/// The processes that hold a lock on a file, from the text of `/proc/locks`: lines such as
/// `1: FLOCK  ADVISORY  READ 1234 fd:01:131073 0 EOF`. Lines of processes that wait for a lock have `->` in the second place.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = u32> {
    locks.lines().filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().filter(|kind| *kind == "FLOCK")?;
        let (process, file) = (words.nth(2)?, words.next()?);
        let of_file = file.rsplit(':').next()?.parse() == Ok(inode);
        of_file.then(|| process.parse().unwrap_or(0))
    })
}

/// The user of a process.
fn owner(process: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{process}")).ok().map(|process| process.uid())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::super::tests::mode;
    use super::*;

    #[test]
    fn a_lock_excludes_and_ends_with_its_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(TryLockError::WouldBlock)), "this user's own lock is not taken over");
        assert_eq!(mode(&path), 0o600);
        drop(held);
        lock(&path).unwrap();
    }

    #[test]
    fn a_lock_file_that_was_replaced_meanwhile_is_not_locked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let old = open(&path).unwrap();
        assert!(is_at(&old, &path).unwrap());
        let taken = take_over(&old, &path).unwrap();
        assert!(!is_at(&old, &path).unwrap() && is_at(&taken, &path).unwrap());
        assert!(matches!(lock(&path), Err(TryLockError::WouldBlock)));
        assert!(matches!(take_over(&old, &path), Err(TryLockError::WouldBlock)), "it was taken over already");
    }

    #[test]
    fn holders_are_read_from_the_systems_list() {
        let locks = "1: FLOCK  ADVISORY  READ 1234 fd:01:77 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 5 fd:01:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 6 fd:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 7 fd:01:771 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 8 00:3b:77 0 EOF\nodd\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [1234, 8]);
        assert_eq!(owner(std::process::id()), Some(user()));
    }
}

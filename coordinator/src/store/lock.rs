//! Locks a state directory: its lock file, and the file of its store.
//!
//! The lock file keeps other coordinators out, those of older versions too. It can be deleted while a coordinator runs, so the coordinator also
//! locks the store's file itself: a byte of it that SQLite never locks, with a lock that belongs to the open file. The lock ends with
//! the process, and closing another descriptor of the file does not end it.

use super::connection::{FILE, LOCK};
use super::error::StoreError;
use super::platform::{FileId, lock_open_file, make_private, private};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The locks on a state directory. They last as long as this.
pub(super) struct DirectoryLock {
    directory: PathBuf,
    /// The lock file.
    file: File,
    /// The file of the store, open for its lock. SQLite must have closed its descriptors before this is closed, or it would lose its locks.
    store: Option<Arc<File>>,
}

/// Whether a coordinator has the store in `directory` open.
pub(crate) fn is_open(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl DirectoryLock {
    /// Locks a state directory and the store in it, which is created if it is missing.
    pub fn with_store(directory: &Path) -> Result<Self, StoreError> {
        let mut lock = DirectoryLock::of_directory(directory)?;
        let path = directory.join(FILE);
        lock.lock_store(&path, true)?;
        Ok(lock)
    }

    /// Locks a state directory, and the store in it if there is one.
    pub fn with_any_store(directory: &Path) -> Result<Self, StoreError> {
        let mut lock = DirectoryLock::of_directory(directory)?;
        let path = directory.join(FILE);
        if path.exists() {
            lock.lock_store(&path, false)?;
        }
        Ok(lock)
    }

    fn of_directory(directory: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::from_io(directory.to_owned(), error);
        let path = directory.join(LOCK);
        let in_use = || StoreError::InUse(directory.to_owned());
        let file = take(&path).map_err(unusable)?.ok_or_else(in_use)?;
        Ok(DirectoryLock { directory: directory.to_owned(), file, store: None })
    }

    fn lock_store(&mut self, path: &Path, create: bool) -> Result<(), StoreError> {
        let failed = |error| StoreError::from_io(path.to_owned(), error);
        let store = match private(path.is_symlink()).create(create).truncate(false).open(path) {
            Ok(store) => store,
            Err(error)
                if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
                    && path.exists() =>
            {
                return Err(StoreError::ReadOnly(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        make_private(&store).map_err(failed)?;
        match lock_open_file(&store) {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::InUse(self.directory.clone())),
            // Some network file systems have no such locks. The lock file remains.
            Err(error) => tracing::debug!(%error, "the store's file cannot be locked"),
        }
        self.store = Some(Arc::new(store));
        Ok(())
    }

    /// The file of the store, to be kept open as long as SQLite has it open.
    pub fn store(&self) -> Option<Arc<File>> {
        self.store.clone()
    }

    /// Whether the lock file on disk is the locked one. If it is missing or another one, it is replaced by a locked one, unless another
    /// process has locked that.
    pub fn renew(&mut self) -> io::Result<bool> {
        let path = self.directory.join(LOCK);
        if FileId::at(&path)? == Some(FileId::of(&self.file.metadata()?)) {
            return Ok(true);
        }
        let Some(file) = take(&path)? else { return Ok(false) };
        tracing::warn!(path = %path.display(), "the lock file was deleted or replaced by another program; it has been made again");
        self.file = file;
        Ok(true)
    }
}

/// Opens and locks the lock file. Returns nothing if another coordinator has it locked.
fn take(path: &Path) -> io::Result<Option<File>> {
    // A file that is replaced meanwhile is opened again; each round needs another process that replaces it at the same moment.
    for _ in 0..16 {
        let file = private(false).create(true).truncate(false).open(path)?;
        make_private(&file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            // A coordinator's lock is exclusive. A shared lock is that of another program, or for a moment of a client.
            Err(TryLockError::WouldBlock) => match file.try_lock_shared() {
                Ok(()) => {
                    fs::remove_file(path)?;
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        }
        if FileId::at(path)? == Some(FileId::of(&file.metadata()?)) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

//! The coordinator's open store: its lock, its identity, the check of its file and the size of its log.

use super::connection::{FILE, VERSION, find_damage, lock, open_to_read, open_to_write, version};
use super::error::StoreError;
use super::migrate;
use plusminus_core::id::JobId;
use rusqlite::Connection;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::SystemTime;

/// The fewest and the most pages in the log before SQLite moves it into the file.
pub(super) const SHORTEST_LOG: i64 = 32;
const LONGEST_LOG: i64 = 4_000;
/// A file of more bytes is checked in the background.
const LARGE: u64 = 64 << 20;

/// The open store of a coordinator. Only one process can have it open.
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// The row numbers of running jobs.
    pub(super) numbers: HashMap<JobId, i64>,
    /// Transactions written.
    pub(super) commits: u64,
    /// Whether the log of a large submission has yet to be moved into the file.
    pub(super) untidy: bool,
    /// The damage that the check in the background found.
    pub(super) damage: Arc<OnceLock<String>>,
    /// Kept open for its lock.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory`, and creates both if they are missing.
    ///
    /// # Errors
    /// If another coordinator has it open, or it cannot be written, is damaged or has a newer version.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        let unusable = |error| StoreError::Unusable { path: directory.to_owned(), error };
        plusminus_files::own_dir(directory).map_err(unusable)?;
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        // SQLite gives the files beside it the same mode.
        plusminus_files::open(&path).map_err(|error| match error.kind() {
            ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(path.clone()),
            ErrorKind::PermissionDenied if error.raw_os_error().is_some() => StoreError::ReadOnly(path.clone()),
            ErrorKind::StorageFull => StoreError::Full(path.clone()),
            _ => StoreError::Unusable { path: path.clone(), error },
        })?;
        let connection = open_to_write(&path).map_err(|error| StoreError::from_sqlite(path.clone(), error))?;
        let mut store = Store {
            connection,
            path,
            numbers: HashMap::new(),
            commits: 0,
            untidy: false,
            damage: Arc::default(),
            _lock: lock,
        };
        store.migrate()?;
        store.keep_log_small().map_err(|error| store.error(error))?;
        store.ensure_identity().map_err(|error| store.error(error))?;
        Ok(store)
    }

    /// A number other than 0 that identifies this store and its copies, kept in SQLite's `application_id`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identity(&self) -> Result<u32, StoreError> {
        self.application_id().map_err(|error| self.error(error))
    }

    fn application_id(&self) -> rusqlite::Result<u32> {
        self.connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0)).map(i32::cast_unsigned)
    }

    fn ensure_identity(&self) -> rusqlite::Result<()> {
        if self.application_id()? != 0 {
            return Ok(());
        }
        let random = RandomState::new().hash_one(SystemTime::now()) as u32;
        self.connection.pragma_update(None, "application_id", random.max(1).cast_signed())
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        match version(&self.connection).map_err(|error| self.error(error))? {
            0 => migrate::create_tables(&self.connection).map_err(|error| self.error(error)),
            found @ 1..=VERSION => {
                self.check()?;
                migrate::migrate_from(&self.connection, found).map_err(|error| self.error(error))
            }
            found => Err(StoreError::TooNew { path: self.path.clone(), found, known: VERSION }),
        }
    }

    /// Checks the file for damage: at once, or in the background if it is large. After the background check has found damage, no commit
    /// succeeds.
    fn check(&self) -> Result<(), StoreError> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > LARGE) {
            let (path, damage) = (self.path.clone(), Arc::clone(&self.damage));
            let started = thread::Builder::new().name("check".into()).spawn(move || {
                // If the check cannot run, nothing is known to be damaged.
                if let Ok((connection, _)) = open_to_read(&path)
                    && let Ok(Some(problem)) = find_damage(&connection)
                {
                    tracing::error!(path = %path.display(), "the store is damaged: {problem}");
                    let _ = damage.set(problem);
                }
            });
            return started.map(drop).map_err(|error| StoreError::Unusable { path: self.path.clone(), error });
        }
        match find_damage(&self.connection).map_err(|error| self.error(error))? {
            None => Ok(()),
            Some(problem) => Err(StoreError::Corrupt { path: self.path.clone(), problem }),
        }
    }

    /// Lets the log grow to the size of the file, within limits, before SQLite moves it into the file. A small store then has a small log,
    /// and a large store is not rewritten all the time.
    pub(super) fn keep_log_small(&self) -> rusqlite::Result<()> {
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        self.connection.pragma_update(None, "wal_autocheckpoint", pages.clamp(SHORTEST_LOG, LONGEST_LOG))
    }

    pub(super) fn error(&self, error: rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(self.path.clone(), error)
    }
}

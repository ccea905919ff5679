//! The coordinator's open store: its identity, the check of its file, the size of its log, and whether it is still the one on disk.

use super::connection::{FILE, VERSION, check_length, find_damage, open_to_read, open_to_write, version};
use super::error::{StoreError, can_be_read};
use super::lock::DirectoryLock;
use super::migrate;
use super::on_disk::{Fault, OpenFiles};
use plusminus_core::id::JobId;
use rusqlite::Connection;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
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
    /// Whether the records of the last commit are written, but the store was not the one on disk afterwards. The same records come again.
    pub(super) unconfirmed: bool,
    /// The file, kept open for its lock by readers too. It is closed after the connections: SQLite's locks end with the first descriptor of
    /// the file that a process closes.
    pub(super) file: Option<Arc<File>>,
    pub(super) files: OpenFiles,
}

impl Store {
    /// Opens the store in `directory`, and creates both if they are missing.
    ///
    /// # Errors
    /// If another coordinator has it open, or it cannot be written, is damaged or has a newer version.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        plusminus_files::own_dir(directory)
            .map_err(|error| StoreError::Unusable { path: directory.to_owned(), error })?;
        check_length(directory)?;
        let lock = DirectoryLock::with_store(directory)?;
        let path = directory.join(FILE);
        let file = lock.store();
        let failed = |error| StoreError::from_sqlite(path.clone(), error);
        let connection = open_to_write(&path).map_err(failed)?;
        let damage = Arc::default();
        prepare_tables(&connection, &path, &damage, file.as_ref())?;
        ensure_identity(&connection).map_err(failed)?;
        let files = OpenFiles::of(path.clone(), lock).map_err(|error| StoreError::from_io(path.clone(), error))?;
        let mut store = Store {
            connection,
            path,
            numbers: HashMap::new(),
            commits: 0,
            untidy: false,
            damage,
            unconfirmed: false,
            file,
            files,
        };
        store.keep_log_small().map_err(|error| store.error(error))?;
        store.confirm()?;
        Ok(store)
    }

    /// A number other than 0 that identifies this store and its copies, kept in SQLite's `application_id`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identity(&self) -> Result<u32, StoreError> {
        application_id(&self.connection).map_err(|error| self.error(error))
    }

    /// Checks that the open files are those on disk; if not, that nothing more is acknowledged.
    ///
    /// # Errors
    /// If they are not, or another process has locked the state directory, or the disk fails.
    pub fn confirm(&mut self) -> Result<(), StoreError> {
        let Err(fault) = self.files.check() else { return Ok(()) };
        if let Fault::Log(_) = fault {
            // The open log, which nobody else can see any more, is moved into the file. Everything committed so far then survives.
            if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())) {
                tracing::warn!(%error, "cannot move the store's deleted log into its file");
            }
        }
        Err(self.files.error(fault))
    }

    /// Checks before a commit that the log still has what was committed.
    pub(super) fn check_log(&mut self) -> Result<(), StoreError> {
        if !self.files.is_log_shorter() {
            return Ok(());
        }
        // Another program may have moved the log into the file, as SQLite does. Otherwise SQLite fails to read it here. After
        // a restart of the log, SQLite writes it from its beginning.
        let moved = self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
            let [blocked, logged, moved] = [row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?];
            Ok(logged <= 0 || blocked == 0 && moved == logged)
        });
        if moved.unwrap_or(false) {
            self.files.note_length();
            return Ok(());
        }
        Err(self.files.truncated())
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

pub(super) fn application_id(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0)).map(i32::cast_unsigned)
}

fn ensure_identity(connection: &Connection) -> rusqlite::Result<()> {
    if application_id(connection)? != 0 {
        return Ok(());
    }
    let random = RandomState::new().hash_one(SystemTime::now()) as u32;
    connection.pragma_update(None, "application_id", random.max(1).cast_signed())
}

/// Creates the tables of a new store; checks and migrates those of an existing one.
fn prepare_tables(
    connection: &Connection,
    path: &Path,
    damage: &Arc<OnceLock<String>>,
    file: Option<&Arc<File>>,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(path.to_owned(), error);
    match version(connection).map_err(failed)? {
        0 => migrate::create_tables(connection).map_err(failed),
        found @ 1..=VERSION => {
            check(connection, path, damage, file)?;
            migrate::migrate_from(connection, found).map_err(failed)
        }
        found => Err(StoreError::TooNew { path: path.to_owned(), found, known: VERSION }),
    }
}

/// Checks the file for damage: at once, or in the background if it is large. After the background check has found damage, no commit
/// succeeds.
fn check(
    connection: &Connection,
    path: &Path,
    damage: &Arc<OnceLock<String>>,
    file: Option<&Arc<File>>,
) -> Result<(), StoreError> {
    if fs::metadata(path).is_ok_and(|file| file.len() > LARGE) {
        let failed = |error| StoreError::Unusable { path: path.to_owned(), error };
        let (path, damage, file) = (path.to_owned(), Arc::clone(damage), file.map(Arc::clone));
        let started = thread::Builder::new().name("check".into()).spawn(move || {
            // If the check cannot run, or the disk cannot be read, nothing is known to be damaged.
            let found = open_to_read(&path).and_then(|(connection, _)| find_damage(&connection));
            match found {
                Ok(Some(problem)) if file.is_none_or(|file| can_be_read(&file)) => {
                    tracing::error!(path = %path.display(), "the store is damaged: {problem}");
                    let _ = damage.set(problem);
                }
                Ok(Some(error)) => {
                    tracing::error!(path = %path.display(), "cannot check the store: {error}; check its disk")
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(path = %path.display(), "cannot check the store: {error}; check its disk")
                }
            }
        });
        return started.map(drop).map_err(failed);
    }
    match find_damage(connection).map_err(|error| StoreError::from_sqlite(path.to_owned(), error))? {
        None => Ok(()),
        Some(problem) => Err(StoreError::damaged(path.to_owned(), problem)),
    }
}

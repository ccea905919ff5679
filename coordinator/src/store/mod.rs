//! The store: one SQLite file in the state directory, written by one thread, many records to a transaction.
//!
//! *Architecture invariant:* the store mirrors `core::scheduler::State`. It takes the same records in the same order and decides
//! nothing, and what [`Store::records`] gives back leads `State::apply` to the same state.

mod attempts;
pub mod backup;
mod error;
mod migrate;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use attempts::AttemptRow;
pub use error::StoreError;
pub use read::Reader;

use plusminus_core::id::JobId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::SystemTime;

/// The version of the schema that this plusminus writes, kept in SQLite's `user_version`.
const VERSION: u32 = 3;
const FILE: &str = "plusminus.sqlite";
const LOCK: &str = "lock";
/// After how many pages the log is moved into the file.
const SHORTEST_LOG: i64 = 32;
const LONGEST_LOG: i64 = 4_000;
/// A file of more bytes than this is checked while it is in use already.
const LARGE: u64 = 64 << 20;
/// The most memory that the pages of the store take, in KiB.
const CACHE: i64 = 96 << 10;
/// Bytes of the log's file that stay when it has been moved.
const LOG_KEPT: u32 = 16 << 20;

/// Whether a coordinator has the store in `directory` open.
pub(crate) fn is_open(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The open store of a coordinator. While it is open no other coordinator can have it.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// What the tables call the jobs that are being trained.
    numbers: HashMap<JobId, i64>,
    /// Transactions written.
    commits: u64,
    /// The log has yet to be moved into the file.
    untidy: bool,
    /// What was found wrong with the file since it was opened.
    damage: Arc<OnceLock<String>>,
    /// Held for its lock.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory`, and makes both where they are missing.
    ///
    /// # Errors
    /// If another coordinator has it, it cannot be written, is damaged or too new.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        let unusable = |error| StoreError::Unusable { path: directory.to_owned(), error };
        fs::create_dir_all(directory).map_err(unusable)?;
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        let connection = prepare(&path).map_err(|error| StoreError::from_sqlite(path.clone(), error))?;
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
        store.keep_log_small().map_err(|error| store.failed(error))?;
        store.name_itself().map_err(|error| store.failed(error))?;
        Ok(store)
    }

    /// A number that tells this store from others, not 0; its copies have it too. It is kept in SQLite's `application_id`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identity(&self) -> Result<u32, StoreError> {
        self.application_id().map_err(|error| self.failed(error))
    }

    fn application_id(&self) -> rusqlite::Result<u32> {
        self.connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i32>(0)).map(i32::cast_unsigned)
    }

    fn name_itself(&self) -> rusqlite::Result<()> {
        if self.application_id()? != 0 {
            return Ok(());
        }
        let drawn = RandomState::new().hash_one(SystemTime::now()) as u32;
        self.connection.pragma_update(None, "application_id", drawn.max(1).cast_signed())
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        match version(&self.connection).map_err(|error| self.failed(error))? {
            0 => migrate::make(&self.connection).map_err(|error| self.failed(error)),
            found @ 1..=VERSION => {
                self.check()?;
                migrate::from(&self.connection, found).map_err(|error| self.failed(error))
            }
            found => Err(StoreError::TooNew { path: self.path.clone(), found, known: VERSION }),
        }
    }

    /// A damaged file is found when it is opened, or, where it takes a while to read it all, soon after: no further commit succeeds.
    fn check(&self) -> Result<(), StoreError> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > LARGE) {
            let (path, damage) = (self.path.clone(), Arc::clone(&self.damage));
            // Where it cannot be begun, nothing has been found.
            let begun = thread::Builder::new().name("check".into()).spawn(move || {
                if let Ok((connection, _)) = open_to_read(&path)
                    && let Ok(Some(problem)) = damage_of(&connection)
                {
                    tracing::error!(path = %path.display(), "the store is damaged: {problem}");
                    let _ = damage.set(problem);
                }
            });
            return begun.map(drop).map_err(|error| StoreError::Unusable { path: self.path.clone(), error });
        }
        match damage_of(&self.connection).map_err(|error| self.failed(error))? {
            None => Ok(()),
            Some(problem) => Err(StoreError::Corrupt { path: self.path.clone(), problem }),
        }
    }

    /// Has the log moved into the file when it is as long as that, within limits: a small store has a small log, and a large one is
    /// not moved about all the time.
    fn keep_log_small(&self) -> rusqlite::Result<()> {
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        self.connection.pragma_update(None, "wal_autocheckpoint", pages.clamp(SHORTEST_LOG, LONGEST_LOG))
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(self.path.clone(), error)
    }
}

/// Takes the lock of a state directory, which must be there.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let unusable = |error| StoreError::Unusable { path: directory.to_owned(), error };
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join(LOCK)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// What is wrong with the file, if anything is.
fn damage_of(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(found) => Ok(Some(found).filter(|found| found != "ok")),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Some(error.to_string())),
            _ => Err(error),
        },
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // FULL: a commit is on the disk when it returns, even if the machine loses power.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What a large submission has made of the log is given back.
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // Ids are hashes, so a large submission writes all over their index.
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.set_prepared_statement_cache_capacity(64);
    // A plan does not depend on what a statement is given, which would be reason enough for SQLite to compile some anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The states that are written stand in this room alone; to check one, SQLite would make a table of all for every row.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Opens the store to read it, and tells its version.
fn open_to_read(path: &Path) -> rusqlite::Result<(Connection, u32)> {
    let open = |path: &str, flags| {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.pragma_update(None, "query_only", true)?;
        let version = version(&connection)?;
        Ok((connection, version))
    };
    let text = path.to_string_lossy();
    open(&text, OpenFlags::SQLITE_OPEN_READ_WRITE).or_else(|error: rusqlite::Error| {
        // SQLite cannot make the files beside it that it wants where nothing can be written; told that nobody writes, it does
        // without. That is so where the last writer has left no log behind.
        let log = path.with_extension("sqlite-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(error);
        }
        let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{escaped}?immutable=1");
        open(&uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    })
}

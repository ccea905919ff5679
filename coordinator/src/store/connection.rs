//! Opens SQLite connections to the store's file, and locks the state directory.

use super::error::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File, TryLockError};
use std::path::Path;

/// The version of the schema that this plusminus writes, kept in SQLite's `user_version`.
pub(super) const VERSION: u32 = 4;
/// The name of the store's file in the state directory.
pub(crate) const FILE: &str = "plusminus.sqlite";
const LOCK: &str = "lock";
/// The size of the page cache in KiB.
const CACHE: i64 = 96 << 10;
/// The largest size of the write-ahead log's file after a checkpoint, in bytes.
const LOG_KEPT: u32 = 16 << 20;

/// Whether a coordinator has the store in `directory` open.
pub(crate) fn is_open(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Locks a state directory, which must exist. The lock lasts as long as the file is open.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    let unusable = |error| StoreError::Unusable { path: directory.to_owned(), error };
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join(LOCK)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// A damage of the file, if SQLite's quick check finds one.
pub(super) fn find_damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(found) => Ok(Some(found).filter(|found| found != "ok")),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Some(error.to_string())),
            _ => Err(error),
        },
    }
}

/// Opens the store for writing, and creates the file if it is missing.
pub(super) fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // FULL: a commit is on the disk when it returns, even after a power failure.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // After a large submission, the log's file shrinks again.
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // Ids are hashes, so a large submission writes to pages all over their index.
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Query plans do not depend on bound values. Otherwise SQLite would recompile some statements at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Only this module's siblings write states. To check one, SQLite would build a table of all states for every row.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    Ok(connection)
}

/// The version of the schema; 0 for a file without tables.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Opens the store for reading, and returns the version of its schema.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<(Connection, u32)> {
    let open = |path: &str, flags| {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.pragma_update(None, "query_only", true)?;
        let version = version(&connection)?;
        Ok((connection, version))
    };
    let text = path.to_string_lossy();
    open(&text, OpenFlags::SQLITE_OPEN_READ_WRITE).or_else(|error: rusqlite::Error| {
        // In a read-only directory SQLite cannot create the files that it wants beside the store. It needs none if the file is declared
        // immutable, which is safe if the last writer left no log.
        let log = path.with_extension("sqlite-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(error);
        }
        let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{escaped}?immutable=1");
        open(&uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    })
}

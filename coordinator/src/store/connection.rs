//! Opens SQLite connections to the store's file.

use super::error::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ffi};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// The version of the schema that this plusminus writes, kept in SQLite's `user_version`.
pub(super) const VERSION: u32 = 4;
/// The name of the store's file in the state directory.
pub(crate) const FILE: &str = "plusminus.sqlite";
/// The name of the lock file in the state directory.
pub(super) const LOCK: &str = "lock";
/// The longest path of a store in bytes: SQLite's limit of 512, less the longest suffix that SQLite appends.
const LONGEST_PATH: usize = 512 - 8;
/// The size of the page cache in KiB.
const CACHE: i64 = 96 << 10;
/// The largest size of the write-ahead log's file after a checkpoint, in bytes.
const LOG_KEPT: u32 = 16 << 20;

/// A damage of the file, if SQLite's quick check finds one.
pub(super) fn find_damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(found) => match disk_failure(&found) {
            Some(error) => Err(error),
            None => Ok(Some(found).filter(|found| found != "ok")),
        },
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Some(error.to_string())),
            _ => Err(error),
        },
    }
}

/// The failure of the disk that a check of SQLite reports as if it were a damage: "unable to get the page. error code=266".
pub(super) fn disk_failure(found: &str) -> Option<rusqlite::Error> {
    let code: String = found.split_once("error code=")?.1.chars().take_while(char::is_ascii_digit).collect();
    let error = ffi::Error::new(code.parse().ok()?);
    let fails = matches!(error.code, ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory);
    fails.then(|| rusqlite::Error::SqliteFailure(error, Some(found.to_owned())))
}

/// Checks that SQLite can open a store in `directory`, which must exist. SQLite resolves symbolic links, and appends suffixes of up to eight
/// bytes.
pub(super) fn check_length(directory: &Path) -> Result<(), StoreError> {
    let resolved = fs::canonicalize(directory).map_err(|error| StoreError::from_io(directory.to_owned(), error))?;
    let (length, limit) = (resolved.as_os_str().len(), LONGEST_PATH - FILE.len() - 1);
    match length <= limit {
        true => Ok(()),
        false => Err(StoreError::PathTooLong { path: directory.to_owned(), length, limit }),
    }
}

/// A path as SQLite takes it in a statement: it need not be valid UTF-8.
pub(super) fn path_text(path: &Path) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(path.as_os_str().as_encoded_bytes()))
}

/// Opens the store for writing, and creates the file if it is missing.
pub(super) fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    // Without URIs: a directory may be named `file:`.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
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
    let open = |path: &Path, flags| {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.pragma_update(None, "query_only", true)?;
        let version = version(&connection)?;
        Ok((connection, version))
    };
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).or_else(|error: rusqlite::Error| {
        // In a read-only directory SQLite cannot create the files that it wants beside the store. It needs none if the file is declared
        // immutable, which is safe if the last writer left no log.
        let log = path.with_extension("sqlite-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(error);
        }
        open(Path::new(&immutable(path)), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    })
}

/// The URI of a file that nobody writes.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            other => {
                // Writing to a string does not fail.
                let _ = write!(uri, "%{other:02x}");
            }
        }
    }
    uri + "?immutable=1"
}

/// A text column as a value.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

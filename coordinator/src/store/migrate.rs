//! The tables of a new store, and of a store of an older version what they are now.

use super::VERSION;
use rusqlite::{Connection, Result};

const SCHEMA: &str = include_str!("schema.sql");

/// Makes the tables of a new store.
pub(super) fn make(connection: &Connection) -> Result<()> {
    in_one_transaction(connection, SCHEMA)
}

/// Makes of the tables of version `found` those of today.
pub(super) fn from(connection: &Connection, found: u32) -> Result<()> {
    if found == VERSION {
        return Ok(());
    }
    // Version 2 counts failures without progress, and its view tells which rows are superseded.
    let columns = "ALTER TABLE jobs ADD COLUMN reached_before INTEGER NOT NULL DEFAULT 0; DROP VIEW metrics;";
    in_one_transaction(connection, &format!("{columns} {}", view("metrics")))
}

/// All of it or nothing, with the version.
fn in_one_transaction(connection: &Connection, statements: &str) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(statements)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// A view as the schema defines it.
fn view(name: &str) -> &'static str {
    let from = SCHEMA.find(&format!("CREATE VIEW {name} AS")).map_or("", |start| &SCHEMA[start..]);
    from.split_inclusive(';').next().unwrap_or_default()
}

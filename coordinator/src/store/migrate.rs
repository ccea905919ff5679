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
    let counted =
        if found < 2 { "ALTER TABLE jobs ADD COLUMN reached_before INTEGER NOT NULL DEFAULT 0;" } else { "" };
    // Version 3 has the facts of a job, which are long, in a table of their own.
    let facts = created("TABLE job_facts");
    let views = ["VIEW jobs", "VIEW metrics", "VIEW sweep_results"].map(created).concat();
    let statements = format!(
        r#"DROP VIEW metrics;
           DROP VIEW sweep_results;
           {counted}
           ALTER TABLE jobs RENAME TO job_states;
           ALTER TABLE job_states ADD COLUMN result INTEGER NOT NULL DEFAULT 0;
           ALTER TABLE job_states ADD COLUMN kept TEXT;
           {facts}
           INSERT INTO job_facts (job, facts)
             SELECT number, iif(instr(facts, '"kept"'), json_remove(facts, '$.kept'), facts)
             FROM job_states WHERE facts IS NOT NULL ORDER BY number;
           UPDATE job_states
             SET result = 1, kept = iif(instr(facts, '"kept"'), json_extract(facts, '$.kept'), NULL), facts = NULL
             WHERE facts IS NOT NULL;
           ALTER TABLE job_states DROP COLUMN facts;
           {views}"#
    );
    in_one_transaction(connection, &statements)
}

/// All of it or nothing, with the version.
fn in_one_transaction(connection: &Connection, statements: &str) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(statements)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// The statement of the schema that creates something.
fn created(what: &str) -> &'static str {
    let statement = |verb: &str| SCHEMA.find(&format!("CREATE {what} {verb}")).map(|start| &SCHEMA[start..]);
    let from = statement("AS").or_else(|| statement("(")).unwrap_or_default();
    from.split_inclusive(";\n").next().unwrap_or_default()
}

//! Creates the tables of a new store, and migrates the tables of older versions.

use super::checksum;
use super::connection::VERSION;
use rusqlite::{Connection, Result};

const SCHEMA: &str = include_str!("schema.sql");

/// Creates the tables of a new store.
pub(super) fn create_tables(connection: &Connection) -> Result<()> {
    in_one_transaction(connection, SCHEMA)
}

/// Changes of version 4 to `cells`, `job_states` and `job_facts`, from version 3. The step from older versions replaces these tables.
const STATES_FROM_3: &str = "
    ALTER TABLE job_states ADD COLUMN failed_on TEXT;
    ALTER TABLE job_facts ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
";
/// Changes of version 4 to the other tables, from any older version.
const OTHERS_FROM_3: &str = "
    ALTER TABLE epochs ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE results ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sweeps ADD COLUMN paused TEXT;
    ALTER TABLE sweeps ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    UPDATE epochs SET checksum = epoch_checksum(
      (SELECT id FROM job_states WHERE number = job), attempt, epoch, at, measurements);
    UPDATE results SET checksum = result_checksum((SELECT id FROM job_states WHERE number = job), at, metric, epoch, value);
    UPDATE job_facts SET checksum = facts_checksum((SELECT id FROM job_states WHERE number = job), facts);
    UPDATE sweeps SET checksum = sweep_checksum(name, source);
";

/// Migrates the tables from version `found` to the current version.
pub(super) fn migrate_from(connection: &Connection, found: u32) -> Result<()> {
    let statements = match found {
        VERSION => return Ok(()),
        3 => STATES_FROM_3.to_owned(),
        _ => from_1_or_2(found),
    };
    // The functions of the statements.
    checksum::register(connection)?;
    // While a table is replaced, references of other tables are broken.
    connection.pragma_update(None, "foreign_keys", false)?;
    let migrated = in_one_transaction(connection, &(statements + OTHERS_FROM_3));
    connection.pragma_update(None, "foreign_keys", true)?;
    migrated
}

/// The statements that replace the tables of versions 1 and 2.
fn from_1_or_2(found: u32) -> String {
    // Version 2 counts failures without progress, and its view marks superseded rows. Version 3 has short rows of jobs: the long facts
    // have a table of their own. The other tables' references follow the first renaming, not the second.
    let (states, cells) = (older::states(found, "job_states"), older::CELLS);
    let [cells_new, states_new] = ["cells", "job_states"].map(|table| {
        created(&format!("TABLE {table}")).replace(&format!("TABLE {table} "), &format!("TABLE {table}_new "))
    });
    let facts = created("TABLE job_facts");
    let views = ["VIEW jobs", "VIEW metrics", "VIEW sweep_results"].map(created).concat();
    let columns =
        "number, id, cell, seed, state, attempts, failures, reached_before, not_before, result, kept, failure_kind,
                   failure";
    format!(
        r#"DROP VIEW metrics;
           DROP VIEW sweep_results;
           ALTER TABLE jobs RENAME TO job_states;
           {cells_new} {states_new} {facts}
           INSERT INTO cells_new (number, id, configuration) SELECT number, id, configuration FROM {cells};
           INSERT INTO job_states_new ({columns}) SELECT {columns} FROM {states} ORDER BY number;
           INSERT INTO job_facts (job, facts)
             SELECT number, iif(instr(facts, '"kept"'), json_remove(facts, '$.kept'), facts)
             FROM job_states WHERE facts IS NOT NULL ORDER BY number;
           DROP TABLE job_states;
           DROP TABLE cells;
           ALTER TABLE job_states_new RENAME TO job_states;
           ALTER TABLE cells_new RENAME TO cells;
           {views}"#
    )
}

/// Queries that give the rows of older versions the current column names.
pub(super) mod older {
    /// Cells.
    pub const CELLS: &str = "(SELECT row_number() OVER (ORDER BY id) AS number, id, configuration FROM cells)";

    /// Job states, from the table `jobs` of that version.
    pub fn states(version: u32, jobs: &str) -> String {
        // Version 1 did not count.
        let reached_before = if version < 2 { "0 AS reached_before" } else { "reached_before" };
        format!(
            r#"(SELECT jobs.number, unhex(jobs.id) AS id, numbered.number AS cell, seed, state, attempts, failures, {reached_before},
                       not_before, facts IS NOT NULL AS result,
                       iif(instr(facts, '"kept"'), json_extract(facts, '$.kept'), NULL) AS kept, failure_kind, failure
                FROM {jobs} AS jobs JOIN {CELLS} AS numbered ON numbered.id = jobs.cell)"#
        )
    }
}

/// Executes all statements and sets the version, or does nothing.
fn in_one_transaction(connection: &Connection, statements: &str) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(statements)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// The statement of the schema that creates a table or view.
fn created(what: &str) -> &'static str {
    let statement = |verb: &str| SCHEMA.find(&format!("CREATE {what} {verb}")).map(|start| &SCHEMA[start..]);
    let from = statement("AS").or_else(|| statement("(")).unwrap_or_default();
    from.split_inclusive(";\n").next().unwrap_or_default()
}

//! Removes sweeps, and what no sweep needs any more, from a state directory without a coordinator.

use super::backup::WEIGHTS;
use super::connection::FILE;
use super::database::Store;
use super::error::StoreError;
use super::read::Reader;
use plusminus_core::id::{Digest, JobId, SweepName};
use plusminus_core::metric::EpochSelection;
use plusminus_core::scheduler::Record;
use plusminus_proto::weights::{self, if_there};
use rusqlite::{Connection, OptionalExtension, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Jobs that no other sweep lists.
    pub jobs: u64,
    /// Their epochs, of all attempts.
    pub epochs: u64,
    /// Their values of metrics at epoch selections.
    pub results: u64,
    /// Weights files, and unfinished ones.
    pub weights: u64,
    /// The space that this frees, in bytes.
    pub bytes: u64,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such sweep.
    #[error("sweep `{name}` not found; known sweeps: {}", known_names(.known))]
    UnknownSweep {
        /// The requested name.
        name: String,
        /// The names of all sweeps.
        known: Vec<String>,
    },
    /// The sweep has jobs that wait or run.
    #[error(
        "sweep `{name}` has {jobs} unfinished jobs; cancel it first with `plusminus cancel {name}`, or give --force"
    )]
    Unfinished {
        /// The sweep.
        name: String,
        /// The jobs that wait or run.
        jobs: u64,
    },
    /// A weights file cannot be removed.
    #[error("cannot remove {path}: {error}; the store itself no longer has what was to be removed: run `plusminus gc`")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// The weights files of a state directory that no job refers to.
#[derive(Default)]
struct Orphans {
    paths: Vec<PathBuf>,
    bytes: u64,
}

/// Removes a sweep, and its jobs that no other sweep lists, with their results. With `force` also if it has unfinished jobs. With `dry_run`
/// it only says what it would remove.
///
/// # Errors
/// If there is no such sweep, it has unfinished jobs, a coordinator runs on the state directory, or the disk fails.
pub fn forget(
    directory: &Path,
    name: &SweepName,
    force: bool,
    dry_run: bool,
) -> std::result::Result<Removed, ForgetError> {
    let store = open(directory)?;
    let failed = |error| StoreError::from_sqlite(directory.join(FILE), error);
    let select = "SELECT ordinal, cancelled IS NOT NULL FROM sweeps WHERE name = ?1";
    let found: Option<(i64, bool)> = store
        .connection
        .query_row(select, [name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(failed)?;
    let Some((sweep, cancelled)) = found else {
        let known = names(&store.connection).map_err(failed)?;
        return Err(ForgetError::UnknownSweep { name: name.to_string(), known });
    };
    let unfinished = "SELECT count(*) FROM sweep_jobs JOIN job_states ON job_states.number = sweep_jobs.job
                      WHERE sweep_jobs.sweep = ?1 AND job_states.state IN ('queued', 'running')";
    let jobs: i64 = store.connection.query_row(unfinished, [sweep], |row| row.get(0)).map_err(failed)?;
    let jobs = jobs.cast_unsigned();
    if jobs > 0 && !cancelled && !force {
        return Err(ForgetError::Unfinished { name: name.to_string(), jobs });
    }
    remove(store, directory, Some(sweep), dry_run)
}

/// Removes the jobs that no sweep lists with their results, and the weights files that no job refers to. With `dry_run` it only says what
/// it would remove.
///
/// # Errors
/// If a coordinator runs on the state directory, or the disk fails.
pub fn collect(directory: &Path, dry_run: bool) -> std::result::Result<Removed, ForgetError> {
    remove(open(directory)?, directory, None, dry_run)
}

fn open(directory: &Path) -> std::result::Result<Store, StoreError> {
    // A store is not created.
    Reader::open(directory)?;
    Store::open(directory)
}

fn names(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM sweeps ORDER BY ordinal")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Removes a sweep; or without one, the jobs that no sweep lists.
fn remove(
    store: Store,
    directory: &Path,
    sweep: Option<i64>,
    dry_run: bool,
) -> std::result::Result<Removed, ForgetError> {
    let parents = parents_of_listed(&store, sweep)?;
    let failed = |error| StoreError::from_sqlite(directory.join(FILE), error);
    let weights = directory.join(WEIGHTS);
    let disk = |error| ForgetError::Disk { path: weights.clone(), error };
    // SQLite would look through all rows of a sweep for each removed job. Nothing refers to the removed jobs afterwards.
    store.connection.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    let transaction = store.connection.unchecked_transaction().map_err(failed)?;
    let before = kept(&transaction).map_err(failed)?;
    let mut removed = remove_rows(&transaction, sweep, &parents).map_err(failed)?;
    let after = kept(&transaction).map_err(failed)?;
    // `forget` removes the weights of its own jobs only.
    let gone: BTreeSet<Digest> = before.difference(&after).copied().collect();
    let is_orphan = |digest: Option<Digest>| match digest {
        Some(digest) if sweep.is_some() => gone.contains(&digest),
        Some(digest) => !after.contains(&digest),
        None => sweep.is_none(),
    };
    let orphans = orphans(&weights, is_orphan).map_err(disk)?;
    removed.weights = orphans.paths.len() as u64;
    removed.bytes += orphans.bytes;
    if dry_run {
        // The transaction is rolled back.
        return Ok(removed);
    }
    transaction.commit().map_err(failed)?;
    for path in orphans.paths {
        if_there(fs::remove_file(&path)).map_err(|error| ForgetError::Disk { path: path.clone(), error })?;
    }
    if removed.bytes > orphans.bytes
        && let Err(error) = store.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
    {
        // Copying the rest needs as much space as the rest takes.
        tracing::warn!(%error, "the store's file cannot be made smaller now; the store uses the free space for new results");
    }
    Ok(removed)
}

/// The parents of all jobs that sweeps other than `without` list. They are normally listed, too.
fn parents_of_listed(store: &Store, without: Option<i64>) -> std::result::Result<BTreeSet<JobId>, StoreError> {
    let failed = |error| store.error(error);
    let name = match without {
        None => None,
        Some(sweep) => {
            let select = "SELECT name FROM sweeps WHERE ordinal = ?1";
            Some(store.connection.query_row(select, [sweep], |row| row.get::<_, String>(0)).map_err(failed)?)
        }
    };
    let mut parents = BTreeSet::new();
    for record in store.records()? {
        if let Record::Submitted { name: listed, jobs, .. } = record
            && name.as_deref() != Some(listed.as_str())
        {
            parents.extend(jobs.iter().filter_map(|job| job.origin).map(|origin| origin.job));
        }
    }
    Ok(parents)
}

/// The weights that finished jobs saved.
fn kept(connection: &Connection) -> Result<BTreeSet<Digest>> {
    let mut statement = connection.prepare("SELECT kept FROM job_states WHERE kept IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut digests = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let unreadable =
            |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
        let files: BTreeMap<EpochSelection, Digest> =
            serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(unreadable)?;
        digests.extend(files.into_values());
    }
    Ok(digests)
}

/// Removes the rows inside the transaction, and counts them.
fn remove_rows(connection: &Connection, sweep: Option<i64>, parents: &BTreeSet<JobId>) -> Result<Removed> {
    let number = |select: &str| connection.query_row(select, [], |row| row.get::<_, i64>(0));
    let free = || number("PRAGMA freelist_count");
    let free_before = free()?;
    connection
        .execute_batch("DROP TABLE IF EXISTS temp.doomed; CREATE TEMP TABLE doomed (job INTEGER PRIMARY KEY);")?;
    match sweep {
        Some(sweep) => {
            let doomed = "INSERT INTO doomed SELECT job FROM sweep_jobs WHERE sweep = ?1
                          EXCEPT SELECT job FROM sweep_jobs WHERE sweep <> ?1";
            connection.execute(doomed, [sweep])?;
            connection.execute("DELETE FROM sweep_jobs WHERE sweep = ?1", [sweep])?;
            connection.execute("DELETE FROM sweeps WHERE ordinal = ?1", [sweep])?;
        }
        None => {
            let doomed = "INSERT INTO doomed SELECT number FROM job_states EXCEPT SELECT job FROM sweep_jobs";
            connection.execute(doomed, [])?;
        }
    }
    let spare = "DELETE FROM doomed WHERE job = (SELECT number FROM job_states WHERE id = ?1)";
    let mut spare = connection.prepare(spare)?;
    for parent in parents {
        spare.execute([parent.as_bytes()])?;
    }
    let delete = |table: &str, column: &str| {
        let delete = format!("DELETE FROM {table} WHERE {column} IN (SELECT job FROM doomed)");
        connection.execute(&delete, []).map(|rows| rows as u64)
    };
    let [results, epochs] = [delete("results", "job")?, delete("epochs", "job")?];
    delete("attempts", "job")?;
    delete("job_facts", "job")?;
    let jobs = delete("job_states", "number")?;
    connection.execute("DELETE FROM cells WHERE number NOT IN (SELECT cell FROM job_states)", [])?;
    let pages = (free()? - free_before).max(0);
    let bytes = (pages * number("PRAGMA page_size")?).cast_unsigned();
    Ok(Removed { jobs, epochs, results, weights: 0, bytes })
}

/// The weights files that are orphans. A file with another name than that of a digest is none, except an unfinished one, which has no
/// digest.
fn orphans(directory: &Path, is_orphan: impl Fn(Option<Digest>) -> bool) -> io::Result<Orphans> {
    let mut orphans = Orphans::default();
    let Some(entries) = if_there(fs::read_dir(directory))? else { return Ok(orphans) };
    for entry in entries {
        let path = entry?.path();
        let digest = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Digest>().ok());
        let is_file = digest.is_some_and(|digest| path == weights::path(directory, digest));
        let orphan = match weights::is_unfinished(&path) {
            true => is_orphan(None),
            false => is_file && is_orphan(digest),
        };
        if orphan {
            orphans.bytes += fs::symlink_metadata(&path)?.len();
            orphans.paths.push(path);
        }
    }
    Ok(orphans)
}

//! The outbox on disk: an SQLite file in the state directory, written by its own thread in batches.
//!
//! Reports are sent without waiting for the disk. A report that is acknowledged before its batch is due is never written. A full or failing
//! disk delays nothing: changes stay in memory and are retried.

use crate::agent::OutboxEntry;
use crate::error::WorkerError;
use crate::shortage;
use plusminus_proto::convert::required_attempt;
use plusminus_proto::v1;
use prost::Message;
use rusqlite::{Connection, ErrorCode, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, mem, thread};
use tracing::{info, warn};

/// The version of the schema, kept in SQLite's `user_version`.
const VERSION: u32 = 2;
const FILE: &str = "outbox.sqlite";
/// How long a change waits for others in its batch and for the acknowledgement that makes it unnecessary: at least this, at most twice this.
const LINGER: Duration = Duration::from_millis(20);
/// The pause before a failed batch is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The outbox on disk.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    writer: Option<thread::JoinHandle<usize>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

/// Changes that are not written yet, bounded by the entries of the outbox and of the disk.
#[derive(Default)]
struct Pending {
    /// By sequence number: the entry to write, or `None` to delete it.
    changes: BTreeMap<u64, Option<OutboxEntry>>,
    /// The numbers of entries that may be on disk.
    stored: BTreeSet<u64>,
    /// Whether the writer waits for a change. Waking it for each of thousands of changes per second would cost more than writing them.
    idle: bool,
    closing: bool,
}

impl Journal {
    /// Opens the journal in `directory` and returns its entries. A damaged file or one of a later version is renamed and replaced.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(directory: &Path) -> Result<(Journal, Vec<OutboxEntry>), WorkerError> {
        let path = directory.join(FILE);
        let failed = |error| WorkerError::State { path: path.clone(), error };
        // SQLite gives the files beside it the same mode.
        plusminus_files::open(&path).map_err(failed)?;
        let (connection, entries) = match open(&path) {
            Ok(opened) => opened,
            Err(OpenError::Io(error)) => return Err(failed(io::Error::other(error))),
            Err(OpenError::Content(problem)) => {
                let aside = rename_aside(&path).map_err(failed)?;
                let (path, aside) = (path.display(), aside.display());
                warn!(
                    "cannot read the outbox {path} ({problem}): renamed to {aside}; its reports are lost and their jobs are trained again"
                );
                plusminus_files::open(&directory.join(FILE)).map_err(failed)?;
                open(directory.join(FILE).as_path()).map_err(|error| failed(io::Error::other(error.to_string())))?
            }
        };
        let pending = Pending { stored: entries.iter().map(|entry| entry.sequence).collect(), ..Pending::default() };
        let shared = Arc::new(Shared { pending: Mutex::new(pending), changed: Condvar::new() });
        let of_writer = Arc::clone(&shared);
        let writer = thread::Builder::new().name("outbox".into()).spawn(move || write(connection, &of_writer));
        let writer = writer
            .map_err(|error| WorkerError::NoThreads(shortage::describe("the thread that writes the outbox", &error)))?;
        Ok((Journal { shared, writer: Some(writer) }, entries))
    }

    /// Queues an entry to be written, in place of an earlier one with its number.
    pub fn put(&self, entry: OutboxEntry) {
        self.shared.change(&mut self.shared.lock(), entry.sequence, Some(entry));
    }

    /// Queues an entry to be deleted, or cancels its write.
    pub fn delete(&self, sequence: u64) {
        let mut pending = self.shared.lock();
        if pending.stored.contains(&sequence) {
            self.shared.change(&mut pending, sequence, None);
        } else {
            pending.changes.remove(&sequence);
        }
    }

    /// Writes the remaining changes. Returns the number of entries that could not be written. Blocks.
    pub fn close(mut self) -> usize {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        self.writer.take().and_then(|writer| writer.join().ok()).unwrap_or(0)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, pending: &mut Pending, sequence: u64, change: Option<OutboxEntry>) {
        pending.changes.insert(sequence, change);
        if mem::take(&mut pending.idle) {
            self.changed.notify_one();
        }
    }

    /// Waits for the next batch. `None` once the journal is closed and everything is written.
    fn next_batch(&self) -> Option<BTreeMap<u64, Option<OutboxEntry>>> {
        loop {
            let idle = |pending: &mut Pending| {
                pending.idle = pending.changes.is_empty() && !pending.closing;
                pending.idle
            };
            let last = {
                let pending = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
                pending.changes.last_key_value().map_or(0, |(sequence, _)| *sequence)
            };
            self.linger(LINGER);
            let changes = self.take_batch(last);
            if changes.as_ref().is_none_or(|changes| !changes.is_empty()) {
                return changes;
            }
        }
    }

    /// Removes the changes up to the number `last`, or all when closing. `None` if the journal is closing and no change is left.
    fn take_batch(&self, last: u64) -> Option<BTreeMap<u64, Option<OutboxEntry>>> {
        let mut pending = self.lock();
        let later = if pending.closing { BTreeMap::new() } else { pending.changes.split_off(&(last + 1)) };
        let changes = mem::replace(&mut pending.changes, later);
        let put = changes.iter().filter(|(_, change)| change.is_some()).map(|(sequence, _)| *sequence);
        pending.stored.extend(put);
        (!changes.is_empty() || !pending.closing).then_some(changes)
    }

    /// Waits for `duration`, or until the journal is closed.
    fn linger(&self, duration: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), duration, |pending| !pending.closing));
    }

    fn written(&self, changes: &BTreeMap<u64, Option<OutboxEntry>>) {
        let mut pending = self.lock();
        for (sequence, _) in changes.iter().filter(|(_, change)| change.is_none()) {
            pending.stored.remove(sequence);
        }
    }

    /// Restores changes that could not be written, except where a newer change exists. When closing, the error is the number of entries
    /// that are lost.
    fn failed(&self, changes: BTreeMap<u64, Option<OutboxEntry>>) -> Result<(), usize> {
        let mut pending = self.lock();
        for (sequence, change) in changes {
            pending.changes.entry(sequence).or_insert(change);
        }
        let unwritten = pending.changes.values().filter(|change| change.is_some()).count();
        if pending.closing { Err(unwritten) } else { Ok(()) }
    }
}

/// Writes batches until the journal is closed. Returns the number of entries that could not be written.
fn write(mut connection: Connection, shared: &Shared) -> usize {
    let mut failing = false;
    while let Some(changes) = shared.next_batch() {
        match commit(&mut connection, &changes) {
            Ok(()) => {
                shared.written(&changes);
                if mem::take(&mut failing) {
                    info!("the outbox is written to disk again");
                }
            }
            Err(error) => {
                if !mem::replace(&mut failing, true) {
                    warn!(%error, "cannot write the outbox to disk: training continues, and unacknowledged reports stay in memory");
                }
                if let Err(unwritten) = shared.failed(changes) {
                    return unwritten;
                }
                shared.linger(RETRY_PAUSE);
            }
        }
    }
    0
}

fn commit(connection: &mut Connection, changes: &BTreeMap<u64, Option<OutboxEntry>>) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (sequence, change) in changes {
        match change {
            Some(entry) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO reports (sequence, waits, report, store) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    *sequence as i64,
                    entry.awaits_weights,
                    entry.report().encode_to_vec(),
                    entry.store
                ])?,
            None => transaction
                .prepare_cached("DELETE FROM reports WHERE sequence = ?1")?
                .execute(params![*sequence as i64])?,
        };
    }
    transaction.commit()
}

/// Why the file cannot be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    /// The content is damaged or of a later version.
    #[error("{0}")]
    Content(String),
    /// The system reports an error.
    #[error(transparent)]
    Io(rusqlite::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Content(error.to_string()),
            _ => OpenError::Io(error),
        }
    }
}

fn open(path: &Path) -> Result<(Connection, Vec<OutboxEntry>), OpenError> {
    let connection = Connection::open(path)?;
    // No other process should write. A lock is not waited for: the next retry comes soon.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is durable when it returns, even if the host loses power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => connection.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE reports (
               sequence INTEGER PRIMARY KEY, waits INTEGER NOT NULL, report BLOB NOT NULL,
               store INTEGER NOT NULL DEFAULT 0 -- the store that the report is for; 0 if unknown
             ) STRICT;
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?,
        1..=VERSION => {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(OpenError::Content(found));
            }
            if version == 1 {
                connection.execute_batch(&format!(
                    "BEGIN;
                     ALTER TABLE reports ADD COLUMN store INTEGER NOT NULL DEFAULT 0;
                     PRAGMA user_version = {VERSION};
                     COMMIT;"
                ))?;
            }
        }
        other => {
            return Err(OpenError::Content(format!(
                "version {other}; this plusminus supports versions up to {VERSION}"
            )));
        }
    }
    let entries = read(&connection)?;
    Ok((connection, entries))
}

fn read(connection: &Connection) -> Result<Vec<OutboxEntry>, OpenError> {
    let mut statement = connection.prepare("SELECT sequence, waits, report, store FROM reports ORDER BY sequence")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (sequence, awaits_weights, bytes, store): (i64, bool, Vec<u8>, u32) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let wrong = |problem: String| OpenError::Content(format!("report {sequence}: {problem}"));
        let report = v1::Report::decode(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
        let attempt = required_attempt(report.of.as_ref()).map_err(|error| wrong(error.to_string()))?;
        let body = report.body.ok_or_else(|| wrong("the report has no body".to_owned()))?;
        entries.push(OutboxEntry { sequence: sequence as u64, attempt, body, awaits_weights, store });
    }
    Ok(entries)
}

/// Renames the file and its companions to unused names. Returns the new name.
fn rename_aside(path: &Path) -> io::Result<PathBuf> {
    let with_suffix = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let aside = (1..).map(|number| with_suffix(path, &format!(".aside-{number}"))).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_else(|| with_suffix(path, ".aside"));
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;

//! The outbox on disk: an SQLite file in the state directory, written by a thread of its own, many changes to a transaction.
//!
//! It is written while the reports are on their way already, so that nobody waits for the disk; what is acknowledged before its turn
//! comes, which it does after a while, is not written at all. A disk that fails or is full holds nothing up either: what could not be written stays in memory and is
//! tried again.

use crate::agent::Entry;
use crate::error::WorkerError;
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
/// How long a change waits for others to be written with it, and for its acknowledgement, which makes it needless: so long at least, and
/// twice as long at most.
const LINGER: Duration = Duration::from_millis(20);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

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

/// What is yet to be written. There is no more of it than of what the outbox holds and the disk has.
#[derive(Default)]
struct Pending {
    /// By the entry's number: the entry, or none if it is to go.
    changes: BTreeMap<u64, Option<Entry>>,
    /// What the disk may have.
    stored: BTreeSet<u64>,
    /// Whether the writer waits for a change. To wake it for each of thousands a second would cost more than to write them.
    idle: bool,
    closing: bool,
}

impl Journal {
    /// Opens the journal in `directory`, and says what is in it. One that is damaged or of another version is set aside.
    ///
    /// # Errors
    /// If the disk does not let it be read or written.
    pub fn open(directory: &Path) -> Result<(Journal, Vec<Entry>), WorkerError> {
        let path = directory.join(FILE);
        let failed = |error| WorkerError::State { path: path.clone(), error };
        let (connection, entries) = match open(&path) {
            Ok(opened) => opened,
            Err(Unusable::Failed(error)) => return Err(failed(io::Error::other(error))),
            Err(Unusable::Content(problem)) => {
                let aside = set_aside(&path).map_err(failed)?;
                let (path, aside) = (path.display(), aside.display());
                warn!(
                    "the outbox {path} cannot be used ({problem}): it is set aside as {aside}, and what it held is not reported"
                );
                open(directory.join(FILE).as_path())
                    .map_err(|unusable| failed(io::Error::other(unusable.to_string())))?
            }
        };
        let pending = Pending { stored: entries.iter().map(|entry| entry.sequence).collect(), ..Pending::default() };
        let shared = Arc::new(Shared { pending: Mutex::new(pending), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let writer = thread::Builder::new().name("outbox".into()).spawn(move || write(connection, &theirs));
        Ok((Journal { shared, writer: Some(writer.map_err(failed)?) }, entries))
    }

    /// Has an entry written, in place of an earlier one of its number.
    pub fn put(&self, entry: Entry) {
        self.shared.change(&mut self.shared.lock(), entry.sequence, Some(entry));
    }

    /// Has an entry removed.
    pub fn delete(&self, sequence: u64) {
        let mut pending = self.shared.lock();
        if pending.stored.contains(&sequence) {
            self.shared.change(&mut pending, sequence, None);
        } else {
            pending.changes.remove(&sequence);
        }
    }

    /// Writes what is left, and says how many entries could not be. Blocks.
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

    fn change(&self, pending: &mut Pending, sequence: u64, change: Option<Entry>) {
        pending.changes.insert(sequence, change);
        if mem::take(&mut pending.idle) {
            self.changed.notify_one();
        }
    }

    /// The next changes whose turn has come, or none when there will be no more.
    fn next(&self) -> Option<BTreeMap<u64, Option<Entry>>> {
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
            let changes = self.take(last);
            if changes.as_ref().is_none_or(|changes| !changes.is_empty()) {
                return changes;
            }
        }
    }

    /// The changes up to that of `last`, or all, if there will be no more; none if there are none then.
    fn take(&self, last: u64) -> Option<BTreeMap<u64, Option<Entry>>> {
        let mut pending = self.lock();
        let later = if pending.closing { BTreeMap::new() } else { pending.changes.split_off(&(last + 1)) };
        let changes = mem::replace(&mut pending.changes, later);
        let put = changes.iter().filter(|(_, change)| change.is_some()).map(|(sequence, _)| *sequence);
        pending.stored.extend(put);
        (!changes.is_empty() || !pending.closing).then_some(changes)
    }

    /// Waits, unless it is to end.
    fn linger(&self, duration: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), duration, |pending| !pending.closing));
    }

    fn written(&self, changes: &BTreeMap<u64, Option<Entry>>) {
        let mut pending = self.lock();
        for (sequence, _) in changes.iter().filter(|(_, change)| change.is_none()) {
            pending.stored.remove(sequence);
        }
    }

    /// Keeps what could not be written, where nothing newer is to be; says whether it is worth another try.
    fn failed(&self, changes: BTreeMap<u64, Option<Entry>>) -> Result<(), usize> {
        let mut pending = self.lock();
        for (sequence, change) in changes {
            pending.changes.entry(sequence).or_insert(change);
        }
        let unwritten = pending.changes.values().filter(|change| change.is_some()).count();
        if pending.closing { Err(unwritten) } else { Ok(()) }
    }
}

/// Writes until the journal is closed; says how many entries could not be written.
fn write(mut connection: Connection, shared: &Shared) -> usize {
    let mut failing = false;
    while let Some(changes) = shared.next() {
        match commit(&mut connection, &changes) {
            Ok(()) => {
                shared.written(&changes);
                if mem::take(&mut failing) {
                    info!("the outbox can be written again");
                }
            }
            Err(error) => {
                if !mem::replace(&mut failing, true) {
                    warn!(%error, "the outbox cannot be written: training goes on, and reports that are not acknowledged are kept in memory");
                }
                if let Err(unwritten) = shared.failed(changes) {
                    return unwritten;
                }
                shared.linger(PAUSE);
            }
        }
    }
    0
}

fn commit(connection: &mut Connection, changes: &BTreeMap<u64, Option<Entry>>) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (sequence, change) in changes {
        match change {
            Some(entry) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO reports (sequence, waits, report, store) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![*sequence as i64, entry.waits, entry.report().encode_to_vec(), entry.store])?,
            None => transaction
                .prepare_cached("DELETE FROM reports WHERE sequence = ?1")?
                .execute(params![*sequence as i64])?,
        };
    }
    transaction.commit()
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// It is not what it should be.
    #[error("{0}")]
    Content(String),
    /// The system says no.
    #[error(transparent)]
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Unusable::Content(error.to_string()),
            _ => Unusable::Failed(error),
        }
    }
}

fn open(path: &Path) -> Result<(Connection, Vec<Entry>), Unusable> {
    let connection = Connection::open(path)?;
    // Nobody else writes, and whoever does is not waited for: the next try comes.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns, even if the machine loses power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => connection.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE reports (
               sequence INTEGER PRIMARY KEY, waits INTEGER NOT NULL, report BLOB NOT NULL,
               store INTEGER NOT NULL DEFAULT 0 -- for whose coordinator it is; 0 where that is not known
             ) STRICT;
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?,
        1..=VERSION => {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(Unusable::Content(found));
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
        other => return Err(Unusable::Content(format!("it has version {other}, and this plusminus knows {VERSION}"))),
    }
    let entries = read(&connection)?;
    Ok((connection, entries))
}

fn read(connection: &Connection) -> Result<Vec<Entry>, Unusable> {
    let mut statement = connection.prepare("SELECT sequence, waits, report, store FROM reports ORDER BY sequence")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (sequence, waits, bytes, store): (i64, bool, Vec<u8>, u32) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let wrong = |problem: String| Unusable::Content(format!("report {sequence}: {problem}"));
        let report = v1::Report::decode(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
        let of = required_attempt(report.of.as_ref()).map_err(|error| wrong(error.to_string()))?;
        let body = report.body.ok_or_else(|| wrong("it says nothing".to_owned()))?;
        entries.push(Entry { sequence: sequence as u64, of, body, waits, store });
    }
    Ok(entries)
}

/// Renames the file and those beside it to names that no file has.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let beside = |path: &Path, ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
    let aside = (1..).map(|number| beside(path, &format!(".aside-{number}"))).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_else(|| beside(path, ".aside"));
    fs::rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        match fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;

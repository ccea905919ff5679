//! The journal after kills, damage and disk errors.

use super::*;
use plusminus_core::id::{Attempt, AttemptId};
use plusminus_proto::v1::report::Body;
use std::time::Instant;

fn entry(sequence: u64) -> OutboxEntry {
    let measurements = [("test_accuracy".to_owned(), sequence as f64)].into();
    let body = Body::Epoch(v1::Epoch { epoch: sequence as u32, measurements });
    OutboxEntry {
        sequence,
        attempt: AttemptId::new("a".repeat(32).parse().unwrap(), Attempt(2)),
        body,
        awaits_weights: sequence % 2 == 1,
        store: 77,
    }
}

/// The entries that another process would find if this one were killed now.
fn entries_after_kill(directory: &Path) -> Vec<OutboxEntry> {
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("{FILE}{suffix}");
        if directory.join(&name).exists() {
            fs::copy(directory.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    Journal::open(copy.path()).unwrap().1
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn written_entries_survive_a_kill_and_deleted_ones_do_not() {
    let place = tempfile::tempdir().unwrap();
    let (journal, found) = Journal::open(place.path()).unwrap();
    assert_eq!(found, []);
    (1..=5).for_each(|sequence| journal.put(entry(sequence)));
    eventually("five are on disk", || entries_after_kill(place.path()).len() == 5);
    journal.delete(2);
    journal.put(OutboxEntry { awaits_weights: false, ..entry(3) });
    let expected = [entry(1), OutboxEntry { awaits_weights: false, ..entry(3) }, entry(4), entry(5)];
    eventually("the changes are on disk", || entries_after_kill(place.path()) == expected);
    assert_eq!(journal.close(), 0);
    assert_eq!(Journal::open(place.path()).unwrap().1, expected);
}

#[test]
fn closing_writes_the_remaining_changes() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    journal.put(entry(1));
    assert_eq!(journal.close(), 0);
    assert_eq!(Journal::open(place.path()).unwrap().1, [entry(1)]);
}

#[test]
fn an_entry_deleted_before_its_batch_is_never_written() {
    let shared = Shared::default();
    let journal = Journal { shared: Arc::new(shared), writer: None };
    (1..=3).for_each(|sequence| journal.put(entry(sequence)));
    journal.delete(2);
    let changes = journal.shared.next_batch().unwrap();
    assert_eq!(changes.keys().copied().collect::<Vec<_>>(), [1, 3]);
    journal.delete(1);
    assert_eq!(journal.shared.next_batch().unwrap(), BTreeMap::from([(1, None)]), "it may be on disk already");
}

#[test]
fn after_many_changes_only_unacknowledged_entries_remain() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    for sequence in 1..=50_000 {
        journal.put(entry(sequence));
        if sequence > 100 {
            journal.delete(sequence - 100);
        }
    }
    assert_eq!(journal.close(), 0);
    let (_, found) = Journal::open(place.path()).unwrap();
    let numbers: Vec<u64> = found.iter().map(|entry| entry.sequence).collect();
    assert_eq!(numbers, (49_901..=50_000).collect::<Vec<u64>>());
}

#[test]
fn a_failed_batch_is_retried_unless_newer_changes_exist() {
    let shared = Shared::default();
    let journal = Journal { shared: Arc::new(shared), writer: None };
    (1..=3).for_each(|sequence| journal.put(entry(sequence)));
    let changes = journal.shared.next_batch().unwrap();
    journal.delete(1);
    journal.put(OutboxEntry { awaits_weights: false, ..entry(3) });
    assert_eq!(journal.shared.failed(changes), Ok(()));
    let again = journal.shared.next_batch().unwrap();
    assert_eq!(
        again,
        BTreeMap::from([(1, None), (2, Some(entry(2))), (3, Some(OutboxEntry { awaits_weights: false, ..entry(3) }))])
    );
    journal.shared.lock().closing = true;
    assert_eq!(journal.shared.failed(again), Err(2), "the last retry returns the number of lost entries");
}

#[test]
fn a_temporary_disk_error_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    // Another writer holds the lock, so that no commit succeeds.
    let other = Connection::open(place.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    journal.put(entry(1));
    thread::sleep(LINGER * 3);
    other.execute_batch("ROLLBACK").unwrap();
    eventually("it is written once the lock is free", || entries_after_kill(place.path()) == [entry(1)]);
}

#[test]
fn a_damaged_journal_and_one_of_a_later_version_are_renamed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(FILE);
    fs::write(&path, "not a database, and too long to be taken for an empty one: ".repeat(20)).unwrap();
    let (journal, found) = Journal::open(place.path()).unwrap();
    assert_eq!(found, []);
    journal.put(entry(1));
    assert_eq!(journal.close(), 0);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(Journal::open(place.path()).unwrap().1, []);
    let mut aside: Vec<String> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("aside") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    aside.sort();
    assert_eq!(aside, ["outbox.sqlite.aside-1", "outbox.sqlite.aside-2"]);
}

#[test]
fn entries_of_an_older_version_are_for_any_store() {
    let place = tempfile::tempdir().unwrap();
    let connection = Connection::open(place.path().join(FILE)).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE reports (sequence INTEGER PRIMARY KEY, waits INTEGER NOT NULL, report BLOB NOT NULL) STRICT;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let insert = "INSERT INTO reports (sequence, waits, report) VALUES (2, 0, ?1)";
    connection.execute(insert, [entry(2).report().encode_to_vec()]).unwrap();
    drop(connection);
    for _ in 0..2 {
        let (journal, found) = Journal::open(place.path()).unwrap();
        assert_eq!(found, [OutboxEntry { store: 0, ..entry(2) }]);
        // The next journal must not meet the writer of this one.
        assert_eq!(journal.close(), 0);
    }
}

#[test]
fn a_report_without_a_body_counts_as_damage() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    journal.close();
    let connection = Connection::open(place.path().join(FILE)).unwrap();
    connection.execute("INSERT INTO reports (sequence, waits, report) VALUES (1, 0, x'')", []).unwrap();
    drop(connection);
    assert_eq!(Journal::open(place.path()).unwrap().1, []);
    assert!(place.path().join(format!("{FILE}.aside-1")).exists());
}

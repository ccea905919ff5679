//! The outbox on a disk that is killed, damaged and full.

use super::*;
use plusminus_core::id::{Attempt, AttemptId};
use plusminus_proto::v1::report::Body;
use std::time::Instant;

fn entry(sequence: u64) -> Entry {
    let measurements = [("test_accuracy".to_owned(), sequence as f64)].into();
    let body = Body::Epoch(v1::Epoch { epoch: sequence as u32, measurements });
    Entry {
        sequence,
        of: AttemptId::new("a".repeat(32).parse().unwrap(), Attempt(2)),
        body,
        waits: sequence % 2 == 1,
        store: 77,
    }
}

/// What another process finds in a copy of the files as they are now: as if this one were killed.
fn as_if_killed(directory: &Path) -> Vec<Entry> {
    let copy = tempfile::tempdir().unwrap();
    for ending in ["", "-wal"] {
        let name = format!("{FILE}{ending}");
        if directory.join(&name).exists() {
            fs::copy(directory.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    Journal::open(copy.path()).unwrap().1
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_written_is_there_after_a_kill_and_what_is_removed_is_not() {
    let place = tempfile::tempdir().unwrap();
    let (journal, found) = Journal::open(place.path()).unwrap();
    assert_eq!(found, []);
    (1..=5).for_each(|sequence| journal.put(entry(sequence)));
    eventually("five are on disk", || as_if_killed(place.path()).len() == 5);
    journal.delete(2);
    journal.put(Entry { waits: false, ..entry(3) });
    let expected = [entry(1), Entry { waits: false, ..entry(3) }, entry(4), entry(5)];
    eventually("the changes are on disk", || as_if_killed(place.path()) == expected);
    assert_eq!(journal.close(), 0);
    assert_eq!(Journal::open(place.path()).unwrap().1, expected);
}

#[test]
fn closing_writes_what_is_left() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    journal.put(entry(1));
    assert_eq!(journal.close(), 0);
    assert_eq!(Journal::open(place.path()).unwrap().1, [entry(1)]);
}

#[test]
fn what_is_removed_before_its_turn_is_never_written() {
    let shared = Shared::default();
    let journal = Journal { shared: Arc::new(shared), writer: None };
    (1..=3).for_each(|sequence| journal.put(entry(sequence)));
    journal.delete(2);
    let changes = journal.shared.next().unwrap();
    assert_eq!(changes.keys().copied().collect::<Vec<_>>(), [1, 3]);
    journal.delete(1);
    assert_eq!(journal.shared.next().unwrap(), BTreeMap::from([(1, None)]), "it may be on disk by now");
}

#[test]
fn a_flood_ends_with_what_was_not_acknowledged() {
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
fn what_could_not_be_written_is_kept_and_tried_again_but_not_what_is_newer() {
    let shared = Shared::default();
    let journal = Journal { shared: Arc::new(shared), writer: None };
    (1..=3).for_each(|sequence| journal.put(entry(sequence)));
    let changes = journal.shared.next().unwrap();
    journal.delete(1);
    journal.put(Entry { waits: false, ..entry(3) });
    assert_eq!(journal.shared.failed(changes), Ok(()));
    let again = journal.shared.next().unwrap();
    assert_eq!(again, BTreeMap::from([(1, None), (2, Some(entry(2))), (3, Some(Entry { waits: false, ..entry(3) }))]));
    journal.shared.lock().closing = true;
    assert_eq!(journal.shared.failed(again), Err(2), "and the last try says how many are lost");
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    // Another writer that does not let go: nothing can be committed.
    let other = Connection::open(place.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    journal.put(entry(1));
    thread::sleep(LINGER * 3);
    other.execute_batch("ROLLBACK").unwrap();
    eventually("it is written when it can be", || as_if_killed(place.path()) == [entry(1)]);
}

#[test]
fn a_damaged_journal_and_one_of_another_version_are_set_aside() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(FILE);
    fs::write(&path, "this is no database, and long enough to be told from one that is empty: ".repeat(20)).unwrap();
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
fn what_an_older_version_wrote_is_for_whichever_coordinator_comes_first() {
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
        assert_eq!(found, [Entry { store: 0, ..entry(2) }]);
        // The next one must not meet the writer of this one.
        assert_eq!(journal.close(), 0);
    }
}

#[test]
fn a_report_that_says_nothing_is_damage() {
    let place = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(place.path()).unwrap();
    journal.close();
    let connection = Connection::open(place.path().join(FILE)).unwrap();
    connection.execute("INSERT INTO reports (sequence, waits, report) VALUES (1, 0, x'')", []).unwrap();
    drop(connection);
    assert_eq!(Journal::open(place.path()).unwrap().1, []);
    assert!(place.path().join(format!("{FILE}.aside-1")).exists());
}

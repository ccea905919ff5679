//! Stores after a crash, on a full disk and on a damaged one.

use super::*;
use std::io::{Seek, SeekFrom, Write};

/// A store whose log is never moved into its file, and the length of the log after each transaction.
fn logged(directory: &Path, epochs: u32) -> (Store, Vec<u64>) {
    let (mut store, mut scheduler) = running(directory);
    store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    store.connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let mut lengths = vec![0];
    for epoch in 1..=epochs {
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        store.commit(&records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
        lengths.push(fs::metadata(directory.join("plusminus.sqlite-wal")).unwrap().len());
    }
    (store, lengths)
}

fn epochs(store: &Store) -> u32 {
    store.connection.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_torn_write_to_the_log_loses_no_earlier_commit(cut in 0.0..1.0, garbage in any::<bool>()) {
        let [directory, torn] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (store, lengths) = logged(directory.path(), 12);
        let whole = *lengths.last().unwrap();
        let left = (cut * whole as f64) as u64;
        for file in ["plusminus.sqlite", "plusminus.sqlite-wal"] {
            fs::copy(directory.path().join(file), torn.path().join(file)).unwrap();
        }
        let mut log = File::options().write(true).open(torn.path().join("plusminus.sqlite-wal")).unwrap();
        log.set_len(left).unwrap();
        if garbage {
            // Blocks that were allocated but not written hold other data.
            log.seek(SeekFrom::Start(left)).unwrap();
            log.write_all(&vec![0xa5; (whole - left) as usize]).unwrap();
        }
        drop((store, log));
        let committed = lengths.iter().filter(|length| **length <= left).count() as u32 - 1;
        prop_assert_eq!(epochs(&Store::open(torn.path()).unwrap()), committed);
    }
}

#[test]
fn a_damaged_store_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = logged(directory.path(), 200);
    store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    let mut file = File::options().write(true).open(directory.path().join(FILE)).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 1..pages {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xa5; 64]).unwrap();
    }
    let error = Store::open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("plusminus restore"), "{error}");
    assert!(!error.may_pass());
}

#[test]
fn a_full_store_continues_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    let pages: u32 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages + 1).unwrap();
    let mut reported_epoch = |epoch| {
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))
    };
    let full = (1..10_000).find_map(|epoch| {
        let records = reported_epoch(epoch);
        store.commit(&records).err().map(|error| (epoch, records, error))
    });
    let (last, held_back, error) = full.unwrap();
    assert!(error.may_pass(), "{error}");
    store.make_room();
    assert!(store.commit(&held_back).is_err(), "there is still no space");
    store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.commit(&held_back).unwrap();
    store.commit(&reported_epoch(last + 1)).unwrap();
    assert_eq!(epochs(&store), last + 1);
}

#[test]
fn a_small_store_has_a_small_log() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    for epoch in 1..=500 {
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        store.commit(&records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    let log = fs::metadata(directory.path().join("plusminus.sqlite-wal")).unwrap().len();
    assert!(log < 256 << 10, "{log} bytes");
}

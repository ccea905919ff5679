//! Checksums, `verify`, manifests, `forget` and `gc`.

use super::*;
use crate::resume::resume;
use crate::store::backup::{BackupError, WEIGHTS, backup, restore};
use crate::store::forget::{ForgetError, Removed, collect, forget};
use crate::store::manifest::MANIFEST;
use crate::store::verify::verify;
use plusminus_proto::weights;

/// A store in which the parent of a family finished, with measurements and kept weights, and its child failed.
fn trained(directory: &Path) -> (Store, Scheduler, [JobId; 2]) {
    let (mut store, mut scheduler, jobs) = family_of(directory, &FAMILY.replace("epochs: 1", "epochs: 2"));
    let file = Digest::of(b"weights");
    weights::receive(&directory.join(WEIGHTS), file, [b"weights".to_vec()]).unwrap();
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    let [parent, child] = jobs.map(|job| AttemptId::new(job, Attempt(1)));
    let report = |attempt, body| Event::Reported(SESSION, Report { sequence: 1, attempt, body });
    let accuracy = |value| Measurements::from([(Metric::TestAccuracy, value), (Metric::ValidationLoss, 1.0 - value)]);
    let failed = Failure::new(FailureKind::UserError, "because");
    for event in [
        connected(),
        report(parent, ReportBody::Epoch(1, accuracy(0.25))),
        report(parent, ReportBody::Epoch(2, accuracy(0.5))),
        report(parent, ReportBody::Ended(Ending::Finished(facts))),
        report(child, ReportBody::Ended(Ending::Failed(failed))),
    ] {
        store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    }
    (store, scheduler, jobs)
}

fn value(directory: &Path, at: &str) -> Result<BTreeMap<JobId, f64>, StoreError> {
    Reader::open(directory)?.values(&"family".parse().unwrap(), Metric::TestAccuracy, at.parse().unwrap())
}

/// Changes of single values, and the selection whose table must refuse them; nothing where only `verify` can notice.
const CHANGES: [(&str, Option<&str>); 13] = [
    ("UPDATE results SET value = 0.75 WHERE metric = 'test_accuracy' AND at = 'final'", Some("final")),
    ("UPDATE results SET value = NULL WHERE metric = 'test_accuracy' AND at = 'final'", Some("final")),
    ("UPDATE results SET epoch = 1 WHERE metric = 'test_accuracy' AND at = 'final'", Some("final")),
    ("UPDATE results SET at = 'bfst' WHERE metric = 'test_accuracy' AND at = 'final'", None),
    ("UPDATE results SET checksum = checksum + 1 WHERE at = 'final'", Some("final")),
    ("DELETE FROM results WHERE at = 'final'", None),
    ("UPDATE epochs SET measurements = replace(measurements, '0.25', '0.75')", Some("last-2-mean")),
    ("UPDATE epochs SET epoch = 3 WHERE epoch = 1", Some("last-2-mean")),
    ("UPDATE epochs SET checksum = 0 WHERE epoch = 2", Some("last-1-mean")),
    ("UPDATE job_facts SET facts = replace(facts, '0.1', '0.2')", None),
    ("UPDATE job_states SET seed = seed + 1", None),
    ("UPDATE cells SET configuration = replace(configuration, 'adam', 'adan')", None),
    ("UPDATE sweeps SET source = replace(source, 'seeds: 1', 'seeds: 3')", Some("final")),
];

#[test]
fn every_changed_value_is_found_and_no_table_shows_it() {
    for (change, refused) in CHANGES {
        let place = tempfile::tempdir().unwrap();
        let (store, _, _) = trained(place.path());
        assert_eq!(verify(place.path()).unwrap().faults, Vec::<String>::new(), "beside the coordinator");
        let changed = store.connection.execute(change, []).unwrap();
        assert!(changed > 0, "{change}");
        drop(store);
        let verified = verify(place.path()).unwrap();
        assert!(verified.fault_count > 0, "{change}");
        if let Some(at) = refused {
            let shown = value(place.path(), at).and_then(|_| Reader::open(place.path())?.records());
            let error = shown.expect_err(change);
            assert!(matches!(error, StoreError::Row { .. }) && !error.may_pass(), "{change}: {error}");
            assert!(error.to_string().contains("plusminus verify"), "{error}");
        }
        let copy = place.path().join("copy");
        if backup(place.path(), &copy).is_ok() {
            fs::remove_file(copy.join(MANIFEST)).unwrap();
            assert!(restore(&copy, &place.path().join("other"), false).is_err(), "{change}");
        }
    }
}

#[test]
fn a_migrated_store_has_the_checksums_of_its_rows() {
    let place = tempfile::tempdir().unwrap();
    let (store, _, _) = trained(place.path());
    let checksums = |connection: &Connection| {
        let select = "SELECT checksum FROM epochs UNION ALL SELECT checksum FROM results
                      UNION ALL SELECT checksum FROM job_facts UNION ALL SELECT checksum FROM sweeps";
        let mut statement = connection.prepare(select).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let before = checksums(&store.connection);
    let older =
        ["epochs", "results", "job_facts", "sweeps"].map(|table| format!("ALTER TABLE {table} DROP COLUMN checksum;"));
    store.connection.execute_batch(&older.concat()).unwrap();
    let others = "ALTER TABLE job_states DROP COLUMN failed_on; ALTER TABLE sweeps DROP COLUMN paused;";
    store.connection.execute_batch(others).unwrap();
    store.connection.pragma_update(None, "user_version", 3).unwrap();
    drop(store);
    assert!(value(place.path(), "final").is_ok() && !verify(place.path()).unwrap().has_checksums);
    let migrated = Store::open(place.path()).unwrap();
    assert_eq!(checksums(&migrated.connection), before);
    assert_eq!(verify(place.path()).unwrap().fault_count, 0);
}

#[test]
fn a_backup_with_any_changed_byte_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy] = ["state", "copy"].map(|name| place.path().join(name));
    let (_store, _, _) = trained(&state);
    backup(&state, &copy).unwrap();
    assert_eq!(verify(&copy).unwrap().manifest, Some(2));
    assert_eq!(verify(&copy).unwrap().faults, Vec::<String>::new());
    let weights = weights::path(&copy.join(WEIGHTS), Digest::of(b"weights"));
    for path in [copy.join(FILE), weights] {
        let whole = fs::read(&path).unwrap();
        for place_of_bit in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[place_of_bit] ^= 1;
            check_refused(place.path(), &copy, &path, &damaged);
        }
        check_refused(place.path(), &copy, &path, &whole[..whole.len() - 1]);
        fs::remove_file(&path).unwrap();
        assert!(restore(&copy, &place.path().join("other"), false).is_err());
        fs::write(&path, whole).unwrap();
    }
    for manifest in
        ["", "{", r#"{"plusminus":"1","schema":4,"store":1,"written":1,"files":{"../x":{"size":1,"blake3":"00"}}}"#]
    {
        check_refused(place.path(), &copy, &copy.join(MANIFEST), manifest.as_bytes());
    }
    restore(&copy, &place.path().join("other"), false).unwrap();
}

/// Checks that the backup is refused with this content of the file, which is put back afterwards.
fn check_refused(place: &Path, copy: &Path, path: &Path, content: &[u8]) {
    let before = fs::read(path).unwrap();
    fs::write(path, content).unwrap();
    let error = restore(copy, &place.join("other"), false).unwrap_err();
    assert!(matches!(error, BackupError::Changed { .. }), "{error}");
    assert!(!place.join("other").join(FILE).exists());
    fs::write(path, before).unwrap();
}

#[test]
fn a_backup_of_an_older_version_is_restored_with_a_warning() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy, other] = ["state", "copy", "other"].map(|name| place.path().join(name));
    let (_store, _, _) = trained(&state);
    backup(&state, &copy).unwrap();
    fs::remove_file(copy.join(MANIFEST)).unwrap();
    assert!(restore(&copy, &other, false).unwrap().unverified);
    assert_eq!(value(&other, "final").unwrap(), value(&state, "final").unwrap());
}

#[test]
fn a_forgotten_sweep_leaves_what_other_sweeps_list() {
    let place = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler, [parent, _]) = trained(place.path());
    let family: SweepName = "family".parse().unwrap();
    assert!(matches!(forget(place.path(), &family, false, true), Err(ForgetError::Store(StoreError::InUse(_)))));
    // A second sweep lists the parent only.
    let Some(Record::Submitted { source, cells, jobs, .. }) = store.records().unwrap().into_iter().next() else {
        panic!()
    };
    let (cells, jobs) = (cells, jobs.into_iter().filter(|job| job.id == parent).collect());
    let other = Submission { name: name(7), source, cells, jobs };
    store.commit(&records(scheduler.handle(WallTime(4), Event::Submit(Ticket(0), other)))).unwrap();
    drop(store);
    let unknown = forget(place.path(), &name(3), false, false).unwrap_err();
    assert!(unknown.to_string().contains("family, s7"), "{unknown}");
    let planned = forget(place.path(), &family, false, true).unwrap();
    assert_eq!(forget(place.path(), &family, false, false).unwrap(), planned, "a dry run says the same");
    assert_eq!((planned.jobs, planned.weights), (1, 0));
    assert_eq!(value(place.path(), "final").unwrap().len(), 0);
    let reader = Reader::open(place.path()).unwrap();
    assert_eq!(reader.values(&name(7), Metric::TestAccuracy, EpochSelection::Final).unwrap()[&parent], 0.5);
    drop(reader);
    let last = forget(place.path(), &name(7), false, false).unwrap();
    assert_eq!((last.jobs, last.epochs, last.weights), (1, 2, 1));
    assert!(!weights::path(&place.path().join(WEIGHTS), Digest::of(b"weights")).exists());
    assert_eq!(verify(place.path()).unwrap().fault_count, 0);
    assert_eq!(collect(place.path(), false).unwrap(), Removed::default(), "nothing is left");
}

#[test]
fn an_unfinished_sweep_is_forgotten_only_by_force() {
    let place = tempfile::tempdir().unwrap();
    let (store, _, _) = family(place.path());
    drop(store);
    let family: SweepName = "family".parse().unwrap();
    assert!(matches!(forget(place.path(), &family, false, false), Err(ForgetError::Unfinished { jobs: 2, .. })));
    assert_eq!(forget(place.path(), &family, true, false).unwrap().jobs, 2);
    assert!(matches!(
        forget(&place.path().join("none"), &family, true, false),
        Err(ForgetError::Store(StoreError::Absent(_)))
    ));
    assert!(!place.path().join("none").exists());
}

#[test]
fn only_orphans_are_collected() {
    let place = tempfile::tempdir().unwrap();
    let (store, _, _) = trained(place.path());
    drop(store);
    let weights_directory = place.path().join(WEIGHTS);
    let orphan = Digest::of(b"orphan");
    weights::receive(&weights_directory, orphan, [b"orphan".to_vec()]).unwrap();
    fs::write(weights_directory.join("x.part"), "unfinished").unwrap();
    fs::write(weights_directory.join("notes.txt"), "of the user").unwrap();
    let planned = collect(place.path(), true).unwrap();
    assert_eq!((planned.jobs, planned.weights, planned.bytes), (0, 2, 16));
    assert_eq!(collect(place.path(), false).unwrap(), planned);
    let left: BTreeSet<String> = fs::read_dir(&weights_directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, BTreeSet::from([Digest::of(b"weights").file_name(), "notes.txt".to_owned()]));
}

#[test]
fn jobs_are_queued_again_without_a_coordinator() {
    let place = tempfile::tempdir().unwrap();
    let (store, _, [parent, child]) = trained(place.path());
    let family: SweepName = "family".parse().unwrap();
    assert!(resume(place.path(), &family, true, &[]).is_err(), "a coordinator runs");
    drop(store);
    assert!(resume(place.path(), &name(3), true, &[]).is_err());
    let state = |job| {
        let records = Reader::open(place.path()).unwrap().records().unwrap();
        Scheduler::restart(Policy::default(), records, WallTime(9)).state().job(job).cloned().unwrap()
    };
    assert!(matches!(state(child), JobState::Failed(_)));
    assert_eq!(resume(place.path(), &family, true, &[]).unwrap(), 1);
    assert!(matches!(state(child), JobState::Queued { .. }));
    assert_eq!(state(parent), JobState::Finished);
    assert_eq!(resume(place.path(), &family, false, &[]).unwrap(), 0, "nothing is left to queue");
}

#[test]
fn a_check_that_the_disk_interrupts_is_no_damage() {
    use crate::store::connection::disk_failure;
    for (found, fails) in [
        ("Tree 2 page 2: unable to get the page. error code=266", true),
        ("unable to get the page. error code=10", true),
        ("Tree 2 page 2: unable to get the page. error code=11", false),
        ("row 1 missing from index x", false),
        ("ok", false),
    ] {
        let error = disk_failure(found).map(|error| StoreError::from_sqlite("s".into(), error));
        assert_eq!(error.is_some(), fails, "{found}");
        assert!(error.is_none_or(|error| matches!(error, StoreError::Failing { .. }) && error.may_pass()));
    }
}

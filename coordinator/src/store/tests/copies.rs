//! Backups of open and closed stores, and their restoration.

use super::*;
use crate::store::backup::{BackupError, WEIGHTS, backup, restore};
use plusminus_proto::weights;

/// A store with a finished parent that saved weights, and its running child.
fn with_weights(directory: &Path) -> (Store, Scheduler, Digest) {
    let (mut store, mut scheduler, [parent, _]) = family(directory);
    let file = Digest::of(b"weights");
    weights::receive(&directory.join(WEIGHTS), file, [b"weights".to_vec()]).unwrap();
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    let body = ReportBody::Ended(Ending::Finished(facts));
    let report = Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(parent, Attempt(1)), body });
    for event in [connected(), epoch_of(parent, 1), report] {
        store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    }
    (store, scheduler, file)
}

fn shown(directory: &Path) -> Vec<(SweepView, Vec<JobView>)> {
    views(&Scheduler::restart(Policy::default(), Reader::open(directory).unwrap().records().unwrap(), WallTime(3)))
}

/// What a restored store shows: nothing runs, and attempt numbers skip those of attempts that may still run.
fn after_restoration(mut views: Vec<(SweepView, Vec<JobView>)>) -> Vec<(SweepView, Vec<JobView>)> {
    for (sweep, jobs) in &mut views {
        for job in jobs {
            job.attempts += 1000;
            if let JobState::Running { .. } = job.state {
                job.state = JobState::Queued { not_before: WallTime(0) };
                sweep.counts.running -= 1;
                sweep.counts.queued += 1;
            }
        }
    }
    views
}

#[test]
fn a_backup_of_an_open_store_is_a_snapshot_and_can_be_restored() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy, other] = ["state", "copy", "other"].map(|name| place.path().join(name));
    let (store, scheduler, file) = with_weights(&state);
    let copied = backup(&state, &copy).unwrap();
    assert_eq!((copied.sweeps, copied.finished, copied.weights, copied.missing), (1, 1, 1, 0));
    assert_eq!(shown(&copy), views(&scheduler));
    assert!(weights::is_whole(&copy.join(WEIGHTS), file).unwrap());
    assert!(matches!(backup(&state, &copy), Err(BackupError::Exists(_))));
    restore(&copy, &other, false).unwrap();
    assert_eq!(shown(&other), after_restoration(views(&scheduler)));
    assert!(weights::is_whole(&other.join(WEIGHTS), file).unwrap());
    // Workers see the restored store as the same one, and a new store as another one.
    assert_eq!(Store::open(&other).unwrap().identity().unwrap(), store.identity().unwrap());
    assert_ne!(Store::open(&place.path().join("new")).unwrap().identity().unwrap(), store.identity().unwrap());
    // A restoration fails while a coordinator runs, and without `force` if there are sweeps.
    assert!(matches!(restore(&copy, &state, true), Err(BackupError::Store(StoreError::InUse(_)))));
    drop(store);
    assert!(matches!(restore(&copy, &state, false), Err(BackupError::HasSweeps { names, .. }) if names == "family"));
    let mut store = Store::open(&state).unwrap();
    let later =
        Scheduler::new(Policy::default()).handle(WallTime(9), Event::Submit(Ticket(0), submission(7, &[2].into())));
    store.commit(&records(later)).unwrap();
    drop(store);
    let copied = restore(&copy, &state, true).unwrap();
    assert_eq!(shown(&state), after_restoration(views(&scheduler)));
    let replaced = Connection::open(copied.replaced.unwrap()).unwrap();
    let sweeps: u32 = replaced.query_row("SELECT count(*) FROM sweeps", [], |row| row.get(0)).unwrap();
    assert_eq!(sweeps, 2, "the replaced store is kept");
}

#[test]
fn damaged_weights_are_not_copied_and_are_reported() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy] = ["state", "copy"].map(|name| place.path().join(name));
    let (_store, _, file) = with_weights(&state);
    fs::write(weights::path(&state.join(WEIGHTS), file), "damaged").unwrap();
    let copied = backup(&state, &copy).unwrap();
    assert_eq!((copied.weights, copied.missing), (0, 1));
    assert!(!weights::is_whole(&copy.join(WEIGHTS), file).unwrap());
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy, other] = ["state", "copy", "other"].map(|name| place.path().join(name));
    drop(with_weights(&state));
    assert!(matches!(restore(&copy, &other, false), Err(BackupError::NoBackup(_))));
    backup(&state, &copy).unwrap();
    let mut bytes = fs::read(copy.join(FILE)).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    fs::write(copy.join(FILE), bytes).unwrap();
    let error = restore(&copy, &state, true).unwrap_err();
    assert!(matches!(error, BackupError::Changed { .. }), "{error}");
    // Backups of older versions have no manifest.
    fs::remove_file(copy.join("MANIFEST.json")).unwrap();
    let error = restore(&copy, &state, true).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::Corrupt { .. })), "{error}");
    assert_eq!(shown(&state).len(), 1, "the state directory is unchanged");
    assert!(!other.join(FILE).exists());
}

#[test]
fn a_backup_replaces_an_interrupted_one() {
    let place = tempfile::tempdir().unwrap();
    let [state, copy] = ["state", "copy"].map(|name| place.path().join(name));
    let (_store, scheduler, _) = with_weights(&state);
    fs::create_dir_all(place.path().join("copy.part")).unwrap();
    fs::write(place.path().join("copy.part").join(FILE), "half").unwrap();
    backup(&state, &copy).unwrap();
    assert_eq!(shown(&copy), views(&scheduler));
    assert!(!place.path().join("copy.part").exists());
}

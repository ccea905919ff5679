//! Files of an open store that are deleted, moved, replaced or truncated by another program.

use super::*;
use crate::store::connection::LOCK;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What another program does to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Delete,
    Move,
    Replace,
    Truncate,
}

/// What becomes of the next commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It is not acknowledged until the same file is back.
    WaitsForTheFile,
    /// It is not acknowledged by this coordinator, and a restarted one has everything before it.
    NeedsARestart,
    /// It is not acknowledged, and something may be lost.
    NeedsABackup,
    /// It is acknowledged.
    GoesOn,
}

const LOG: &str = "plusminus.sqlite-wal";
const INDEX: &str = "plusminus.sqlite-shm";

/// The state directory itself is the name `.`.
const CASES: [(&str, Act, Then); 15] = [
    (FILE, Act::Delete, Then::NeedsABackup),
    (FILE, Act::Move, Then::WaitsForTheFile),
    (FILE, Act::Replace, Then::WaitsForTheFile),
    (FILE, Act::Truncate, Then::NeedsABackup),
    (LOG, Act::Delete, Then::NeedsARestart),
    (LOG, Act::Move, Then::WaitsForTheFile),
    (LOG, Act::Replace, Then::WaitsForTheFile),
    (LOG, Act::Truncate, Then::NeedsABackup),
    (INDEX, Act::Delete, Then::NeedsARestart),
    (INDEX, Act::Move, Then::WaitsForTheFile),
    (INDEX, Act::Replace, Then::WaitsForTheFile),
    (LOCK, Act::Delete, Then::GoesOn),
    (LOCK, Act::Replace, Then::GoesOn),
    (".", Act::Delete, Then::NeedsABackup),
    (".", Act::Move, Then::WaitsForTheFile),
];

/// A store of one running job in a directory that can be deleted and moved.
struct Scene {
    place: tempfile::TempDir,
    store: Store,
    scheduler: Scheduler,
    epochs: u32,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (store, scheduler) = running(&place.path().join("state"));
        let mut scene = Scene { place, store, scheduler, epochs: 0 };
        (0..3).for_each(|_| scene.commit().unwrap());
        scene
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn path(&self, name: &str) -> PathBuf {
        if name == "." { self.state() } else { self.state().join(name) }
    }

    fn next(&mut self) -> Vec<Record> {
        self.epochs += 1;
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        records(self.scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(self.epochs, row))))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let records = self.next();
        self.store.commit(&records)
    }

    fn act(&self, name: &str, act: Act) {
        let (path, aside) = (self.path(name), self.place.path().join("aside"));
        match act {
            Act::Delete if name == "." => fs::remove_dir_all(path).unwrap(),
            Act::Delete => fs::remove_file(path).unwrap(),
            Act::Move => fs::rename(path, aside).unwrap(),
            Act::Replace => {
                fs::copy(&path, self.place.path().join("other")).unwrap();
                fs::rename(&path, aside).unwrap();
                fs::rename(self.place.path().join("other"), path).unwrap();
            }
            Act::Truncate => File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
        }
    }

    fn stored(&self) -> u32 {
        let select = "SELECT count(*) FROM epochs";
        Reader::open(&self.state()).unwrap().connection.query_row(select, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn nothing_is_acknowledged_that_is_not_in_the_file_on_disk() {
    for (name, act, then) in CASES {
        let case = format!("{act:?} {name}");
        let mut scene = Scene::new();
        scene.act(name, act);
        let records = scene.next();
        let first = scene.store.commit(&records);
        if then == Then::GoesOn {
            first.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(matches!(Store::open(&scene.state()), Err(StoreError::InUse(_))), "{case}: locked again");
            continue;
        }
        let error = first.expect_err(&case);
        assert!(matches!(error, StoreError::NotOnDisk { .. }) && error.may_pass(), "{case}: {error}");
        scene.store.make_room();
        assert!(scene.store.commit(&records).is_err(), "{case}: a retry changes nothing");
        match then {
            Then::WaitsForTheFile => {
                fs::rename(scene.place.path().join("aside"), scene.path(name)).unwrap();
                scene.store.commit(&records).unwrap_or_else(|error| panic!("{case}: {error}"));
                scene.commit().unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(scene.stored(), 5, "{case}: nothing is written twice");
            }
            // Killing the process now loses no acknowledged report.
            Then::NeedsARestart => {
                let killed = scene.place.path().join("killed");
                fs::create_dir(&killed).unwrap();
                for file in [FILE, LOG].map(|name| (scene.path(name), killed.join(name))) {
                    let _ = fs::copy(file.0, file.1);
                }
                let restarted = Store::open(&killed).unwrap();
                let rows: u32 =
                    restarted.connection.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0)).unwrap();
                assert!(rows >= 3, "{case}: {rows}");
            }
            Then::NeedsABackup | Then::GoesOn => {}
        }
    }
}

#[test]
fn a_store_without_work_notices_that_its_files_are_gone() {
    for (name, act, then) in CASES {
        // A truncated log has its name and its number.
        if (name, act) == (LOG, Act::Truncate) {
            continue;
        }
        let mut scene = Scene::new();
        scene.act(name, act);
        assert_eq!(scene.store.confirm().is_ok(), then == Then::GoesOn, "{act:?} {name}");
    }
}

#[test]
fn a_log_that_another_program_moved_into_the_file_is_no_fault() {
    let mut scene = Scene::new();
    let other = Connection::open(scene.path(FILE)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert_eq!(fs::metadata(scene.path(LOG)).unwrap().len(), 0);
    scene.commit().unwrap();
    assert_eq!(scene.stored(), 4);
}

#[test]
fn no_second_coordinator_starts_where_the_lock_file_was_deleted() {
    let mut scene = Scene::new();
    fs::remove_file(scene.path(LOCK)).unwrap();
    assert!(matches!(Store::open(&scene.state()), Err(StoreError::InUse(_))));
    assert!(matches!(
        backup::restore(&scene.place.path().join("none"), &scene.state(), true),
        Err(backup::BackupError::NoBackup(_))
    ));
    scene.commit().unwrap();
    assert!(is_open(&scene.state()), "the first has made the file again");
}

#[test]
fn a_lock_of_another_program_does_not_keep_the_coordinator_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(LOCK);
    fs::write(&path, "").unwrap();
    let shared = File::open(&path).unwrap();
    shared.lock_shared().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
    drop(store);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
    assert!(Store::open(directory.path()).is_err());
    assert!(!directory.path().join("elsewhere").exists(), "no link is followed");
}

#[test]
fn only_the_owner_can_read_the_files_of_a_store() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes = |store: &Store| {
        let _open = store;
        [FILE, LOG, INDEX, LOCK].map(|name| mode(&state.join(name)))
    };
    let store = Store::open(&state).unwrap();
    assert_eq!((mode(&state), modes(&store)), (0o700, [0o600; 4]));
    drop(store);
    // Files of an older version.
    for name in [FILE, LOCK] {
        fs::set_permissions(state.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(modes(&Store::open(&state).unwrap()), [0o600; 4]);
}

#[test]
fn a_path_is_as_long_as_sqlite_takes_or_is_refused_with_its_length() {
    let place = tempfile::tempdir().unwrap();
    let base = place.path().canonicalize().unwrap();
    let of_length = |length: usize| {
        let mut path = base.clone();
        while path.as_os_str().len() + 1 < length {
            let left = length - path.as_os_str().len() - 1;
            path.push("d".repeat(if left > 102 { 100 } else { left }));
        }
        path
    };
    let limit = 512 - 8 - FILE.len() - 1;
    for length in limit - 6..=limit {
        let path = of_length(length);
        drop(Store::open(&path).unwrap_or_else(|error| panic!("{length}: {error}")));
        Reader::open(&path)
            .map(drop)
            .unwrap_or_else(|error| assert!(matches!(error, StoreError::Absent(_)), "{error}"));
    }
    for length in [limit + 1, limit + 2, limit + 7, 520, 600, 1_000] {
        let error = Store::open(&of_length(length)).err().unwrap();
        assert!(matches!(error, StoreError::PathTooLong { .. }), "{length}: {error}");
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
}

#[test]
fn a_path_of_any_bytes_can_be_opened() {
    use std::os::unix::ffi::OsStrExt;
    let place = tempfile::tempdir().unwrap();
    let names: [&[u8]; 5] = [b"file:x", b"a?b#c%20", b"\xff\xfe", b"new\nline", "ü".as_bytes()];
    for name in names {
        let state = place.path().join(std::ffi::OsStr::from_bytes(name));
        let (store, scheduler) = running(&state);
        assert_eq!(store.records().unwrap().len(), 2, "{name:?}");
        let copy = place.path().join("copy");
        backup::backup(&state, &copy).unwrap();
        assert!(copy.join(FILE).is_file());
        fs::remove_dir_all(&copy).unwrap();
        drop((store, scheduler));
    }
}

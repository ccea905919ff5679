//! Stores of older versions.

use super::*;

/// Creates a store of version 1: one job finished at its second attempt, and one failed once.
fn version_1(directory: &Path) {
    let connection = Connection::open(directory.join(FILE)).unwrap();
    connection.execute_batch(include_str!("version-1.sql")).unwrap();
}

/// What users see of the store, and the value that a table shows.
fn shown(directory: &Path) -> (Vec<(SweepView, Vec<JobView>)>, Option<f64>) {
    let reader = Reader::open(directory).unwrap();
    let scheduler = Scheduler::restart(Policy::default(), reader.records().unwrap(), WallTime(10));
    let values = reader.values(&"old".parse().unwrap(), Metric::TestAccuracy, EpochSelection::Final).unwrap();
    assert_eq!(reader.attempts(job(2)).unwrap().len(), 2);
    (views(&scheduler), values.get(&job(2)).copied())
}

/// Creates a store of version 2 whose finished job saved weights.
fn version_2(directory: &Path) {
    version_1(directory);
    let connection = Connection::open(directory.join(FILE)).unwrap();
    let kept = format!(r#"{{"final":"{}"}}"#, Digest::of(b"weights"));
    let statements = format!(
        "ALTER TABLE jobs ADD COLUMN reached_before INTEGER NOT NULL DEFAULT 0;
         UPDATE jobs SET reached_before = 1 WHERE number = 2;
         UPDATE jobs SET facts = json_set(facts, '$.kept', json('{kept}')) WHERE number = 1;
         DROP VIEW metrics;
         CREATE VIEW metrics AS
           SELECT jobs.id AS job, jobs.seed, epochs.attempt, epochs.epoch, measured.key AS metric, measured.value,
                  epochs.attempt < (SELECT max(later.attempt) FROM epochs AS later WHERE later.job = epochs.job) AS superseded
           FROM epochs JOIN jobs ON jobs.number = epochs.job, json_each(epochs.measurements) AS measured;
         PRAGMA user_version = 2;"
    );
    connection.execute_batch(&statements).unwrap();
}

/// The columns of all tables and views with their types, and the foreign keys.
fn shape(connection: &Connection) -> BTreeSet<String> {
    let select = "SELECT master.name || ' ' || columns.name || ' ' || columns.type || ' ' || columns.pk
                  FROM sqlite_master AS master, pragma_table_info(master.name) AS columns WHERE master.type <> 'index'
                  UNION ALL
                  SELECT master.name || ' ' || keys.\"from\" || ' -> ' || keys.\"table\" || ' ' || keys.\"to\"
                  FROM sqlite_master AS master, pragma_foreign_key_list(master.name) AS keys";
    let mut statement = connection.prepare(select).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The answers to queries that notebooks use, for a store of any version.
fn asked(connection: &Connection) -> Vec<String> {
    let ask = |select: &str| {
        let mut statement = connection.prepare(select).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<String>>()
    };
    let questions = [
        "SELECT id || cell || seed || state || attempts || failures FROM jobs ORDER BY number",
        "SELECT id || facts FROM jobs WHERE facts IS NOT NULL",
        "SELECT job || seed || epoch || value FROM metrics WHERE metric = 'test_accuracy' ORDER BY job, attempt, epoch",
        "SELECT sweep || job || configuration || seed || state || coalesce(at || metric || epoch || value, '')
         FROM sweep_results ORDER BY job",
    ];
    questions.into_iter().flat_map(ask).collect()
}

fn check_migration(directory: &Path) {
    let before = shown(directory);
    assert_eq!(before.1, Some(0.5));
    assert_eq!((before.0[0].0.counts.finished, before.0[0].0.counts.queued), (1, 1));
    let records = Reader::open(directory).unwrap().records().unwrap();
    let answers = asked(&Connection::open(directory.join(FILE)).unwrap());
    assert_eq!(answers.len(), 2 + 1 + 3 + 2);
    let store = Store::open(directory).unwrap();
    assert_eq!(version(&store.connection).unwrap(), VERSION);
    assert_eq!(shown(directory), before);
    assert_eq!(store.records().unwrap(), records);
    assert_eq!(asked(&store.connection), answers);
    let made = tempfile::tempdir().unwrap();
    assert_eq!(shape(&store.connection), shape(&Store::open(made.path()).unwrap().connection));
    let broken = "SELECT count(*) FROM pragma_foreign_key_check";
    assert_eq!(store.connection.query_row(broken, [], |row| row.get(0)), Ok(0));
    let enforced: bool = store.connection.query_row("PRAGMA foreign_keys", [], |row| row.get(0)).unwrap();
    assert!(enforced);
    drop(store);
    drop(Store::open(directory).unwrap());
    assert_eq!(shown(directory), before, "opening it again changes nothing");
}

#[test]
fn a_store_of_version_1_is_the_same_before_and_after_its_migration() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    check_migration(directory.path());
}

#[test]
fn a_store_of_version_2_keeps_its_weights_in_the_migration() {
    let directory = tempfile::tempdir().unwrap();
    version_2(directory.path());
    check_migration(directory.path());
    let kept = |record| match record {
        Record::Restored { state: StoredState::Finished { kept }, .. } => Some(kept),
        _ => None,
    };
    let mut records = Reader::open(directory.path()).unwrap().records().unwrap().into_iter();
    assert_eq!(records.find_map(kept), Some(BTreeMap::from([(EpochSelection::Final, Digest::of(b"weights"))])));
}

#[test]
fn a_backup_of_an_older_version_can_be_restored() {
    for make in [version_1, version_2] {
        let [older, state] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        make(older.path());
        backup::restore(older.path(), state.path(), false).unwrap();
        let expected = shown(older.path());
        drop(Store::open(state.path()).unwrap());
        let (views, value) = shown(state.path());
        assert_eq!((value, views[0].0.counts), (expected.1, expected.0[0].0.counts));
    }
}

#[test]
fn the_latest_attempt_with_rows_supersedes_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    let mut store = Store::open(directory.path()).unwrap();
    // A newer attempt without epochs supersedes nothing.
    let attempt = AttemptId::new(job(3), Attempt(2));
    let assigned = Record::Assigned { attempt, worker: WorkerName("w".into()), at: WallTime(9) };
    store.commit(&[assigned]).unwrap();
    let mut select = store.connection.prepare("SELECT job, attempt, superseded FROM metrics ORDER BY 1, 2").unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(String, u32, bool)> = rows.map(Result::unwrap).collect();
    let [two, three] = [job(2), job(3)].map(|job| job.to_string());
    assert_eq!(rows, [(two.clone(), 1, true), (two, 2, false), (three, 1, false)]);
}

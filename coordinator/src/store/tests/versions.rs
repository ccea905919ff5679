//! Stores of older versions.

use super::*;

/// A store of version 1: one job finished at its second attempt, and one that has failed once.
fn version_1(directory: &Path) {
    let connection = Connection::open(directory.join(FILE)).unwrap();
    connection.execute_batch(include_str!("version-1.sql")).unwrap();
}

/// What users are shown of the store, and the value that a table has.
fn shown(directory: &Path) -> (Vec<(SweepView, Vec<JobView>)>, Option<f64>) {
    let reader = Reader::open(directory).unwrap();
    let machine = Machine::restart(Policy::default(), reader.records().unwrap(), Time(10));
    let values = reader.values(&"old".parse().unwrap(), Metric::TestAccuracy, At::Final).unwrap();
    assert_eq!(reader.attempts(job(2)).unwrap().len(), 2);
    (views(&machine), values.get(&job(2)).copied())
}

#[test]
fn a_store_of_version_1_is_read_as_it_is_and_is_the_same_once_it_is_migrated() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    let before = shown(directory.path());
    assert_eq!(before.1, Some(0.5));
    assert_eq!((before.0[0].0.counts.finished, before.0[0].0.counts.queued), (1, 1));
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(version(&store.connection).unwrap(), VERSION);
    assert_eq!(shown(directory.path()), before);
    let tables = |connection: &Connection| {
        let select =
            "SELECT name FROM pragma_table_info('jobs') UNION ALL SELECT name FROM pragma_table_info('metrics')";
        let mut columns = connection.prepare(select).unwrap();
        let names = columns.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<BTreeSet<String>>>();
        names.unwrap()
    };
    let made = tempfile::tempdir().unwrap();
    assert_eq!(tables(&store.connection), tables(&Store::open(made.path()).unwrap().connection));
    drop(store);
    drop(Store::open(directory.path()).unwrap());
    assert_eq!(shown(directory.path()), before, "and once more");
}

#[test]
fn rows_of_an_attempt_before_the_latest_that_has_any_are_superseded() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    let mut store = Store::open(directory.path()).unwrap();
    // A further attempt that has not told of any epoch supersedes nothing.
    let began = Record::Assigned { job: job(3), attempt: Attempt(2), worker: WorkerName("w".into()), at: Time(9) };
    store.commit(&[began]).unwrap();
    let mut select = store.connection.prepare("SELECT job, attempt, superseded FROM metrics ORDER BY 1, 2").unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(String, u32, bool)> = rows.map(Result::unwrap).collect();
    let [two, three] = [job(2), job(3)].map(|job| job.to_string());
    assert_eq!(rows, [(two.clone(), 1, true), (two, 2, false), (three, 1, false)]);
}

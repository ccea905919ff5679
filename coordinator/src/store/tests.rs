//! The store against the state that it mirrors.

use super::connection::{FILE, VERSION, version};
use super::database::SHORTEST_LOG;
use super::*;
use plusminus_core::id::{Attempt, AttemptId, CellId, Digest, JobId, SweepName, WorkerName};
use plusminus_core::job::Job;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::scheduler::{
    DeviceClass, Effect, Ending, Event, JobState, JobView, NewCell, NewJob, Origin, ParentFile, Policy, Record, Report,
    ReportBody, Scheduler, Session, StoredState, Submission, SweepView, Ticket, WallTime,
};
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

mod blame;
mod checked;
mod copies;
mod damage;
mod vanished;
mod versions;

const SESSION: Session = Session(0);

fn cell() -> CellId {
    "00000000000000000000000000000001".parse().unwrap()
}

fn job(n: u8) -> JobId {
    format!("{n:032x}").parse().unwrap()
}

fn name(n: u8) -> SweepName {
    format!("s{n}").parse().unwrap()
}

fn submission(sweep: u8, jobs: &BTreeSet<u8>) -> Submission {
    let jobs = jobs.iter().map(|n| NewJob { id: job(*n), cell: cell(), seed: u64::MAX - u64::from(*n), origin: None });
    let cells = vec![NewCell { id: cell(), configuration: r#"{"loss":"ü"}"#.into() }];
    Submission { name: name(sweep), source: format!("sweep: s{sweep}\n").into(), cells, jobs: jobs.collect() }
}

fn facts() -> Box<Facts> {
    let samples = Samples { train: 1, validation: 0, test: 1 };
    let transition = TransitionMatrix::identity(2);
    let (engine, data, weights) = ("none".into(), "0".repeat(64), "0".repeat(64));
    let (start, kept) = (None, BTreeMap::new());
    Box::new(Facts { parameters: 1, samples, noise_rate: 0.1, transition, data, engine, weights, start, kept })
}

fn records(effects: Vec<Effect>) -> Vec<Record> {
    effects.into_iter().filter_map(|e| if let Effect::Record(record) = e { Some(record) } else { None }).collect()
}

fn connected() -> Event {
    let (worker, device) = (WorkerName("w".into()), DeviceClass::Cpu);
    let (host, holds) = (String::new(), vec![]);
    Event::Connected { session: SESSION, worker, host, instance: 1, slots: 2, device, holds }
}

fn reported(n: u8, attempt: u32, body: ReportBody) -> Event {
    Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(job(n), Attempt(attempt)), body })
}

/// The report of the only epoch of a job of `FAMILY`.
fn epoch_of(job: JobId, attempt: u32) -> Event {
    let body = ReportBody::Epoch(1, Measurements::from([(Metric::TestAccuracy, 0.5)]));
    Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(job, Attempt(attempt)), body })
}

/// Everything that users see.
fn views(scheduler: &Scheduler) -> Vec<(SweepView, Vec<JobView>)> {
    let jobs = |sweep: SweepView| {
        let jobs = scheduler.view().jobs_of(&sweep.name).collect();
        (sweep, jobs)
    };
    scheduler.view().sweeps().into_iter().map(jobs).collect()
}

fn event() -> impl Strategy<Value = Event> {
    let jobs = || prop::collection::btree_set(2u8..8, 1..6);
    let attempt = || (2u8..8, 1u32..4);
    let kind = prop::sample::select(FailureKind::ALL);
    prop_oneof![
        2 => (0u8..3, jobs()).prop_map(|(sweep, jobs)| Event::Submit(Ticket(0), submission(sweep, &jobs))),
        1 => (0u8..3).prop_map(|sweep| Event::Cancel(Ticket(0), name(sweep))),
        2 => Just(connected()),
        1 => Just(Event::Disconnected(SESSION)),
        2 => (attempt(), 1u32..3, 0.0..1.0).prop_map(|((n, attempt), epoch, value)| {
            reported(n, attempt, ReportBody::Epoch(epoch, Measurements::from([(Metric::TestAccuracy, value)])))
        }),
        4 => attempt().prop_map(|(n, attempt)| reported(n, attempt, ReportBody::Ended(Ending::Finished(facts())))),
        3 => (attempt(), kind).prop_map(|((n, attempt), kind)| {
            reported(n, attempt, ReportBody::Ended(Ending::Failed(Failure::new(kind, "because"))))
        }),
        2 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_scheduler_restarted_from_the_store_shows_the_same_jobs(events in prop::collection::vec(event(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let policy = Policy { lease: Duration::from_secs(2), backoff: Duration::from_millis(1), ..Policy::default() };
        let mut scheduler = Scheduler::new(policy.clone());
        let mut now = WallTime(0);
        for event in events {
            now = now.after(Duration::from_millis(700));
            store.commit(&records(scheduler.handle(now, event))).unwrap();
        }
        let restarted = Scheduler::restart(policy, store.records().unwrap(), now);
        prop_assert_eq!(views(&restarted), views(&scheduler));
        prop_assert_eq!(restarted.state().durable_jobs(), scheduler.state().durable_jobs());
        // Jobs that no sweep lists any more are still known: another submission tells finished jobs from new ones.
        let everything = submission(9, &(2..8).collect());
        let again = |mut scheduler: Scheduler| scheduler.handle(now, Event::Submit(Ticket(0), everything.clone()));
        let summary = |effects: Vec<Effect>| effects.into_iter().find_map(|e| if let Effect::Submitted(_, s) = e { Some(s) } else { None });
        prop_assert_eq!(summary(again(restarted)), summary(again(scheduler)));
    }
}

/// A store with one running job.
fn running(directory: &Path) -> (Store, Scheduler) {
    let mut store = Store::open(directory).unwrap();
    let mut scheduler = Scheduler::new(Policy::default());
    for event in [Event::Submit(Ticket(0), submission(0, &BTreeSet::from([2]))), connected()] {
        store.commit(&records(scheduler.handle(WallTime(1), event))).unwrap();
    }
    (store, scheduler)
}

/// The values of job 2 at several selections, after these epochs of its first attempt and this failure.
fn reached(epochs: &[f64], ending: Failure) -> Vec<Option<f64>> {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    for (epoch, value) in (1..).zip(epochs) {
        let row = Measurements::from([(Metric::TestAccuracy, *value), (Metric::ValidationLoss, 1.0 - value)]);
        store.commit(&records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    store
        .commit(&records(scheduler.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Failed(ending))))))
        .unwrap();
    let reader = store.reader().unwrap();
    let value =
        |at: &str| reader.values(&name(0), Metric::TestAccuracy, at.parse().unwrap()).unwrap().get(&job(2)).copied();
    ["final", "best", "best-validation-loss", "last-2-mean", "last-4-mean"].map(value).to_vec()
}

#[test]
fn only_diverged_jobs_keep_the_values_of_their_epochs() {
    let failure = |kind| Failure::new(kind, "because");
    let values = reached(&[0.25, 0.75, 0.5], failure(FailureKind::Diverged));
    assert_eq!(values, [Some(0.5), Some(0.75), Some(0.75), Some(0.625), None]);
    assert_eq!(reached(&[], failure(FailureKind::Diverged)), [None; 5]);
    assert_eq!(reached(&[0.25, 0.75, 0.5], failure(FailureKind::UserError)), [None; 5]);
}

#[test]
fn a_finished_job_has_a_value_for_every_selection() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    let row = |validation: f64, test: f64| {
        Measurements::from([(Metric::ValidationAccuracy, validation), (Metric::TestAccuracy, test)])
    };
    for (epoch, row) in (1..).zip([row(0.5, 0.1), row(0.7, 0.2), row(0.6, 0.9), row(0.6, f64::NAN)]) {
        store.commit(&records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    let reader = store.reader().unwrap();
    let value = |at| reader.values(&name(0), Metric::TestAccuracy, at).unwrap().get(&job(2)).copied();
    assert_eq!(value(EpochSelection::Best), None, "not finished yet");
    store
        .commit(&records(scheduler.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Finished(facts()))))))
        .unwrap();
    assert_eq!((value(EpochSelection::BestValidation), value(EpochSelection::Best)), (Some(0.2), Some(0.9)));
    assert_eq!(value(EpochSelection::Final), None, "a value that is not finite counts as missing");
    assert_eq!(value("last-1-mean".parse().unwrap()), None, "values that are not finite have no mean");
}

#[test]
fn means_and_the_lowest_loss_are_computed_for_jobs_of_older_versions() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    for (epoch, (loss, test)) in (1..).zip([(2.0, 0.25), (1.0, 0.5), (1.5, 0.75)]) {
        let row = Measurements::from([(Metric::ValidationLoss, loss), (Metric::TestAccuracy, test)]);
        store.commit(&records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    store
        .commit(&records(scheduler.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Finished(facts()))))))
        .unwrap();
    let stored = "SELECT value FROM results WHERE at = 'best-validation-loss' AND metric = 'test_accuracy'";
    assert_eq!(store.connection.query_row(stored, [], |row| row.get(0)), Ok(0.5));
    store.connection.execute("DELETE FROM results WHERE at NOT IN ('final', 'best', 'best-validation')", []).unwrap();
    let reader = store.reader().unwrap();
    let value = |metric, at: &str| reader.values(&name(0), metric, at.parse().unwrap()).unwrap().get(&job(2)).copied();
    assert_eq!(value(Metric::TestAccuracy, "best-validation-loss"), Some(0.5));
    assert_eq!(value(Metric::ValidationLoss, "best-validation-loss"), Some(1.0));
    assert_eq!(value(Metric::TestAccuracy, "last-2-mean"), Some(0.625));
    assert_eq!(value(Metric::TestAccuracy, "last-3-mean"), Some(0.5));
    assert_eq!(value(Metric::TestAccuracy, "last-4-mean"), None, "there are three epochs");
    assert_eq!(value(Metric::NoisyAccuracy, "last-2-mean"), None);
}

#[test]
fn a_full_disk_is_reported_and_loses_no_earlier_record() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    let pages: u32 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages + 1).unwrap();
    let full = (1..10_000).find_map(|epoch| {
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        let records = records(scheduler.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))));
        store.commit(&records).err().map(|error| (epoch, error))
    });
    let (epoch, error) = full.unwrap();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    let kept: u32 = store.connection.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, epoch - 1);
}

#[test]
fn a_large_submission_is_durable_before_its_log_is_moved() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = running(directory.path());
    let new = |n: u64| NewJob { id: Job::id_of(cell(), n), cell: cell(), seed: n, origin: None };
    let jobs: Vec<NewJob> = (0..write::LARGE_SUBMISSION as u64).map(new).collect();
    let mut submission = submission(1, &BTreeSet::new());
    submission.jobs = jobs.clone();
    let effects = Scheduler::new(Policy::default()).handle(WallTime(1), Event::Submit(Ticket(0), submission));
    let length = |directory: &Path| fs::metadata(directory.join(FILE)).unwrap().len();
    let before = length(directory.path());
    store.commit(&records(effects)).unwrap();
    assert_eq!(length(directory.path()), before, "the commit does not move the log");
    let stored = |store: &Store| match store.records().unwrap().swap_remove(1) {
        Record::Submitted { jobs, .. } => jobs,
        other => panic!("{other:?}"),
    };
    // The files as a kill would leave them.
    let left = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let file = format!("{FILE}{suffix}");
        fs::copy(directory.path().join(&file), left.path().join(&file)).unwrap();
    }
    assert_eq!(stored(&Store::open(left.path()).unwrap()), jobs);
    store.tidy();
    assert!(length(directory.path()) > before);
    assert_eq!(stored(&store), jobs);
    let pages: i64 = store.connection.query_row("PRAGMA wal_autocheckpoint", [], |row| row.get(0)).unwrap();
    assert!(pages >= SHORTEST_LOG, "small logs are moved automatically again: {pages}");
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = running(directory.path());
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(directory.path()), Err(StoreError::TooNew { found: 99, .. })));
    assert!(matches!(Reader::open(directory.path()), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn only_one_coordinator_can_open_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
    drop(first);
    assert!(Store::open(directory.path()).is_ok());
}

const FAMILY: &str = "
sweep: family
seeds: 1
base: {dataset: fashion-mnist-10k, model: cnn, loss: mae, optimizer: adam, epochs: 1, parent: {set: {loss: cce}}}
";

/// A store with a parent and its child, and the scheduler that it mirrors, without workers.
fn family(directory: &Path) -> (Store, Scheduler, [JobId; 2]) {
    family_of(directory, FAMILY)
}

/// As [`family`], for another sweep file.
fn family_of(directory: &Path, text: &str) -> (Store, Scheduler, [JobId; 2]) {
    let sweep = plusminus_core::sweep_file::read(text, 10).unwrap();
    let cells = sweep.trained().into_iter();
    let cells = cells.map(|cell| NewCell { id: cell.id, configuration: cell.configuration.canonical().into() });
    let new = |job: Job| {
        let origin = job.configuration.origin().map(|(cell, at)| Origin { job: Job::id_of(cell, job.seed), at });
        NewJob { id: job.id(), cell: job.cell, seed: job.seed, origin }
    };
    let jobs: Vec<NewJob> = sweep.jobs().map(new).collect();
    let ids = [jobs[0].id, jobs[1].id];
    let submission = Submission { name: sweep.name.clone(), source: text.into(), cells: cells.collect(), jobs };
    let (mut store, mut scheduler) = (Store::open(directory).unwrap(), Scheduler::new(Policy::default()));
    store.commit(&records(scheduler.handle(WallTime(1), Event::Submit(Ticket(0), submission)))).unwrap();
    (store, scheduler, ids)
}

/// What a scheduler that restarts from the store assigns to an idle worker.
fn assigned(store: &Store) -> Vec<(JobId, Option<ParentFile>)> {
    let mut scheduler = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(2));
    // An attempt that was lost with the previous scheduler is retried after a back-off.
    let effects =
        [(2, connected()), (2_000, Event::Tick)].map(|(at, event)| scheduler.handle(WallTime(at), event)).concat();
    let given = |effect| match effect {
        Effect::Assign { attempt, parent, .. } => Some((attempt.job, parent)),
        _ => None,
    };
    effects.into_iter().filter_map(given).collect()
}

#[test]
fn a_restart_restores_parents_and_kept_weights() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler, [parent, child]) = family(directory.path());
    assert_eq!(assigned(&store), [(parent, None)]);
    let mut happens = |store: &mut Store, event| store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    happens(&mut store, connected());
    let file = Digest::of(b"weights");
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    let body = ReportBody::Ended(Ending::Finished(facts));
    happens(&mut store, epoch_of(parent, 1));
    happens(
        &mut store,
        Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(parent, Attempt(1)), body }),
    );
    assert_eq!(assigned(&store), [(child, Some(ParentFile { job: parent, digest: file }))]);
    happens(&mut store, Event::WeightsLost(parent, file));
    let views = |scheduler: &Scheduler| {
        scheduler.view().jobs_of(&"family".parse().unwrap()).map(|job| job.state).collect::<Vec<_>>()
    };
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert_eq!(views(&restarted), views(&scheduler), "the parent is retrained");
}

#[test]
fn a_job_that_failed_with_its_parent_stays_failed_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler, [parent, child]) = family(directory.path());
    let body = ReportBody::Ended(Ending::Failed(Failure::new(FailureKind::UserError, "no data")));
    let report = Report { sequence: 1, attempt: AttemptId::new(parent, Attempt(1)), body };
    for event in [connected(), Event::Reported(SESSION, report)] {
        store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    }
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert!(matches!(scheduler.state().job(child), Some(JobState::Failed(_))));
    assert_eq!(restarted.state().job(child), scheduler.state().job(child));
}

#[test]
fn a_failed_retraining_keeps_the_earlier_result() {
    // On another host the job may diverge, which is no result if there is one already.
    for kind in [FailureKind::UserError, FailureKind::Diverged] {
        check_failed_retraining(kind);
    }
}

fn check_failed_retraining(kind: FailureKind) {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler, [parent, child]) = family(directory.path());
    let mut happens = |store: &mut Store, event| store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    let reported = |attempt, body| {
        Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(parent, attempt), body })
    };
    let accuracy = |value| ReportBody::Epoch(1, Measurements::from([(Metric::TestAccuracy, value)]));
    let file = Digest::of(b"weights");
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    happens(&mut store, connected());
    happens(&mut store, reported(Attempt(1), accuracy(0.5)));
    happens(&mut store, reported(Attempt(1), ReportBody::Ended(Ending::Finished(facts))));
    happens(&mut store, Event::WeightsLost(parent, file));
    happens(&mut store, reported(Attempt(2), accuracy(0.25)));
    happens(&mut store, reported(Attempt(2), ReportBody::Ended(Ending::Failed(Failure::new(kind, "because")))));
    let reader = store.reader().unwrap();
    for at in ["final", "last-1-mean"] {
        let values = reader.values(&"family".parse().unwrap(), Metric::TestAccuracy, at.parse().unwrap()).unwrap();
        assert_eq!(values.get(&parent), Some(&0.5), "{at}");
    }
    let current = "SELECT value FROM metrics WHERE NOT superseded";
    assert_eq!(
        store.connection.query_row(current, [], |row| row.get(0)),
        Ok(0.5),
        "the rows of the attempt with the result"
    );
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert_eq!(restarted.state().job(parent), Some(&JobState::Finished));
    assert_eq!(views(&restarted), views(&scheduler));
    assert!(matches!(scheduler.state().job(child), Some(JobState::Running { .. })), "it was assigned with the weights");
}

#[test]
fn cancelling_a_job_ends_its_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    store.commit(&records(scheduler.handle(WallTime(7), Event::Cancel(Ticket(0), name(0))))).unwrap();
    let attempt = store.reader().unwrap().attempts(job(2)).unwrap().remove(0);
    assert_eq!((attempt.ended, attempt.ending.as_deref()), (Some(WallTime(7)), Some("cancelled")));
}

#[test]
fn a_job_cancelled_while_it_is_retrained_stays_finished() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler, [parent, child]) = family(directory.path());
    let mut happens = |store: &mut Store, event| store.commit(&records(scheduler.handle(WallTime(3), event))).unwrap();
    let body = ReportBody::Ended(Ending::Finished(facts()));
    happens(&mut store, connected());
    happens(&mut store, epoch_of(parent, 1));
    happens(
        &mut store,
        Event::Reported(SESSION, Report { sequence: 1, attempt: AttemptId::new(parent, Attempt(1)), body }),
    );
    // The parent did not save the weights, so the child failed. A new submission queues both.
    let mut again = store.records().unwrap();
    let Some(Record::Submitted { name, source, cells, jobs, .. }) = again.drain(..).next() else { panic!("{again:?}") };
    happens(&mut store, Event::Submit(Ticket(0), Submission { name: name.clone(), source, cells, jobs }));
    let states = |store: &Store| {
        let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
        [parent, child].map(|job| restarted.state().job(job).cloned().unwrap())
    };
    assert!(matches!(states(&store), [JobState::Running { .. }, JobState::Queued { .. }]), "{:?}", states(&store));
    happens(&mut store, Event::Cancel(Ticket(0), name));
    assert_eq!(states(&store), [JobState::Finished, JobState::Dropped]);
    assert_eq!([parent, child].map(|job| scheduler.state().job(job).cloned().unwrap()), states(&store));
}

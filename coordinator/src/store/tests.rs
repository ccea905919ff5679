//! The store against the state that it mirrors.

use super::*;
use plusminus_core::id::{Attempt, CellId, Digest, JobId, SweepName, WorkerName};
use plusminus_core::job::Job;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::scheduler::{
    Effect, Ending, Event, JobState, JobView, NewCell, NewJob, Origin, Policy, Record, Report, ReportBody, Scheduler,
    Session, StoredState, Submission, SweepView, Ticket, WallTime,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod copies;
mod damage;
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
    let (engine, data, weights) = ("none".into(), "".into(), "".into());
    let (start, kept) = (None, BTreeMap::new());
    Box::new(Facts { parameters: 1, samples, noise_rate: 0.1, transition, data, engine, weights, start, kept })
}

fn records(effects: Vec<Effect>) -> Vec<Record> {
    effects.into_iter().filter_map(|e| if let Effect::Record(record) = e { Some(record) } else { None }).collect()
}

fn joined() -> Event {
    Event::Joined { session: SESSION, worker: WorkerName("w".into()), instance: 1, slots: 2, gpu: false, holds: vec![] }
}

fn reported(n: u8, attempt: u32, body: ReportBody) -> Event {
    Event::Reported(SESSION, Report { sequence: 1, job: job(n), attempt: Attempt(attempt), body })
}

/// Everything that users are shown.
fn views(machine: &Scheduler) -> Vec<(SweepView, Vec<JobView>)> {
    let jobs = |sweep: SweepView| {
        let jobs = machine.jobs_of(&sweep.name).collect();
        (sweep, jobs)
    };
    machine.sweeps().into_iter().map(jobs).collect()
}

fn event() -> impl Strategy<Value = Event> {
    let jobs = || prop::collection::btree_set(2u8..8, 1..6);
    let attempt = || (2u8..8, 1u32..4);
    let kind = prop::sample::select(FailureKind::ALL);
    prop_oneof![
        2 => (0u8..3, jobs()).prop_map(|(sweep, jobs)| Event::Submit(Ticket(0), submission(sweep, &jobs))),
        1 => (0u8..3).prop_map(|sweep| Event::Cancel(Ticket(0), name(sweep))),
        2 => Just(joined()),
        1 => Just(Event::Left(SESSION)),
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
    fn a_machine_restarted_from_the_store_shows_what_the_one_before_showed(events in prop::collection::vec(event(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let policy = Policy { lease: 2_000, backoff: 1, ..Policy::default() };
        let mut machine = Scheduler::new(policy.clone());
        let mut now = WallTime(0);
        for event in events {
            now = now.after(700);
            store.commit(&records(machine.handle(now, event))).unwrap();
        }
        let restarted = Scheduler::restart(policy, store.records().unwrap(), now);
        prop_assert_eq!(views(&restarted), views(&machine));
        // What no sweep names any more is known all the same: submitting it again tells finished from new.
        let everything = submission(9, &(2..8).collect());
        let again = |mut machine: Scheduler| machine.handle(now, Event::Submit(Ticket(0), everything.clone()));
        let summary = |effects: Vec<Effect>| effects.into_iter().find_map(|e| if let Effect::Submitted(_, s) = e { Some(s) } else { None });
        prop_assert_eq!(summary(again(restarted)), summary(again(machine)));
    }
}

/// A store with one running job.
fn running(directory: &Path) -> (Store, Scheduler) {
    let mut store = Store::open(directory).unwrap();
    let mut machine = Scheduler::new(Policy::default());
    for event in [Event::Submit(Ticket(0), submission(0, &BTreeSet::from([2]))), joined()] {
        store.commit(&records(machine.handle(WallTime(1), event))).unwrap();
    }
    (store, machine)
}

/// The values of job 2 at every selection, after `epochs` of its first attempt and this ending.
fn reached(epochs: &[f64], ending: Failure) -> Vec<Option<f64>> {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine) = running(directory.path());
    for (epoch, value) in (1..).zip(epochs) {
        let row = Measurements::from([(Metric::TestAccuracy, *value), (Metric::ValidationLoss, 1.0 - value)]);
        store.commit(&records(machine.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    store
        .commit(&records(machine.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Failed(ending))))))
        .unwrap();
    let reader = store.reader().unwrap();
    let value =
        |at: &str| reader.values(&name(0), Metric::TestAccuracy, at.parse().unwrap()).unwrap().get(&job(2)).copied();
    ["final", "best", "best-validation-loss", "last-2-mean", "last-4-mean"].map(value).to_vec()
}

#[test]
fn a_job_that_diverged_keeps_what_it_had_reached_and_no_other_failure_does() {
    let failure = |kind| Failure::new(kind, "because");
    let values = reached(&[0.25, 0.75, 0.5], failure(FailureKind::Diverged));
    assert_eq!(values, [Some(0.5), Some(0.75), Some(0.75), Some(0.625), None]);
    assert_eq!(reached(&[], failure(FailureKind::Diverged)), [None; 5]);
    assert_eq!(reached(&[0.25, 0.75, 0.5], failure(FailureKind::UserError)), [None; 5]);
}

#[test]
fn a_finished_job_has_a_value_for_every_selection() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine) = running(directory.path());
    let row = |validation: f64, test: f64| {
        Measurements::from([(Metric::ValidationAccuracy, validation), (Metric::TestAccuracy, test)])
    };
    for (epoch, row) in (1..).zip([row(0.5, 0.1), row(0.7, 0.2), row(0.6, 0.9), row(0.6, f64::NAN)]) {
        store.commit(&records(machine.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    let reader = store.reader().unwrap();
    let value = |at| reader.values(&name(0), Metric::TestAccuracy, at).unwrap().get(&job(2)).copied();
    assert_eq!(value(EpochSelection::Best), None, "not finished yet");
    store
        .commit(&records(machine.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Finished(facts()))))))
        .unwrap();
    assert_eq!((value(EpochSelection::BestValidation), value(EpochSelection::Best)), (Some(0.2), Some(0.9)));
    assert_eq!(value(EpochSelection::Final), None, "what is not finite is no value");
    assert_eq!(value("last-1-mean".parse().unwrap()), None, "what is not finite has no mean");
}

#[test]
fn means_and_the_lowest_loss_are_known_of_jobs_that_ended_before_they_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine) = running(directory.path());
    for (epoch, (loss, test)) in (1..).zip([(2.0, 0.25), (1.0, 0.5), (1.5, 0.75)]) {
        let row = Measurements::from([(Metric::ValidationLoss, loss), (Metric::TestAccuracy, test)]);
        store.commit(&records(machine.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))))).unwrap();
    }
    store
        .commit(&records(machine.handle(WallTime(3), reported(2, 1, ReportBody::Ended(Ending::Finished(facts()))))))
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
fn a_full_disk_is_told_and_nothing_recorded_before_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine) = running(directory.path());
    let pages: u32 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages + 1).unwrap();
    let full = (1..10_000).find_map(|epoch| {
        let row = Measurements::from([(Metric::TestAccuracy, 0.1)]);
        let records = records(machine.handle(WallTime(2), reported(2, 1, ReportBody::Epoch(epoch, row))));
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
fn a_large_submission_is_on_the_disk_before_its_log_is_moved() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = running(directory.path());
    let new = |n: u64| NewJob { id: Job::id_of(cell(), n), cell: cell(), seed: n, origin: None };
    let jobs: Vec<NewJob> = (0..write::MANY as u64).map(new).collect();
    let mut submission = submission(1, &BTreeSet::new());
    submission.jobs = jobs.clone();
    let effects = Scheduler::new(Policy::default()).handle(WallTime(1), Event::Submit(Ticket(0), submission));
    let length = |directory: &Path| fs::metadata(directory.join(FILE)).unwrap().len();
    let before = length(directory.path());
    store.commit(&records(effects)).unwrap();
    assert_eq!(length(directory.path()), before, "nobody waits for that");
    let stored = |store: &Store| match store.records().unwrap().swap_remove(1) {
        Record::Submitted { jobs, .. } => jobs,
        other => panic!("{other:?}"),
    };
    // What a kill leaves.
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
    assert!(pages >= SHORTEST_LOG, "and small logs are moved by themselves again: {pages}");
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = running(directory.path());
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(directory.path()), Err(StoreError::TooNew { found: 99, .. })));
    assert!(matches!(Reader::open(directory.path()), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn a_store_is_one_coordinators_at_a_time() {
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

/// A store, and the machine that it mirrors, with a parent, its child, and nobody to train them.
fn family(directory: &Path) -> (Store, Scheduler, [JobId; 2]) {
    let sweep = plusminus_core::sweep_file::read(FAMILY, 10).unwrap();
    let cells = sweep.trained().into_iter();
    let cells = cells.map(|cell| NewCell { id: cell.id, configuration: cell.configuration.canonical().into() });
    let new = |job: Job| {
        let origin = job.configuration.origin().map(|(cell, at)| Origin { job: Job::id_of(cell, job.seed), at });
        NewJob { id: job.id(), cell: job.cell, seed: job.seed, origin }
    };
    let jobs: Vec<NewJob> = sweep.jobs().map(new).collect();
    let ids = [jobs[0].id, jobs[1].id];
    let submission = Submission { name: sweep.name.clone(), source: FAMILY.into(), cells: cells.collect(), jobs };
    let (mut store, mut machine) = (Store::open(directory).unwrap(), Scheduler::new(Policy::default()));
    store.commit(&records(machine.handle(WallTime(1), Event::Submit(Ticket(0), submission)))).unwrap();
    (store, machine, ids)
}

/// What a machine that goes on from the store gives to a worker that has nothing.
fn assigned(store: &Store) -> Vec<(JobId, Option<(JobId, Digest)>)> {
    let mut machine = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(2));
    // An attempt that was lost with the machine before is made again after a little while.
    let effects = [(2, joined()), (2_000, Event::Tick)].map(|(at, event)| machine.handle(WallTime(at), event)).concat();
    let given = |effect| match effect {
        Effect::Assign { job, origin, .. } => Some((job, origin)),
        _ => None,
    };
    effects.into_iter().filter_map(given).collect()
}

#[test]
fn a_restart_knows_which_jobs_build_on_which_and_what_they_have_left() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine, [parent, child]) = family(directory.path());
    assert_eq!(assigned(&store), [(parent, None)]);
    let mut happens = |store: &mut Store, event| store.commit(&records(machine.handle(WallTime(3), event))).unwrap();
    happens(&mut store, joined());
    let file = Digest::of(b"weights");
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    let body = ReportBody::Ended(Ending::Finished(facts));
    happens(&mut store, Event::Reported(SESSION, Report { sequence: 1, job: parent, attempt: Attempt(1), body }));
    assert_eq!(assigned(&store), [(child, Some((parent, file)))]);
    happens(&mut store, Event::Lost(parent, file));
    let views =
        |machine: &Scheduler| machine.jobs_of(&"family".parse().unwrap()).map(|job| job.state).collect::<Vec<_>>();
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert_eq!(views(&restarted), views(&machine), "the parent is trained again");
}

#[test]
fn a_job_that_failed_with_its_parent_has_failed_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine, [parent, child]) = family(directory.path());
    let body = ReportBody::Ended(Ending::Failed(Failure::new(FailureKind::UserError, "no data")));
    let report = Report { sequence: 1, job: parent, attempt: Attempt(1), body };
    for event in [joined(), Event::Reported(SESSION, report)] {
        store.commit(&records(machine.handle(WallTime(3), event))).unwrap();
    }
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert!(matches!(machine.state().job(child), Some(JobState::Failed(_))));
    assert_eq!(restarted.state().job(child), machine.state().job(child));
}

#[test]
fn a_job_that_is_trained_again_in_vain_shows_the_result_that_it_had() {
    // What another machine makes of it may diverge, which is no result once there is one.
    for kind in [FailureKind::UserError, FailureKind::Diverged] {
        trained_again_in_vain(kind);
    }
}

fn trained_again_in_vain(kind: FailureKind) {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine, [parent, child]) = family(directory.path());
    let mut happens = |store: &mut Store, event| store.commit(&records(machine.handle(WallTime(3), event))).unwrap();
    let said = |attempt, body| Event::Reported(SESSION, Report { sequence: 1, job: parent, attempt, body });
    let accuracy = |value| ReportBody::Epoch(1, Measurements::from([(Metric::TestAccuracy, value)]));
    let file = Digest::of(b"weights");
    let mut facts = facts();
    facts.kept.insert(EpochSelection::Final, file);
    happens(&mut store, joined());
    happens(&mut store, said(Attempt(1), accuracy(0.5)));
    happens(&mut store, said(Attempt(1), ReportBody::Ended(Ending::Finished(facts))));
    happens(&mut store, Event::Lost(parent, file));
    happens(&mut store, said(Attempt(2), accuracy(0.25)));
    happens(&mut store, said(Attempt(2), ReportBody::Ended(Ending::Failed(Failure::new(kind, "because")))));
    let reader = store.reader().unwrap();
    for at in ["final", "last-1-mean"] {
        let values = reader.values(&"family".parse().unwrap(), Metric::TestAccuracy, at.parse().unwrap()).unwrap();
        assert_eq!(values.get(&parent), Some(&0.5), "{at}");
    }
    let stands = "SELECT value FROM metrics WHERE NOT superseded";
    assert_eq!(store.connection.query_row(stands, [], |row| row.get(0)), Ok(0.5), "the rows that gave the result");
    let restarted = Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(3));
    assert_eq!(restarted.state().job(parent), Some(&JobState::Finished));
    assert_eq!(views(&restarted), views(&machine));
    assert!(matches!(machine.state().job(child), Some(JobState::Running { .. })), "it was given the weights before");
}

#[test]
fn an_attempt_at_a_job_that_is_cancelled_has_ended_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine) = running(directory.path());
    store.commit(&records(machine.handle(WallTime(7), Event::Cancel(Ticket(0), name(0))))).unwrap();
    let attempt = store.reader().unwrap().attempts(job(2)).unwrap().remove(0);
    assert_eq!((attempt.ended, attempt.ending.as_deref()), (Some(WallTime(7)), Some("cancelled")));
}

#[test]
fn a_job_that_is_cancelled_while_it_is_trained_again_has_finished_after_a_restart_too() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut machine, [parent, child]) = family(directory.path());
    let mut happens = |store: &mut Store, event| store.commit(&records(machine.handle(WallTime(3), event))).unwrap();
    let body = ReportBody::Ended(Ending::Finished(facts()));
    happens(&mut store, joined());
    happens(&mut store, Event::Reported(SESSION, Report { sequence: 1, job: parent, attempt: Attempt(1), body }));
    // It has not left the weights, which the child is told; both are wanted again.
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
    assert_eq!([parent, child].map(|job| machine.state().job(job).cloned().unwrap()), states(&store));
}

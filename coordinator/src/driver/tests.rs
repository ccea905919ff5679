//! The driver with a store that fails on command.

use super::event_loop::Clock;
use super::store_thread::Commit;
use super::*;
use crate::selection::{Selections, SubmittedSweep};
use crate::store::{Reader, Store, StoreError};
use plusminus_core::id::{Attempt, AttemptId, WorkerName};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Samples};
use plusminus_core::scheduler::{
    Ending, Heartbeat, JobState, Policy, Record, Report, ReportBody, Scheduler, Session, SubmitSummary, WallTime,
};
use plusminus_core::sweep_file;
use plusminus_proto::session::Terms;
use plusminus_proto::v1::{self, to_worker::Message};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const SWEEP: &str = "
sweep: small
seeds: 3
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, epochs: 1}
";
const SESSION: Session = Session(7);

/// When the store fails, and how often it has.
#[derive(Default)]
struct Plan {
    /// The number of commits that succeed before one fails.
    good: u32,
    /// How often that commit fails.
    failures: u32,
    /// How often it has failed.
    failed: u32,
    /// Whether the failure is damage, so that no retry helps.
    damaged: bool,
    /// The next commit waits until this receives something.
    hold: Option<std::sync::mpsc::Receiver<()>>,
}

struct Failing {
    store: Store,
    plan: Arc<Mutex<Plan>>,
}

impl Commit for Failing {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.good > 0 {
            plan.good -= 1;
        } else if plan.failures > 0 {
            plan.failures -= 1;
            plan.failed += 1;
            let path = "plusminus.sqlite".into();
            return Err(match plan.damaged {
                true => StoreError::Corrupt { path, problem: "injected by the test".to_owned() },
                false => StoreError::Full(path),
            });
        }
        let hold = plan.hold.take();
        drop(plan);
        if let Some(hold) = hold {
            hold.recv().unwrap();
        }
        Commit::commit(&mut self.store, records)
    }
}

/// A running driver. The test plays a worker and a user.
struct Scene {
    handle: DriverHandle,
    plan: Arc<Mutex<Plan>>,
    inbound: mpsc::Receiver<Result<v1::ToWorker, tonic::Status>>,
    running: tokio::task::JoinHandle<Result<(), StoreError>>,
    stop: oneshot::Sender<()>,
    reader: Reader,
}

impl Scene {
    fn on(directory: &Path, plan: Plan, policy: Policy) -> Self {
        let store = Store::open(directory).unwrap();
        let plan = Arc::new(Mutex::new(plan));
        let (stop, stopped) = oneshot::channel();
        let lease = policy.lease.as_millis() as u64;
        let (clock, terms) = (Clock::new(), Terms { lease, store: store.identity().unwrap() });
        let scheduler = Scheduler::restart(policy, store.records().unwrap(), clock.now());
        let selections = Selections::of(&scheduler, None, store.reader().unwrap());
        let failing = Failing { store, plan: Arc::clone(&plan) };
        let (mut driver, handle, inbox) = Driver::with(scheduler, selections, failing, clock, terms, stopped).unwrap();
        driver.store.retry_pause = Duration::from_millis(5);
        driver.store.patience = Duration::from_millis(5);
        let running = tokio::spawn(driver.run(inbox, Duration::from_millis(300)));
        let reader = Reader::open(directory).unwrap();
        Scene { handle, plan, inbound: mpsc::channel(1).1, running, stop, reader }
    }

    fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    async fn submit(&self) -> Result<SubmitSummary, RequestError> {
        self.submit_text(SWEEP).await
    }

    async fn submit_text(&self, text: &str) -> Result<SubmitSummary, RequestError> {
        let sweep = sweep_file::read(text, 100).unwrap();
        let submitted = Box::new(SubmittedSweep::new(sweep, text.into()));
        self.handle.request(|reply| UserRequest::Submit(submitted, reply)).await.map(Result::unwrap)
    }

    async fn connect(&mut self, slots: u32) {
        let (sender, inbound) = mpsc::channel(8192);
        self.inbound = inbound;
        let worker = WorkerName("w".into());
        let devices = vec![v1::Device { name: "cpu".to_owned(), slots, ..v1::Device::default() }];
        let (host, holds) = (String::new(), vec![]);
        let connected =
            WorkerMessage::Connected { session: SESSION, worker, host, instance: 1, devices, holds, sender };
        self.handle.send(connected).await.unwrap();
    }

    async fn beat(&self, beat: u64, holds: &[AttemptId]) {
        self.handle.heartbeat(Heartbeat { session: SESSION, beat, holds: holds.to_vec() }).await.unwrap();
    }

    async fn report(&self, sequence: u64, attempt: AttemptId, body: ReportBody) {
        self.handle.send(WorkerMessage::Report(SESSION, Report { sequence, attempt, body })).await.unwrap();
    }

    /// The next message to the worker other than a renewal.
    async fn next_message(&mut self) -> Message {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.inbound.recv()).await.expect("in time");
            match message.unwrap().unwrap().message.unwrap() {
                Message::Renewed(_) => {}
                other => return other,
            }
        }
    }

    async fn assignment(&mut self) -> AttemptId {
        match self.next_message().await {
            Message::Assignment(assignment) => assignment.of.unwrap().to_core().unwrap(),
            other => panic!("expected an assignment, found {other:?}"),
        }
    }

    /// Reports the only epoch of a job.
    async fn trained(&mut self, attempt: AttemptId) {
        self.report(0, attempt, epoch()).await;
        assert!(matches!(self.next_message().await, Message::Acknowledgement(v1::Acknowledgement { sequence: 0 })));
    }

    async fn finished(&self) -> Result<usize, RequestError> {
        self.handle
            .query(|scheduler, _, _| scheduler.view().sweep(&"small".parse().unwrap()).unwrap().counts.finished)
            .await
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }
}

fn epoch() -> ReportBody {
    ReportBody::Epoch(1, Measurements::from([(Metric::TestAccuracy, 0.5)]))
}

fn finished() -> ReportBody {
    let samples = Samples { train: 1, validation: 0, test: 1 };
    let (engine, data, weights, start) = ("none".into(), "0".repeat(64), "0".repeat(64), None);
    let transition = TransitionMatrix::identity(2);
    let facts = Facts {
        parameters: 1,
        samples,
        noise_rate: 0.1,
        transition,
        data,
        engine,
        weights,
        start,
        kept: BTreeMap::new(),
    };
    ReportBody::Ended(Ending::Finished(Box::new(facts)))
}

/// Trains the whole sweep, and compares every message with what is committed. Returns how often a commit failed.
async fn whole_sweep(good: u32, failures: u32) -> u32 {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan { good, failures, ..Plan::default() }, Policy::default());
    let sweeps = |reader: &Reader| reader.records().unwrap().len();
    match scene.submit().await {
        Ok(summary) => {
            assert_eq!((summary.new, sweeps(&scene.reader)), (3, 1), "a submission is committed before its reply")
        }
        Err(error) => {
            assert!(matches!(&error, RequestError::NotSaved(reason) if reason.contains("no space is left")), "{error}");
            assert!(error.to_string().contains("accepted but not yet saved"), "{error}");
            // It is committed when there is space.
            while scene.finished().await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    scene.connect(1).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    for job in 0..3 {
        let of = scene.assignment().await;
        let attempts = scene.reader.attempts(of.job).unwrap();
        assert_eq!((attempts.len(), of.attempt), (1, Attempt(1)), "an assignment is committed before it is sent");
        for (sequence, body) in [(2 * job + 1, epoch()), (2 * job + 2, finished())] {
            scene.report(sequence, of, body).await;
            let Message::Acknowledgement(got) = scene.next_message().await else {
                panic!("expected an acknowledgement")
            };
            assert_eq!(got.sequence, sequence);
            let attempt = scene.reader.attempts(of.job).unwrap().remove(0);
            assert_eq!(
                (attempt.epochs, attempt.ended.is_some()),
                (1, sequence % 2 == 0),
                "a report is committed before its acknowledgement"
            );
        }
    }
    while scene.finished().await != Ok(3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failed = scene.plan.lock().unwrap().failed;
    scene.stop().await;
    let scheduler =
        Scheduler::restart(Policy::default(), Reader::open(directory.path()).unwrap().records().unwrap(), WallTime(0));
    assert!(
        scheduler
            .view()
            .jobs_of(&"small".parse().unwrap())
            .all(|job| job.state == JobState::Finished && job.attempts == 1)
    );
    failed
}

#[tokio::test]
async fn whichever_commit_fails_only_committed_changes_are_sent() {
    let mut commits = 0;
    while whole_sweep(commits, 3).await > 0 {
        commits += 1;
    }
    assert!(commits >= 7, "a submission, a connection, and two reports per job: {commits}");
}

#[tokio::test]
async fn on_a_full_disk_users_get_an_error_and_heartbeats_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    // The disk stays full for much longer than a lease.
    let policy = Policy { lease: Duration::from_millis(200), ..Policy::default() };
    let mut scene = Scene::on(directory.path(), Plan::default(), policy);
    scene.submit().await.unwrap();
    scene.connect(1).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    scene.trained(first).await;
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, finished()).await;
    let mut error = None;
    for beat in 1..40 {
        scene.beat(beat, &[first]).await;
        let message = tokio::time::timeout(Duration::from_secs(20), scene.inbound.recv()).await.expect("in time");
        match message.unwrap().unwrap().message.unwrap() {
            Message::Renewed(renewed) => assert_eq!(renewed.beat, beat),
            other => panic!("expected a renewal, found {other:?}"),
        }
        if beat > 2 {
            error = scene.finished().await.err();
            assert_eq!(scene.submit().await.err(), error, "submissions are refused too");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = error.unwrap().to_string();
    assert!(error.contains("no space is left for the store plusminus.sqlite"), "{error}");
    assert!(scene.reader.attempts(first.job).unwrap()[0].ended.is_none());
    scene.plan(|plan| plan.failures = 0);
    assert!(matches!(scene.next_message().await, Message::Acknowledgement(v1::Acknowledgement { sequence: 1 })));
    assert_eq!(scene.reader.attempts(first.job).unwrap()[0].ending.as_deref(), Some("finished"));
    let second = scene.assignment().await;
    assert_ne!(first.job, second.job);
    assert_eq!(scene.finished().await, Ok(1));
    scene.stop().await;
}

#[tokio::test]
async fn no_lease_expires_while_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let policy = Policy { lease: Duration::from_millis(400), ..Policy::default() };
    let mut scene = Scene::on(directory.path(), Plan::default(), policy);
    scene.submit().await.unwrap();
    scene.connect(2).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    let (first, second) = (scene.assignment().await, scene.assignment().await);
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, epoch()).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    scene.plan(|plan| plan.failures = 0);
    assert!(matches!(scene.next_message().await, Message::Acknowledgement(_)));
    for beat in 1..20 {
        scene.beat(beat, &[first, second]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for of in [first, second] {
        assert_eq!(scene.reader.attempts(of.job).unwrap().len(), 1);
        assert_eq!(scene.reader.attempts(of.job).unwrap()[0].ended, None);
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_driver_that_waits_for_its_disk_can_be_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit().await.unwrap();
    scene.connect(1).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, finished()).await;
    while scene.finished().await.is_ok() {}
    let Scene { stop, running, mut inbound, .. } = scene;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(inbound.recv().await.is_none(), "the report is not acknowledged");
}

#[tokio::test]
async fn on_a_hanging_disk_users_get_an_error_and_heartbeats_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit().await.unwrap();
    scene.connect(1).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    scene.trained(first).await;
    let (let_go, hold) = std::sync::mpsc::channel();
    scene.plan(|plan| plan.hold = Some(hold));
    scene.report(1, first, finished()).await;
    // A query that arrives before the report's commit is answered.
    let error = loop {
        if let Err(error) = scene.finished().await {
            break error.to_string();
        }
    };
    assert!(error.contains("the disk with the store has not answered for"), "{error}");
    scene.beat(5, &[first]).await;
    let message = tokio::time::timeout(Duration::from_secs(20), scene.inbound.recv()).await.expect("in time");
    assert_eq!(message.unwrap().unwrap().message, Some(Message::Renewed(v1::Renewed { beat: 5 })));
    let_go.send(()).unwrap();
    assert!(matches!(scene.next_message().await, Message::Acknowledgement(v1::Acknowledgement { sequence: 1 })));
    assert_eq!(scene.finished().await, Ok(1), "the driver continues");
    scene.stop().await;
}

#[tokio::test]
async fn a_damaged_store_ends_the_driver() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { failures: 1, damaged: true, ..Plan::default() };
    let scene = Scene::on(directory.path(), plan, Policy::default());
    assert_eq!(scene.submit().await, Err(RequestError::Stopping));
    assert!(matches!(scene.running.await.unwrap(), Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_flood_of_reports_does_not_delay_heartbeats() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit_text(&SWEEP.replace("epochs: 1", "epochs: 20000")).await.unwrap();
    scene.connect(1).await;
    assert!(matches!(scene.next_message().await, Message::Welcome(_)));
    let of = scene.assignment().await;
    let handle = scene.handle.clone();
    let flood = tokio::spawn(async move {
        for sequence in 1..=20_000 {
            let body = ReportBody::Epoch(sequence as u32, Measurements::from([(Metric::TestAccuracy, 0.5)]));
            let report = Report { sequence, attempt: of, body };
            handle.send(WorkerMessage::Report(SESSION, report)).await.unwrap();
        }
    });
    let (mut acknowledged, mut longest, mut beat, mut sent) = (0, Duration::ZERO, 0, None);
    while acknowledged < 20_000 {
        if sent.is_none() {
            (beat, sent) = (beat + 1, Some(Instant::now()));
            scene.beat(beat, &[of]).await;
        }
        let message = tokio::time::timeout(Duration::from_secs(20), scene.inbound.recv()).await.expect("in time");
        match message {
            Some(Ok(v1::ToWorker { message: Some(Message::Acknowledgement(_)) })) => acknowledged += 1,
            Some(Ok(v1::ToWorker { message: Some(Message::Renewed(renewed)) })) if renewed.beat == beat => {
                longest = longest.max(sent.take().map_or(Duration::ZERO, |sent: Instant| sent.elapsed()));
            }
            // The driver disconnected the worker because its queue was full.
            None => break,
            Some(_) => {}
        }
    }
    assert!(beat > 1 && longest < Duration::from_secs(2), "{beat} heartbeats, {longest:?}");
    flood.abort();
    scene.stop().await;
}

#[tokio::test]
async fn a_query_is_answered_before_large_submissions_that_came_first() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    let submit = |name: &str, seeds: usize| {
        let text = SWEEP.replace("small", name).replace("seeds: 3", &format!("seeds: {seeds}"));
        let sweep = sweep_file::read(&text, 10_000).unwrap();
        let (submitted, handle) = (Box::new(SubmittedSweep::new(sweep, text.into())), scene.handle.clone());
        tokio::spawn(async move { handle.request(|reply| UserRequest::Submit(submitted, reply)).await })
    };
    let (let_go, hold) = std::sync::mpsc::channel();
    scene.plan(|plan| plan.hold = Some(hold));
    let small = submit("small", 3);
    while scene.plan.lock().unwrap().hold.is_some() {
        tokio::task::yield_now().await;
    }
    // These wait while the small one is being committed.
    let large = [submit("first", 5_000), submit("second", 5_000)];
    tokio::task::yield_now().await;
    let sweeps = scene.handle.query(|scheduler, _, _| scheduler.view().sweeps().len());
    let release = async {
        tokio::task::yield_now().await;
        let_go.send(()).unwrap();
    };
    assert_eq!(tokio::join!(sweeps, release).0, Ok(1), "neither large one is committed");
    small.await.unwrap().unwrap().unwrap();
    for submitted in large {
        assert_eq!(submitted.await.unwrap().unwrap().unwrap().jobs, 5_000);
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_driver_whose_disk_hangs_stops_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    let (let_go, hold) = std::sync::mpsc::channel();
    scene.plan(|plan| plan.hold = Some(hold));
    let handle = scene.handle.clone();
    let sweep = sweep_file::read(SWEEP, 100).unwrap();
    let submitted = Box::new(SubmittedSweep::new(sweep, SWEEP.into()));
    let submission = tokio::spawn(async move { handle.request(|reply| UserRequest::Submit(submitted, reply)).await });
    while scene.plan.lock().unwrap().hold.is_some() {
        tokio::task::yield_now().await;
    }
    let Scene { stop, running, .. } = scene;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("in time").unwrap().unwrap();
    assert!(submission.await.unwrap().is_err(), "it is not acknowledged");
    let_go.send(()).unwrap();
}

//! The driver with a store that fails on command.

use super::*;
use crate::selection::Submitted;
use crate::store::Reader;
use plusminus_core::id::{Attempt, AttemptId, WorkerName};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Samples};
use plusminus_core::scheduler::{Ending, JobState, Report};
use plusminus_core::sweep_file;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const SWEEP: &str = "
sweep: small
seeds: 3
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, epochs: 1}
";
const SESSION: Session = Session(7);

/// What a store has been told to do, and has done.
#[derive(Default)]
struct Plan {
    /// Transactions that are to succeed before one fails.
    good: u32,
    /// How often that one fails.
    failures: u32,
    /// How often it has.
    failed: u32,
    /// It is damaged, so that nothing helps.
    damaged: bool,
    /// The next commit does not return before this says something.
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
                true => StoreError::Corrupt { path, problem: "as the test wants".to_owned() },
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

/// A driver at work, and a worker and a user played by the test.
struct Scene {
    handle: Handle,
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
        let (clock, terms) = (Clock::new(), Terms { lease: policy.lease, store: store.identity().unwrap() });
        let machine = Scheduler::restart(policy, store.records().unwrap(), clock.now());
        let selections = Selections::of(&machine, None, store.reader().unwrap());
        let failing = Failing { store, plan: Arc::clone(&plan) };
        let (mut driver, handle, inbox) = Driver::with(machine, selections, failing, clock, terms, stopped).unwrap();
        driver.pause = Duration::from_millis(5);
        driver.patience = Duration::from_millis(5);
        let running = tokio::spawn(driver.run(inbox));
        let reader = Reader::open(directory).unwrap();
        Scene { handle, plan, inbound: mpsc::channel(1).1, running, stop, reader }
    }

    fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    async fn submit(&self) -> Result<SubmitSummary, Unanswered> {
        let sweep = sweep_file::read(SWEEP, 100).unwrap();
        let submitted = Box::new(Submitted::new(sweep, SWEEP.into()));
        self.handle.call(|reply| Call::Submit(submitted, reply)).await.map(Result::unwrap)
    }

    async fn join(&mut self, slots: u32) {
        let (outbox, inbound) = mpsc::channel(8192);
        self.inbound = inbound;
        let worker = WorkerName("w".into());
        let devices = vec![v1::Device { name: "cpu".to_owned(), slots, ..v1::Device::default() }];
        let join = Request::Join { session: SESSION, worker, instance: 1, devices, holds: vec![], outbox };
        self.handle.send(join).await.unwrap();
    }

    async fn beat(&self, beat: u64, holds: &[AttemptId]) {
        self.handle.beat(Beat { session: SESSION, beat, holds: holds.to_vec() }).await.unwrap();
    }

    async fn report(&self, sequence: u64, AttemptId { job, attempt }: AttemptId, body: ReportBody) {
        self.handle.send(Request::Report(SESSION, Report { sequence, job, attempt, body })).await.unwrap();
    }

    /// The next thing that the worker is told but that its leases are renewed.
    async fn told(&mut self) -> Message {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.inbound.recv()).await.expect("in time");
            match message.unwrap().unwrap().message.unwrap() {
                Message::Renewed(_) => {}
                other => return other,
            }
        }
    }

    async fn assignment(&mut self) -> AttemptId {
        match self.told().await {
            Message::Assignment(assignment) => assignment.of.unwrap().to_core().unwrap(),
            other => panic!("expected an assignment, found {other:?}"),
        }
    }

    async fn finished(&self) -> Result<usize, Unanswered> {
        self.handle.ask(|machine, _, _| machine.sweep(&"small".parse().unwrap()).unwrap().counts.finished).await
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
    let (engine, data, weights, start) = ("none".into(), "".into(), "".into(), None);
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

/// Trains the whole sweep, holding what is said against what is on the disk; how often a commit has failed.
async fn whole_sweep(good: u32, failures: u32) -> u32 {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan { good, failures, ..Plan::default() }, Policy::default());
    let sweeps = |reader: &Reader| reader.records().unwrap().len();
    match scene.submit().await {
        Ok(summary) => assert_eq!((summary.new, sweeps(&scene.reader)), (3, 1), "it is there when it is answered"),
        Err(error) => {
            assert!(matches!(&error, Unanswered::Pending(why) if why.contains("no room is left")), "{error}");
            assert!(error.to_string().contains("is done as soon as it can be written down"), "{error}");
            // It is done all the same when there is room.
            while scene.finished().await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    scene.join(1).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    for job in 0..3 {
        let of = scene.assignment().await;
        let attempts = scene.reader.attempts(of.job).unwrap();
        assert_eq!((attempts.len(), of.attempt), (1, Attempt(1)), "it is written down before it is given out");
        for (sequence, body) in [(2 * job + 1, epoch()), (2 * job + 2, finished())] {
            scene.report(sequence, of, body).await;
            let Message::Acknowledgement(got) = scene.told().await else { panic!("expected an acknowledgement") };
            assert_eq!(got.sequence, sequence);
            let attempt = scene.reader.attempts(of.job).unwrap().remove(0);
            assert_eq!((attempt.epochs, attempt.ended.is_some()), (1, sequence % 2 == 0), "on the disk by then");
        }
    }
    while scene.finished().await != Ok(3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failed = scene.plan.lock().unwrap().failed;
    scene.stop().await;
    let machine =
        Scheduler::restart(Policy::default(), Reader::open(directory.path()).unwrap().records().unwrap(), WallTime(0));
    assert!(machine.jobs_of(&"small".parse().unwrap()).all(|job| job.state == JobState::Finished && job.attempts == 1));
    failed
}

#[tokio::test]
async fn whichever_commit_fails_nothing_is_said_that_is_not_on_the_disk_and_the_sweep_is_trained() {
    let mut commits = 0;
    while whole_sweep(commits, 3).await > 0 {
        commits += 1;
    }
    assert!(commits >= 7, "a submission, a join, and twice a report for each job: {commits}");
}

#[tokio::test]
async fn while_nothing_can_be_written_users_are_told_and_heartbeats_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    // Many leases pass while the disk is full.
    let policy = Policy { lease: 200, ..Policy::default() };
    let mut scene = Scene::on(directory.path(), Plan::default(), policy);
    scene.submit().await.unwrap();
    scene.join(1).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, finished()).await;
    let mut said = None;
    for beat in 1..40 {
        scene.beat(beat, &[first]).await;
        let message = tokio::time::timeout(Duration::from_secs(20), scene.inbound.recv()).await.expect("in time");
        match message.unwrap().unwrap().message.unwrap() {
            Message::Renewed(renewed) => assert_eq!(renewed.beat, beat),
            other => panic!("nothing else can have been said: {other:?}"),
        }
        if beat > 2 {
            said = scene.finished().await.err();
            assert_eq!(scene.submit().await.err(), said, "nor is anything taken in");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = said.unwrap().to_string();
    assert!(said.contains("no room is left for the store plusminus.sqlite"), "{said}");
    assert!(scene.reader.attempts(first.job).unwrap()[0].ended.is_none());
    scene.plan(|plan| plan.failures = 0);
    assert!(matches!(scene.told().await, Message::Acknowledgement(v1::Acknowledgement { sequence: 1 })));
    assert_eq!(scene.reader.attempts(first.job).unwrap()[0].ending.as_deref(), Some("finished"));
    let second = scene.assignment().await;
    assert_ne!(first.job, second.job);
    assert_eq!(scene.finished().await, Ok(1));
    scene.stop().await;
}

#[tokio::test]
async fn no_lease_passes_while_nothing_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let policy = Policy { lease: 400, ..Policy::default() };
    let mut scene = Scene::on(directory.path(), Plan::default(), policy);
    scene.submit().await.unwrap();
    scene.join(2).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    let (first, second) = (scene.assignment().await, scene.assignment().await);
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, epoch()).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    scene.plan(|plan| plan.failures = 0);
    assert!(matches!(scene.told().await, Message::Acknowledgement(_)));
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
async fn a_driver_that_waits_for_its_disk_can_be_stopped_and_has_acknowledged_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit().await.unwrap();
    scene.join(1).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    scene.plan(|plan| plan.failures = u32::MAX);
    scene.report(1, first, finished()).await;
    while scene.finished().await.is_ok() {}
    let Scene { stop, running, mut inbound, .. } = scene;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(inbound.recv().await.is_none(), "the report is still the worker's to keep");
}

#[tokio::test]
async fn of_a_disk_that_does_not_answer_users_are_told_and_heartbeats_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit().await.unwrap();
    scene.join(1).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    let first = scene.assignment().await;
    let (let_go, hold) = std::sync::mpsc::channel();
    scene.plan(|plan| plan.hold = Some(hold));
    scene.report(1, first, finished()).await;
    // A question that comes before the commit does is answered.
    let said = loop {
        if let Err(said) = scene.finished().await {
            break said.to_string();
        }
    };
    assert!(said.contains("the disk with the store has not answered for"), "{said}");
    scene.beat(5, &[first]).await;
    let message = tokio::time::timeout(Duration::from_secs(20), scene.inbound.recv()).await.expect("in time");
    assert_eq!(message.unwrap().unwrap().message, Some(Message::Renewed(v1::Renewed { beat: 5 })));
    let_go.send(()).unwrap();
    assert!(matches!(scene.told().await, Message::Acknowledgement(v1::Acknowledgement { sequence: 1 })));
    assert_eq!(scene.finished().await, Ok(1), "as before");
    scene.stop().await;
}

#[tokio::test]
async fn a_damaged_store_ends_the_driver() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { failures: 1, damaged: true, ..Plan::default() };
    let scene = Scene::on(directory.path(), plan, Policy::default());
    assert_eq!(scene.submit().await, Err(Unanswered::Stopping));
    assert!(matches!(scene.running.await.unwrap(), Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_flood_of_measurements_delays_no_heartbeat() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::on(directory.path(), Plan::default(), Policy::default());
    scene.submit().await.unwrap();
    scene.join(1).await;
    assert!(matches!(scene.told().await, Message::Welcome(_)));
    let of = scene.assignment().await;
    let handle = scene.handle.clone();
    let flood = tokio::spawn(async move {
        for sequence in 1..=20_000 {
            let body = ReportBody::Epoch(sequence as u32, Measurements::from([(Metric::TestAccuracy, 0.5)]));
            let report = Report { sequence, job: of.job, attempt: of.attempt, body };
            handle.send(Request::Report(SESSION, report)).await.unwrap();
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
            // As a worker that did not take its messages in time it has been cut off.
            None => break,
            Some(_) => {}
        }
    }
    assert!(beat > 1 && longest < Duration::from_secs(2), "{beat} heartbeats, {longest:?}");
    flood.abort();
    scene.stop().await;
}

//! Reports that are impossible, and unusual ones that are not.

use super::*;
use crate::metric::{Measurements, Metric};
use crate::outcome::Start;

/// A scheduler with one running job of two epochs, which has a child that uses its final weights.
fn trained() -> Bench {
    let mut bench = Bench::new();
    let mut submission = submission("s", [10, 11]);
    submission.cells[0].configuration = r#"{"dataset":{"name":"mr"},"epochs":2}"#.into();
    bench.handle(Event::Submit(Ticket(0), submission));
    bench.join(1, 1, 1, &[]);
    bench
}

fn of() -> AttemptId {
    AttemptId::new(job(10).id, Attempt(1))
}

fn row(values: &[(Metric, f64)]) -> Measurements {
    values.iter().copied().collect()
}

fn tested(accuracy: f64) -> Measurements {
    row(&[(Metric::TestAccuracy, accuracy)])
}

impl Bench {
    fn report(&mut self, attempt: AttemptId, body: ReportBody) -> Vec<Effect> {
        self.handle(Event::Reported(Session(1), Report { sequence: 5, attempt, body }))
    }

    fn epoch(&mut self, epoch: u32, measurements: Measurements) -> Vec<Effect> {
        self.report(of(), ReportBody::Epoch(epoch, measurements))
    }

    fn finish(&mut self, facts: Facts) -> Vec<Effect> {
        self.report(of(), ReportBody::Ended(Ending::Finished(Box::new(facts))))
    }

    /// The reason why the attempt failed, if it did.
    fn refusal(&self) -> Option<String> {
        self.records.iter().find_map(|record| match record {
            Record::Ended { ending: Ending::Failed(failure), .. } => {
                assert_eq!(failure.kind, FailureKind::Infrastructure);
                Some(failure.message.clone())
            }
            _ => None,
        })
    }

    fn rows(&self) -> Vec<u32> {
        let epoch = |record: &Record| if let Record::Epoch { epoch, .. } = record { Some(*epoch) } else { None };
        self.records.iter().filter_map(epoch).collect()
    }

    fn restarted(self) -> Bench {
        let scheduler = Scheduler::restart(POLICY, self.records.clone(), self.now);
        assert_eq!(scheduler.state().durable_jobs(), self.scheduler.state().durable_jobs());
        Bench { scheduler, ..self }
    }
}

fn result() -> Facts {
    let digest = "0f".repeat(32);
    Facts { data: digest.clone(), weights: digest, ..*facts() }
}

/// The reason for which a whole training with these facts is refused.
fn refusal_of(change: impl FnOnce(&mut Facts)) -> Option<String> {
    let mut bench = trained();
    (1..=2).for_each(|epoch| drop(bench.epoch(epoch, tested(0.5))));
    let mut facts = result();
    change(&mut facts);
    bench.finish(facts);
    bench.refusal().map(|message| message.trim_start_matches("worker w1 reported an impossible value: ").to_owned())
}

#[test]
fn an_impossible_value_ends_its_attempt_and_is_acknowledged() {
    let mut bench = trained();
    bench.epoch(1, tested(0.5));
    let effects = bench.epoch(2, tested(7.0));
    let expected = [Effect::Stop { session: Session(1), attempt: of() }, Effect::Acknowledge(Session(1), 5)];
    assert_eq!(effects, expected);
    let reason = "worker w1 reported an impossible value: test_accuracy 7 at epoch 2 (expected 0 to 1)";
    assert_eq!(bench.refusal().as_deref(), Some(reason));
    assert_eq!(bench.rows(), [1]);
    // The worker may still train it, so nobody else gets it before it has stopped.
    bench.join(2, 2, 1, &[]);
    assert_eq!(bench.wait(50), []);
    bench.beat(1, vec![of()]);
    let mut effects = bench.beat(1, vec![]);
    effects.extend(bench.wait(20));
    assert!(matches!(effects[..], [Effect::Assign { .. }]), "{effects:?}");
    bench.restarted();
}

#[test]
fn every_kind_of_impossible_epoch_is_refused() {
    let cases: [(&[(u32, Measurements)], &str); 7] = [
        (&[(0, tested(0.5))], "epoch 0 (expected 1 to 2)"),
        (&[(u32::MAX, tested(0.5))], "epoch 4294967295 (expected 1 to 2)"),
        (&[(1, tested(0.5)), (2, tested(0.5)), (3, tested(0.5))], "epoch 3 (expected 1 to 2)"),
        (&[(2, tested(0.5))], "epoch 2 (expected epoch 1 first)"),
        (&[(1, tested(f64::INFINITY))], "test_accuracy inf at epoch 1 (expected 0 to 1)"),
        (&[(1, tested(f64::NAN))], "test_accuracy NaN at epoch 1 (expected 0 to 1)"),
        (&[(1, tested(0.5)), (1, tested(1.5))], "test_accuracy 1.5 at epoch 1 (expected 0 to 1)"),
    ];
    for (epochs, reason) in cases {
        let mut bench = trained();
        epochs.iter().for_each(|(epoch, row)| drop(bench.epoch(*epoch, row.clone())));
        assert_eq!(bench.refusal(), Some(format!("worker w1 reported an impossible value: {reason}")));
    }
}

#[test]
fn a_result_without_all_its_epochs_is_refused() {
    let mut bench = trained();
    bench.epoch(1, tested(0.5));
    let effects = bench.finish(result());
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })), "the worker has ended it");
    assert!(bench.refusal().unwrap().ends_with("the end of the training after 1 epochs (expected 2)"));
    assert!(matches!(bench.scheduler.state().job(job(10).id), Some(JobState::Queued { .. })));
}

#[test]
fn a_result_lacks_no_metric_of_the_samples_that_it_counts() {
    let whole = |rows: [Measurements; 2], validation| {
        let mut bench = trained();
        (1..).zip(rows).for_each(|(epoch, row)| drop(bench.epoch(epoch, row)));
        let mut facts = result();
        facts.samples.validation = validation;
        bench.finish(facts);
        bench.refusal()
    };
    let validated =
        || row(&[(Metric::TestAccuracy, 0.5), (Metric::ValidationLoss, 2.0), (Metric::ValidationAccuracy, 0.5)]);
    assert_eq!(whole([validated(), validated()], 10), None);
    assert_eq!(whole([tested(0.5), tested(0.5)], 0), None);
    assert!(whole([validated(), tested(0.5)], 10).unwrap().contains("10 validation samples"));
    assert!(whole([tested(0.5), row(&[(Metric::TrainLoss, 0.5)])], 0).unwrap().contains("1 test samples"));
}

#[test]
fn every_kind_of_impossible_fact_is_refused() {
    let fact = |change: fn(&mut Facts)| refusal_of(change).unwrap_or_else(|| "accepted".to_owned());
    assert_eq!(refusal_of(|_| {}), None);
    assert_eq!(refusal_of(|facts| facts.kept = [(EpochSelection::Final, file("w"))].into()), None);
    let found = [
        fact(|facts| facts.parameters = usize::MAX),
        fact(|facts| facts.samples.train = 0),
        fact(|facts| facts.noise_rate = f64::NAN),
        fact(|facts| facts.transition = TransitionMatrix::identity(0)),
        fact(|facts| facts.engine = "\u{1b}[2J".into()),
        fact(|facts| facts.weights = "w".repeat(3_000_000)),
        fact(|facts| facts.data = "../../etc".into()),
        fact(|facts| facts.start = Some(Start { digest: "../../etc".into(), random_classifier: false })),
        fact(|facts| facts.kept = [(EpochSelection::Best, file("w"))].into()),
    ];
    let digest = format!("the digest of weights `{}…` (expected 64 hexadecimal digits)", "w".repeat(80));
    let expected = [
        "a number of parameters of 18446744073709551615 (expected 1 to 17592186044416)",
        "a number of training samples of 0 (expected 1 to 17592186044416)",
        "a noise rate of NaN (expected 0 to 1)",
        "a number of classes of 0 (expected 1 to 65536)",
        r"the engine `\u{1b}[2J` (expected 1 to 200 printable characters)",
        &digest,
        "the digest of data `../../etc` (expected 64 hexadecimal digits)",
        "the digest of initial weights `../../etc` (expected 64 hexadecimal digits)",
        "kept weights `best` (expected only weights that were asked for)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_repeated_epoch_counts_once_and_keeps_its_first_value() {
    let mut bench = trained();
    bench.epoch(1, tested(0.5));
    assert_eq!(bench.epoch(1, tested(0.25)), [Effect::Acknowledge(Session(1), 5)]);
    bench.epoch(2, tested(0.75));
    assert_eq!((bench.rows(), bench.refusal()), (vec![1, 2], None));
    let mut bench = bench.restarted();
    bench.join(1, 1, 1, &[(10, 1)]);
    assert_eq!(bench.epoch(2, tested(0.75)), [Effect::Acknowledge(Session(1), 5)], "also after a restart");
    bench.finish(result());
    assert_eq!(bench.scheduler.state().job(job(10).id), Some(&JobState::Finished));
}

#[test]
fn a_resumed_attempt_reports_all_epochs_again() {
    let mut bench = trained();
    bench.epoch(1, tested(0.5));
    bench.report(of(), ReportBody::Ended(Ending::Failed(Failure::new(FailureKind::Preempted, ""))));
    bench.records.retain(|record| !matches!(record, Record::Ended { .. }));
    bench.wait(60);
    let second = AttemptId::new(job(10).id, Attempt(2));
    assert!(bench.scheduler.runs(Session(1), second));
    bench.report(second, ReportBody::Epoch(1, tested(0.5)));
    bench.report(second, ReportBody::Epoch(2, tested(0.5)));
    bench.report(second, ReportBody::Ended(Ending::Finished(Box::new(result()))));
    assert_eq!((bench.rows(), bench.refusal()), (vec![1, 1, 2], None));
}

#[test]
fn a_diverging_loss_can_end_as_diverged_but_not_as_a_result() {
    let diverging = || row(&[(Metric::TestAccuracy, 0.1), (Metric::TrainLoss, f64::NAN)]);
    let mut bench = trained();
    bench.epoch(1, diverging());
    bench.report(of(), ReportBody::Ended(Ending::Failed(Failure::new(FailureKind::Diverged, "NaN"))));
    let state = bench.scheduler.state().job(job(10).id).cloned();
    assert_eq!(state, Some(JobState::Failed(Failure::new(FailureKind::Diverged, "NaN"))));
    let mut bench = trained();
    bench.epoch(1, diverging());
    let mut bench = bench.restarted();
    bench.join(1, 1, 1, &[(10, 1)]);
    bench.epoch(2, tested(0.5));
    bench.finish(result());
    assert!(bench.refusal().unwrap().contains("expected the failure `diverged`"));
}

#[test]
fn only_the_worker_of_the_current_attempt_speaks_for_it() {
    let mut bench = trained();
    bench.join(2, 2, 0, &[]);
    assert!(bench.scheduler.runs(Session(1), of()));
    assert!(!bench.scheduler.runs(Session(2), of()) && !bench.scheduler.runs(Session(3), of()));
    assert!(!bench.scheduler.runs(Session(1), AttemptId::new(job(10).id, Attempt(2))));
    let report = |body| Event::Reported(Session(2), Report { sequence: 9, attempt: of(), body });
    assert_eq!(bench.handle(report(ReportBody::Epoch(1, tested(0.9)))), [Effect::Acknowledge(Session(2), 9)]);
    assert_eq!(bench.rows(), [0; 0]);
}

#[test]
fn jobs_of_unknown_configurations_are_not_checked() {
    let mut bench = Bench::new();
    bench.submit("s", [1]);
    bench.join(1, 1, 1, &[]);
    bench.report(AttemptId::new(job(1).id, Attempt(1)), ReportBody::Epoch(7, tested(7.0)));
    assert_eq!((bench.rows(), bench.refusal()), (vec![7], None));
}

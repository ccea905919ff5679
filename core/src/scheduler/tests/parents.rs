//! Jobs that start from a parent's weights.

use super::*;

/// A sweep with a parent and a child, and a worker with two slots.
fn family() -> Bench {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.join(1, 1, 2, &[]);
    bench
}

#[test]
fn a_child_waits_for_its_parent_and_gets_the_weights_that_it_wants() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 12]);
    let effects = bench.join(1, 1, 3, &[]);
    assert_eq!(assigned(&effects), [(1, 10, 1)], "two slots stay empty");
    let Effect::Assign { keeps, parent, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((keeps, parent), (&BTreeSet::from([EpochSelection::Final, EpochSelection::BestValidation]), &None));
    let effects = bench.end(1, 10, 1, leaving(&[EpochSelection::Final, EpochSelection::BestValidation]));
    assert_eq!(assigned(&effects), [(1, 11, 1), (1, 12, 1)]);
    let given = |effect: &Effect| if let Effect::Assign { parent, .. } = effect { *parent } else { None };
    let parent = job(10).id;
    assert_eq!(
        effects.iter().filter_map(given).collect::<Vec<_>>(),
        [file("final"), file("best-validation")].map(|digest| ParentFile { job: parent, digest })
    );
}

#[test]
fn a_failed_parent_fails_its_descendants_with_the_reason() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    bench.join(1, 1, 1, &[]);
    bench.fail(1, 10, 1, FailureKind::UserError);
    for child in [11, 13] {
        let JobState::Failed(failure) = bench.state(child) else { panic!("{:?}", bench.state(child)) };
        assert_eq!(failure.kind, FailureKind::UserError);
        assert!(failure.message.contains(&job(10).id.to_string()), "{failure}");
    }
    let again = bench.submit("a", [10, 11, 13]);
    assert_eq!(again.requeued, 3);
    assert!(matches!(bench.state(10), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn children_wait_while_their_parent_is_retried() {
    let mut bench = family();
    bench.fail(1, 10, 1, FailureKind::Infrastructure);
    assert!(matches!(bench.state(11), JobState::Queued { .. }));
    assert_eq!(assigned(&bench.wait(10)), [(1, 10, 2)]);
}

#[test]
fn children_of_a_diverged_parent_count_as_diverged() {
    let mut bench = family();
    bench.fail(1, 10, 1, FailureKind::Diverged);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.kind == FailureKind::Diverged));
    assert_eq!(bench.submit("a", [10, 11]).requeued, 0);
    // A new child of the diverged parent fails at once.
    bench.submit("b", [10, 12]);
    assert!(matches!(bench.state(12), JobState::Failed(_)));
}

#[test]
fn a_parent_is_not_dropped_while_another_sweep_wants_it() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.submit("b", [10, 12]);
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    assert_eq!(bench.state(11), &JobState::Dropped);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 10, 1)]);
    assert_eq!(
        assigned(&bench.end(1, 10, 1, leaving(&[EpochSelection::Final, EpochSelection::BestValidation]))),
        [(1, 12, 1)]
    );
}

#[test]
fn a_finished_job_that_becomes_a_parent_is_retrained_for_its_weights() {
    let mut bench = Bench::new();
    bench.submit("plain", [10]);
    bench.join(1, 1, 2, &[]);
    bench.end(1, 10, 1, finished());
    let summary = bench.submit("a", [10, 11]);
    assert_eq!(
        summary,
        SubmitSummary { jobs: 2, new: 1, finished: 0, requeued: 1, dropped: 0, ..SubmitSummary::default() }
    );
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[EpochSelection::Final]))), [(1, 11, 1)]);
    // A sweep with all its results queues nothing.
    bench.end(1, 11, 1, finished());
    assert_eq!(bench.submit("a", [10, 11]).finished, 2);
}

#[test]
fn a_retrained_parent_uses_the_weights_of_its_own_parent() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, finished());
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    bench.handle(Event::WeightsLost(job(10).id, file("final")));
    assert_eq!(bench.state(10), &JobState::Finished, "no sweep wants it");
    let summary = bench.submit("b", [10, 11, 13]);
    assert_eq!((summary.requeued, summary.new), (1, 1), "11 for its weights; 10 has saved its own");
    assert!(matches!(bench.state(11), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn weights_requested_during_an_attempt_need_another_attempt() {
    let mut bench = family();
    bench.submit("b", [10, 12]);
    let effects = bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    assert_eq!(assigned(&effects), [(1, 10, 2)], "the first attempt was not asked for the other weights");
    let effects = bench.end(1, 10, 2, leaving(&[EpochSelection::Final, EpochSelection::BestValidation]));
    assert_eq!(assigned(&effects), [(1, 11, 1), (1, 12, 1)]);
}

#[test]
fn a_parent_that_does_not_save_requested_weights_is_not_retrained() {
    let mut bench = family();
    let effects = bench.end(1, 10, 1, finished());
    assert_eq!(assigned(&effects), []);
    assert_eq!(bench.state(10), &JobState::Finished);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.message.contains("without saving")));
}

#[test]
fn lost_weights_are_retrained_and_the_child_is_retried() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::WeightsLost(job(10).id, file("other")));
    assert_eq!(bench.state(10), &JobState::Finished, "the job did not save that file");
    assert_eq!(assigned(&bench.handle(Event::WeightsLost(job(10).id, file("final")))), [(1, 10, 2)]);
    bench.fail(1, 11, 1, FailureKind::Infrastructure);
    assert_eq!(assigned(&bench.wait(30)), [], "its parent still runs");
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[EpochSelection::Final]))), [(1, 11, 2)]);
}

#[test]
fn a_single_sweep_coordinator_waits_for_parents_too() {
    let policy = Policy { only: Some(name("a")), ..POLICY };
    let mut bench = Bench { scheduler: Scheduler::new(policy), now: WallTime(1), records: Vec::new() };
    bench.submit("a", [10, 11]);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 10, 1)]);
    assert_eq!(assigned(&bench.wait(5)), []);
    assert_eq!(assigned(&bench.end(1, 10, 1, leaving(&[EpochSelection::Final]))), [(1, 11, 1)]);
}

/// A scheduler that restarts from the committed records.
fn restarted(bench: Bench) -> Bench {
    let scheduler = Scheduler::restart(POLICY, bench.records.clone(), bench.now);
    Bench { scheduler, ..bench }
}

#[test]
fn a_child_that_fails_after_its_parent_does_not_wait_for_it() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::WeightsLost(job(10).id, file("final")));
    bench.fail(1, 10, 2, FailureKind::UserError);
    assert!(matches!(bench.state(11), JobState::Running { .. }), "it may have fetched the weights");
    bench.fail(1, 11, 1, FailureKind::Infrastructure);
    assert!(message(bench.state(11)).contains(&job(10).id.to_string()));
}

#[test]
fn a_child_that_fails_after_its_parent_diverged_counts_as_diverged() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    // An earlier version stored a job as failed when its retraining failed.
    let state = StoredState::Failed(Failure::new(FailureKind::Diverged, ""));
    bench.records.push(Record::Restored {
        job: job(10).id,
        attempts: 2,
        failures: 1,
        failed_on: vec![],
        reached: Reached::default(),
        reported: Reported::default(),
        result: true,
        state,
    });
    let mut bench = restarted(bench);
    bench.join(1, 1, 2, &[(11, 1)]);
    bench.fail(1, 11, 1, FailureKind::OutOfMemory);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.kind == FailureKind::Diverged));
}

#[test]
fn after_a_restart_no_child_waits_for_a_failed_parent() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    let state = StoredState::Failed(Failure::new(FailureKind::UserError, "no data"));
    bench.records.push(Record::Restored {
        job: job(10).id,
        attempts: 1,
        failures: 1,
        failed_on: vec![],
        reached: Reached::default(),
        reported: Reported::default(),
        result: false,
        state,
    });
    let mut bench = restarted(bench);
    bench.wait(1);
    assert!(message(bench.state(11)).contains("no data"));
    assert!(message(bench.state(13)).contains(&job(11).id.to_string()));
}

#[test]
fn a_job_is_not_retrained_if_its_own_parent_cannot_be() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    bench.join(1, 1, 3, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::WeightsLost(job(10).id, file("final")));
    bench.fail(1, 10, 2, FailureKind::UserError);
    // The parent finished without saving the weights that it was asked for, so it is not retrained.
    bench.handle(Event::WeightsLost(job(11).id, file("final")));
    assert_eq!((bench.state(10), bench.state(11)), (&JobState::Finished, &JobState::Finished));
    bench.fail(1, 13, 1, FailureKind::Infrastructure);
    assert!(message(bench.state(13)).contains(&job(11).id.to_string()));
    // Another submission queues all three.
    assert_eq!(bench.submit("a", [10, 11, 13]).requeued, 3);
    bench.beat(1, vec![]);
    assert!(matches!(bench.state(10), JobState::Running { attempt: Attempt(3), .. }));
}

#[test]
fn retraining_a_job_first_retrains_its_parent_if_that_has_no_weights() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 13, 1, finished());
    bench.handle(Event::Disconnected(Session(1)));
    // 12 wants other weights of 10 and is cancelled before they are saved.
    bench.submit("b", [10, 12]);
    for sweep in ["a", "b"] {
        bench.handle(Event::Cancel(Ticket(0), name(sweep)));
    }
    assert_eq!(bench.submit("a", [10, 11, 13]).finished, 3);
    bench.handle(Event::WeightsLost(job(11).id, file("final")));
    assert_eq!(assigned(&bench.join(2, 1, 1, &[])), [(2, 10, 2)]);
    assert_eq!(assigned(&bench.end(2, 10, 2, leaving(&[EpochSelection::Final]))), [(2, 11, 2)]);
}

#[test]
fn cancelling_a_retrained_job_keeps_its_result() {
    let mut bench = Bench::new();
    bench.submit("a", [10]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, finished());
    bench.submit("a", [10, 11]);
    assert!(matches!(bench.state(10), JobState::Running { attempt: Attempt(2), .. }));
    let effects = bench.handle(Event::Cancel(Ticket(0), name("a")));
    assert!(effects.contains(&Effect::Stop { session: Session(1), attempt: AttemptId::new(job(10).id, Attempt(2)) }));
    assert!(effects.contains(&Effect::Cancelled(Ticket(0), 1)), "only the child has no result: {effects:?}");
    assert_eq!((bench.state(10), bench.state(11)), (&JobState::Finished, &JobState::Dropped));
    assert_eq!(bench.submit("b", [10]).finished, 1);
}

#[test]
fn a_failed_retraining_keeps_the_result_and_fails_the_children() {
    let mut bench = Bench::new();
    bench.submit("plain", [10]);
    bench.join(1, 1, 2, &[]);
    bench.end(1, 10, 1, finished());
    bench.submit("a", [10, 11, 13]);
    bench.end(1, 10, 2, Ending::Failed(Failure::new(FailureKind::UserError, "the data set is gone")));
    assert_eq!(bench.state(10), &JobState::Finished);
    let why = message(bench.state(11));
    assert!(why.contains("the data set is gone") && why.contains(&job(10).id.to_string()), "{why}");
    assert!(matches!(bench.state(13), JobState::Failed(_)));
    // Another submission retries. A sweep with only the finished job queues nothing.
    assert_eq!(bench.submit("plain", [10]).finished, 1);
    assert_eq!(bench.submit("a", [10, 11, 13]).requeued, 3);
}

#[test]
fn a_child_with_missing_weights_backs_off_without_counting_a_failure() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    assert_eq!(assigned(&bench.fail(1, 11, 1, FailureKind::Preempted)), []);
    assert_eq!(assigned(&bench.wait(4)), []);
    assert_eq!(assigned(&bench.wait(6)), [(1, 11, 2)]);
    assert_eq!(bench.scheduler.state().entry(job(11).id).unwrap().failures, 0);
}

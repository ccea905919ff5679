//! The machine and jobs that build on others.

use super::*;

/// A machine with a sweep of parent and child, and a worker with two slots.
fn family() -> Bench {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.join(1, 1, 2, &[]);
    bench
}

#[test]
fn a_child_waits_for_its_parent_and_is_given_the_weights_that_it_asks_for() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 12]);
    let effects = bench.join(1, 1, 3, &[]);
    assert_eq!(assigned(&effects), [(1, 10, 1)], "two slots stay empty");
    let Effect::Assign { keeps, origin, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((keeps, origin), (&BTreeSet::from([EpochSelection::Final, EpochSelection::BestValidation]), &None));
    let effects = bench.end(1, 10, 1, leaving(&[EpochSelection::Final, EpochSelection::BestValidation]));
    assert_eq!(assigned(&effects), [(1, 11, 1), (1, 12, 1)]);
    let given = |effect: &Effect| if let Effect::Assign { origin, .. } = effect { *origin } else { None };
    let parent = job(10).id;
    assert_eq!(
        effects.iter().filter_map(given).collect::<Vec<_>>(),
        [(parent, file("final")), (parent, file("best-validation")),]
    );
}

#[test]
fn a_parent_that_failed_fails_its_children_and_theirs_with_the_reason() {
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
fn a_parent_that_is_tried_again_keeps_its_children_waiting() {
    let mut bench = family();
    bench.fail(1, 10, 1, FailureKind::Infrastructure);
    assert!(matches!(bench.state(11), JobState::Queued { .. }));
    assert_eq!(assigned(&bench.wait(10)), [(1, 10, 2)]);
}

#[test]
fn the_children_of_a_parent_that_diverged_are_a_result_too_and_are_not_tried_again() {
    let mut bench = family();
    bench.fail(1, 10, 1, FailureKind::Diverged);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.kind == FailureKind::Diverged));
    assert_eq!(bench.submit("a", [10, 11]).requeued, 0);
    // A child that is new finds its parent as it is.
    bench.submit("b", [10, 12]);
    assert!(matches!(bench.state(12), JobState::Failed(_)));
}

#[test]
fn a_parent_is_not_dropped_while_a_child_in_another_sweep_wants_it() {
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
fn a_parent_that_was_trained_as_a_plain_job_is_trained_again_for_its_weights() {
    let mut bench = Bench::new();
    bench.submit("plain", [10]);
    bench.join(1, 1, 2, &[]);
    bench.end(1, 10, 1, finished());
    let summary = bench.submit("a", [10, 11]);
    assert_eq!(summary, SubmitSummary { jobs: 2, new: 1, finished: 0, requeued: 1, dropped: 0 });
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[EpochSelection::Final]))), [(1, 11, 1)]);
    // A sweep that has all of its results asks for nothing.
    bench.end(1, 11, 1, finished());
    assert_eq!(bench.submit("a", [10, 11]).finished, 2);
}

#[test]
fn a_grandparent_is_trained_again_where_its_child_has_to_be() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, finished());
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    bench.handle(Event::Lost(job(10).id, file("final")));
    assert_eq!(bench.state(10), &JobState::Finished, "nobody wants it");
    let summary = bench.submit("b", [10, 11, 13]);
    assert_eq!((summary.requeued, summary.new), (1, 1), "11 for its weights; 10 has left its own");
    assert!(matches!(bench.state(11), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn weights_that_are_asked_for_while_the_parent_is_trained_are_had_from_another_attempt() {
    let mut bench = family();
    bench.submit("b", [10, 12]);
    let effects = bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    assert_eq!(assigned(&effects), [(1, 10, 2)], "it was not told of the other selection");
    let effects = bench.end(1, 10, 2, leaving(&[EpochSelection::Final, EpochSelection::BestValidation]));
    assert_eq!(assigned(&effects), [(1, 11, 1), (1, 12, 1)]);
}

#[test]
fn a_parent_that_does_not_leave_what_it_was_asked_for_is_not_trained_for_ever() {
    let mut bench = family();
    let effects = bench.end(1, 10, 1, finished());
    assert_eq!(assigned(&effects), []);
    assert_eq!(bench.state(10), &JobState::Finished);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.message.contains("has not left")));
}

#[test]
fn weights_that_are_gone_are_made_again_and_the_child_tries_again() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::Lost(job(10).id, file("other")));
    assert_eq!(bench.state(10), &JobState::Finished, "that was no file of its");
    assert_eq!(assigned(&bench.handle(Event::Lost(job(10).id, file("final")))), [(1, 10, 2)]);
    bench.fail(1, 11, 1, FailureKind::Infrastructure);
    assert_eq!(assigned(&bench.wait(30)), [], "its parent is not there yet");
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[EpochSelection::Final]))), [(1, 11, 2)]);
}

#[test]
fn a_coordinator_of_one_sweep_gives_no_child_out_early_either() {
    let policy = Policy { only: Some(name("a")), ..POLICY };
    let mut bench = Bench { machine: Scheduler::new(policy), now: WallTime(1), records: Vec::new() };
    bench.submit("a", [10, 11]);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 10, 1)]);
    assert_eq!(assigned(&bench.wait(5)), []);
    assert_eq!(assigned(&bench.end(1, 10, 1, leaving(&[EpochSelection::Final]))), [(1, 11, 1)]);
}

/// Goes on from what was written down.
fn restarted(bench: Bench) -> Bench {
    let machine = Scheduler::restart(POLICY, bench.records.clone(), bench.now);
    Bench { machine, ..bench }
}

#[test]
fn a_child_whose_own_attempt_fails_after_its_parent_has_failed_does_not_wait_for_it() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::Lost(job(10).id, file("final")));
    bench.fail(1, 10, 2, FailureKind::UserError);
    assert!(matches!(bench.state(11), JobState::Running { .. }), "it may have the weights");
    bench.fail(1, 11, 1, FailureKind::Infrastructure);
    assert!(message(bench.state(11)).contains(&job(10).id.to_string()));
}

#[test]
fn a_child_whose_own_attempt_fails_after_its_parent_has_diverged_has_diverged_too() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    // An earlier version counted a job as failed that was trained again in vain.
    let state = StoredState::Failed(Failure::new(FailureKind::Diverged, ""));
    bench.records.push(Record::Restored {
        job: job(10).id,
        attempts: 2,
        failures: 1,
        reached: (0, 0),
        result: true,
        state,
    });
    let mut bench = restarted(bench);
    bench.join(1, 1, 2, &[(11, 1)]);
    bench.fail(1, 11, 1, FailureKind::OutOfMemory);
    assert!(matches!(bench.state(11), JobState::Failed(failure) if failure.kind == FailureKind::Diverged));
}

#[test]
fn after_a_restart_nobody_waits_for_a_parent_that_had_failed() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    let state = StoredState::Failed(Failure::new(FailureKind::UserError, "no data"));
    bench.records.push(Record::Restored {
        job: job(10).id,
        attempts: 1,
        failures: 1,
        reached: (0, 0),
        result: false,
        state,
    });
    let mut bench = restarted(bench);
    bench.wait(1);
    assert!(message(bench.state(11)).contains("no data"));
    assert!(message(bench.state(13)).contains(&job(11).id.to_string()));
}

#[test]
fn a_job_whose_weights_are_gone_is_not_trained_again_where_its_own_parent_cannot_be() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    bench.join(1, 1, 3, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, leaving(&[EpochSelection::Final]));
    bench.handle(Event::Lost(job(10).id, file("final")));
    bench.fail(1, 10, 2, FailureKind::UserError);
    // The parent has its result and has not left its weights, though it was asked for them: there is no hope of them.
    bench.handle(Event::Lost(job(11).id, file("final")));
    assert_eq!((bench.state(10), bench.state(11)), (&JobState::Finished, &JobState::Finished));
    bench.fail(1, 13, 1, FailureKind::Infrastructure);
    assert!(message(bench.state(13)).contains(&job(11).id.to_string()));
    // Submitted again, all three are trained for what is missing.
    assert_eq!(bench.submit("a", [10, 11, 13]).requeued, 3);
    bench.beat(1, vec![]);
    assert!(matches!(bench.state(10), JobState::Running { attempt: Attempt(3), .. }));
}

#[test]
fn a_job_that_is_trained_again_has_its_own_parent_trained_again_first_where_that_has_no_weights() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 13]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 11, 1, leaving(&[EpochSelection::Final]));
    bench.end(1, 13, 1, finished());
    bench.handle(Event::Left(Session(1)));
    // 12 wants other weights of 10, and is cancelled before those are made.
    bench.submit("b", [10, 12]);
    for sweep in ["a", "b"] {
        bench.handle(Event::Cancel(Ticket(0), name(sweep)));
    }
    assert_eq!(bench.submit("a", [10, 11, 13]).finished, 3);
    bench.handle(Event::Lost(job(11).id, file("final")));
    assert_eq!(assigned(&bench.join(2, 1, 1, &[])), [(2, 10, 2)]);
    assert_eq!(assigned(&bench.end(2, 10, 2, leaving(&[EpochSelection::Final]))), [(2, 11, 2)]);
}

#[test]
fn cancelling_leaves_the_result_of_a_job_that_is_trained_again_for_its_weights() {
    let mut bench = Bench::new();
    bench.submit("a", [10]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, finished());
    bench.submit("a", [10, 11]);
    assert!(matches!(bench.state(10), JobState::Running { attempt: Attempt(2), .. }));
    let effects = bench.handle(Event::Cancel(Ticket(0), name("a")));
    assert!(effects.contains(&Effect::Stop { session: Session(1), job: job(10).id, attempt: Attempt(2) }));
    assert!(effects.contains(&Effect::Cancelled(Ticket(0), 1)), "only the child has no result: {effects:?}");
    assert_eq!((bench.state(10), bench.state(11)), (&JobState::Finished, &JobState::Dropped));
    assert_eq!(bench.submit("b", [10]).finished, 1);
}

#[test]
fn a_job_that_is_trained_again_in_vain_keeps_its_result_and_its_children_are_told_why() {
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
    // Another try is had by submitting again, and the job with its result alone is asked for nothing.
    assert_eq!(bench.submit("plain", [10]).finished, 1);
    assert_eq!(bench.submit("a", [10, 11, 13]).requeued, 3);
}

#[test]
fn a_child_whose_weights_were_not_there_loses_no_try_and_waits_a_little() {
    let mut bench = family();
    bench.end(1, 10, 1, leaving(&[EpochSelection::Final]));
    assert_eq!(assigned(&bench.fail(1, 11, 1, FailureKind::Preempted)), []);
    assert_eq!(assigned(&bench.wait(4)), []);
    assert_eq!(assigned(&bench.wait(6)), [(1, 11, 2)]);
    assert_eq!(bench.machine.state().entry(job(11).id).unwrap().failures, 0);
}

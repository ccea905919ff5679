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
    assert_eq!((keeps, origin), (&BTreeSet::from([At::Final, At::BestValidation]), &None));
    let effects = bench.end(1, 10, 1, leaving(&[At::Final, At::BestValidation]));
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
    assert_eq!(assigned(&bench.end(1, 10, 1, leaving(&[At::Final, At::BestValidation]))), [(1, 12, 1)]);
}

#[test]
fn a_parent_that_was_trained_as_a_plain_job_is_trained_again_for_its_weights() {
    let mut bench = Bench::new();
    bench.submit("plain", [10]);
    bench.join(1, 1, 2, &[]);
    bench.end(1, 10, 1, finished());
    let summary = bench.submit("a", [10, 11]);
    assert_eq!(summary, SubmitSummary { jobs: 2, new: 1, finished: 0, requeued: 1, dropped: 0 });
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[At::Final]))), [(1, 11, 1)]);
    // A sweep that has all of its results asks for nothing.
    bench.end(1, 11, 1, finished());
    assert_eq!(bench.submit("a", [10, 11]).finished, 2);
}

#[test]
fn a_grandparent_is_trained_again_where_its_child_has_to_be() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11]);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 10, 1, leaving(&[At::Final]));
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
    let effects = bench.end(1, 10, 1, leaving(&[At::Final]));
    assert_eq!(assigned(&effects), [(1, 10, 2)], "it was not told of the other selection");
    let effects = bench.end(1, 10, 2, leaving(&[At::Final, At::BestValidation]));
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
    bench.end(1, 10, 1, leaving(&[At::Final]));
    bench.handle(Event::Lost(job(10).id, file("other")));
    assert_eq!(bench.state(10), &JobState::Finished, "that was no file of its");
    assert_eq!(assigned(&bench.handle(Event::Lost(job(10).id, file("final")))), [(1, 10, 2)]);
    bench.fail(1, 11, 1, FailureKind::Infrastructure);
    assert_eq!(assigned(&bench.wait(30)), [], "its parent is not there yet");
    assert_eq!(assigned(&bench.end(1, 10, 2, leaving(&[At::Final]))), [(1, 11, 2)]);
}

#[test]
fn a_coordinator_of_one_sweep_gives_no_child_out_early_either() {
    let policy = Policy { only: Some(name("a")), ..POLICY };
    let mut bench = Bench { machine: Machine::new(policy), now: Time(1), records: Vec::new() };
    bench.submit("a", [10, 11]);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 10, 1)]);
    assert_eq!(assigned(&bench.wait(5)), []);
    assert_eq!(assigned(&bench.end(1, 10, 1, leaving(&[At::Final]))), [(1, 11, 1)]);
}

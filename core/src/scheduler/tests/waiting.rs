//! What is waited for before a job is given to somebody: workers that had better be left alone, and attempts of before a restart.

use super::*;
use crate::id::AttemptId;

/// The machine that is started again now on what was written down.
fn restarted(bench: Bench, policy: Policy) -> Bench {
    let Bench { records, now, .. } = bench;
    Bench { machine: Scheduler::restart(policy, records.clone(), now), now, records }
}

/// Job 0 goes to worker 2, which holds these meanwhile, after twice the lease of 100 and no sooner.
fn is_given_when_the_lease_of_before_has_passed(bench: &mut Bench, holds: &[AttemptId]) {
    for _ in 0..19 {
        assert_eq!(assigned(&bench.wait(10)), []);
        bench.beat(2, holds.to_vec());
    }
    assert_eq!(assigned(&bench.wait(10)), [(2, 0, 2)]);
}

fn give_back(bench: &mut Bench, seed: u64, attempt: u32) -> Vec<(u64, u64, u32)> {
    assigned(&bench.fail(1, seed, attempt, FailureKind::Preempted))
}

#[test]
fn a_worker_that_gives_back_what_it_is_given_goes_not_through_the_queue() {
    let mut bench = Bench::new();
    bench.submit("a", 0..5);
    bench.join(1, 1, 1, &[]);
    assert_eq!(give_back(&mut bench, 0, 1), [], "it rests");
    let rests_until = |bench: &Bench| bench.machine.workers().next().unwrap().rests_until;
    assert_eq!(rests_until(&bench), bench.now.after(10));
    assert_eq!(assigned(&bench.join(2, 2, 1, &[])), [(2, 0, 2)], "others are given what it gave back");
    assert_eq!(assigned(&bench.wait(9)), []);
    assert_eq!(assigned(&bench.wait(1)), [(1, 1, 1)]);
    assert_eq!(give_back(&mut bench, 1, 1), []);
    assert_eq!(rests_until(&bench), bench.now.after(20), "longer the second time");
    bench.wait(20);
    assert_eq!(bench.machine.state().entry(job(1).id).unwrap().failures, 0, "which costs no job a try");
    // What it does at last is forgiven it.
    bench.end(1, 1, 2, finished());
    assert_eq!(rests_until(&bench), WallTime(0));
}

#[test]
fn what_a_worker_gives_back_in_one_breath_counts_once() {
    let mut bench = Bench::new();
    bench.submit("a", 0..4);
    bench.join(1, 1, 4, &[]);
    for seed in 0..4 {
        give_back(&mut bench, seed, 1);
    }
    assert_eq!(assigned(&bench.wait(10)).len(), 4, "after the shortest rest");
}

#[test]
fn what_was_cancelled_and_asked_for_again_waits_after_a_restart_for_whoever_may_train_it_still() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Left(Session(1)));
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    bench.submit("a", 0..2);
    let mut bench = restarted(bench, POLICY);
    assert_eq!(assigned(&bench.join(2, 2, 2, &[])), [(2, 1, 1)], "what nobody had is given at once");
    is_given_when_the_lease_of_before_has_passed(&mut bench, &[AttemptId::new(job(1).id, Attempt(1))]);
}

#[test]
fn a_lease_of_the_coordinator_before_is_waited_for_although_leases_are_shorter_now() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut bench = restarted(bench, Policy { lease: 20, lease_before: 100, ..POLICY });
    bench.join(2, 2, 1, &[]);
    is_given_when_the_lease_of_before_has_passed(&mut bench, &[]);
}

#[test]
fn what_is_cancelled_after_a_restart_is_waited_for_as_long_as_its_lease_would_have_lasted() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut bench = restarted(bench, Policy { lease: 20, lease_before: 100, ..POLICY });
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    bench.submit("a", 0..1);
    bench.join(2, 2, 1, &[]);
    is_given_when_the_lease_of_before_has_passed(&mut bench, &[]);
}

#[test]
fn attempts_lost_with_a_coordinator_cost_their_jobs_no_try() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    let mut bench = restarted(bench, POLICY);
    bench.join(1, 1, 1, &[(0, 1)]);
    bench.wait(200);
    let failures = |seed| bench.machine.state().entry(job(seed).id).unwrap().failures;
    assert_eq!(failures(1), 0, "the worker came back without it");
    assert_eq!(failures(0), 1, "the worker came back with it, and then was silent");
}

//! What delays a dispatch: a paused worker, and attempts from before a restart that may still run.

use super::*;

/// A scheduler that restarts now from the committed records.
fn restarted(bench: Bench, policy: Policy) -> Bench {
    let Bench { records, now, .. } = bench;
    Bench { scheduler: Scheduler::restart(policy, records.clone(), now), now, records }
}

/// Checks that job 0 is assigned to session 2 after exactly twice the lease of 100 ms. `holds` is what its heartbeats name.
fn check_assignment_after_the_previous_lease(bench: &mut Bench, holds: &[AttemptId]) {
    for _ in 0..19 {
        assert_eq!(assigned(&bench.wait(10)), []);
        bench.beat(2, holds.to_vec());
    }
    assert_eq!(assigned(&bench.wait(10)), [(2, 0, 2)]);
}

fn return_attempt(bench: &mut Bench, seed: u64, attempt: u32) -> Vec<(u64, u64, u32)> {
    assigned(&bench.fail(1, seed, attempt, FailureKind::Preempted))
}

#[test]
fn a_worker_that_returns_attempts_gets_none_for_a_while() {
    let mut bench = Bench::new();
    bench.submit("a", 0..5);
    bench.join(1, 1, 1, &[]);
    assert_eq!(return_attempt(&mut bench, 0, 1), [], "dispatch pauses");
    let paused_until = |bench: &Bench| bench.scheduler.workers().next().unwrap().paused_until;
    assert_eq!(paused_until(&bench), bench.now.after_ms(10));
    assert_eq!(assigned(&bench.join(2, 2, 1, &[])), [(2, 0, 2)], "another worker gets the returned job");
    assert_eq!(assigned(&bench.wait(9)), []);
    assert_eq!(assigned(&bench.wait(1)), [(1, 1, 1)]);
    assert_eq!(return_attempt(&mut bench, 1, 1), []);
    assert_eq!(paused_until(&bench), bench.now.after_ms(20), "the second pause is longer");
    bench.wait(20);
    assert_eq!(bench.scheduler.state().entry(job(1).id).unwrap().failures, 0, "a returned attempt is no failure");
    // A result ends the pause.
    bench.end(1, 1, 2, finished());
    assert_eq!(paused_until(&bench), WallTime(0));
}

#[test]
fn attempts_returned_together_cause_one_pause() {
    let mut bench = Bench::new();
    bench.submit("a", 0..4);
    bench.join(1, 1, 4, &[]);
    for seed in 0..4 {
        return_attempt(&mut bench, seed, 1);
    }
    assert_eq!(assigned(&bench.wait(10)).len(), 4, "after the shortest pause");
}

#[test]
fn a_resubmitted_job_waits_after_a_restart_for_its_dropped_attempt() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Disconnected(Session(1)));
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    bench.submit("a", 0..2);
    let mut bench = restarted(bench, POLICY);
    assert_eq!(assigned(&bench.join(2, 2, 2, &[])), [(2, 1, 1)], "a job without attempts is assigned at once");
    check_assignment_after_the_previous_lease(&mut bench, &[AttemptId::new(job(1).id, Attempt(1))]);
}

#[test]
fn a_restart_with_shorter_leases_waits_for_the_previous_longer_ones() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut bench = restarted(bench, Policy { lease: Duration::from_millis(20), lease_before: POLICY.lease, ..POLICY });
    bench.join(2, 2, 1, &[]);
    check_assignment_after_the_previous_lease(&mut bench, &[]);
}

#[test]
fn an_attempt_cancelled_after_a_restart_keeps_its_previous_lease() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut bench = restarted(bench, Policy { lease: Duration::from_millis(20), lease_before: POLICY.lease, ..POLICY });
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    bench.submit("a", 0..1);
    bench.join(2, 2, 1, &[]);
    check_assignment_after_the_previous_lease(&mut bench, &[]);
}

#[test]
fn attempts_lost_during_a_restart_count_as_no_failure() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    let mut bench = restarted(bench, POLICY);
    bench.join(1, 1, 1, &[(0, 1)]);
    bench.wait(200);
    let failures = |seed| bench.scheduler.state().entry(job(seed).id).unwrap().failures;
    assert_eq!(failures(1), 0, "the worker reconnected without it");
    assert_eq!(failures(0), 0, "the worker reconnected with it and fell silent");
}

//! Runners that do not stop, die or say nothing.

use super::*;

#[test]
fn a_runner_that_does_not_stop_is_killed_and_another_takes_its_place() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.stop(of(1, 1));
    assert_eq!(bench.agent.due(), bench.now.after(BEAT), "there is a heartbeat before");
    assert_eq!(bench.wait(GRACE - 1), []);
    assert_eq!(bench.wait(1), [Effect::Kill { runner: 0, generation: 1 }]);
    assert_eq!(bench.wait(1), [], "once");
    bench.exits(0, RunnerExit::Crashed("was killed".into()));
    let effects = bench.assign(of(2, 1));
    assert_eq!(effects[0], Effect::Start { runner: 0, generation: 2 });
    assert_eq!(bench.epoch(0, 1), [], "a word of the dead one");
}

#[test]
fn each_way_in_which_a_runner_ends_fails_its_attempt_with_its_reason() {
    let end = |how| {
        let mut bench = Bench::connected(1);
        bench.assign(of(1, 1));
        let failure = failure(&bench.exits(0, how));
        (failure.kind, failure.message)
    };
    let (kind, message) = end(RunnerExit::Crashed("was killed by SIGSEGV".into()));
    assert_eq!(
        (kind, &*message),
        (FailureKind::Infrastructure, "the runner process was killed by SIGSEGV; its log ends: the end")
    );
    let (kind, message) = end(RunnerExit::OutOfMemory);
    assert_eq!(kind, FailureKind::OutOfMemory);
    assert!(message.contains("ran out of memory") && message.contains("--slots"), "{message}");
    assert!(message.ends_with("its log ends: the end"), "{message}");
    let (kind, message) = end(RunnerExit::Killed);
    assert_eq!(kind, FailureKind::Infrastructure, "somebody's doing");
    assert!(message.contains("SIGKILL") && message.ends_with("its log ends: the end"), "{message}");
    assert_eq!(end(RunnerExit::Left).0, FailureKind::Preempted);
    let (kind, message) = end(RunnerExit::NotStarted("no such file".into()));
    let why = "cannot start a runner process: no such file";
    assert_eq!((kind, &*message), (FailureKind::Preempted, why), "no fault of the job's");
}

#[test]
fn a_killed_runner_that_does_not_die_fails_its_attempt_and_its_slot_takes_nothing_until_it_does() {
    let mut bench = Bench::connected(2);
    bench.assign(of(1, 1));
    bench.assign(of(2, 1));
    for slot in 0..2 {
        bench.says(slot, 1, from_runner::Message::Progress(v1::Progress::default()));
    }
    let mut effects = Vec::new();
    while !effects.contains(&Effect::Kill { runner: 0, generation: 1 }) {
        bench.says(1, 1, from_runner::Message::Progress(v1::Progress::default()));
        effects = bench.wait(1);
    }
    // Its leases end: nothing that it might yet do is trained while another trains the job.
    let killed = bench.now;
    bench.says(1, 1, from_runner::Message::Progress(v1::Progress::default()));
    assert_eq!(bench.renew().len(), 1, "of the other runner only");
    assert_eq!(bench.holds()[0], of(1, 1));
    while bench.now < BootTime(killed.0 + work::DYING - 1) {
        bench.says(1, 1, from_runner::Message::Progress(v1::Progress::default()));
        let effects = bench.wait(BEAT.min(killed.0 + work::DYING - 1 - bench.now.0));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Write(_) | Effect::Kill { .. })), "{effects:?}");
        bench.renew();
    }
    assert!(bench.agent.due() <= BootTime(killed.0 + work::DYING));
    let failure = failure(&bench.wait(1));
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert!(failure.message.contains("was killed and did not end"), "{failure}");
    assert!(bench.agent.slots[0].work.is_none());
    bench.acknowledge(1);
    assert_eq!(bench.holds(), [of(2, 1)], "so no lease of it is renewed");
    let declined = bench.assign(of(3, 1));
    assert_eq!(self::failure(&declined).kind, FailureKind::Preempted, "{declined:?}");
    assert_eq!(bench.connect().0.devices[0].slots, 1, "and the coordinator is told of one slot");
    bench.exits(0, RunnerExit::Killed);
    assert_eq!(bench.assign(of(4, 1))[0], Effect::Start { runner: 0, generation: 2 });
    assert_eq!(bench.connect().0.devices[0].slots, 2);
}

#[test]
fn what_waits_for_a_slot_whose_runner_does_not_die_is_given_back_and_who_leaves_does_not_wait() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.stop(of(1, 1));
    assert_eq!(bench.assign(of(2, 1)), []);
    assert_eq!(bench.wait(GRACE), [Effect::Kill { runner: 0, generation: 1 }]);
    assert_eq!(bench.holds(), [of(1, 1), of(2, 1)]);
    bench.wait(work::DYING - 1);
    assert_eq!(bench.holds(), [of(1, 1), of(2, 1)]);
    let effects = bench.wait(1);
    assert_eq!(failure(&effects).kind, FailureKind::Preempted, "it has not begun");
    assert_eq!(bench.holds(), [of(2, 1)], "until its ending is acknowledged; of the stopped one nothing is said");
    bench.connect();
    bench.handle(Event::Leave);
    assert_eq!(bench.acknowledge(1), [Effect::Delete(1), Effect::Left { undelivered: 0 }]);
}

/// Goes on for so long, with a lease that is renewed all the time.
fn go_on(bench: &mut Bench, milliseconds: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..milliseconds / BEAT {
        effects.extend(bench.wait(BEAT));
        effects.extend(bench.renew());
    }
    effects.retain(|effect| !matches!(effect, Effect::Tell { message: to_runner::Message::Lease(_), .. }));
    effects
}

#[test]
fn a_runner_that_is_silent_for_too_long_is_killed_and_its_attempt_says_so() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    assert_eq!(go_on(&mut bench, 5 * STALL), [], "it may read data for long");
    bench.says(0, 1, from_runner::Message::Progress(v1::Progress::default()));
    assert_eq!(go_on(&mut bench, STALL - BEAT), []);
    assert_eq!(go_on(&mut bench, BEAT), [Effect::Kill { runner: 0, generation: 1 }]);
    let failure = failure(&bench.exits(0, RunnerExit::Killed));
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert_eq!(failure.message, "the runner process made no progress for 0.04 s; its log ends: the end");
}

#[test]
fn a_runner_that_never_says_anything_is_killed_too() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    assert_eq!(go_on(&mut bench, 6 * STALL), [Effect::Kill { runner: 0, generation: 1 }]);
}

#[test]
fn silence_does_not_count_while_the_lease_has_passed() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.says(0, 1, from_runner::Message::Progress(v1::Progress::default()));
    bench.handle(Event::Disconnected);
    // It lasts for 90 more, of which the first report leaves 10 fewer than kill it.
    bench.now = bench.now.after(STALL - 10);
    assert_eq!(bench.wait(0), []);
    bench.now = bench.now.after(100 * LEASE);
    assert_eq!(bench.wait(0), []);
    bench.connect();
    assert_eq!(bench.wait(9), []);
    assert_eq!(bench.wait(1), [Effect::Kill { runner: 0, generation: 1 }]);
}

//! Runners that do not stop, die or say nothing.

use super::*;

#[test]
fn a_runner_that_does_not_stop_is_killed_and_another_takes_its_place() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.stop(of(1, 1));
    assert_eq!(bench.agent.due(), bench.now.after(BEAT), "there is a heartbeat before");
    assert_eq!(bench.wait(GRACE - 1), []);
    assert_eq!(bench.wait(1), [Effect::Kill { slot: 0, generation: 1 }]);
    assert_eq!(bench.wait(1), [], "once");
    bench.exits(0, How::Crashed("was killed".into()));
    let effects = bench.assign(of(2, 1));
    assert_eq!(effects[0], Effect::Start { slot: 0, generation: 2 });
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
    let (kind, message) = end(How::Crashed("was killed by SIGSEGV".into()));
    assert_eq!(
        (kind, &*message),
        (FailureKind::Infrastructure, "the runner process was killed by SIGSEGV; its log ends: the end")
    );
    let (kind, message) = end(How::OutOfMemory);
    assert_eq!(kind, FailureKind::OutOfMemory);
    assert!(message.contains("ran out of memory") && message.contains("--slots"), "{message}");
    assert!(message.ends_with("its log ends: the end"), "{message}");
    let (kind, message) = end(How::Killed);
    assert_eq!(kind, FailureKind::Infrastructure, "somebody's doing");
    assert!(message.contains("SIGKILL") && message.ends_with("its log ends: the end"), "{message}");
    assert_eq!(end(How::Left).0, FailureKind::Preempted);
    let (kind, message) = end(How::NotStarted("no such file".into()));
    assert_eq!((kind, &*message), (FailureKind::Infrastructure, "cannot start a runner process: no such file"));
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
    assert_eq!(go_on(&mut bench, BEAT), [Effect::Kill { slot: 0, generation: 1 }]);
    let failure = failure(&bench.exits(0, How::Killed));
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert_eq!(failure.message, "the runner process made no progress for 0.04 s; its log ends: the end");
}

#[test]
fn a_runner_that_never_says_anything_is_killed_too() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    assert_eq!(go_on(&mut bench, 6 * STALL), [Effect::Kill { slot: 0, generation: 1 }]);
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
    assert_eq!(bench.wait(1), [Effect::Kill { slot: 0, generation: 1 }]);
}

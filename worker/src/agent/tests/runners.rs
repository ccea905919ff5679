//! Runners that do not stop, exit or stall.

use super::*;

const KILL: u64 = super::super::runners::KILL_TIMEOUT.as_millis() as u64;

#[test]
fn a_runner_that_does_not_stop_is_killed_and_replaced() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.stop(attempt(1, 1));
    assert_eq!(bench.agent.due(), bench.now.after(ms(BEAT)), "a heartbeat is due first");
    assert_eq!(bench.wait(GRACE - 1), []);
    assert_eq!(bench.wait(1), [Effect::KillRunner { runner: 0, generation: 1 }]);
    assert_eq!(bench.wait(1), [], "only once");
    bench.runner_exits(0, RunnerExit::Crashed("was killed".into()));
    let effects = bench.assign(attempt(2, 1));
    assert_eq!(effects[0], Effect::StartRunner { runner: 0, generation: 2 });
    assert_eq!(bench.epoch(0, 1), [], "a message of the old process");
}

#[test]
fn each_exit_of_a_runner_fails_its_attempt_with_its_reason() {
    let end = |how| {
        let mut bench = Bench::connected(1);
        bench.assign(attempt(1, 1));
        let failure = failure(&bench.runner_exits(0, how));
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
    assert_eq!(kind, FailureKind::Infrastructure, "killed by an unknown sender");
    assert!(message.contains("SIGKILL") && message.ends_with("its log ends: the end"), "{message}");
    assert_eq!(end(RunnerExit::Clean).0, FailureKind::Preempted);
    let why = "cannot start a runner process: no such file";
    let (kind, message) = end(RunnerExit::NotStarted(why.into()));
    assert_eq!((kind, &*message), (FailureKind::Preempted, why), "not the job's fault");
    let (kind, message) = end(RunnerExit::HostFailed);
    assert_eq!(kind, FailureKind::Preempted, "not the job's fault");
    assert!(message.contains("lacks threads") && message.ends_with("its log ends: the end"), "{message}");
}

#[test]
fn a_killed_runner_that_does_not_exit_blocks_its_slot() {
    let mut bench = Bench::connected(2);
    bench.assign(attempt(1, 1));
    bench.assign(attempt(2, 1));
    for slot in 0..2 {
        bench.runner_sends(slot, 1, from_runner::Message::Progress(v1::Progress::default()));
    }
    let mut effects = Vec::new();
    while !effects.contains(&Effect::KillRunner { runner: 0, generation: 1 }) {
        bench.runner_sends(1, 1, from_runner::Message::Progress(v1::Progress::default()));
        effects = bench.wait(1);
    }
    // It receives no further lease, so it cannot train while another worker trains the job.
    let killed = bench.now;
    bench.runner_sends(1, 1, from_runner::Message::Progress(v1::Progress::default()));
    assert_eq!(bench.renew().len(), 1, "for the other runner only");
    assert_eq!(bench.holds()[0], attempt(1, 1));
    while bench.now < BootTime(killed.0 + KILL - 1) {
        bench.runner_sends(1, 1, from_runner::Message::Progress(v1::Progress::default()));
        let effects = bench.wait(BEAT.min(killed.0 + KILL - 1 - bench.now.0));
        assert!(
            !effects.iter().any(|effect| matches!(effect, Effect::StoreEntry(_) | Effect::KillRunner { .. })),
            "{effects:?}"
        );
        bench.renew();
    }
    assert!(bench.agent.due() <= BootTime(killed.0 + KILL));
    let failure = failure(&bench.wait(1));
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert!(failure.message.contains("was killed and did not exit"), "{failure}");
    assert!(bench.agent.slots[0].active.is_none());
    bench.acknowledge(1);
    assert_eq!(bench.holds(), [attempt(2, 1)], "its lease is not renewed");
    let declined = bench.assign(attempt(3, 1));
    assert_eq!(self::failure(&declined).kind, FailureKind::Preempted, "{declined:?}");
    assert_eq!(bench.connect().0.devices[0].slots, 1, "the Hello names one slot");
    bench.runner_exits(0, RunnerExit::Killed);
    assert_eq!(bench.assign(attempt(4, 1))[0], Effect::StartRunner { runner: 0, generation: 2 });
    assert_eq!(bench.connect().0.devices[0].slots, 2);
}

#[test]
fn an_attempt_queued_behind_a_stuck_runner_is_returned() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.stop(attempt(1, 1));
    assert_eq!(bench.assign(attempt(2, 1)), []);
    assert_eq!(bench.wait(GRACE), [Effect::KillRunner { runner: 0, generation: 1 }]);
    assert_eq!(bench.holds(), [attempt(1, 1), attempt(2, 1)]);
    bench.wait(KILL - 1);
    assert_eq!(bench.holds(), [attempt(1, 1), attempt(2, 1)]);
    let effects = bench.wait(1);
    assert_eq!(failure(&effects).kind, FailureKind::Preempted, "it was not started");
    assert_eq!(bench.holds(), [attempt(2, 1)], "until its ending is acknowledged; the revoked attempt reports nothing");
    bench.connect();
    bench.handle(Event::Drain);
    assert_eq!(bench.acknowledge(1), [Effect::DeleteEntry(1), Effect::Exit { undelivered: 0 }]);
}

/// Lets this much time pass while the lease is renewed.
fn pass_time(bench: &mut Bench, milliseconds: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..milliseconds / BEAT {
        effects.extend(bench.wait(BEAT));
        effects.extend(bench.renew());
    }
    effects.retain(|effect| !matches!(effect, Effect::SendToRunner { message: to_runner::Message::Lease(_), .. }));
    effects
}

#[test]
fn a_stalled_runner_is_killed_and_its_attempt_fails() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    assert_eq!(pass_time(&mut bench, 5 * STALL), [], "loading data may take longer");
    bench.runner_sends(0, 1, from_runner::Message::Progress(v1::Progress::default()));
    assert_eq!(pass_time(&mut bench, STALL - BEAT), []);
    assert_eq!(pass_time(&mut bench, BEAT), [Effect::KillRunner { runner: 0, generation: 1 }]);
    let failure = failure(&bench.runner_exits(0, RunnerExit::Killed));
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert_eq!(failure.message, "the runner process made no progress for 0.04 s; its log ends: the end");
}

#[test]
fn a_runner_that_never_sends_a_message_is_killed() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    assert_eq!(pass_time(&mut bench, 6 * STALL), [Effect::KillRunner { runner: 0, generation: 1 }]);
}

#[test]
fn silence_does_not_count_while_the_lease_is_expired() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.runner_sends(0, 1, from_runner::Message::Progress(v1::Progress::default()));
    bench.handle(Event::Disconnected);
    // The lease lasts 90 more; the silence is now 10 short of the limit.
    bench.now = bench.now.after(ms(STALL - 10));
    assert_eq!(bench.wait(0), []);
    bench.now = bench.now.after(ms(100 * LEASE));
    assert_eq!(bench.wait(0), []);
    bench.connect();
    assert_eq!(bench.wait(9), []);
    assert_eq!(bench.wait(1), [Effect::KillRunner { runner: 0, generation: 1 }]);
}

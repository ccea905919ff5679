//! Runners that serve several slots, as on a GPU.

use super::*;
use plusminus_core::id::AttemptId;

/// A connected agent with two GPUs of this many slots each.
fn bench(slots: u32) -> Bench {
    let equipment = vec![gpu(0, slots), gpu(1, slots)];
    let agent = Agent::new(Settings { equipment, ..settings(0) });
    let mut bench = Bench { agent, now: BootTime(1_000), beats: Vec::new() };
    bench.connect();
    bench
}

fn send(runner: usize, lane: u32, message: to_runner::Message) -> Effect {
    Effect::SendToRunner { runner, generation: 1, lane, message }
}

fn train(runner: usize, lane: u32, attempt: AttemptId) -> Effect {
    send(runner, lane, to_runner::Message::Train(assignment(attempt, None)))
}

fn starts(runner: usize) -> Effect {
    Effect::StartRunner { runner, generation: 1 }
}

impl Bench {
    fn lane_sends(&mut self, runner: usize, lane: u32, message: from_runner::Message) -> Vec<Effect> {
        self.handle(Event::Runner { runner, generation: 1, event: RunnerEvent::Message(lane, message) })
    }

    fn progress(&mut self, runner: usize, lane: u32) {
        self.lane_sends(runner, lane, from_runner::Message::Progress(v1::Progress::default()));
    }

    fn gpu_ends(&mut self, runner: usize, how: RunnerExit) -> Vec<Effect> {
        self.handle(Event::Runner { runner, generation: 1, event: RunnerEvent::Exited(how, "the end".into()) })
    }

    /// Slots of each device in a Hello.
    fn slots(&mut self) -> Vec<u32> {
        self.connect().0.devices.iter().map(|device| device.slots).collect()
    }
}

fn full() -> from_runner::Message {
    let failure = Failure::new(FailureKind::OutOfMemory, "the device's memory is full");
    from_runner::Message::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) })
}

/// All stored failures.
fn failures(effects: &[Effect]) -> Vec<(AttemptId, Failure)> {
    let failed = |effect: &Effect| match effect {
        Effect::StoreEntry(OutboxEntry {
            attempt,
            body: Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }),
            ..
        }) => Some((*attempt, failure.clone().into())),
        _ => None,
    };
    effects.iter().filter_map(failed).collect()
}

/// Slots of each device in a `Devices` message.
fn reported_slots(effects: &[Effect]) -> Option<Vec<u32>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(from_worker::Message::Devices(v1::Devices { devices })) => {
            Some(devices.iter().map(|device| device.slots).collect())
        }
        _ => None,
    })
}

#[test]
fn jobs_are_spread_over_gpus_and_share_one_runner_per_gpu() {
    let mut bench = bench(2);
    assert_eq!(bench.assign(attempt(1, 1)), [starts(0), lease(0, 1, 1_090), train(0, 0, attempt(1, 1))]);
    assert_eq!(bench.assign(attempt(2, 1)), [starts(1), lease(1, 1, 1_090), train(1, 0, attempt(2, 1))]);
    assert_eq!(bench.assign(attempt(3, 1)), [train(0, 1, attempt(3, 1))], "the process is running");
    assert_eq!(bench.assign(attempt(4, 1)), [train(1, 1, attempt(4, 1))]);
    assert_eq!(bench.stop(attempt(3, 1)), [send(0, 1, to_runner::Message::Stop(v1::StopTraining {}))]);
    let effects = bench.lane_sends(1, 1, from_runner::Message::Ended(finished(&[])));
    assert_eq!(reports(&effects), [(1, id(attempt(4, 1)))]);
    bench.wait(BEAT);
    assert_eq!(bench.renew().len(), 2, "one lease per process");
}

#[test]
fn neighbours_of_a_stalled_job_are_preempted_when_the_runner_is_killed() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(attempt(job, 1))));
    for (runner, lane) in [(0, 0), (1, 0), (0, 1)] {
        bench.progress(runner, lane);
    }
    let mut killed = Vec::new();
    while killed.is_empty() {
        bench.progress(1, 0);
        bench.progress(0, 1);
        killed = bench.wait(1);
        bench.renew();
    }
    assert_eq!(killed, [Effect::KillRunner { runner: 0, generation: 1 }]);
    let failures = failures(&bench.gpu_ends(0, RunnerExit::Killed));
    let kinds: Vec<_> = failures.iter().map(|(attempt, failure)| (*attempt, failure.kind)).collect();
    assert_eq!(kinds, [(attempt(1, 1), FailureKind::Infrastructure), (attempt(3, 1), FailureKind::Preempted)]);
    assert!(failures[1].1.message.contains("because of another job"), "{}", failures[1].1);
    assert_eq!(bench.slots(), [2, 2]);
}

#[test]
fn an_attempt_that_waits_for_weights_moves_to_another_runner() {
    let mut bench = bench(2);
    bench.assign(attempt(1, 1));
    bench.assign(attempt(2, 1));
    let digest = Digest::of(b"weights");
    let builds = bench.receive(to_worker::Message::Assignment(assignment(attempt(3, 1), Some(digest))));
    assert!(matches!(&builds[..], [Effect::FetchWeights { .. }]), "{builds:?}");
    bench.stop(attempt(1, 1));
    let effects = bench.wait(GRACE);
    assert_eq!(effects[..2], [Effect::KillRunner { runner: 0, generation: 1 }, Effect::AbortTransfer(attempt(3, 1))]);
    assert!(
        matches!(&effects[2..], [Effect::FetchWeights { attempt, .. }] if *attempt == self::attempt(3, 1)),
        "{effects:?}"
    );
    let effects = bench.handle(Event::WeightsFetched(attempt(3, 1), Ok(())));
    assert_eq!(effects, [send(1, 1, to_runner::Message::Train(assignment(attempt(3, 1), Some(digest))))]);
}

#[test]
fn a_failed_device_fails_one_job_and_preempts_its_neighbours() {
    let mut bench = bench(3);
    (1..=5).for_each(|job| drop(bench.assign(attempt(job, 1))));
    let failure = Failure::new(FailureKind::Infrastructure, "an illegal address");
    let ending = v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) };
    let effects = bench.lane_sends(0, 1, from_runner::Message::Ended(ending));
    assert_eq!(failures(&effects)[0].1.kind, FailureKind::Infrastructure);
    let failures = failures(&bench.gpu_ends(0, RunnerExit::DeviceFailed));
    assert_eq!(failures.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [attempt(1, 1), attempt(5, 1)]);
    for (_, failure) in failures {
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.contains("its device failed another job"), "{failure}");
    }
    assert_eq!(bench.assign(attempt(6, 1))[0], Effect::StartRunner { runner: 0, generation: 2 }, "a new process");
}

#[test]
fn full_device_memory_with_several_jobs_closes_a_slot() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(attempt(job, 1))));
    let effects = bench.lane_sends(0, 1, full());
    let (whose, failure) = failures(&effects).remove(0);
    assert_eq!((whose, failure.kind), (attempt(3, 1), FailureKind::Preempted));
    assert!(failure.message.contains("fewer neighbours"), "{failure}");
    assert_eq!(reported_slots(&effects), Some(vec![1, 2]));
    assert_eq!(bench.slots(), [1, 2]);
    // The next attempt goes to the other device; one more finds no slot.
    assert_eq!(bench.assign(attempt(4, 1)), [train(1, 1, attempt(4, 1))]);
    assert_eq!(failures(&bench.assign(attempt(5, 1)))[0].1.kind, FailureKind::Preempted);
    // The remaining attempt has shared the device, so its own need is still unknown.
    let effects = bench.lane_sends(0, 0, full());
    assert_eq!((failures(&effects)[0].1.kind, reported_slots(&effects)), (FailureKind::Preempted, None));
    assert_eq!(bench.assign(attempt(6, 1)), [train(0, 0, attempt(6, 1))]);
    let effects = bench.lane_sends(0, 0, full());
    assert_eq!(failures(&effects)[0].1.kind, FailureKind::OutOfMemory, "it does not fit alone either");
    assert_eq!(bench.slots(), [1, 2]);
}

#[test]
fn a_runner_killed_for_host_memory_loses_a_slot() {
    let mut bench = bench(3);
    (1..=5).for_each(|job| drop(bench.assign(attempt(job, 1))));
    let effects = bench.gpu_ends(0, RunnerExit::OutOfMemory);
    let failures = failures(&effects);
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|(_, failure)| failure.kind == FailureKind::Preempted), "{failures:?}");
    assert_eq!(bench.slots(), [2, 3]);
}

#[test]
fn slots_that_change_during_a_connect_are_reported_after_the_welcome() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(attempt(job, 1))));
    let hello = bench.handle(Event::Connecting);
    assert!(matches!(&hello[..], [Effect::Send(from_worker::Message::Hello(_))]));
    assert_eq!(reported_slots(&bench.lane_sends(0, 1, full())), None, "nothing is sent before a Welcome");
    assert_eq!(reported_slots(&bench.receive(welcome())), Some(vec![1, 2]));
    assert_eq!(reported_slots(&bench.wait(1)), None, "only once");
}

#[test]
fn sensor_readings_are_sent_at_once_and_in_every_hello() {
    let mut bench = bench(1);
    let reading = v1::Reading { memory_used: 7 << 30, load: Some(90), temperature: Some(60) };
    let effects = bench.handle(Event::SensorsRead(vec![("cuda:1".into(), reading), ("cuda:9".into(), reading)]));
    let [Effect::Send(from_worker::Message::Devices(v1::Devices { devices }))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((devices[0].reading, devices[1].reading), (None, Some(reading)));
    bench.handle(Event::Disconnected);
    assert_eq!(bench.handle(Event::SensorsRead(vec![("cuda:0".into(), reading)])), []);
    let (hello, _) = bench.connect();
    assert_eq!(hello.devices[0].reading, Some(reading));
}

//! Runners that have several slots, as on a GPU.

use super::*;
use plusminus_core::id::AttemptId;

/// Connected, with two GPUs of so many slots each.
fn bench(slots: u32) -> Bench {
    let equipment = vec![gpu(0, slots), gpu(1, slots)];
    let agent = Agent::new(Settings { equipment, ..settings(0) });
    let mut bench = Bench { agent, now: BootTime(1_000), beats: Vec::new() };
    bench.connect();
    bench
}

fn tell(runner: usize, lane: u32, message: to_runner::Message) -> Effect {
    Effect::Tell { runner, generation: 1, lane, message }
}

fn train(runner: usize, lane: u32, of: AttemptId) -> Effect {
    tell(runner, lane, to_runner::Message::Train(assignment(of, None)))
}

fn starts(runner: usize) -> Effect {
    Effect::Start { runner, generation: 1 }
}

impl Bench {
    fn of_lane(&mut self, runner: usize, lane: u32, message: from_runner::Message) -> Vec<Effect> {
        self.handle(Event::Runner { runner, generation: 1, said: RunnerEvent::Message(lane, message) })
    }

    fn progress(&mut self, runner: usize, lane: u32) {
        self.of_lane(runner, lane, from_runner::Message::Progress(v1::Progress::default()));
    }

    fn gpu_ends(&mut self, runner: usize, how: RunnerExit) -> Vec<Effect> {
        self.handle(Event::Runner { runner, generation: 1, said: RunnerEvent::Exited(how, "the end".into()) })
    }

    /// Slots of each device, as a Hello has them.
    fn slots(&mut self) -> Vec<u32> {
        self.connect().0.devices.iter().map(|device| device.slots).collect()
    }
}

fn full() -> from_runner::Message {
    let failure = Failure::new(FailureKind::OutOfMemory, "the device's memory is full");
    from_runner::Message::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) })
}

/// All failures that are written down.
fn failures(effects: &[Effect]) -> Vec<(AttemptId, Failure)> {
    let failed = |effect: &Effect| match effect {
        Effect::Write(Entry {
            of,
            body: Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }),
            ..
        }) => Some((*of, failure.clone().into())),
        _ => None,
    };
    effects.iter().filter_map(failed).collect()
}

/// Slots of each device, as the coordinator is told without being asked.
fn told_slots(effects: &[Effect]) -> Option<Vec<u32>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(from_worker::Message::Devices(v1::Devices { devices })) => {
            Some(devices.iter().map(|device| device.slots).collect())
        }
        _ => None,
    })
}

#[test]
fn jobs_are_spread_over_gpus_and_share_the_runner_of_theirs() {
    let mut bench = bench(2);
    assert_eq!(bench.assign(of(1, 1)), [starts(0), lease(0, 1, 1_090), train(0, 0, of(1, 1))]);
    assert_eq!(bench.assign(of(2, 1)), [starts(1), lease(1, 1, 1_090), train(1, 0, of(2, 1))]);
    assert_eq!(bench.assign(of(3, 1)), [train(0, 1, of(3, 1))], "the process is there already");
    assert_eq!(bench.assign(of(4, 1)), [train(1, 1, of(4, 1))]);
    assert_eq!(bench.stop(of(3, 1)), [tell(0, 1, to_runner::Message::Stop(v1::StopTraining {}))]);
    let effects = bench.of_lane(1, 1, from_runner::Message::Ended(finished(&[])));
    assert_eq!(reports(&effects), [(1, id(of(4, 1)))]);
    bench.wait(BEAT);
    assert_eq!(bench.renew().len(), 2, "a lease is told once a process");
}

#[test]
fn what_is_trained_beside_a_job_that_hangs_is_given_back_when_their_runner_is_killed() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(of(job, 1))));
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
    assert_eq!(killed, [Effect::Kill { runner: 0, generation: 1 }]);
    let failures = failures(&bench.gpu_ends(0, RunnerExit::Killed));
    let kinds: Vec<_> = failures.iter().map(|(of, failure)| (*of, failure.kind)).collect();
    assert_eq!(kinds, [(of(1, 1), FailureKind::Infrastructure), (of(3, 1), FailureKind::Preempted)]);
    assert!(failures[1].1.message.contains("because of another job"), "{}", failures[1].1);
    assert_eq!(bench.slots(), [2, 2]);
}

#[test]
fn what_waits_for_weights_when_its_runner_is_killed_goes_to_another() {
    let mut bench = bench(2);
    bench.assign(of(1, 1));
    bench.assign(of(2, 1));
    let digest = Digest::of(b"weights");
    let builds = bench.told(to_worker::Message::Assignment(assignment(of(3, 1), Some(digest))));
    assert!(matches!(&builds[..], [Effect::Fetch { .. }]), "{builds:?}");
    bench.stop(of(1, 1));
    let effects = bench.wait(GRACE);
    assert_eq!(effects[..2], [Effect::Kill { runner: 0, generation: 1 }, Effect::Abort(of(3, 1))]);
    assert!(matches!(&effects[2..], [Effect::Fetch { of, .. }] if *of == self::of(3, 1)), "{effects:?}");
    let begins = bench.handle(Event::Fetched(of(3, 1), Ok(())));
    assert_eq!(begins, [tell(1, 1, to_runner::Message::Train(assignment(of(3, 1), Some(digest))))]);
}

#[test]
fn a_device_that_fails_a_runner_for_good_fails_one_job_and_the_others_are_given_back() {
    let mut bench = bench(3);
    (1..=5).for_each(|job| drop(bench.assign(of(job, 1))));
    let failure = Failure::new(FailureKind::Infrastructure, "an illegal address");
    let ending = v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) };
    let effects = bench.of_lane(0, 1, from_runner::Message::Ended(ending));
    assert_eq!(failures(&effects)[0].1.kind, FailureKind::Infrastructure);
    let failures = failures(&bench.gpu_ends(0, RunnerExit::Unwell));
    assert_eq!(failures.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [of(1, 1), of(5, 1)]);
    for (_, failure) in failures {
        assert_eq!(failure.kind, FailureKind::Preempted);
        assert!(failure.message.contains("its device failed another job"), "{failure}");
    }
    assert_eq!(bench.assign(of(6, 1))[0], Effect::Start { runner: 0, generation: 2 }, "another process");
}

#[test]
fn memory_that_is_full_with_several_jobs_costs_no_try_and_the_device_a_slot() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(of(job, 1))));
    let effects = bench.of_lane(0, 1, full());
    let (whose, failure) = failures(&effects).remove(0);
    assert_eq!((whose, failure.kind), (of(3, 1), FailureKind::Preempted));
    assert!(failure.message.contains("fewer beside it"), "{failure}");
    assert_eq!(told_slots(&effects), Some(vec![1, 2]));
    assert_eq!(bench.slots(), [1, 2]);
    // The next goes to the other device, and one more finds no room.
    assert_eq!(bench.assign(of(4, 1)), [train(1, 1, of(4, 1))]);
    assert_eq!(failures(&bench.assign(of(5, 1)))[0].1.kind, FailureKind::Preempted);
    // The one that is left had another beside it: whether it fits alone is yet to be seen.
    let effects = bench.of_lane(0, 0, full());
    assert_eq!((failures(&effects)[0].1.kind, told_slots(&effects)), (FailureKind::Preempted, None));
    assert_eq!(bench.assign(of(6, 1)), [train(0, 0, of(6, 1))]);
    let effects = bench.of_lane(0, 0, full());
    assert_eq!(failures(&effects)[0].1.kind, FailureKind::OutOfMemory, "alone it does not fit either");
    assert_eq!(bench.slots(), [1, 2]);
}

#[test]
fn a_runner_that_takes_too_much_of_the_machines_memory_has_fewer_jobs_from_then_on() {
    let mut bench = bench(3);
    (1..=5).for_each(|job| drop(bench.assign(of(job, 1))));
    let effects = bench.gpu_ends(0, RunnerExit::OutOfMemory);
    let failures = failures(&effects);
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|(_, failure)| failure.kind == FailureKind::Preempted), "{failures:?}");
    assert_eq!(bench.slots(), [2, 3]);
}

#[test]
fn slots_that_change_while_a_connection_is_made_are_told_once_it_counts() {
    let mut bench = bench(2);
    (1..=3).for_each(|job| drop(bench.assign(of(job, 1))));
    let hello = bench.handle(Event::Connecting);
    assert!(matches!(&hello[..], [Effect::Send(from_worker::Message::Hello(_))]));
    assert_eq!(told_slots(&bench.of_lane(0, 1, full())), None, "nothing is said before a Welcome");
    assert_eq!(told_slots(&bench.told(welcome())), Some(vec![1, 2]));
    assert_eq!(told_slots(&bench.wait(1)), None, "once");
}

#[test]
fn readings_of_sensors_are_passed_on_and_told_anew_with_a_connection() {
    let mut bench = bench(1);
    let reading = v1::Reading { memory_used: 7 << 30, load: Some(90), temperature: Some(60) };
    let effects = bench.handle(Event::Read(vec![("cuda:1".into(), reading), ("cuda:9".into(), reading)]));
    let [Effect::Send(from_worker::Message::Devices(v1::Devices { devices }))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((devices[0].reading, devices[1].reading), (None, Some(reading)));
    bench.handle(Event::Disconnected);
    assert_eq!(bench.handle(Event::Read(vec![("cuda:0".into(), reading)])), []);
    let (hello, _) = bench.connect();
    assert_eq!(hello.devices[0].reading, Some(reading));
}

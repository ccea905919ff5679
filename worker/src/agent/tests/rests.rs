//! Runners whose host lacks something, and trainings whose weights cannot be saved.

use super::*;

const SECOND: u64 = 1_000;

/// The numbers of slots in the messages that change them.
fn slots(effects: &[Effect]) -> Vec<u32> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(from_worker::Message::Devices(devices)) => Some(devices.devices[0].slots),
        _ => None,
    });
    sent.collect()
}

fn starts(effects: &[Effect]) -> Vec<usize> {
    let started = effects.iter().filter_map(|effect| match effect {
        Effect::StartRunner { runner, .. } => Some(*runner),
        _ => None,
    });
    started.collect()
}

impl Bench {
    fn exits(&mut self, generation: u64, exit: RunnerExit) -> Vec<Effect> {
        self.handle(Event::Runner { runner: 0, generation, event: RunnerEvent::Exited(exit, String::new()) })
    }
}

fn not_started() -> RunnerExit {
    RunnerExit::NotStarted("cannot start a runner process".into())
}

fn preempted() -> v1::Ending {
    let failure = Failure::new(FailureKind::Preempted, "the engine failed: cannot start 2 threads");
    v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) }
}

#[test]
fn a_runner_that_cannot_start_rests_and_the_others_go_on() {
    for exit in [not_started(), RunnerExit::HostFailed] {
        let mut bench = Bench::connected(2);
        bench.assign(attempt(1, 1));
        let effects = bench.exits(1, exit);
        assert_eq!(failure(&effects).kind, FailureKind::Preempted, "it costs the job nothing");
        assert_eq!(slots(&effects), [1]);
        assert_eq!(starts(&bench.assign(attempt(2, 1))), [1]);
        assert_eq!(failure(&bench.assign(attempt(3, 1))).kind, FailureKind::Preempted, "sent before the change");
        assert_eq!(slots(&bench.wait(SECOND - 1)), [0; 0]);
        assert_eq!(bench.agent.due(), bench.now.after(ms(1)));
        assert_eq!(slots(&bench.wait(1)), [2]);
        assert_eq!(starts(&bench.assign(attempt(4, 1))), [0]);
    }
}

#[test]
fn a_rest_gets_longer_until_a_job_has_finished() {
    let mut bench = Bench::connected(1);
    let rest = |bench: &mut Bench| {
        let from = bench.now;
        while slots(&bench.wait(SECOND / 2)).is_empty() {}
        bench.now.since(from).as_millis() as u64 / SECOND
    };
    bench.assign(attempt(1, 1));
    bench.exits(1, not_started());
    assert_eq!(rest(&mut bench), 1);
    bench.assign(attempt(2, 1));
    bench.runner_sends(0, 2, from_runner::Message::Epoch(v1::Epoch { epoch: 1, ..v1::Epoch::default() }));
    let effects = bench.runner_sends(0, 2, from_runner::Message::Ended(preempted()));
    assert_eq!(failure(&effects).kind, FailureKind::Preempted);
    assert_eq!(rest(&mut bench), 2, "an epoch does not end the growth");
    bench.assign(attempt(3, 1));
    bench.runner_sends(0, 2, from_runner::Message::Ended(finished(&[])));
    bench.assign(attempt(4, 1));
    bench.runner_sends(0, 2, from_runner::Message::Ended(preempted()));
    assert_eq!(rest(&mut bench), 1, "a finished job does");
}

#[test]
fn an_attempt_that_was_asked_to_stop_starts_no_rest() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.stop(attempt(1, 1));
    assert_eq!(slots(&bench.runner_ends(0, preempted())), [0; 0]);
    assert_eq!(bench.assign(attempt(2, 1)), [train(0, attempt(2, 1))]);
}

#[test]
fn a_worker_that_cannot_save_weights_gets_no_jobs_until_it_can() {
    let waiting = |reason: &str| from_runner::Message::Waiting(v1::WaitingToSave { reason: reason.into() });
    let mut bench = Bench::connected(3);
    bench.assign(attempt(1, 1));
    bench.assign(attempt(2, 1));
    assert_eq!(slots(&bench.runner_sends(0, 1, waiting("the disk is full"))), [0]);
    for _ in 0..10 {
        bench.renew();
        bench.runner_sends(1, 1, waiting("the disk is full"));
        assert_eq!(bench.runner_sends(0, 1, waiting("the disk is full")), [], "it is not stalled, and reports nothing");
        bench.wait(BEAT);
    }
    assert_eq!(bench.holds(), [attempt(1, 1), attempt(2, 1)]);
    bench.renew();
    let effects = bench.runner_ends(0, finished(&[]));
    assert_eq!((reports(&effects), slots(&effects)), (vec![(1, id(attempt(1, 1)))], vec![]), "the other one waits");
    assert_eq!(slots(&bench.runner_ends(1, finished(&[]))), [3]);
}

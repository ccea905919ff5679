//! The agent under scripted events. Submodules: runners that exit, stall or rest, GPUs, several coordinators, generated events.

mod elsewhere;
mod generated;
mod gpus;
mod rests;
mod runners;

use super::*;
use plusminus_core::id::{Attempt, AttemptId, Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::convert::parent_weights;
use plusminus_proto::v1::{from_runner, report::Body};
use std::collections::BTreeSet;
use std::time::Duration;

const LEASE: u64 = 100;
const BEAT: u64 = 20;
const GRACE: u64 = 50;
const STALL: u64 = 40;
const DELIVERY: u64 = DELIVERY_TIMEOUT.as_millis() as u64;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn cpu(slots: u32) -> Equipment {
    let device = v1::Device { name: "cpu".into(), slots, ..v1::Device::default() };
    Equipment { device, execution: ExecutionOptions::default(), uuid: None }
}

fn gpu(number: u32, slots: u32) -> Equipment {
    let execution = ExecutionOptions { device: Device::Cuda(number), ..ExecutionOptions::default() };
    let device = v1::Device { name: execution.device.to_string(), slots, ..v1::Device::default() };
    Equipment { device, execution, uuid: None }
}

pub(super) fn settings(slots: u32) -> Settings {
    Settings {
        name: "w".into(),
        instance: 7,
        equipment: vec![cpu(slots)],
        attached: false,
        grace: ms(GRACE),
        stall: ms(STALL),
    }
}

pub(super) fn attempt(job: u8, attempt: u32) -> AttemptId {
    AttemptId::new(format!("{job:032x}").parse().unwrap(), Attempt(attempt))
}

/// The parent job in these tests.
fn parent() -> JobId {
    "f".repeat(32).parse().unwrap()
}

fn id(attempt: AttemptId) -> Option<v1::AttemptId> {
    Some(attempt_id(attempt))
}

fn assignment(attempt: AttemptId, weights: Option<Digest>) -> v1::Assignment {
    let parent = weights.map(|digest| parent_weights(parent(), digest));
    v1::Assignment { of: id(attempt), parent, ..v1::Assignment::default() }
}

fn finished(kept: &[Digest]) -> v1::Ending {
    let kept = kept.iter().enumerate().map(|(i, digest)| (i.to_string(), digest.to_string())).collect();
    let facts = v1::Facts { kept, ..v1::Facts::default() };
    v1::Ending { how: Some(v1::ending::How::Finished(facts)) }
}

pub(super) fn welcome() -> to_worker::Message {
    welcome_of(1, vec![])
}

/// The Welcome of the coordinator with this store.
fn welcome_of(store: u32, stop: Vec<v1::AttemptId>) -> to_worker::Message {
    let (heartbeat_milliseconds, lease_milliseconds) = (BEAT, LEASE);
    to_worker::Message::Welcome(v1::Welcome { heartbeat_milliseconds, lease_milliseconds, stop, store })
}

/// An agent with a clock. Heartbeats are collected separately from the other effects.
struct Bench {
    agent: Agent,
    now: BootTime,
    beats: Vec<v1::Heartbeat>,
}

impl Bench {
    fn new(slots: u32) -> Self {
        Bench { agent: Agent::new(settings(slots)), now: BootTime(1_000), beats: Vec::new() }
    }

    fn connected(slots: u32) -> Self {
        let mut bench = Bench::new(slots);
        bench.connect();
        bench
    }

    fn connect(&mut self) -> (v1::Hello, Vec<Effect>) {
        let mut effects = self.handle(Event::Connecting);
        let Effect::Send(from_worker::Message::Hello(hello)) = effects.remove(0) else { panic!("no Hello first") };
        assert_eq!(effects, [], "only the Hello precedes the Welcome");
        (hello, self.receive(welcome()))
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.agent.handle(self.now, event);
        let (beats, rest) =
            effects.into_iter().partition(|e| matches!(e, Effect::Send(from_worker::Message::Heartbeat(_))));
        let beats: Vec<Effect> = beats;
        self.beats.extend(beats.into_iter().filter_map(|effect| match effect {
            Effect::Send(from_worker::Message::Heartbeat(beat)) => Some(beat),
            _ => None,
        }));
        rest
    }

    fn receive(&mut self, message: to_worker::Message) -> Vec<Effect> {
        self.handle(Event::Received(message))
    }

    fn assign(&mut self, attempt: AttemptId) -> Vec<Effect> {
        self.receive(to_worker::Message::Assignment(assignment(attempt, None)))
    }

    fn stop(&mut self, attempt: AttemptId) -> Vec<Effect> {
        self.receive(to_worker::Message::Stop(v1::Stop { of: id(attempt) }))
    }

    fn acknowledge(&mut self, sequence: u64) -> Vec<Effect> {
        self.receive(to_worker::Message::Acknowledgement(v1::Acknowledgement { sequence }))
    }

    fn renew(&mut self) -> Vec<Effect> {
        let beat = self.beats.last().unwrap().beat;
        self.receive(to_worker::Message::Renewed(v1::Renewed { beat }))
    }

    fn runner_sends(&mut self, slot: usize, generation: u64, message: from_runner::Message) -> Vec<Effect> {
        self.handle(Event::Runner { runner: slot, generation, event: RunnerEvent::Message(0, message) })
    }

    fn epoch(&mut self, slot: usize, epoch: u32) -> Vec<Effect> {
        self.runner_sends(slot, 1, from_runner::Message::Epoch(v1::Epoch { epoch, ..v1::Epoch::default() }))
    }

    fn runner_ends(&mut self, slot: usize, ending: v1::Ending) -> Vec<Effect> {
        self.runner_sends(slot, 1, from_runner::Message::Ended(ending))
    }

    fn runner_exits(&mut self, slot: usize, exit: RunnerExit) -> Vec<Effect> {
        self.handle(Event::Runner { runner: slot, generation: 1, event: RunnerEvent::Exited(exit, "the end".into()) })
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now = self.now.after(ms(milliseconds));
        self.handle(Event::Tick)
    }

    fn holds(&self) -> Vec<AttemptId> {
        self.agent.held_attempts().collect()
    }
}

/// The sequence numbers and attempts of sent reports.
fn reports(effects: &[Effect]) -> Vec<(u64, Option<v1::AttemptId>)> {
    let report = |effect: &Effect| match effect {
        Effect::Send(from_worker::Message::Report(report)) => Some((report.sequence, report.of.clone())),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

/// The failure in the first stored ending.
fn failure(effects: &[Effect]) -> Failure {
    let ending = effects.iter().find_map(|effect| match effect {
        Effect::StoreEntry(OutboxEntry {
            body: Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }),
            ..
        }) => Some(failure.clone()),
        _ => None,
    });
    ending.unwrap_or_else(|| panic!("no failure in {effects:?}")).into()
}

fn lease(slot: usize, generation: u64, until: u64) -> Effect {
    Effect::SendToRunner { runner: slot, generation, lane: 0, message: to_runner::Message::Lease(v1::Lease { until }) }
}

fn train(slot: usize, attempt: AttemptId) -> Effect {
    Effect::SendToRunner {
        runner: slot,
        generation: 1,
        lane: 0,
        message: to_runner::Message::Train(assignment(attempt, None)),
    }
}

fn stop_training(slot: usize) -> Effect {
    Effect::SendToRunner {
        runner: slot,
        generation: 1,
        lane: 0,
        message: to_runner::Message::Stop(v1::StopTraining {}),
    }
}

#[test]
fn a_job_is_started_reported_acknowledged_and_removed() {
    let mut bench = Bench::connected(1);
    let start = Effect::StartRunner { runner: 0, generation: 1 };
    assert_eq!(bench.assign(attempt(1, 1)), [start, lease(0, 1, 1_090), train(0, attempt(1, 1))]);
    let effects = bench.epoch(0, 1);
    assert!(
        matches!(&effects[..], [Effect::StoreEntry(OutboxEntry { sequence: 1, .. }), Effect::Send(_)]),
        "{effects:?}"
    );
    assert_eq!(reports(&bench.runner_ends(0, finished(&[]))), [(2, id(attempt(1, 1)))]);
    assert_eq!(bench.acknowledge(1), [Effect::DeleteEntry(1)]);
    assert_eq!(bench.holds(), [attempt(1, 1)], "its ending is not acknowledged");
    assert_eq!(bench.acknowledge(2), [Effect::DeleteEntry(2), Effect::RemoveCheckpoints(attempt(1, 1).job)]);
    assert_eq!(bench.holds(), []);
    assert_eq!(bench.assign(attempt(2, 1)), [train(0, attempt(2, 1))], "the runner is reused");
}

#[test]
fn a_failed_job_keeps_its_checkpoints() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.runner_exits(0, RunnerExit::Crashed("was killed by SIGSEGV".into()));
    assert_eq!(bench.acknowledge(1), [Effect::DeleteEntry(1)]);
}

#[test]
fn every_runner_gets_the_lease_counted_from_the_heartbeats_sending() {
    let mut bench = Bench::connected(2);
    bench.assign(attempt(1, 1));
    bench.assign(attempt(2, 1));
    bench.wait(BEAT);
    let beat = bench.beats.last().unwrap().clone();
    assert_eq!(beat.holds, [id(attempt(1, 1)).unwrap(), id(attempt(2, 1)).unwrap()]);
    bench.wait(BEAT / 2);
    let renewed = to_worker::Message::Renewed(v1::Renewed { beat: beat.beat });
    assert_eq!(bench.receive(renewed.clone()), [lease(0, 1, 1_110), lease(1, 1, 1_110)]);
    assert_eq!(bench.receive(renewed), [], "a repeated answer changes nothing");
}

#[test]
fn heartbeats_continue_with_full_slots_and_an_expired_lease() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    for epoch in 1..=2_000 {
        bench.epoch(0, epoch);
    }
    let before = bench.beats.len();
    for _ in 0..20 {
        bench.wait(BEAT);
    }
    assert_eq!(bench.beats.len() - before, 20);
    assert!(bench.beats.windows(2).all(|pair| pair[0].beat < pair[1].beat));
}

#[test]
fn the_window_bounds_the_reports_in_flight() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    let sent: usize = (1..=WINDOW as u32 + 10).map(|epoch| reports(&bench.epoch(0, epoch)).len()).sum();
    assert_eq!(sent, WINDOW);
    assert_eq!(reports(&bench.acknowledge(1)), [(WINDOW as u64 + 1, id(attempt(1, 1)))]);
}

#[test]
fn reports_wait_while_the_lease_is_expired() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.wait(BEAT);
    bench.wait(LEASE);
    let progress = from_runner::Message::Progress(v1::Progress::default());
    assert_eq!(bench.runner_sends(0, 1, progress.clone()), []);
    assert_eq!(reports(&bench.epoch(0, 1)), []);
    bench.wait(BEAT);
    let effects = bench.renew();
    assert_eq!(effects[0], lease(0, 1, bench.now.0 + 90));
    assert_eq!(reports(&effects), [(1, id(attempt(1, 1)))]);
    assert!(matches!(bench.runner_sends(0, 1, progress)[..], [Effect::Send(from_worker::Message::Progress(_))]));
}

#[test]
fn a_suspended_daemon_reports_nothing_after_an_outdated_renewal() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.wait(BEAT);
    bench.now = bench.now.after(ms(10 * LEASE));
    assert_eq!(bench.renew(), [lease(0, 1, 1_110)], "counted from an old heartbeat: already expired");
    assert_eq!(reports(&bench.epoch(0, 1)), []);
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(attempt(1, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(attempt(1, 1)))], "the Welcome renews the lease");
}

#[test]
fn after_a_disconnect_training_continues_and_reports_are_sent_again() {
    let mut bench = Bench::connected(2);
    bench.assign(attempt(1, 1));
    bench.assign(attempt(2, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    assert_eq!(reports(&bench.epoch(0, 2)), []);
    assert_eq!(reports(&bench.runner_ends(1, finished(&[]))), []);
    assert_eq!(bench.wait(1), [], "nothing is stopped");
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(attempt(1, 1)).unwrap(), id(attempt(2, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(attempt(1, 1))), (2, id(attempt(1, 1))), (3, id(attempt(2, 1)))]);
}

#[test]
fn a_revoked_attempt_reports_nothing_and_holds_its_slot_until_it_ends() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.handle(Event::Disconnected);
    bench.epoch(0, 1);
    bench.connect();
    assert_eq!(bench.stop(attempt(1, 1)), [Effect::DeleteEntry(1), stop_training(0)]);
    assert_eq!(bench.holds(), [attempt(1, 1)]);
    assert_eq!(bench.epoch(0, 2), []);
    let before = bench.beats.len();
    assert_eq!(bench.runner_ends(0, finished(&[])), []);
    assert_eq!(
        (bench.beats.len() - before, bench.beats.last().unwrap().holds.len()),
        (1, 0),
        "a heartbeat reports the free slot"
    );
    assert_eq!(bench.acknowledge(1), [], "dropped reports are not acknowledged");
}

#[test]
fn an_assignment_waits_for_the_slot_of_a_revoked_attempt() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.stop(attempt(1, 1));
    assert_eq!(bench.assign(attempt(2, 1)), []);
    assert_eq!(bench.holds(), [attempt(1, 1), attempt(2, 1)]);
    assert_eq!(failure(&bench.assign(attempt(3, 1))).message, "the worker has no free slot");
    assert_eq!(bench.runner_ends(0, finished(&[])), [train(0, attempt(2, 1))]);
    assert_eq!(bench.stop(attempt(2, 1)), [stop_training(0)]);
    bench.assign(attempt(4, 1));
    assert_eq!(bench.stop(attempt(4, 1)), []);
    assert_eq!(bench.runner_exits(0, RunnerExit::Clean), []);
    assert_eq!(bench.holds(), [attempt(3, 1)], "its failure is not acknowledged");
}

#[test]
fn parent_weights_are_fetched_before_training_starts() {
    let mut bench = Bench::connected(1);
    let digest = Digest::of(b"weights");
    let assigned = to_worker::Message::Assignment(assignment(attempt(1, 1), Some(digest)));
    let fetch = |attempt, needed: &[Digest]| {
        let needed = needed.iter().copied().collect();
        Effect::FetchWeights { attempt, parent: parent(), digest, needed }
    };
    assert_eq!(bench.receive(assigned), [fetch(attempt(1, 1), &[digest])]);
    let effects = bench.handle(Event::WeightsFetched(attempt(1, 1), Ok(())));
    assert_eq!(effects[0], Effect::StartRunner { runner: 0, generation: 1 });
    assert_eq!(bench.handle(Event::WeightsFetched(attempt(1, 1), Ok(()))), [], "only once");
    bench.runner_ends(0, finished(&[]));
    bench.receive(to_worker::Message::Assignment(assignment(attempt(2, 1), Some(digest))));
    assert_eq!(bench.runner_exits(0, RunnerExit::Clean), [], "no attempt had been handed to it");
    let lost = Failure::new(FailureKind::Preempted, "lost");
    assert_eq!(failure(&bench.handle(Event::WeightsFetched(attempt(2, 1), Err(lost.clone())))), lost);
    bench.receive(to_worker::Message::Assignment(assignment(attempt(3, 1), Some(digest))));
    assert_eq!(bench.stop(attempt(3, 1)), [Effect::AbortTransfer(attempt(3, 1))]);
    assert_eq!(bench.handle(Event::WeightsFetched(attempt(3, 1), Ok(()))), []);
}

#[test]
fn kept_weights_are_delivered_before_the_ending() {
    let mut bench = Bench::connected(1);
    let digest = Digest::of(b"weights");
    bench.assign(attempt(1, 1));
    let effects = bench.runner_ends(0, finished(&[digest]));
    assert!(
        matches!(
            &effects[..],
            [Effect::StoreEntry(OutboxEntry { awaits_weights: true, .. }), Effect::DeliverWeights { .. }]
        ),
        "{effects:?}"
    );
    bench.assign(attempt(2, 1));
    assert_eq!(bench.holds(), [attempt(2, 1), attempt(1, 1)], "the slot is free and the attempt is still held");
    let effects = bench.handle(Event::WeightsDelivered(attempt(1, 1), Ok(())));
    assert!(
        matches!(&effects[..2], [Effect::StoreEntry(OutboxEntry { awaits_weights: false, .. }), Effect::TrimCache(_)]),
        "{effects:?}"
    );
    assert_eq!(reports(&effects), [(1, id(attempt(1, 1)))]);
    bench.runner_ends(0, finished(&[digest]));
    let refused = Failure::new(FailureKind::Infrastructure, "refused");
    assert_eq!(failure(&bench.handle(Event::WeightsDelivered(attempt(2, 1), Err(refused.clone())))), refused);
    bench.assign(attempt(3, 1));
    bench.runner_ends(0, finished(&[digest]));
    assert_eq!(bench.stop(attempt(3, 1)), [Effect::AbortTransfer(attempt(3, 1)), Effect::DeleteEntry(3)]);
    assert_eq!(bench.handle(Event::WeightsDelivered(attempt(3, 1), Ok(()))), []);
}

#[test]
fn the_outbox_of_an_earlier_process_is_delivered_with_its_weights() {
    let mut bench = Bench::new(1);
    let digest = Digest::of(b"weights");
    let entry = |sequence, attempt, kept: &[Digest]| OutboxEntry {
        sequence,
        attempt,
        body: Body::Ended(finished(kept)),
        awaits_weights: !kept.is_empty(),
        store: 1,
    };
    let effects =
        bench.handle(Event::OutboxLoaded(vec![entry(4, attempt(1, 1), &[]), entry(9, attempt(2, 1), &[digest])]));
    assert_eq!(effects, [], "the coordinator's store is not known yet");
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(attempt(1, 1)).unwrap(), id(attempt(2, 1)).unwrap()]);
    assert_eq!(effects[0], Effect::DeliverWeights { attempt: attempt(2, 1), weights: BTreeSet::from([digest]) });
    assert_eq!(reports(&effects), [(4, id(attempt(1, 1)))]);
    assert_eq!(reports(&bench.handle(Event::WeightsDelivered(attempt(2, 1), Ok(())))), [(9, id(attempt(2, 1)))]);
    bench.assign(attempt(3, 1));
    assert_eq!(reports(&bench.runner_ends(0, finished(&[]))), [(10, id(attempt(3, 1)))], "numbers continue");
}

#[test]
fn a_draining_worker_stops_all_attempts_and_delivers_its_reports() {
    let mut bench = Bench::connected(3);
    bench.assign(attempt(1, 1));
    bench.receive(to_worker::Message::Assignment(assignment(attempt(2, 1), Some(Digest::of(b"weights")))));
    let effects = bench.handle(Event::Drain);
    assert_eq!(
        effects[..3],
        [
            Effect::Send(from_worker::Message::Draining(v1::Draining {})),
            stop_training(0),
            Effect::AbortTransfer(attempt(2, 1)),
        ]
    );
    assert_eq!(failure(&effects).message, "stopped before training started");
    let late = bench.assign(attempt(3, 1));
    assert_eq!(failure(&late), Failure::new(FailureKind::Preempted, "the worker is draining"));
    let preempted = v1::Ending { how: Some(v1::ending::How::Failed(Failure::new(FailureKind::Preempted, "x").into())) };
    assert_eq!(reports(&bench.runner_ends(0, preempted)).len(), 1);
    bench.acknowledge(1);
    bench.acknowledge(2);
    let (hello, _) = bench.connect();
    assert_eq!((hello.devices[0].slots, hello.holds.len()), (0, 1));
    assert_eq!(bench.acknowledge(3), [Effect::DeleteEntry(3), Effect::Exit { undelivered: 0 }]);
    assert_eq!(bench.wait(10 * GRACE + DELIVERY), [], "it exits once");
}

#[test]
fn a_worker_that_cannot_deliver_exits_and_counts_its_reports() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    bench.handle(Event::Drain);
    assert_eq!(bench.wait(GRACE), [Effect::KillRunner { runner: 0, generation: 1 }]);
    bench.runner_exits(0, RunnerExit::Killed);
    assert_eq!(bench.wait(DELIVERY - 1), []);
    assert_eq!(bench.wait(1), [Effect::Exit { undelivered: 2 }]);
}

#[test]
fn an_attached_worker_does_not_wait_for_a_lost_coordinator() {
    let mut bench = Bench::new(1);
    bench.agent = Agent::new(Settings { attached: true, ..settings(1) });
    bench.connect();
    bench.assign(attempt(1, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    bench.handle(Event::Drain);
    let effects = bench.runner_exits(0, RunnerExit::Clean);
    assert_eq!(effects.last(), Some(&Effect::Exit { undelivered: 2 }));
}

#[test]
fn a_full_outbox_pauses_the_runners_until_there_is_room() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    let epoch = || Body::Epoch(v1::Epoch::default());
    let entry =
        |sequence| OutboxEntry { sequence, attempt: attempt(9, 1), body: epoch(), awaits_weights: false, store: 1 };
    bench.handle(Event::OutboxLoaded((1..OUTBOX_FULL as u64).map(entry).collect()));
    assert!(bench.epoch(0, 1).contains(&lease(0, 1, 0)));
    bench.wait(BEAT);
    assert_eq!(bench.renew(), [], "paused, whatever the lease");
    let mut effects = Vec::new();
    for sequence in 1..=(OUTBOX_FULL - OUTBOX_RESUME) as u64 {
        assert_eq!(effects, []);
        effects = bench.acknowledge(sequence);
        effects.retain(|effect| !matches!(effect, Effect::DeleteEntry(_) | Effect::Send(_)));
    }
    effects.extend(bench.acknowledge((OUTBOX_FULL - OUTBOX_RESUME) as u64 + 1));
    assert!(effects.contains(&lease(0, 1, 1_110)), "{effects:?}");
}

#[test]
fn malformed_messages_and_messages_before_a_welcome_are_ignored() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.assign(attempt(1, 1)), []);
    bench.connect();
    let malformed = Some(v1::AttemptId { job: "?".into(), attempt: 1 });
    assert_eq!(bench.receive(to_worker::Message::Stop(v1::Stop { of: malformed.clone() })), []);
    let assignment = v1::Assignment { of: malformed, ..v1::Assignment::default() };
    assert_eq!(bench.receive(to_worker::Message::Assignment(assignment)), []);
    bench.assign(attempt(1, 1));
    assert_eq!(bench.assign(attempt(1, 1)), [], "already held");
    let unknown =
        Event::Runner { runner: 9, generation: 1, event: RunnerEvent::Exited(RunnerExit::Clean, String::new()) };
    assert_eq!(bench.handle(unknown), []);
}

//! The agent under scripted events; in rooms of their own, runners that die or hang, and generated events.

mod elsewhere;
mod generated;
mod gpus;
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

fn processor(slots: u32) -> Equipment {
    let device = v1::Device { name: "cpu".into(), slots, ..v1::Device::default() };
    Equipment { device, means: ExecutionOptions::default(), uuid: None }
}

fn gpu(number: u32, slots: u32) -> Equipment {
    let means = ExecutionOptions { device: Device::Cuda(number), ..ExecutionOptions::default() };
    let device = v1::Device { name: means.device.to_string(), slots, ..v1::Device::default() };
    Equipment { device, means, uuid: None }
}

pub(super) fn settings(slots: u32) -> Settings {
    Settings {
        name: "w".into(),
        instance: 7,
        equipment: vec![processor(slots)],
        attached: false,
        grace: Duration::from_millis(GRACE),
        stall: Duration::from_millis(STALL),
    }
}

pub(super) fn of(job: u8, attempt: u32) -> AttemptId {
    AttemptId::new(format!("{job:032x}").parse().unwrap(), Attempt(attempt))
}

/// The job that others build on.
fn parent() -> JobId {
    "f".repeat(32).parse().unwrap()
}

fn id(of: AttemptId) -> Option<v1::AttemptId> {
    Some(attempt_id(of))
}

fn assignment(of: AttemptId, built_on: Option<Digest>) -> v1::Assignment {
    let parent = built_on.map(|digest| parent_weights(parent(), digest));
    v1::Assignment { of: id(of), parent, ..v1::Assignment::default() }
}

fn finished(kept: &[Digest]) -> v1::Ending {
    let kept = kept.iter().enumerate().map(|(i, digest)| (i.to_string(), digest.to_string())).collect();
    let facts = v1::Facts { kept, ..v1::Facts::default() };
    v1::Ending { how: Some(v1::ending::How::Finished(facts)) }
}

pub(super) fn welcome() -> to_worker::Message {
    welcome_of(1, vec![])
}

/// Of the coordinator with that store.
fn welcome_of(store: u32, stop: Vec<v1::AttemptId>) -> to_worker::Message {
    let (heartbeat_milliseconds, lease_milliseconds) = (BEAT, LEASE);
    to_worker::Message::Welcome(v1::Welcome { heartbeat_milliseconds, lease_milliseconds, stop, store })
}

/// An agent with a clock. What it says of leases and heartbeats is kept apart.
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
        assert_eq!(effects, [], "nothing but the Hello goes over a connection before its Welcome");
        (hello, self.told(welcome()))
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

    fn told(&mut self, message: to_worker::Message) -> Vec<Effect> {
        self.handle(Event::Told(message))
    }

    fn assign(&mut self, of: AttemptId) -> Vec<Effect> {
        self.told(to_worker::Message::Assignment(assignment(of, None)))
    }

    fn stop(&mut self, of: AttemptId) -> Vec<Effect> {
        self.told(to_worker::Message::Stop(v1::Stop { of: id(of) }))
    }

    fn acknowledge(&mut self, sequence: u64) -> Vec<Effect> {
        self.told(to_worker::Message::Acknowledgement(v1::Acknowledgement { sequence }))
    }

    fn renew(&mut self) -> Vec<Effect> {
        let beat = self.beats.last().unwrap().beat;
        self.told(to_worker::Message::Renewed(v1::Renewed { beat }))
    }

    fn says(&mut self, slot: usize, generation: u64, message: from_runner::Message) -> Vec<Effect> {
        self.handle(Event::Runner { runner: slot, generation, said: RunnerEvent::Message(0, message) })
    }

    fn epoch(&mut self, slot: usize, epoch: u32) -> Vec<Effect> {
        self.says(slot, 1, from_runner::Message::Epoch(v1::Epoch { epoch, ..v1::Epoch::default() }))
    }

    fn ends(&mut self, slot: usize, ending: v1::Ending) -> Vec<Effect> {
        self.says(slot, 1, from_runner::Message::Ended(ending))
    }

    fn exits(&mut self, slot: usize, how: RunnerExit) -> Vec<Effect> {
        self.handle(Event::Runner { runner: slot, generation: 1, said: RunnerEvent::Exited(how, "the end".into()) })
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now = self.now.after(milliseconds);
        self.handle(Event::Tick)
    }

    fn holds(&self) -> Vec<AttemptId> {
        self.agent.holds().collect()
    }
}

/// Numbers and attempts of the reports that are sent.
fn reports(effects: &[Effect]) -> Vec<(u64, Option<v1::AttemptId>)> {
    let report = |effect: &Effect| match effect {
        Effect::Send(from_worker::Message::Report(report)) => Some((report.sequence, report.of.clone())),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

/// What the first ending that is written down says.
fn failure(effects: &[Effect]) -> Failure {
    let ending = effects.iter().find_map(|effect| match effect {
        Effect::Write(Entry {
            body: Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }), ..
        }) => Some(failure.clone()),
        _ => None,
    });
    ending.unwrap_or_else(|| panic!("no failure in {effects:?}")).into()
}

fn lease(slot: usize, generation: u64, until: u64) -> Effect {
    Effect::Tell { runner: slot, generation, lane: 0, message: to_runner::Message::Lease(v1::Lease { until }) }
}

fn train(slot: usize, of: AttemptId) -> Effect {
    Effect::Tell { runner: slot, generation: 1, lane: 0, message: to_runner::Message::Train(assignment(of, None)) }
}

fn told_to_stop(slot: usize) -> Effect {
    Effect::Tell { runner: slot, generation: 1, lane: 0, message: to_runner::Message::Stop(v1::StopTraining {}) }
}

#[test]
fn a_job_is_begun_reported_acknowledged_and_forgotten() {
    let mut bench = Bench::connected(1);
    let start = Effect::Start { runner: 0, generation: 1 };
    assert_eq!(bench.assign(of(1, 1)), [start, lease(0, 1, 1_090), train(0, of(1, 1))]);
    let effects = bench.epoch(0, 1);
    assert!(matches!(&effects[..], [Effect::Write(Entry { sequence: 1, .. }), Effect::Send(_)]), "{effects:?}");
    assert_eq!(reports(&bench.ends(0, finished(&[]))), [(2, id(of(1, 1)))]);
    assert_eq!(bench.acknowledge(1), [Effect::Delete(1)]);
    assert_eq!(bench.holds(), [of(1, 1)], "its ending is yet to be acknowledged");
    assert_eq!(bench.acknowledge(2), [Effect::Delete(2), Effect::RemoveCheckpoints(of(1, 1).job)]);
    assert_eq!(bench.holds(), []);
    assert_eq!(bench.assign(of(2, 1)), [train(0, of(2, 1))], "the runner outlives a job");
}

#[test]
fn checkpoints_of_what_has_failed_stay() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.exits(0, RunnerExit::Crashed("was killed by SIGSEGV".into()));
    assert_eq!(bench.acknowledge(1), [Effect::Delete(1)]);
}

#[test]
fn a_renewal_is_passed_on_to_every_runner_and_counts_from_when_the_heartbeat_was_sent() {
    let mut bench = Bench::connected(2);
    bench.assign(of(1, 1));
    bench.assign(of(2, 1));
    bench.wait(BEAT);
    let beat = bench.beats.last().unwrap().clone();
    assert_eq!(beat.holds, [id(of(1, 1)).unwrap(), id(of(2, 1)).unwrap()]);
    bench.wait(BEAT / 2);
    let renewed = to_worker::Message::Renewed(v1::Renewed { beat: beat.beat });
    assert_eq!(bench.told(renewed.clone()), [lease(0, 1, 1_110), lease(1, 1, 1_110)]);
    assert_eq!(bench.told(renewed), [], "twice is once");
}

#[test]
fn heartbeats_go_on_with_full_slots_unacknowledged_reports_and_a_lease_that_has_passed() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
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
fn no_more_reports_are_on_their_way_than_the_window_is_wide() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    let sent: usize = (1..=WINDOW as u32 + 10).map(|epoch| reports(&bench.epoch(0, epoch)).len()).sum();
    assert_eq!(sent, WINDOW);
    assert_eq!(reports(&bench.acknowledge(1)), [(WINDOW as u64 + 1, id(of(1, 1)))]);
}

#[test]
fn what_is_said_waits_while_the_lease_has_passed_and_until_it_is_renewed() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.wait(BEAT);
    bench.wait(LEASE);
    let progress = from_runner::Message::Progress(v1::Progress::default());
    assert_eq!(bench.says(0, 1, progress.clone()), []);
    assert_eq!(reports(&bench.epoch(0, 1)), []);
    bench.wait(BEAT);
    let effects = bench.renew();
    assert_eq!(effects[0], lease(0, 1, bench.now.0 + 90));
    assert_eq!(reports(&effects), [(1, id(of(1, 1)))]);
    assert!(matches!(bench.says(0, 1, progress)[..], [Effect::Send(from_worker::Message::Progress(_))]));
}

#[test]
fn a_daemon_that_was_frozen_says_nothing_of_its_attempts_on_old_answers() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.wait(BEAT);
    bench.now = bench.now.after(10 * LEASE);
    assert_eq!(bench.renew(), [lease(0, 1, 1_110)], "to a heartbeat that was sent long ago: over already");
    assert_eq!(reports(&bench.epoch(0, 1)), []);
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(of(1, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(of(1, 1)))], "a welcome answers the Hello");
}

#[test]
fn cut_off_it_goes_on_and_says_everything_again_over_the_next_connection() {
    let mut bench = Bench::connected(2);
    bench.assign(of(1, 1));
    bench.assign(of(2, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    assert_eq!(reports(&bench.epoch(0, 2)), []);
    assert_eq!(reports(&bench.ends(1, finished(&[]))), []);
    assert_eq!(bench.wait(1), [], "nothing is stopped");
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(of(1, 1)).unwrap(), id(of(2, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(of(1, 1))), (2, id(of(1, 1))), (3, id(of(2, 1)))]);
}

#[test]
fn of_a_stopped_attempt_nothing_more_is_said_but_that_its_slot_is_taken() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.handle(Event::Disconnected);
    bench.epoch(0, 1);
    bench.connect();
    assert_eq!(bench.stop(of(1, 1)), [Effect::Delete(1), told_to_stop(0)]);
    assert_eq!(bench.holds(), [of(1, 1)]);
    assert_eq!(bench.epoch(0, 2), []);
    let before = bench.beats.len();
    assert_eq!(bench.ends(0, finished(&[])), []);
    assert_eq!((bench.beats.len() - before, bench.beats.last().unwrap().holds.len()), (1, 0), "and that it is free");
    assert_eq!(bench.acknowledge(1), [], "what was forgotten is not acknowledged");
}

#[test]
fn what_is_assigned_while_a_stopped_attempt_winds_down_waits_for_its_slot() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.stop(of(1, 1));
    assert_eq!(bench.assign(of(2, 1)), []);
    assert_eq!(bench.holds(), [of(1, 1), of(2, 1)]);
    assert_eq!(failure(&bench.assign(of(3, 1))).message, "the worker has no free slot");
    assert_eq!(bench.ends(0, finished(&[])), [train(0, of(2, 1))]);
    assert_eq!(bench.stop(of(2, 1)), [told_to_stop(0)]);
    bench.assign(of(4, 1));
    assert_eq!(bench.stop(of(4, 1)), []);
    assert_eq!(bench.exits(0, RunnerExit::Left), []);
    assert_eq!(bench.holds(), [of(3, 1)], "whose failure is yet to be acknowledged");
}

#[test]
fn weights_that_a_job_builds_on_come_before_it_begins() {
    let mut bench = Bench::connected(1);
    let digest = Digest::of(b"weights");
    let assigned = to_worker::Message::Assignment(assignment(of(1, 1), Some(digest)));
    let fetch = |of, needed: &[Digest]| {
        let needed = needed.iter().copied().collect();
        Effect::Fetch { of, parent: parent(), digest, needed }
    };
    assert_eq!(bench.told(assigned), [fetch(of(1, 1), &[digest])]);
    let effects = bench.handle(Event::Fetched(of(1, 1), Ok(())));
    assert_eq!(effects[0], Effect::Start { runner: 0, generation: 1 });
    assert_eq!(bench.handle(Event::Fetched(of(1, 1), Ok(()))), [], "once");
    bench.ends(0, finished(&[]));
    bench.told(to_worker::Message::Assignment(assignment(of(2, 1), Some(digest))));
    assert_eq!(bench.exits(0, RunnerExit::Left), [], "nothing was in its hands");
    let gone = Failure::new(FailureKind::Preempted, "gone");
    assert_eq!(failure(&bench.handle(Event::Fetched(of(2, 1), Err(gone.clone())))), gone);
    bench.told(to_worker::Message::Assignment(assignment(of(3, 1), Some(digest))));
    assert_eq!(bench.stop(of(3, 1)), [Effect::Abort(of(3, 1))]);
    assert_eq!(bench.handle(Event::Fetched(of(3, 1), Ok(()))), []);
}

#[test]
fn weights_that_a_job_leaves_go_ahead_of_its_ending() {
    let mut bench = Bench::connected(1);
    let digest = Digest::of(b"weights");
    bench.assign(of(1, 1));
    let effects = bench.ends(0, finished(&[digest]));
    assert!(matches!(&effects[..], [Effect::Write(Entry { waits: true, .. }), Effect::Deliver { .. }]), "{effects:?}");
    bench.assign(of(2, 1));
    assert_eq!(bench.holds(), [of(2, 1), of(1, 1)], "its slot is free and it is in hand");
    let effects = bench.handle(Event::Delivered(of(1, 1), Ok(())));
    assert!(matches!(&effects[..2], [Effect::Write(Entry { waits: false, .. }), Effect::MakeRoom(_)]), "{effects:?}");
    assert_eq!(reports(&effects), [(1, id(of(1, 1)))]);
    bench.ends(0, finished(&[digest]));
    let refused = Failure::new(FailureKind::Infrastructure, "refused");
    assert_eq!(failure(&bench.handle(Event::Delivered(of(2, 1), Err(refused.clone())))), refused);
    bench.assign(of(3, 1));
    bench.ends(0, finished(&[digest]));
    assert_eq!(bench.stop(of(3, 1)), [Effect::Abort(of(3, 1)), Effect::Delete(3)]);
    assert_eq!(bench.handle(Event::Delivered(of(3, 1), Ok(()))), []);
}

#[test]
fn what_an_earlier_process_left_is_said_and_its_weights_are_handed_in() {
    let mut bench = Bench::new(1);
    let digest = Digest::of(b"weights");
    let entry = |sequence, of, kept: &[Digest]| Entry {
        sequence,
        of,
        body: Body::Ended(finished(kept)),
        waits: !kept.is_empty(),
        store: 1,
    };
    let effects = bench.handle(Event::Loaded(vec![entry(4, of(1, 1), &[]), entry(9, of(2, 1), &[digest])]));
    assert_eq!(effects, [], "whose coordinator it will be with is not known");
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(of(1, 1)).unwrap(), id(of(2, 1)).unwrap()]);
    assert_eq!(effects[0], Effect::Deliver { of: of(2, 1), weights: BTreeSet::from([digest]) });
    assert_eq!(reports(&effects), [(4, id(of(1, 1)))]);
    assert_eq!(reports(&bench.handle(Event::Delivered(of(2, 1), Ok(())))), [(9, id(of(2, 1)))]);
    bench.assign(of(3, 1));
    assert_eq!(reports(&bench.ends(0, finished(&[]))), [(10, id(of(3, 1)))], "numbers go on");
}

#[test]
fn who_leaves_gives_everything_back_and_waits_for_what_it_has_said() {
    let mut bench = Bench::connected(3);
    bench.assign(of(1, 1));
    bench.told(to_worker::Message::Assignment(assignment(of(2, 1), Some(Digest::of(b"weights")))));
    let effects = bench.handle(Event::Leave);
    assert_eq!(
        effects[..3],
        [Effect::Send(from_worker::Message::Draining(v1::Draining {})), told_to_stop(0), Effect::Abort(of(2, 1)),]
    );
    assert_eq!(failure(&effects).message, "stopped before it had begun");
    let late = bench.assign(of(3, 1));
    assert_eq!(failure(&late), Failure::new(FailureKind::Preempted, "the worker is leaving"));
    let preempted = v1::Ending { how: Some(v1::ending::How::Failed(Failure::new(FailureKind::Preempted, "x").into())) };
    assert_eq!(reports(&bench.ends(0, preempted)).len(), 1);
    bench.acknowledge(1);
    bench.acknowledge(2);
    let (hello, _) = bench.connect();
    assert_eq!((hello.devices[0].slots, hello.holds.len()), (0, 1));
    assert_eq!(bench.acknowledge(3), [Effect::Delete(3), Effect::Left { undelivered: 0 }]);
    assert_eq!(bench.wait(10 * GRACE + DELIVERY), [], "it leaves once");
}

#[test]
fn who_cannot_deliver_leaves_in_the_end_and_says_how_much_is_left() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    bench.handle(Event::Leave);
    assert_eq!(bench.wait(GRACE), [Effect::Kill { runner: 0, generation: 1 }]);
    bench.exits(0, RunnerExit::Killed);
    assert_eq!(bench.wait(DELIVERY - 1), []);
    assert_eq!(bench.wait(1), [Effect::Left { undelivered: 2 }]);
}

#[test]
fn an_attached_worker_does_not_wait_for_a_coordinator_that_is_gone() {
    let mut bench = Bench::new(1);
    bench.agent = Agent::new(Settings { attached: true, ..settings(1) });
    bench.connect();
    bench.assign(of(1, 1));
    bench.epoch(0, 1);
    bench.handle(Event::Disconnected);
    bench.handle(Event::Leave);
    let effects = bench.exits(0, RunnerExit::Left);
    assert_eq!(effects.last(), Some(&Effect::Left { undelivered: 2 }));
}

#[test]
fn a_full_outbox_holds_the_runners_up_until_there_is_room() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    let epoch = || Body::Epoch(v1::Epoch::default());
    let entry = |sequence| Entry { sequence, of: of(9, 1), body: epoch(), waits: false, store: 1 };
    bench.handle(Event::Loaded((1..FULL as u64).map(entry).collect()));
    assert!(bench.epoch(0, 1).contains(&lease(0, 1, 0)));
    bench.wait(BEAT);
    assert_eq!(bench.renew(), [], "held up, whatever the lease");
    let mut effects = Vec::new();
    for sequence in 1..=(FULL - ROOM) as u64 {
        assert_eq!(effects, []);
        effects = bench.acknowledge(sequence);
        effects.retain(|effect| !matches!(effect, Effect::Delete(_) | Effect::Send(_)));
    }
    effects.extend(bench.acknowledge((FULL - ROOM) as u64 + 1));
    assert!(effects.contains(&lease(0, 1, 1_110)), "{effects:?}");
}

#[test]
fn what_is_not_understood_and_what_comes_before_a_welcome_changes_nothing() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.assign(of(1, 1)), []);
    bench.connect();
    let nonsense = Some(v1::AttemptId { job: "?".into(), attempt: 1 });
    assert_eq!(bench.told(to_worker::Message::Stop(v1::Stop { of: nonsense.clone() })), []);
    let assignment = v1::Assignment { of: nonsense, ..v1::Assignment::default() };
    assert_eq!(bench.told(to_worker::Message::Assignment(assignment)), []);
    bench.assign(of(1, 1));
    assert_eq!(bench.assign(of(1, 1)), [], "it is in hand");
    let far = Event::Runner { runner: 9, generation: 1, said: RunnerEvent::Exited(RunnerExit::Left, String::new()) };
    assert_eq!(bench.handle(far), []);
}

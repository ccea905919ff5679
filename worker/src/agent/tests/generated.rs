//! The agent under generated events, checked against a model of what it may send and what its runners may do.

use super::*;
use plusminus_core::id::AttemptId;
use plusminus_core::scheduler::Ending;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A step of a generated sequence, with few variants so that steps interact. Numbers select among the existing items.
#[derive(Clone, Debug)]
enum Step {
    /// A connection whose Welcome stops this many held attempts.
    Connect {
        revoked: usize,
    },
    /// A connection that breaks before its Welcome.
    FailedConnect,
    Disconnect,
    Assign {
        parent: bool,
    },
    Revoke(usize),
    Acknowledge(usize),
    Renew(usize),
    Progress(usize),
    Epoch(usize),
    End {
        slot: usize,
        keeps: bool,
    },
    /// The device is out of memory.
    OutOfMemory(usize),
    RunnerExits(usize, RunnerExit),
    Transferred(usize, bool),
    Wait(u64),
    Drain,
    /// The daemon is killed and started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0usize..8;
    let exit = prop::sample::select(vec![
        RunnerExit::Clean,
        RunnerExit::DeviceFailed,
        RunnerExit::Killed,
        RunnerExit::OutOfMemory,
        RunnerExit::Crashed("crashed".into()),
    ]);
    prop_oneof![
        3 => prop::sample::select(vec![0, 0, 0, 1, 3]).prop_map(|revoked| Step::Connect { revoked }),
        1 => Just(Step::FailedConnect),
        1 => Just(Step::Disconnect),
        6 => any::<bool>().prop_map(|parent| Step::Assign { parent }),
        2 => number.clone().prop_map(Step::Revoke),
        5 => number.clone().prop_map(Step::Acknowledge),
        4 => number.clone().prop_map(Step::Renew),
        2 => number.clone().prop_map(Step::Progress),
        5 => number.clone().prop_map(Step::Epoch),
        4 => (number.clone(), any::<bool>()).prop_map(|(slot, keeps)| Step::End { slot, keeps }),
        1 => number.clone().prop_map(Step::OutOfMemory),
        1 => (number.clone(), exit).prop_map(|(slot, exit)| Step::RunnerExits(slot, exit)),
        4 => (number, any::<bool>()).prop_map(|(n, good)| Step::Transferred(n, good)),
        6 => (1u64..60).prop_map(Step::Wait),
        1 => (60u64..2_000).prop_map(Step::Wait),
        // Longer than the time that a killed runner has to exit.
        1 => Just(Step::Wait(40_000)),
        1 => Just(Step::Drain),
        1 => Just(Step::Restart),
    ]
}

/// The model of a runner.
#[derive(Debug)]
struct Process {
    generation: u64,
    until: u64,
    lanes: Vec<Lane>,
    /// When it was killed.
    killed: Option<BootTime>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    training: Option<AttemptId>,
    epochs: u32,
}

/// A CPU with three slots, or two GPUs with two slots each.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Cpu,
    Gpus,
}

impl Layout {
    fn settings(self) -> Settings {
        match self {
            Layout::Cpu => settings(3),
            Layout::Gpus => Settings { equipment: vec![gpu(0, 2), gpu(1, 2)], ..settings(0) },
        }
    }

    /// The number of runners, and of lanes per runner.
    fn shape(self) -> (usize, usize) {
        match self {
            Layout::Cpu => (3, 1),
            Layout::Gpus => (2, 2),
        }
    }
}

/// The agent and the model of its environment.
struct Model {
    layout: Layout,
    agent: Agent,
    now: BootTime,
    runners: Vec<Option<Process>>,
    /// The outbox on disk: reports that are neither acknowledged nor dropped.
    disk: BTreeMap<u64, OutboxEntry>,
    /// Unacknowledged reports sent over the present connection.
    sent: Vec<u64>,
    /// Heartbeats over the present connection, with the time of sending.
    beats: Vec<(u64, BootTime)>,
    /// When the present connection's Hello was sent.
    hello: Option<BootTime>,
    connected: bool,
    /// When the lease expires at the latest.
    until: BootTime,
    /// Slots of each device as last reported.
    reported_slots: Vec<u32>,
    assigned: u8,
    revoked: BTreeSet<AttemptId>,
    /// Transfers, and whether they go to the coordinator.
    transfers: Vec<(AttemptId, bool)>,
    /// Entries that may be deleted in this step.
    deletable: BTreeSet<u64>,
    draining: bool,
    exited: bool,
}

impl Model {
    fn new(layout: Layout) -> Self {
        Model {
            layout,
            agent: Agent::new(layout.settings()),
            now: BootTime(1_000),
            runners: (0..layout.shape().0).map(|_| None).collect(),
            disk: BTreeMap::new(),
            sent: Vec::new(),
            beats: Vec::new(),
            hello: None,
            connected: false,
            until: BootTime(0),
            reported_slots: Vec::new(),
            assigned: 0,
            revoked: BTreeSet::new(),
            transfers: Vec::new(),
            deletable: BTreeSet::new(),
            draining: false,
            exited: false,
        }
    }

    fn handle(&mut self, event: Event) {
        for effect in self.agent.handle(self.now, event) {
            self.check(effect);
        }
        self.deletable.clear();
        self.check_invariants();
    }

    /// Checks an effect against the model.
    fn check(&mut self, effect: Effect) {
        match effect {
            Effect::Send(from_worker::Message::Hello(hello)) => {
                self.hello = Some(self.now);
                self.reported_slots = hello.devices.iter().map(|device| device.slots).collect();
            }
            Effect::Send(message) => {
                assert!(self.connected, "nothing is sent before a Welcome: {message:?}");
                self.check_message(message);
            }
            Effect::StartRunner { runner, generation } => {
                assert!(self.runners[runner].is_none(), "one process per runner");
                let lanes = vec![Lane::default(); self.layout.shape().1];
                self.runners[runner] = Some(Process { generation, until: 0, lanes, killed: None });
            }
            Effect::SendToRunner { runner, generation, lane, message } => {
                let runner = self.runners[runner].as_mut().filter(|runner| runner.generation == generation);
                let runner = runner.expect("only a running runner receives messages");
                assert_eq!(runner.killed, None, "a killed runner receives no messages");
                match message {
                    to_runner::Message::Lease(lease) => {
                        assert!(lease.until <= self.until.0, "no training after the lease");
                        runner.until = lease.until;
                    }
                    to_runner::Message::Train(assignment) => {
                        let attempt = required_attempt(assignment.of.as_ref()).unwrap();
                        let lane = &mut runner.lanes[lane as usize];
                        assert!(lane.training.replace(attempt).is_none(), "one job per lane");
                        assert!(!self.revoked.contains(&attempt), "a revoked attempt is not started");
                        lane.epochs = 0;
                    }
                    to_runner::Message::Stop(_) => assert!(runner.lanes[lane as usize].training.is_some()),
                }
            }
            Effect::KillRunner { runner, generation } => {
                let runner = self.runners[runner].as_mut().filter(|runner| runner.generation == generation);
                assert_eq!(runner.expect("the runner is running").killed.replace(self.now), None, "killed once");
            }
            Effect::FetchWeights { attempt, .. } => self.transfers.push((attempt, false)),
            Effect::DeliverWeights { attempt, .. } => self.transfers.push((attempt, true)),
            Effect::AbortTransfer(attempt) => self.transfers.retain(|(transferred, _)| *transferred != attempt),
            Effect::StoreEntry(entry) => {
                assert!(!self.revoked.contains(&entry.attempt), "no report of a revoked attempt is stored");
                self.disk.insert(entry.sequence, entry);
            }
            Effect::DeleteEntry(sequence) => {
                assert!(self.deletable.contains(&sequence), "only acknowledged or dropped reports are deleted");
                self.disk.remove(&sequence);
            }
            Effect::RemoveCheckpoints(job) => {
                assert!(!self.holds(job), "checkpoints are removed once the ending is acknowledged");
            }
            Effect::TrimCache(_) => {}
            Effect::Exit { undelivered } => {
                assert!(self.draining && !self.exited && undelivered == self.disk.len());
                self.exited = true;
            }
        }
    }

    fn check_message(&mut self, message: from_worker::Message) {
        let attempt = match message {
            from_worker::Message::Heartbeat(heartbeat) => return self.beats.push((heartbeat.beat, self.now)),
            from_worker::Message::Report(report) => {
                let entry = &self.disk[&report.sequence];
                assert!(entry.report() == report && !entry.awaits_weights, "a sent report is stored and complete");
                assert!(!self.sent.contains(&report.sequence), "once per connection");
                self.sent.push(report.sequence);
                report.of
            }
            from_worker::Message::Progress(progress) => progress.of,
            from_worker::Message::Devices(v1::Devices { devices }) => {
                self.reported_slots = devices.iter().map(|device| device.slots).collect();
                assert!(
                    !self.draining || devices.iter().all(|device| device.slots == 0),
                    "a draining worker has no slots"
                );
                return;
            }
            from_worker::Message::Draining(_) | from_worker::Message::Hello(_) => return,
        };
        let attempt = required_attempt(attempt.as_ref()).unwrap();
        assert!(!self.revoked.contains(&attempt), "nothing is reported of a revoked attempt");
        assert!(self.now < self.until, "nothing is reported while the lease is expired");
    }

    fn holds(&self, job: JobId) -> bool {
        self.agent.held_attempts().any(|held| held.job == job)
    }

    /// Checks what must hold between events.
    fn check_invariants(&self) {
        let holds: Vec<AttemptId> = self.agent.held_attempts().collect();
        let distinct: BTreeSet<&AttemptId> = holds.iter().collect();
        assert_eq!(distinct.len(), holds.len(), "an attempt is held once");
        let trained =
            self.runners.iter().flatten().flat_map(|runner| runner.lanes.iter().filter_map(|lane| lane.training));
        let ended = self.disk.values().filter(|entry| entry.is_ending()).map(|entry| entry.attempt);
        for attempt in trained.chain(ended) {
            assert!(holds.contains(&attempt), "a training or ended attempt is held: {attempt:?}");
        }
        assert!(self.agent.due() <= self.now.after(MAX_SLEEP));
        if self.connected && !self.draining {
            let now: Vec<u32> = self.agent.open_slots(self.now).collect();
            assert_eq!(self.reported_slots, now, "the coordinator has the current number of slots");
        }
    }

    fn run(&mut self, step: Step) {
        let chosen = |number: usize, count: usize| number % count.max(1);
        match step {
            Step::Connect { .. } | Step::FailedConnect => {
                self.connected = false;
                self.sent.clear();
                self.beats.clear();
                self.handle(Event::Connecting);
                if let Step::Connect { revoked } = step {
                    self.connected = true;
                    self.until = self.until.max(self.hello.unwrap().after(ms(LEASE)));
                    let revoked: Vec<AttemptId> = self.agent.held_attempts().take(revoked).collect();
                    self.revoked.extend(&revoked);
                    self.deletable
                        .extend(self.disk.values().filter(|e| revoked.contains(&e.attempt)).map(|e| e.sequence));
                    let stop = revoked.iter().filter_map(|attempt| id(*attempt)).collect();
                    let (heartbeat_milliseconds, lease_milliseconds) = (BEAT, LEASE);
                    let welcome = v1::Welcome { heartbeat_milliseconds, lease_milliseconds, stop, store: 1 };
                    self.handle(Event::Received(to_worker::Message::Welcome(welcome)));
                    assert!(self.disk.values().all(|entry| !revoked.contains(&entry.attempt)));
                }
            }
            Step::Disconnect => {
                self.connected = false;
                self.handle(Event::Disconnected);
            }
            Step::Assign { parent } => {
                self.assigned += 1;
                let digest = parent.then(|| Digest::of(b"weights"));
                let assignment = assignment(attempt(self.assigned, 1), digest);
                self.handle(Event::Received(to_worker::Message::Assignment(assignment)));
            }
            Step::Revoke(number) => {
                let held: Vec<AttemptId> = self.agent.held_attempts().collect();
                let Some(attempt) = held.get(chosen(number, held.len())).copied().filter(|_| self.connected) else {
                    return;
                };
                self.revoked.insert(attempt);
                self.deletable =
                    self.disk.values().filter(|entry| entry.attempt == attempt).map(|entry| entry.sequence).collect();
                self.handle(Event::Received(to_worker::Message::Stop(v1::Stop { of: id(attempt) })));
                assert!(self.disk.values().all(|entry| entry.attempt != attempt));
            }
            Step::Acknowledge(number) => {
                if self.connected && !self.sent.is_empty() {
                    let sequence = self.sent.remove(chosen(number, self.sent.len()));
                    self.deletable = [sequence].into();
                    let acknowledgement = v1::Acknowledgement { sequence };
                    self.handle(Event::Received(to_worker::Message::Acknowledgement(acknowledgement)));
                    assert!(!self.disk.contains_key(&sequence));
                }
            }
            Step::Renew(number) => {
                let Some((beat, sent)) = self.beats.get(chosen(number, self.beats.len())).copied() else { return };
                if self.connected {
                    self.until = self.until.max(sent.after(ms(LEASE)));
                    self.handle(Event::Received(to_worker::Message::Renewed(v1::Renewed { beat })));
                }
            }
            Step::Progress(slot) => self.send(slot, from_runner::Message::Progress(v1::Progress::default())),
            Step::Epoch(slot) => {
                let Some(lane) = self.lane(slot) else { return };
                lane.epochs += 1;
                let epoch = v1::Epoch { epoch: lane.epochs, ..v1::Epoch::default() };
                self.send(slot, from_runner::Message::Epoch(epoch));
            }
            Step::End { slot, keeps } => {
                let kept = if keeps { &[Digest::of(b"kept")][..] } else { &[] };
                self.send(slot, from_runner::Message::Ended(finished(kept)));
            }
            Step::OutOfMemory(slot) => {
                let failure = Failure::new(FailureKind::OutOfMemory, "full");
                self.send(slot, from_runner::Message::Ended(v1::Ending::from(&Ending::Failed(failure))));
            }
            Step::RunnerExits(slot, exit) => {
                let number = slot % self.runners.len();
                let Some(runner) = self.runners[number].take() else { return };
                let event = RunnerEvent::Exited(exit, String::new());
                self.handle(Event::Runner { runner: number, generation: runner.generation, event });
                for attempt in runner.lanes.into_iter().filter_map(|lane| lane.training) {
                    let ended = self.disk.values().any(|entry| entry.attempt == attempt && entry.is_ending());
                    assert!(ended || self.revoked.contains(&attempt), "its ending is reported");
                }
            }
            Step::Transferred(number, good) => {
                if self.transfers.is_empty() {
                    return;
                }
                let (attempt, out) = self.transfers.remove(chosen(number, self.transfers.len()));
                let done = if good { Ok(()) } else { Err(Failure::new(FailureKind::Infrastructure, "refused")) };
                self.handle(if out {
                    Event::WeightsDelivered(attempt, done)
                } else {
                    Event::WeightsFetched(attempt, done)
                });
            }
            Step::Wait(milliseconds) => {
                self.now = self.now.after(ms(milliseconds));
                for runner in self.runners.iter_mut().flatten() {
                    if runner.killed.is_some_and(|at| self.now.since(at) >= super::super::runners::KILL_TIMEOUT) {
                        runner.lanes.iter_mut().for_each(|lane| lane.training = None);
                    }
                }
                let before = self.beats.len();
                self.handle(Event::Tick);
                let beats = self.beats.len() > before || !self.connected || milliseconds < BEAT;
                assert!(beats, "heartbeats never wait");
            }
            Step::Drain => {
                self.draining = true;
                self.handle(Event::Drain);
            }
            Step::Restart => {
                *self = Model {
                    now: self.now.after(ms(1)),
                    disk: std::mem::take(&mut self.disk),
                    assigned: self.assigned,
                    revoked: std::mem::take(&mut self.revoked),
                    ..Model::new(self.layout)
                };
                let entries = self.disk.values().cloned().collect();
                self.handle(Event::OutboxLoaded(entries));
            }
        }
    }

    /// The lane that serves a slot.
    fn lane(&mut self, slot: usize) -> Option<&mut Lane> {
        let (runners, lanes) = self.layout.shape();
        self.runners[slot % runners].as_mut().map(|runner| &mut runner.lanes[slot / runners % lanes])
    }

    /// A training lane sends a message. It is stored unless it is progress or the attempt is revoked.
    fn send(&mut self, slot: usize, message: from_runner::Message) {
        let (runners, lanes) = self.layout.shape();
        let (number, lane) = (slot % runners, slot / runners % lanes);
        let Some(runner) = &mut self.runners[number] else { return };
        let Some(attempt) = runner.lanes[lane].training else { return };
        let ends = matches!(message, from_runner::Message::Ended(_));
        let kept = !matches!(message, from_runner::Message::Progress(_)) && !self.revoked.contains(&attempt);
        if ends {
            runner.lanes[lane].training = None;
        }
        let (generation, before) = (runner.generation, self.disk.len());
        self.handle(Event::Runner { runner: number, generation, event: RunnerEvent::Message(lane as u32, message) });
        assert_eq!(self.disk.len(), before + usize::from(kept), "a report is stored until it is acknowledged");
    }

    /// Without further faults everything is delivered and the worker exits.
    fn finish(&mut self) {
        self.run(Step::Restart);
        self.run(Step::Connect { revoked: 0 });
        while !self.transfers.is_empty() {
            self.run(Step::Transferred(0, true));
        }
        let unsent: Vec<u64> = self.disk.keys().copied().filter(|sequence| !self.sent.contains(sequence)).collect();
        assert!(unsent.is_empty(), "a new connection gets every report: {unsent:?}");
        self.run(Step::Drain);
        while !self.sent.is_empty() {
            self.run(Step::Acknowledge(0));
        }
        assert!(self.exited && self.disk.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_under_generated_events(
        layout in prop::sample::select(vec![Layout::Cpu, Layout::Gpus]),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut model = Model::new(layout);
        for step in steps {
            if model.exited {
                model.run(Step::Restart);
            }
            model.run(step);
        }
        model.finish();
    }
}

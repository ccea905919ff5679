//! The agent under generated events, beside a model of what it may say and what its runners may do.

use super::*;
use plusminus_core::id::AttemptId;
use plusminus_core::scheduler::Ending;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Something that may happen, in few enough variations that generated sequences meet each other. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Happening {
    /// A connection, over which a number of attempts in hand are found to be past.
    Connect {
        past: usize,
    },
    /// A connection that breaks before its Welcome.
    ConnectInVain,
    Disconnect,
    Assign {
        builds: bool,
    },
    Stop(usize),
    Acknowledge(usize),
    Renew(usize),
    Progress(usize),
    Epoch(usize),
    End {
        slot: usize,
        leaves: bool,
    },
    /// The device's memory is full.
    Full(usize),
    Exit(usize, RunnerExit),
    Transferred(usize, bool),
    Wait(u64),
    Leave,
    /// The daemon is killed and started again.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let number = 0usize..8;
    let how = prop::sample::select(vec![
        RunnerExit::Left,
        RunnerExit::Unwell,
        RunnerExit::Killed,
        RunnerExit::OutOfMemory,
        RunnerExit::Crashed("crashed".into()),
    ]);
    prop_oneof![
        3 => prop::sample::select(vec![0, 0, 0, 1, 3]).prop_map(|past| Happening::Connect { past }),
        1 => Just(Happening::ConnectInVain),
        1 => Just(Happening::Disconnect),
        6 => any::<bool>().prop_map(|builds| Happening::Assign { builds }),
        2 => number.clone().prop_map(Happening::Stop),
        5 => number.clone().prop_map(Happening::Acknowledge),
        4 => number.clone().prop_map(Happening::Renew),
        2 => number.clone().prop_map(Happening::Progress),
        5 => number.clone().prop_map(Happening::Epoch),
        4 => (number.clone(), any::<bool>()).prop_map(|(slot, leaves)| Happening::End { slot, leaves }),
        1 => number.clone().prop_map(Happening::Full),
        1 => (number.clone(), how).prop_map(|(slot, how)| Happening::Exit(slot, how)),
        4 => (number, any::<bool>()).prop_map(|(n, good)| Happening::Transferred(n, good)),
        6 => (1u64..60).prop_map(Happening::Wait),
        1 => (60u64..2_000).prop_map(Happening::Wait),
        // Longer than a killed runner may take to be gone.
        1 => Just(Happening::Wait(40_000)),
        1 => Just(Happening::Leave),
        1 => Just(Happening::Restart),
    ]
}

/// A runner as the model has it.
#[derive(Debug)]
struct Process {
    generation: u64,
    until: u64,
    lanes: Vec<Lane>,
    /// When.
    killed: Option<BootTime>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    trains: Option<AttemptId>,
    epochs: u32,
}

/// A processor of three slots, or two GPUs of two each.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Processor,
    Gpus,
}

impl Layout {
    fn settings(self) -> Settings {
        match self {
            Layout::Processor => settings(3),
            Layout::Gpus => Settings { equipment: vec![gpu(0, 2), gpu(1, 2)], ..settings(0) },
        }
    }

    /// Runners, and lanes of each.
    fn shape(self) -> (usize, usize) {
        match self {
            Layout::Processor => (3, 1),
            Layout::Gpus => (2, 2),
        }
    }
}

/// Everything about the agent, and what was asked of it.
struct World {
    layout: Layout,
    agent: Agent,
    now: BootTime,
    runners: Vec<Option<Process>>,
    /// What is on disk: what is yet to be acknowledged and not stopped.
    disk: BTreeMap<u64, Entry>,
    /// Sent over the present connection, and not acknowledged.
    sent: Vec<u64>,
    /// Heartbeats over the present connection, and when they were sent.
    beats: Vec<(u64, BootTime)>,
    /// When the present connection's Hello was sent.
    hello: Option<BootTime>,
    connected: bool,
    /// When the lease passes at the latest.
    until: BootTime,
    /// Slots of each device, as they were last told.
    told: Vec<u32>,
    assigned: u8,
    stopped: BTreeSet<AttemptId>,
    /// Transfers, and whether they are to the coordinator.
    transfers: Vec<(AttemptId, bool)>,
    /// Entries that may be deleted in this step.
    may_go: BTreeSet<u64>,
    leaving: bool,
    left: bool,
}

impl World {
    fn new(layout: Layout) -> Self {
        World {
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
            told: Vec::new(),
            assigned: 0,
            stopped: BTreeSet::new(),
            transfers: Vec::new(),
            may_go: BTreeSet::new(),
            leaving: false,
            left: false,
        }
    }

    fn handle(&mut self, event: Event) {
        for effect in self.agent.handle(self.now, event) {
            self.check(effect);
        }
        self.may_go.clear();
        self.is_sound();
    }

    /// What must hold of an effect.
    fn check(&mut self, effect: Effect) {
        match effect {
            Effect::Send(from_worker::Message::Hello(hello)) => {
                self.hello = Some(self.now);
                self.told = hello.devices.iter().map(|device| device.slots).collect();
            }
            Effect::Send(message) => {
                assert!(self.connected, "nothing is said before a Welcome: {message:?}");
                self.check_message(message);
            }
            Effect::Start { runner, generation } => {
                assert!(self.runners[runner].is_none(), "one process a runner");
                let lanes = vec![Lane::default(); self.layout.shape().1];
                self.runners[runner] = Some(Process { generation, until: 0, lanes, killed: None });
            }
            Effect::Tell { runner, generation, lane, message } => {
                let runner = self.runners[runner].as_mut().filter(|runner| runner.generation == generation);
                let runner = runner.expect("only runners that live are told anything");
                assert_eq!(runner.killed, None, "one that is killed is told nothing more");
                match message {
                    to_runner::Message::Lease(lease) => {
                        assert!(lease.until <= self.until.0, "no training past the lease");
                        runner.until = lease.until;
                    }
                    to_runner::Message::Train(assignment) => {
                        let of = required_attempt(assignment.of.as_ref()).unwrap();
                        let lane = &mut runner.lanes[lane as usize];
                        assert!(lane.trains.replace(of).is_none(), "one job a lane");
                        assert!(!self.stopped.contains(&of), "what is stopped does not begin");
                        lane.epochs = 0;
                    }
                    to_runner::Message::Stop(_) => assert!(runner.lanes[lane as usize].trains.is_some()),
                }
            }
            Effect::Kill { runner, generation } => {
                let runner = self.runners[runner].as_mut().filter(|runner| runner.generation == generation);
                assert_eq!(runner.expect("it lives").killed.replace(self.now), None, "once");
            }
            Effect::Fetch { of, .. } => self.transfers.push((of, false)),
            Effect::Deliver { of, .. } => self.transfers.push((of, true)),
            Effect::Abort(of) => self.transfers.retain(|(transferred, _)| *transferred != of),
            Effect::Write(entry) => {
                assert!(!self.stopped.contains(&entry.of), "of what is stopped nothing is kept");
                self.disk.insert(entry.sequence, entry);
            }
            Effect::Delete(sequence) => {
                assert!(self.may_go.contains(&sequence), "nothing unacknowledged is forgotten");
                self.disk.remove(&sequence);
            }
            Effect::RemoveCheckpoints(job) => {
                assert!(!self.holds(job), "checkpoints go when the ending is acknowledged");
            }
            Effect::MakeRoom(_) => {}
            Effect::Left { undelivered } => {
                assert!(self.leaving && !self.left && undelivered == self.disk.len());
                self.left = true;
            }
        }
    }

    fn check_message(&mut self, message: from_worker::Message) {
        let of = match message {
            from_worker::Message::Heartbeat(heartbeat) => return self.beats.push((heartbeat.beat, self.now)),
            from_worker::Message::Report(report) => {
                let entry = &self.disk[&report.sequence];
                assert!(entry.report() == report && !entry.waits, "what is said is on disk, or about to be");
                assert!(!self.sent.contains(&report.sequence), "once a connection");
                self.sent.push(report.sequence);
                report.of
            }
            from_worker::Message::Progress(progress) => progress.of,
            from_worker::Message::Devices(v1::Devices { devices }) => {
                self.told = devices.iter().map(|device| device.slots).collect();
                assert!(!self.leaving || devices.iter().all(|device| device.slots == 0), "who leaves takes nothing");
                return;
            }
            from_worker::Message::Draining(_) | from_worker::Message::Hello(_) => return,
        };
        let of = required_attempt(of.as_ref()).unwrap();
        assert!(!self.stopped.contains(&of), "of what is stopped nothing is said");
        assert!(self.now < self.until, "nothing is said of attempts past the lease");
    }

    fn holds(&self, job: JobId) -> bool {
        self.agent.holds().any(|held| held.job == job)
    }

    /// What must hold between events.
    fn is_sound(&self) {
        let holds: Vec<AttemptId> = self.agent.holds().collect();
        let distinct: BTreeSet<&AttemptId> = holds.iter().collect();
        assert_eq!(distinct.len(), holds.len(), "an attempt is in hand once");
        let trained =
            self.runners.iter().flatten().flat_map(|runner| runner.lanes.iter().filter_map(|lane| lane.trains));
        let ended = self.disk.values().filter(|entry| entry.is_ending()).map(|entry| entry.of);
        for of in trained.chain(ended) {
            assert!(holds.contains(&of), "what is trained or has ended is in hand: {of:?}");
        }
        assert!(self.agent.due() <= self.now.after(1_000));
        if self.connected && !self.leaving {
            let now: Vec<u32> = self.agent.open_slots(self.now).collect();
            assert_eq!(self.told, now, "the coordinator knows how many slots there are");
        }
    }

    fn happen(&mut self, happening: Happening) {
        let chosen = |number: usize, of: usize| number % of.max(1);
        match happening {
            Happening::Connect { .. } | Happening::ConnectInVain => {
                self.connected = false;
                self.sent.clear();
                self.beats.clear();
                self.handle(Event::Connecting);
                if let Happening::Connect { past } = happening {
                    self.connected = true;
                    self.until = self.until.max(self.hello.unwrap().after(LEASE));
                    let past: Vec<AttemptId> = self.agent.holds().take(past).collect();
                    self.stopped.extend(&past);
                    self.may_go.extend(self.disk.values().filter(|e| past.contains(&e.of)).map(|e| e.sequence));
                    let stop = past.iter().filter_map(|of| id(*of)).collect();
                    let (heartbeat_milliseconds, lease_milliseconds) = (BEAT, LEASE);
                    let welcome = v1::Welcome { heartbeat_milliseconds, lease_milliseconds, stop, store: 1 };
                    self.handle(Event::Told(to_worker::Message::Welcome(welcome)));
                    assert!(self.disk.values().all(|entry| !past.contains(&entry.of)));
                }
            }
            Happening::Disconnect => {
                self.connected = false;
                self.handle(Event::Disconnected);
            }
            Happening::Assign { builds } => {
                self.assigned += 1;
                let digest = builds.then(|| Digest::of(b"weights"));
                let assignment = assignment(of(self.assigned, 1), digest);
                self.handle(Event::Told(to_worker::Message::Assignment(assignment)));
            }
            Happening::Stop(number) => {
                let held: Vec<AttemptId> = self.agent.holds().collect();
                let Some(of) = held.get(chosen(number, held.len())).copied().filter(|_| self.connected) else { return };
                self.stopped.insert(of);
                self.may_go = self.disk.values().filter(|entry| entry.of == of).map(|entry| entry.sequence).collect();
                self.handle(Event::Told(to_worker::Message::Stop(v1::Stop { of: id(of) })));
                assert!(self.disk.values().all(|entry| entry.of != of));
            }
            Happening::Acknowledge(number) => {
                if self.connected && !self.sent.is_empty() {
                    let sequence = self.sent.remove(chosen(number, self.sent.len()));
                    self.may_go = [sequence].into();
                    let acknowledgement = v1::Acknowledgement { sequence };
                    self.handle(Event::Told(to_worker::Message::Acknowledgement(acknowledgement)));
                    assert!(!self.disk.contains_key(&sequence));
                }
            }
            Happening::Renew(number) => {
                let Some((beat, sent)) = self.beats.get(chosen(number, self.beats.len())).copied() else { return };
                if self.connected {
                    self.until = self.until.max(sent.after(LEASE));
                    self.handle(Event::Told(to_worker::Message::Renewed(v1::Renewed { beat })));
                }
            }
            Happening::Progress(slot) => self.say(slot, from_runner::Message::Progress(v1::Progress::default())),
            Happening::Epoch(slot) => {
                let Some(lane) = self.lane(slot) else { return };
                lane.epochs += 1;
                let epoch = v1::Epoch { epoch: lane.epochs, ..v1::Epoch::default() };
                self.say(slot, from_runner::Message::Epoch(epoch));
            }
            Happening::End { slot, leaves } => {
                let kept = if leaves { &[Digest::of(b"left")][..] } else { &[] };
                self.say(slot, from_runner::Message::Ended(finished(kept)));
            }
            Happening::Full(slot) => {
                let failure = Failure::new(FailureKind::OutOfMemory, "full");
                self.say(slot, from_runner::Message::Ended(v1::Ending::from(&Ending::Failed(failure))));
            }
            Happening::Exit(slot, how) => {
                let number = slot % self.runners.len();
                let Some(runner) = self.runners[number].take() else { return };
                let said = RunnerEvent::Exited(how, String::new());
                self.handle(Event::Runner { runner: number, generation: runner.generation, said });
                for of in runner.lanes.into_iter().filter_map(|lane| lane.trains) {
                    let ended = self.disk.values().any(|entry| entry.of == of && entry.is_ending());
                    assert!(ended || self.stopped.contains(&of), "its end is reported");
                }
            }
            Happening::Transferred(number, good) => {
                if self.transfers.is_empty() {
                    return;
                }
                let (of, out) = self.transfers.remove(chosen(number, self.transfers.len()));
                let done = if good { Ok(()) } else { Err(Failure::new(FailureKind::Infrastructure, "refused")) };
                self.handle(if out { Event::Delivered(of, done) } else { Event::Fetched(of, done) });
            }
            Happening::Wait(milliseconds) => {
                self.now = self.now.after(milliseconds);
                for runner in self.runners.iter_mut().flatten() {
                    if runner.killed.is_some_and(|at| self.now.since(at) >= work::DYING) {
                        runner.lanes.iter_mut().for_each(|lane| lane.trains = None);
                    }
                }
                let before = self.beats.len();
                self.handle(Event::Tick);
                let beats = self.beats.len() > before || !self.connected || milliseconds < BEAT;
                assert!(beats, "heartbeats wait for nothing");
            }
            Happening::Leave => {
                self.leaving = true;
                self.handle(Event::Leave);
            }
            Happening::Restart => {
                *self = World {
                    now: self.now.after(1),
                    disk: std::mem::take(&mut self.disk),
                    assigned: self.assigned,
                    stopped: std::mem::take(&mut self.stopped),
                    ..World::new(self.layout)
                };
                let entries = self.disk.values().cloned().collect();
                self.handle(Event::Loaded(entries));
            }
        }
    }

    /// What trains in a slot.
    fn lane(&mut self, slot: usize) -> Option<&mut Lane> {
        let (runners, lanes) = self.layout.shape();
        self.runners[slot % runners].as_mut().map(|runner| &mut runner.lanes[slot / runners % lanes])
    }

    /// A lane that trains says something, which is kept unless nobody wants to hear it.
    fn say(&mut self, slot: usize, message: from_runner::Message) {
        let (runners, lanes) = self.layout.shape();
        let (number, lane) = (slot % runners, slot / runners % lanes);
        let Some(runner) = &mut self.runners[number] else { return };
        let Some(of) = runner.lanes[lane].trains else { return };
        let ends = matches!(message, from_runner::Message::Ended(_));
        let kept = !matches!(message, from_runner::Message::Progress(_)) && !self.stopped.contains(&of);
        if ends {
            runner.lanes[lane].trains = None;
        }
        let (generation, before) = (runner.generation, self.disk.len());
        self.handle(Event::Runner { runner: number, generation, said: RunnerEvent::Message(lane as u32, message) });
        assert_eq!(self.disk.len(), before + usize::from(kept), "what is said is kept until it is acknowledged");
    }

    /// All goes well from here: everything is delivered, and the worker leaves with nothing left behind.
    fn ends_well(&mut self) {
        self.happen(Happening::Restart);
        self.happen(Happening::Connect { past: 0 });
        while !self.transfers.is_empty() {
            self.happen(Happening::Transferred(0, true));
        }
        let unsent: Vec<u64> = self.disk.keys().copied().filter(|sequence| !self.sent.contains(sequence)).collect();
        assert!(unsent.is_empty(), "a new connection is told everything: {unsent:?}");
        self.happen(Happening::Leave);
        while !self.sent.is_empty() {
            self.happen(Happening::Acknowledge(0));
        }
        assert!(self.left && self.disk.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_whatever_happens(
        layout in prop::sample::select(vec![Layout::Processor, Layout::Gpus]),
        happenings in prop::collection::vec(happening(), 1..100),
    ) {
        let mut world = World::new(layout);
        for happening in happenings {
            if world.left {
                world.happen(Happening::Restart);
            }
            world.happen(happening);
        }
        world.ends_well();
    }
}

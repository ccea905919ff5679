//! The agenda of what is to happen, and everything that it happens to.

use crate::chance::Chance;
use crate::coordinator::{Coordinator, Request};
use crate::disk::Disk;
use crate::fault::{Fault, Kind};
use crate::network::{KEEPALIVE, Line, Network, Parcel};
use crate::plan::Plan;
use crate::promises::{Broken, Promises};
use crate::trace::Trace;
use crate::worker::Worker;
use plusminus_core::id::AttemptId;
use plusminus_core::scheduler::{Event, Session, Ticket};
use plusminus_engines::Device;
use plusminus_proto::v1::to_runner;
use plusminus_worker::agent::{OutboxEntry, RunnerEvent};
use plusminus_worker::daemon::shell::Transfer;
use std::collections::BTreeMap;

mod daemon;
mod desk;
mod faults;
mod rest;
mod training;

/// The simulated clock begins here, in milliseconds: not at zero, which nobody's clock says.
const BEGINNING: u64 = 1_000_000;
/// Faults come within so many milliseconds, last for at most a minute, and leave no trace after a little more.
const FAULTS_WITHIN: u64 = 60_000;
const QUIET: u64 = FAULTS_WITHIN + 65_000;
/// By then everything must have come to rest.
const PATIENCE: u64 = QUIET + 3_600_000;

/// What became of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// A hash of all that happened: equal for equal seeds.
    pub digest: String,
    /// How many things happened.
    pub happenings: u64,
    /// When all had come to rest, in simulated milliseconds.
    pub ended: u64,
    /// How often each kind of fault really befell somebody.
    pub faults: BTreeMap<Kind, u64>,
    /// Epochs that the jobs have, and how many were trained for them.
    pub epochs: (u64, u64),
    /// All that happened, a line each, where that was asked for.
    pub trace: Vec<String>,
}

/// Runs a cluster from its seed until all has come to rest, and checks every promise on the way.
///
/// # Errors
/// The first promise that was broken.
pub fn simulate(seed: u64, whole_trace: bool) -> Result<Outcome, Box<Broken>> {
    let mut world = World::new(seed, whole_trace);
    match world.run() {
        Ok(ended) => Ok(Outcome {
            digest: world.trace.digest(),
            happenings: world.trace.lines,
            ended: ended - BEGINNING,
            faults: world.befallen,
            epochs: (world.plan.epochs(), world.promises.trained),
            trace: world.trace.kept(),
        }),
        Err(promise) => Err(Box::new(Broken { seed, at: world.now - BEGINNING, promise, before: world.trace.kept() })),
    }
}

/// What users ask for, again and again until they are answered.
#[derive(Clone, Copy, Debug)]
enum Call {
    Submit,
    Cancel,
    Resume,
}

/// What trains in a slot, a runner or a lane of one: the worker, the number of its process, the slot, the number of the slot's runner.
type RunnerId = (usize, u64, usize, u64);

#[derive(Clone, Debug)]
enum Happening {
    Arrives(Line, Parcel),
    Breaks(Line),
    /// The coordinator's process of this number learns that a connection is gone.
    CoordinatorLoses(u64, Session),
    DaemonLoses(usize, u64, Line),
    Connect(usize, u64),
    Serve(u64),
    Committed(u64),
    CoordinatorTick(u64),
    StartCoordinator,
    WorkerTick(usize, u64, u64),
    StartWorker(usize),
    RunnerHears(RunnerId, to_runner::Message),
    DaemonHears(RunnerId, RunnerEvent),
    RunnerAlarm(RunnerId, u64),
    RunnerThaws(RunnerId),
    RunnerStops(RunnerId),
    Written(usize, u64, OutboxEntry),
    Deleted(usize, u64, u64),
    Transfer(usize, u64, AttemptId, Transfer),
    Befalls(Fault),
    User(Call),
    Look,
}

/// Who has to be awake for something to happen.
enum Owner {
    Nobody,
    Coordinator,
    Daemon(usize),
    Disk(usize),
    Runner(RunnerId),
}

struct World {
    now: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    entries: u64,
    chance: Chance,
    trace: Trace,
    plan: Plan,
    promises: Promises,
    network: Network,
    coordinator: Coordinator,
    workers: Vec<Worker>,
    /// Whether all workers have their checkpoints in one place: the first worker's.
    shared_checkpoints: bool,
    calls: BTreeMap<Ticket, Call>,
    befallen: BTreeMap<Kind, u64>,
    resumed: u32,
}

impl World {
    fn new(seed: u64, whole_trace: bool) -> Self {
        let mut chance = Chance::new(seed);
        // A real store is slower than a list by far.
        let store = if seed.is_multiple_of(16) { Disk::store().ok() } else { None };
        let plan = Plan::draw(&mut chance, store.is_none());
        let disk = store.unwrap_or_else(Disk::log);
        let count = chance.between(1, 3);
        let mut worker = |number| {
            let slots = chance.between(1, 3) as u32;
            let device = if chance.one_in(3) { Device::Cpu } else { Device::Cuda(0) };
            Worker::new(format!("w{number}"), slots, device)
        };
        let workers = (0..count).map(&mut worker).collect();
        World {
            now: BEGINNING,
            agenda: BTreeMap::new(),
            entries: 0,
            shared_checkpoints: chance.one_in(2),
            chance,
            trace: Trace::new(whole_trace),
            plan,
            promises: Promises::default(),
            network: Network::default(),
            coordinator: Coordinator::new(disk),
            workers,
            calls: BTreeMap::new(),
            befallen: BTreeMap::new(),
            resumed: 0,
        }
    }

    fn run(&mut self) -> Result<u64, String> {
        self.at(BEGINNING, Happening::StartCoordinator);
        self.at(BEGINNING + 10, Happening::User(Call::Submit));
        for worker in 0..self.workers.len() {
            let after = self.chance.between(0, 500);
            self.at(BEGINNING + after, Happening::StartWorker(worker));
        }
        for (when, fault) in Fault::draw(&mut self.chance, FAULTS_WITHIN) {
            self.at(BEGINNING + when, Happening::Befalls(fault));
        }
        self.at(BEGINNING + QUIET, Happening::Look);
        while let Some(((at, entry), happening)) = self.agenda.pop_first() {
            if let Some(until) = self.asleep(&happening, at) {
                self.agenda.insert((until, entry), happening);
                continue;
            }
            self.now = at;
            if let Happening::Look = happening {
                if self.has_settled()? {
                    return Ok(self.now);
                }
                if self.now > BEGINNING + PATIENCE {
                    return Err(format!("the sweep does not come to rest: {}", self.what_is_open()));
                }
                self.after(1_000, Happening::Look);
                continue;
            }
            self.happens(happening)?;
        }
        Err("nothing more was to happen".to_owned())
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), happening);
    }

    fn after(&mut self, milliseconds: u64, happening: Happening) {
        self.at(self.now + milliseconds, happening);
    }

    /// Until when whoever this happens to is frozen, if it is.
    fn asleep(&self, happening: &Happening, at: u64) -> Option<u64> {
        let until = match owner(happening, &self.network) {
            Owner::Nobody => 0,
            Owner::Coordinator => self.coordinator.frozen,
            Owner::Daemon(worker) => self.workers[worker].frozen,
            // It takes what it is asked for in order, when it has room again.
            Owner::Disk(worker) => self.workers[worker].frozen.max(self.workers[worker].disk_full),
            Owner::Runner((worker, process, slot, generation)) => {
                let worker = &self.workers[worker];
                let runner = worker.runners.get(slot).and_then(Option::as_ref);
                let runner = runner.filter(|runner| worker.process == process && runner.generation == generation);
                runner.map_or(0, |runner| runner.frozen)
            }
        };
        (until > at).then_some(until)
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        if !matches!(happening, Happening::CoordinatorTick(_) | Happening::WorkerTick(..)) {
            self.trace.line(self.now - BEGINNING, format_args!("{happening:?}"));
        }
        match happening {
            Happening::Arrives(line, parcel) => return self.arrives(line, parcel),
            Happening::Breaks(line) => self.breaks(line),
            Happening::CoordinatorLoses(process, session) => {
                if self.coordinator.process == process {
                    self.coordinator.inbox.push_back(Request::Gone(session));
                    return self.serve();
                }
            }
            Happening::Serve(process) => {
                if self.coordinator.process == process {
                    return self.serve();
                }
            }
            Happening::Committed(process) => {
                if self.coordinator.process == process {
                    return self.committed();
                }
            }
            Happening::CoordinatorTick(process) => {
                if self.coordinator.process == process && self.coordinator.machine.is_some() {
                    self.after(100, Happening::CoordinatorTick(process));
                    if self.coordinator.round.is_none() {
                        self.coordinator.inbox.push_back(Request::User(Event::Tick));
                        return self.serve();
                    }
                }
            }
            Happening::StartCoordinator => return self.start_coordinator(),
            Happening::User(call) => return self.call(call),
            Happening::Befalls(fault) => return self.befalls(fault),
            Happening::Look => {}
            of_worker => return self.happens_to_worker(of_worker),
        }
        Ok(())
    }

    fn send(&mut self, line: Line, parcel: Parcel) {
        if let Some(at) = self.network.send(line, &parcel, self.now, &mut self.chance) {
            self.at(at, Happening::Arrives(line, parcel));
        }
    }

    fn arrives(&mut self, line: Line, parcel: Parcel) -> Result<(), String> {
        let Some(connection) = self.network.connections.get(&line) else { return Ok(()) };
        match parcel {
            Parcel::ToWorker(message) => {
                let worker = connection.worker;
                self.daemon_hears_of(worker, line, message)
            }
            Parcel::ToCoordinator(message) => {
                if self.coordinator.machine.is_none() {
                    return Ok(());
                }
                let request = match connection.session {
                    None => Request::Hello(line, message),
                    Some(session) => Request::Message(session, message),
                };
                self.coordinator.inbox.push_back(request);
                self.serve()
            }
        }
    }

    /// A connection is gone: what was on its way is lost, and both ends learn of it.
    fn breaks(&mut self, line: Line) {
        let Some(connection) = self.network.end(line) else { return };
        if let Some(session) = connection.session {
            let (process, after) = (self.coordinator.process, self.chance.delay(50, 3_000));
            self.after(after, Happening::CoordinatorLoses(process, session));
        }
        let (process, after) = (self.workers[connection.worker].process, self.chance.delay(50, 3_000));
        self.after(after, Happening::DaemonLoses(connection.worker, process, line));
    }
}

fn owner(happening: &Happening, network: &Network) -> Owner {
    match happening {
        Happening::Arrives(line, Parcel::ToWorker(_)) => {
            network.connections.get(line).map_or(Owner::Nobody, |connection| Owner::Daemon(connection.worker))
        }
        Happening::Arrives(_, Parcel::ToCoordinator(_))
        | Happening::CoordinatorLoses(..)
        | Happening::Serve(_)
        | Happening::Committed(_)
        | Happening::CoordinatorTick(_) => Owner::Coordinator,
        Happening::DaemonLoses(worker, ..)
        | Happening::Connect(worker, _)
        | Happening::WorkerTick(worker, ..)
        | Happening::DaemonHears((worker, ..), _)
        | Happening::Transfer(worker, ..) => Owner::Daemon(*worker),
        Happening::Written(worker, ..) | Happening::Deleted(worker, ..) => Owner::Disk(*worker),
        Happening::RunnerHears(id, _) | Happening::RunnerAlarm(id, _) | Happening::RunnerStops(id) => {
            Owner::Runner(*id)
        }
        Happening::Breaks(_)
        | Happening::RunnerThaws(_)
        | Happening::StartCoordinator
        | Happening::StartWorker(_)
        | Happening::Befalls(_)
        | Happening::User(_)
        | Happening::Look => Owner::Nobody,
    }
}

//! The event queue of a simulation, and the cluster that its events act on.
//!
//! - `daemon`: events of daemons, and the environment of their shells.
//! - `training`: events of runners.
//! - `desk`: events of the coordinator.
//! - `faults`: injection of faults.
//! - `quiescence`: the end of a simulation, and its checks.

use crate::coordinator::{Coordinator, Request};
use crate::disk::Disk;
use crate::fault::{Fault, FaultKind};
use crate::network::{ConnectionId, Network, Packet};
use crate::plan::Plan;
use crate::promises::{BrokenPromise, Promises};
use crate::rng::Rng;
use crate::runner::LaneId;
use crate::trace::Trace;
use crate::worker::{Flaw, Worker};
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
mod quiescence;
mod training;

/// The simulated time at the start, in milliseconds: not zero, as on real hosts.
const START: u64 = 1_000_000;
/// Faults start within the first 60 s and last at most a minute; shortly after that they are over.
const FAULTS_WITHIN: u64 = 60_000;
const FAULTS_OVER: u64 = FAULTS_WITHIN + 65_000;
/// By then all jobs must have ended.
const TIME_LIMIT: u64 = FAULTS_OVER + 3_600_000;

/// The outcome of a simulation that kept every promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// A hash of all events, equal for equal seeds.
    pub digest: String,
    /// The number of events.
    pub events: u64,
    /// The simulated duration in milliseconds.
    pub ended: u64,
    /// How often each kind of fault took effect.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The number of epochs without faults, and of those that were trained.
    pub epochs: (u64, u64),
    /// What was wrong with workers all the time.
    pub flaws: Vec<Flaw>,
    /// The trace: all events if requested, else the last ones.
    pub trace: Vec<String>,
}

/// The workers of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// All are sound.
    Sound,
    /// One is sound, and others may have a flaw for good.
    Flawed,
}

/// Simulates the cluster of a seed until all jobs have ended, and checks every promise on the way.
///
/// # Errors
/// The first promise that was broken.
pub fn simulate(seed: u64, fleet: Fleet, whole_trace: bool) -> Result<Outcome, Box<BrokenPromise>> {
    let mut world = World::new(seed, fleet, whole_trace);
    match world.run() {
        Ok(ended) => Ok(Outcome {
            digest: world.trace.digest(),
            events: world.trace.lines,
            ended: ended - START,
            faults: world.fault_counts,
            epochs: (world.plan.epochs(), world.promises.trained),
            flaws: world.workers.iter().filter_map(|worker| worker.flaw).collect(),
            trace: world.trace.kept(),
        }),
        Err(promise) => {
            Err(Box::new(BrokenPromise { seed, at: world.now - START, promise, before: world.trace.kept() }))
        }
    }
}

/// A request of a user, repeated until it is answered.
#[derive(Clone, Copy, Debug)]
enum UserRequest {
    Submit,
    Cancel,
    Resume,
}

#[derive(Clone, Debug)]
enum SimEvent {
    Arrival(ConnectionId, Packet),
    ConnectionLost(ConnectionId),
    /// The coordinator process with this number detects a lost connection.
    CoordinatorDisconnected(u64, Session),
    DaemonDisconnected(usize, u64, ConnectionId),
    Connect(usize, u64),
    Serve(u64),
    Committed(u64),
    CoordinatorTick(u64),
    StartCoordinator,
    WorkerTick(usize, u64, u64),
    StartWorker(usize),
    RunnerReceives(LaneId, to_runner::Message),
    DaemonReceives(LaneId, RunnerEvent),
    RunnerTimer(LaneId, u64),
    RunnerResumes(LaneId),
    RunnerStopped(LaneId),
    /// The runner of a flawed worker crashes.
    RunnerCrashes(LaneId),
    /// The daemon of a flawed worker dies.
    DaemonDies(usize, u64),
    EntryStored(usize, u64, OutboxEntry),
    EntryDeleted(usize, u64, u64),
    Transfer(usize, u64, AttemptId, Transfer),
    InjectFault(Fault),
    User(UserRequest),
    CheckQuiescence,
}

/// The process that handles an event, which waits while that process is suspended.
enum Owner {
    None,
    Coordinator,
    Daemon(usize),
    Disk(usize),
    Runner(LaneId),
}

struct World {
    now: u64,
    queue: BTreeMap<(u64, u64), SimEvent>,
    scheduled: u64,
    rng: Rng,
    trace: Trace,
    plan: Plan,
    promises: Promises,
    network: Network,
    coordinator: Coordinator,
    workers: Vec<Worker>,
    /// Whether all workers share one directory for checkpoints, stored with the first worker.
    shared_checkpoints: bool,
    calls: BTreeMap<Ticket, UserRequest>,
    fault_counts: BTreeMap<FaultKind, u64>,
    resumed: u32,
}

impl World {
    fn new(seed: u64, fleet: Fleet, whole_trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        // A real store is much slower than records in memory, so only some seeds use it.
        let store = if seed.is_multiple_of(16) { Disk::store().ok() } else { None };
        // Some epochs of flawed fleets last longer than leases and cuts.
        let flawed = fleet == Fleet::Flawed;
        let longest = if flawed && rng.one_in(3) { 40_000 } else { 6_000 };
        let plan = Plan::generate(&mut rng, store.is_none(), longest);
        let disk = store.unwrap_or_else(Disk::log);
        let count = if flawed { rng.between(2, 5) } else { rng.between(1, 3) };
        // Hello messages of flawed workers arrive before or after that of the sound one.
        let sound = rng.between(0, count - 1);
        let mut worker = |number| {
            let slots = rng.between(1, 3) as u32;
            let device = if rng.one_in(3) { Device::Cpu } else { Device::Cuda(0) };
            let flaw = if flawed && number != sound { rng.choose(&Flaw::ALL) } else { None };
            Worker { flaw, ..Worker::new(format!("w{number}"), slots, device) }
        };
        let workers = (0..count).map(&mut worker).collect();
        World {
            now: START,
            queue: BTreeMap::new(),
            scheduled: 0,
            shared_checkpoints: rng.one_in(2),
            rng,
            trace: Trace::new(whole_trace),
            plan,
            promises: Promises::default(),
            network: Network::default(),
            coordinator: Coordinator::new(disk),
            workers,
            calls: BTreeMap::new(),
            fault_counts: BTreeMap::new(),
            resumed: 0,
        }
    }

    fn run(&mut self) -> Result<u64, String> {
        self.at(START, SimEvent::StartCoordinator);
        self.at(START + 10, SimEvent::User(UserRequest::Submit));
        for worker in 0..self.workers.len() {
            let after = self.rng.between(0, 500);
            self.at(START + after, SimEvent::StartWorker(worker));
        }
        let kinds = if self.has_flaws() { &FaultKind::BEARABLE[..] } else { &FaultKind::ALL };
        for (when, fault) in Fault::generate(&mut self.rng, FAULTS_WITHIN, kinds) {
            self.at(START + when, SimEvent::InjectFault(fault));
        }
        self.at(START + FAULTS_OVER, SimEvent::CheckQuiescence);
        while let Some(((at, entry), event)) = self.queue.pop_first() {
            if let Some(until) = self.suspended_until(&event, at) {
                self.queue.insert((until, entry), event);
                continue;
            }
            self.now = at;
            if let SimEvent::CheckQuiescence = event {
                if self.is_quiescent()? {
                    return Ok(self.now);
                }
                if self.now > START + TIME_LIMIT {
                    return Err(format!("the sweep does not end: {}", self.describe_unfinished()));
                }
                self.after(1_000, SimEvent::CheckQuiescence);
                continue;
            }
            self.handle(event)?;
        }
        Err("the event queue is empty".to_owned())
    }

    /// Whether the fleet has flawed workers, beside a sound one.
    fn has_flaws(&self) -> bool {
        self.workers.iter().any(|worker| worker.flaw.is_some())
    }

    fn at(&mut self, at: u64, event: SimEvent) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), event);
    }

    fn after(&mut self, milliseconds: u64, event: SimEvent) {
        self.at(self.now + milliseconds, event);
    }

    /// Until when the process that handles the event is suspended, if it is.
    fn suspended_until(&self, event: &SimEvent, at: u64) -> Option<u64> {
        let until = match owner(event, &self.network) {
            Owner::None => 0,
            Owner::Coordinator => self.coordinator.frozen,
            Owner::Daemon(worker) => self.workers[worker].frozen,
            // Requests are completed in order once there is space.
            Owner::Disk(worker) => self.workers[worker].frozen.max(self.workers[worker].disk_full),
            Owner::Runner(LaneId { worker, process, slot, generation }) => {
                let worker = &self.workers[worker];
                let runner = worker.runners.get(slot).and_then(Option::as_ref);
                let runner = runner.filter(|runner| worker.process == process && runner.generation == generation);
                runner.map_or(0, |runner| runner.frozen)
            }
        };
        (until > at).then_some(until)
    }

    fn handle(&mut self, event: SimEvent) -> Result<(), String> {
        if !matches!(event, SimEvent::CoordinatorTick(_) | SimEvent::WorkerTick(..)) {
            self.trace.line(self.now - START, format_args!("{event:?}"));
        }
        match event {
            SimEvent::Arrival(connection_id, packet) => return self.arrives(connection_id, packet),
            SimEvent::ConnectionLost(connection_id) => self.breaks(connection_id),
            SimEvent::CoordinatorDisconnected(process, session) => {
                if self.coordinator.process == process {
                    self.coordinator.inbox.push_back(Request::Gone(session));
                    return self.serve();
                }
            }
            SimEvent::Serve(process) => {
                if self.coordinator.process == process {
                    return self.serve();
                }
            }
            SimEvent::Committed(process) => {
                if self.coordinator.process == process {
                    return self.committed();
                }
            }
            SimEvent::CoordinatorTick(process) => {
                if self.coordinator.process == process && self.coordinator.is_running() {
                    self.after(100, SimEvent::CoordinatorTick(process));
                    if self.coordinator.writing.is_none() {
                        self.coordinator.inbox.push_back(Request::User(Event::Tick));
                        return self.serve();
                    }
                }
            }
            SimEvent::StartCoordinator => return self.start_coordinator(),
            SimEvent::User(call) => return self.call(call),
            SimEvent::InjectFault(fault) => return self.inject(fault),
            SimEvent::CheckQuiescence => {}
            of_worker => return self.worker_event(of_worker),
        }
        Ok(())
    }

    fn send(&mut self, connection_id: ConnectionId, packet: Packet) {
        if let Some(at) = self.network.send(connection_id, &packet, self.now, &mut self.rng) {
            self.at(at, SimEvent::Arrival(connection_id, packet));
        }
    }

    fn arrives(&mut self, connection_id: ConnectionId, packet: Packet) -> Result<(), String> {
        let Some(connection) = self.network.connections.get(&connection_id) else { return Ok(()) };
        match packet {
            Packet::ToWorker(message) => {
                let worker = connection.worker;
                self.deliver_to_daemon(worker, connection_id, message)
            }
            Packet::ToCoordinator(message) => {
                if !self.coordinator.is_running() {
                    return Ok(());
                }
                let request = match connection.session {
                    None => Request::Hello(connection_id, message),
                    Some(session) => Request::Message(session, message),
                };
                self.coordinator.inbox.push_back(request);
                self.serve()
            }
        }
    }

    /// Breaks a connection: messages in transit are lost, and both ends detect it later.
    fn breaks(&mut self, connection_id: ConnectionId) {
        let Some(connection) = self.network.end(connection_id) else { return };
        if let Some(session) = connection.session {
            let (process, after) = (self.coordinator.process, self.rng.delay(50, 3_000));
            self.after(after, SimEvent::CoordinatorDisconnected(process, session));
        }
        let (process, after) = (self.workers[connection.worker].process, self.rng.delay(50, 3_000));
        self.after(after, SimEvent::DaemonDisconnected(connection.worker, process, connection_id));
    }
}

fn owner(event: &SimEvent, network: &Network) -> Owner {
    match event {
        SimEvent::Arrival(connection_id, Packet::ToWorker(_)) => {
            network.connections.get(connection_id).map_or(Owner::None, |connection| Owner::Daemon(connection.worker))
        }
        SimEvent::Arrival(_, Packet::ToCoordinator(_))
        | SimEvent::CoordinatorDisconnected(..)
        | SimEvent::Serve(_)
        | SimEvent::Committed(_)
        | SimEvent::CoordinatorTick(_) => Owner::Coordinator,
        SimEvent::DaemonDisconnected(worker, ..)
        | SimEvent::Connect(worker, _)
        | SimEvent::WorkerTick(worker, ..)
        | SimEvent::DaemonReceives(LaneId { worker, .. }, _)
        | SimEvent::Transfer(worker, ..) => Owner::Daemon(*worker),
        SimEvent::EntryStored(worker, ..) | SimEvent::EntryDeleted(worker, ..) => Owner::Disk(*worker),
        SimEvent::RunnerReceives(id, _) | SimEvent::RunnerTimer(id, _) | SimEvent::RunnerStopped(id) => {
            Owner::Runner(*id)
        }
        SimEvent::ConnectionLost(_)
        | SimEvent::RunnerResumes(_)
        | SimEvent::RunnerCrashes(_)
        | SimEvent::DaemonDies(..)
        | SimEvent::StartCoordinator
        | SimEvent::StartWorker(_)
        | SimEvent::InjectFault(_)
        | SimEvent::User(_)
        | SimEvent::CheckQuiescence => Owner::None,
    }
}

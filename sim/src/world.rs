//! The agenda of what is to happen, and everything that it happens to.

use crate::chance::Chance;
use crate::coordinator::{Coordinator, LEASE, Request, Round, policy};
use crate::disk::Disk;
use crate::fault::{Fault, Kind};
use crate::network::{KEEPALIVE, Line, Network, Parcel};
use crate::plan::{Expected, Plan, Planned};
use crate::promises::{Broken, Promises};
use crate::trace::Trace;
use crate::worker::Worker;
use plusminus_core::id::{Digest, JobId};
use plusminus_core::metric::At;
use plusminus_core::schedule::{Again, Effect, Event, JobState, Machine, Session, Ticket, Time};
use plusminus_proto::convert::attempts;
use plusminus_proto::session;
use plusminus_proto::v1::{from_worker, to_runner};
use plusminus_worker::agent::{Entry, Of, Said};
use std::collections::{BTreeMap, BTreeSet};

mod daemon;
mod faults;
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

/// A slot's runner: the worker, the number of its process, the slot, the number of its runner.
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
    DaemonHears(RunnerId, Said),
    RunnerAlarm(RunnerId, u64),
    RunnerThaws(RunnerId),
    RunnerStops(RunnerId),
    Written(usize, u64, Entry),
    Deleted(usize, u64, u64),
    Transfer(usize, u64, Of, Transfer),
    Befalls(Fault),
    User(Call),
    Look,
}

#[derive(Clone, Debug)]
enum Transfer {
    Fetch(JobId, Digest),
    Deliver(BTreeSet<Digest>),
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
        let workers = (0..count).map(|n| Worker::new(format!("w{n}"), chance.between(1, 3) as u32)).collect();
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

    fn start_coordinator(&mut self) -> Result<(), String> {
        if self.coordinator.machine.is_some() {
            return Ok(());
        }
        let records = self.coordinator.disk.records().map_err(|error| error.to_string())?;
        let machine = Machine::restart(policy(), records, Time(self.now));
        self.promises.restarted(&machine)?;
        if let Some(before) = self.coordinator.committed.take()
            && before.essence() != machine.state().essence()
        {
            let (before, after) = (before.essence(), machine.state().essence());
            return Err(format!("a restart should lead to {before:?} and leads to {after:?}"));
        }
        self.coordinator.machine = Some(machine);
        self.coordinator.process += 1;
        let process = self.coordinator.process;
        self.after(0, Happening::CoordinatorTick(process));
        Ok(())
    }

    /// A user calls, and calls again where nobody is there.
    fn call(&mut self, call: Call) -> Result<(), String> {
        if self.coordinator.machine.is_none() {
            self.after(1_000, Happening::User(call));
            return Ok(());
        }
        let ticket = self.coordinator.ticket();
        self.calls.insert(ticket, call);
        let event = match call {
            Call::Submit => Event::Submit(ticket, self.plan.submission()),
            Call::Cancel => Event::Cancel(ticket, Plan::sweep()),
            Call::Resume => Event::Resume(ticket, Plan::sweep(), Again::Failed),
        };
        self.coordinator.inbox.push_back(Request::User(event));
        self.serve()
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
                    Some(session) => Request::Said(session, message),
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

    /// Takes in what has come. While a commit is under way heartbeats are answered, and nothing else is taken in.
    fn serve(&mut self) -> Result<(), String> {
        if let Some(round) = &self.coordinator.round {
            let mut answered = Vec::new();
            for request in &self.coordinator.inbox {
                let Request::Said(session, from_worker::Message::Heartbeat(heartbeat)) = request else { continue };
                // Who is about to be told to stop something is not told to go on.
                let stops = |effect: &Effect| matches!(effect, Effect::Stop { session: s, .. } if s == session);
                if !round.effects.iter().any(stops) {
                    answered.push(Effect::Renew(*session, heartbeat.beat));
                }
            }
            let beats = |request: &Request| matches!(request, Request::Said(_, from_worker::Message::Heartbeat(_)));
            let waiting = std::mem::take(&mut self.coordinator.inbox);
            let (held, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(beats);
            self.coordinator.inbox.extend(waiting);
            self.coordinator.held.extend(held);
            answered.into_iter().for_each(|effect| self.act(effect));
            return Ok(());
        }
        let mut round = Round::default();
        // Time passes only after what workers have said meanwhile.
        let held = std::mem::take(&mut self.coordinator.held);
        let waiting = std::mem::take(&mut self.coordinator.inbox);
        for request in held.into_iter().chain(waiting) {
            let Some(event) = self.event(request) else { continue };
            let Some(machine) = &mut self.coordinator.machine else { return Ok(()) };
            for effect in machine.handle(Time(self.now), event) {
                match effect {
                    Effect::Record(record) => round.records.push(record),
                    other => round.effects.push(other),
                }
            }
        }
        if round.records.is_empty() {
            round.effects.into_iter().for_each(|effect| self.act(effect));
        } else {
            let slow = self.now < self.coordinator.disk_slow;
            let takes = if slow { self.chance.between(100, 2_500) } else { self.chance.delay(8, 300) };
            self.coordinator.round = Some(round);
            let process = self.coordinator.process;
            self.after(takes, Happening::Committed(process));
        }
        Ok(())
    }

    fn event(&mut self, request: Request) -> Option<Event> {
        match request {
            Request::User(event) => Some(event),
            Request::Gone(session) => Some(Event::Left(session)),
            Request::Said(session, message) => session::event(session, message).ok().flatten(),
            Request::Hello(line, from_worker::Message::Hello(hello)) => {
                let session = self.coordinator.session();
                match self.network.connections.get_mut(&line) {
                    Some(connection) => connection.session = Some(session),
                    // It broke while the Hello waited to be taken in, and that it did is taken in next.
                    None => self.coordinator.inbox.push_back(Request::Gone(session)),
                }
                Some(Event::Joined {
                    session,
                    worker: plusminus_core::id::WorkerName(hello.worker),
                    instance: hello.instance,
                    slots: hello.devices.iter().map(|device| device.slots).sum(),
                    holds: attempts(&hello.holds).ok()?,
                })
            }
            Request::Hello(..) => None,
        }
    }

    /// The disk has answered.
    fn committed(&mut self) -> Result<(), String> {
        if self.now < self.coordinator.disk_full {
            let process = self.coordinator.process;
            self.after(1_000, Happening::Committed(process));
            return Ok(());
        }
        let Some(Round { records, effects }) = self.coordinator.round.take() else { return Ok(()) };
        self.durable(&records)?;
        effects.into_iter().for_each(|effect| self.act(effect));
        self.serve()
    }

    fn durable(&mut self, records: &[plusminus_core::schedule::Record]) -> Result<(), String> {
        records.iter().for_each(|record| self.trace.line(self.now - BEGINNING, format_args!("durable: {record:?}")));
        self.coordinator.disk.commit(records).map_err(|error| error.to_string())?;
        self.promises.committed(&self.plan, records)
    }

    fn act(&mut self, effect: Effect) {
        if let Some((session, message)) = session::message(&effect, LEASE) {
            if let Some(line) = self.network.of_session(session) {
                self.send(line, Parcel::ToWorker(message));
            }
            return;
        }
        match effect {
            Effect::Disconnect(session) | Effect::Reject(session) => {
                if let Some(line) = self.network.of_session(session) {
                    self.after(1, Happening::Breaks(line));
                }
            }
            Effect::Submitted(ticket, _) => {
                self.calls.remove(&ticket);
                self.promises.accept(&self.plan);
            }
            Effect::Cancelled(ticket, _) => {
                self.calls.remove(&ticket);
                let after = self.chance.between(10, 20_000);
                self.after(after, Happening::User(Call::Submit));
            }
            Effect::Resumed(ticket, _) | Effect::Refuse(ticket, _) => {
                self.calls.remove(&ticket);
            }
            _ => {}
        }
    }

    /// Whether every job has ended as it must, and nobody has anything more to say.
    fn has_settled(&mut self) -> Result<bool, String> {
        let Some(machine) = &self.coordinator.machine else { return Ok(false) };
        let idle = self.coordinator.round.is_none() && self.coordinator.inbox.is_empty() && self.calls.is_empty();
        let states = || self.plan.jobs.iter().map(|planned| machine.state().job(planned.job.id));
        let over = states().all(|state| matches!(state, Some(JobState::Finished | JobState::Failed(_))));
        let quiet = machine.workers().all(|(_, _, busy)| busy.is_empty());
        let agents = self.workers.iter().filter_map(|worker| worker.agent.as_ref());
        let said = agents.map(|agent| agent.holds().count()).sum::<usize>() == 0
            && self.workers.iter().all(|worker| worker.outbox.is_empty());
        if !(idle && over && quiet && said) {
            return Ok(false);
        }
        match self.promises.settled(&self.plan, machine) {
            Ok(()) => {}
            // What was given up after too many accidents is tried again when a user asks.
            Err(promise) if self.only_harmless() => return Err(promise),
            Err(_) if self.resumed < 20 && states().any(|state| matches!(state, Some(JobState::Failed(_)))) => {
                self.resumed += 1;
                self.call(Call::Resume)?;
                return Ok(false);
            }
            Err(promise) => return Err(promise),
        }
        self.table_is_right()?;
        Ok(true)
    }

    /// Whether nothing has befallen anybody that may cost a job one of its tries.
    fn only_harmless(&self) -> bool {
        let harmless = [
            Kind::KillCoordinator,
            Kind::FullDisk,
            Kind::SlowDisk,
            Kind::LoseWeights,
            Kind::LeaveWorker,
            Kind::WorkerDiskFull,
            Kind::Reset,
            Kind::SubmitAgain,
            Kind::Cancel,
            Kind::Resume,
        ];
        self.befallen.keys().all(|kind| harmless.contains(kind))
    }

    /// What keeps a cluster from coming to rest, in words.
    fn what_is_open(&self) -> String {
        let Some(machine) = &self.coordinator.machine else { return "no coordinator".to_owned() };
        let states = self.plan.jobs.iter().map(|planned| machine.state().job(planned.job.id));
        let open: Vec<_> =
            states.filter(|state| !matches!(state, Some(JobState::Finished | JobState::Failed(_)))).collect();
        let busy: Vec<_> = machine.workers().filter(|(_, _, busy)| !busy.is_empty()).collect();
        let held: Vec<_> =
            self.workers.iter().filter_map(|w| Some(w.agent.as_ref()?.holds().collect::<Vec<_>>())).collect();
        let outboxes: Vec<_> = self.workers.iter().map(|worker| &worker.outbox).collect();
        let (round, inbox, calls) = (&self.coordinator.round, &self.coordinator.inbox, &self.calls);
        format!(
            "jobs {open:?}; busy {busy:?}; held {held:?}; outboxes {outboxes:?}; round {round:?}; inbox {inbox:?}; calls {calls:?}"
        )
    }

    /// The store tells the table of an undisturbed sweep, at its end and at its best.
    fn table_is_right(&self) -> Result<(), String> {
        let all = self.plan.expected();
        let finishes = |planned: &&Planned| matches!(all.get(&planned.job.id), Some(Expected::Finished(_)));
        for (at, value) in [(At::Final, Planned::last as fn(&Planned) -> f64), (At::Best, Planned::best)] {
            let expected = self.plan.jobs.iter().filter(finishes).map(|planned| (planned.job.id, value(planned)));
            let expected: BTreeMap<JobId, f64> = expected.collect();
            let table = self.coordinator.disk.table(&Plan::sweep(), at).map_err(|error| error.to_string())?;
            // A diverged job may have a value too: of the epochs before.
            if let Some(table) = table
                && expected.iter().any(|(job, value)| table.get(job) != Some(value))
            {
                return Err(format!("the table at {at} should have {expected:?} and has {table:?}"));
            }
        }
        Ok(())
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

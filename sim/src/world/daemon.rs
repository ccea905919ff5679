//! Events of workers' daemons, and the simulated host on which the shell of a daemon acts.

use super::{SimEvent, World};
use crate::coordinator::Request;
use crate::network::{ConnectionId, Packet};
use crate::runner::{LaneId, Runner};
use crate::worker::{Flaw, Worker};
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Event as CoordinatorEvent;
use plusminus_proto::v1::{self, from_worker, to_runner, to_worker};
use plusminus_worker::agent::{BootTime, Equipment, Event, OutboxEntry, RunnerEvent, RunnerExit};
use plusminus_worker::daemon::shell::{Environment, Transfer};
use std::collections::BTreeSet;

impl World {
    pub(super) fn worker_event(&mut self, event: SimEvent) -> Result<(), String> {
        match event {
            SimEvent::StartWorker(worker) => return self.start_worker(worker),
            SimEvent::Connect(worker, process) if self.is_running(worker, process) => return self.connect(worker),
            SimEvent::DaemonDisconnected(worker, process, connection_id)
                if self.is_running(worker, process) && self.workers[worker].connection == Some(connection_id) =>
            {
                self.workers[worker].connection = None;
                let after = self.rng.delay(200, 5_000);
                self.after(after, SimEvent::Connect(worker, process));
                return self.notify_daemon(worker, Event::Disconnected);
            }
            SimEvent::WorkerTick(worker, process, at)
                if self.is_running(worker, process) && self.workers[worker].next_tick == at =>
            {
                self.workers[worker].next_tick = u64::MAX;
                return self.notify_daemon(worker, Event::Tick);
            }
            SimEvent::DaemonReceives(LaneId { worker, process, slot, generation }, event)
                if self.is_running(worker, process) =>
            {
                let (runner, _) = self.workers[worker].runner_of(slot);
                return self.notify_daemon(worker, Event::Runner { runner, generation, event });
            }
            SimEvent::EntryStored(worker, process, entry) if self.is_running(worker, process) => {
                self.workers[worker].outbox.insert(entry.sequence, entry);
            }
            SimEvent::EntryDeleted(worker, process, sequence) if self.is_running(worker, process) => {
                self.workers[worker].outbox.remove(&sequence);
            }
            SimEvent::Transfer(worker, process, of, what) if self.is_running(worker, process) => {
                return self.transfer(worker, of, what);
            }
            SimEvent::RunnerReceives(id, message) if self.is_running(id.worker, id.process) => {
                return self.deliver_to_runner(id, message);
            }
            SimEvent::RunnerTimer(id, alarm) if self.is_running(id.worker, id.process) => {
                return self.runner_timer(id, alarm);
            }
            SimEvent::RunnerResumes(id) if self.is_running(id.worker, id.process) => return self.train(id),
            SimEvent::RunnerStopped(id) if self.is_running(id.worker, id.process) => self.runner_stopped(id),
            SimEvent::RunnerCrashes(id) if self.is_running(id.worker, id.process) => {
                if self.workers[id.worker].runner(id.slot, id.generation).is_some()
                    && let Some(lane) = self.remove_runner(id.worker, id.slot)
                {
                    let exit = RunnerExit::Crashed("was ended by signal 11".to_owned());
                    self.after(1, SimEvent::DaemonReceives(lane, RunnerEvent::Exited(exit, String::new())));
                }
            }
            SimEvent::DaemonDies(worker, process) if self.is_running(worker, process) => {
                self.kill_daemon(worker);
                let after = self.rng.between(10, 300);
                self.after(after, SimEvent::StartWorker(worker));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the worker's daemon process with this number is running.
    fn is_running(&self, worker: usize, process: u64) -> bool {
        self.workers[worker].process == process && self.workers[worker].shell.is_some()
    }

    fn start_worker(&mut self, worker: usize) -> Result<(), String> {
        if self.workers[worker].shell.is_some() {
            return Ok(());
        }
        let instance = self.rng.between(1, u64::MAX - 1);
        let place = &mut self.workers[worker];
        place.start(instance);
        let (process, entries) = (place.process, place.outbox.values().cloned().collect::<Vec<_>>());
        let after = self.rng.delay(50, 1_000);
        self.after(after, SimEvent::Connect(worker, process));
        if self.workers[worker].flaw == Some(Flaw::Flaps) {
            let after = self.rng.between(300, 4_000);
            self.after(after, SimEvent::DaemonDies(worker, process));
        }
        if entries.is_empty() { Ok(()) } else { self.notify_daemon(worker, Event::OutboxLoaded(entries)) }
    }

    /// Ends a daemon process and its runners.
    pub(super) fn kill_daemon(&mut self, worker: usize) {
        for slot in 0..self.workers[worker].runners.len() {
            self.remove_lane(worker, slot);
        }
        self.workers[worker].die();
        for connection_id in self.network.of_worker(worker) {
            let after = self.rng.delay(20, 2_000);
            self.after(after, SimEvent::ConnectionLost(connection_id));
        }
    }

    /// Ends the runner process that serves a slot, with all of its lanes. Returns one of them, if it was running.
    pub(super) fn remove_runner(&mut self, worker: usize, slot: usize) -> Option<LaneId> {
        let (runner, _) = self.workers[worker].runner_of(slot);
        let gone = self.workers[worker].slots_of(runner).filter_map(|slot| self.remove_lane(worker, slot));
        gone.collect::<Vec<_>>().into_iter().next()
    }

    fn remove_lane(&mut self, worker: usize, slot: usize) -> Option<LaneId> {
        let process = self.workers[worker].process;
        let mut runner = self.workers[worker].runners[slot].take()?;
        let id = LaneId { worker, process, slot, generation: runner.generation };
        if let Some(job) = runner.pause(self.now) {
            self.promises.training_stopped(job, id);
        }
        Some(id)
    }

    fn connect(&mut self, worker: usize) -> Result<(), String> {
        let reachable = self.coordinator.is_running() && !self.network.is_cut(worker, self.now);
        if !reachable {
            let (process, after) = (self.workers[worker].process, self.rng.delay(500, 5_000));
            self.after(after, SimEvent::Connect(worker, process));
            return Ok(());
        }
        let connection_id = self.network.open(worker);
        self.workers[worker].connection = Some(connection_id);
        self.notify_daemon(worker, Event::Connecting)
    }

    pub(super) fn deliver_to_daemon(
        &mut self,
        worker: usize,
        connection_id: ConnectionId,
        message: to_worker::Message,
    ) -> Result<(), String> {
        if self.workers[worker].shell.is_none() || self.workers[worker].connection != Some(connection_id) {
            return Ok(());
        }
        self.notify_daemon(worker, Event::Received(message))
    }

    /// Passes an event to a running daemon's shell, which acts on the simulated host.
    pub(super) fn notify_daemon(&mut self, worker: usize, event: Event) -> Result<(), String> {
        let Some(mut shell) = self.workers[worker].shell.take() else { return Ok(()) };
        let mut host = SimulatedHost { worker, process: self.workers[worker].process, broken: None, world: self };
        let flow = shell.handle(&mut host, event);
        let broken = host.broken;
        let due = shell.agent().due().0.max(self.now + 1);
        self.workers[worker].shell = Some(shell);
        if let Some(promise) = broken {
            return Err(promise);
        }
        if flow.is_break() {
            self.kill_daemon(worker);
            let after = self.rng.between(10, 5_000);
            self.after(after, SimEvent::StartWorker(worker));
        } else if due < self.workers[worker].next_tick {
            self.workers[worker].next_tick = due;
            self.at(due, SimEvent::WorkerTick(worker, self.workers[worker].process, due));
        }
        Ok(())
    }

    /// When the worker's disk completes a request that is made now.
    fn disk_completion(&mut self, worker: usize) -> u64 {
        let takes = self.rng.delay(20, 400);
        let busy = &mut self.workers[worker].disk_busy;
        *busy = (*busy).max(self.now) + takes;
        *busy
    }

    /// The worker that stores the checkpoints of a worker.
    pub(super) fn checkpoints_of(&self, worker: usize) -> usize {
        if self.shared_checkpoints { 0 } else { worker }
    }

    /// Completes a transfer of weights, or retries it later.
    fn transfer(&mut self, worker: usize, of: AttemptId, what: Transfer) -> Result<(), String> {
        if !self.workers[worker].transfers.contains(&of) {
            return Ok(());
        }
        let process = self.workers[worker].process;
        let reachable = self.coordinator.is_running()
            && self.now >= self.coordinator.frozen
            && self.now >= self.coordinator.disk_full
            && !self.network.is_cut(worker, self.now);
        let answer = match &what {
            Transfer::Fetch { digest, .. } if self.workers[worker].cache.contains(digest) => Ok(()),
            _ if !reachable => {
                self.after(1_000, SimEvent::Transfer(worker, process, of, what));
                return Ok(());
            }
            Transfer::Fetch { parent, digest, .. } => {
                if self.coordinator.weights.contains(digest) {
                    self.workers[worker].cache.insert(*digest);
                    Ok(())
                } else {
                    let lost = Request::User(CoordinatorEvent::WeightsLost(*parent, *digest));
                    self.coordinator.inbox.push_back(lost);
                    self.after(0, SimEvent::Serve(self.coordinator.process));
                    Err(Failure::new(FailureKind::Preempted, "the weights are lost"))
                }
            }
            Transfer::Deliver(weights) if weights.is_subset(&self.workers[worker].cache) => {
                self.coordinator.weights.extend(weights.iter().copied());
                Ok(())
            }
            Transfer::Deliver(_) => Err(Failure::new(FailureKind::Infrastructure, "the weights are missing")),
        };
        self.workers[worker].transfers.remove(&of);
        let event = match what {
            Transfer::Fetch { .. } => Event::WeightsFetched(of, answer),
            Transfer::Deliver(_) => Event::WeightsDelivered(of, answer),
        };
        self.notify_daemon(worker, event)
    }
}

/// The environment of a worker's shell: the simulated network, runners and disk.
struct SimulatedHost<'a> {
    world: &'a mut World,
    worker: usize,
    process: u64,
    /// A promise that the shell has broken.
    broken: Option<String>,
}

impl SimulatedHost<'_> {
    fn host(&mut self) -> &mut Worker {
        &mut self.world.workers[self.worker]
    }
}

impl Environment for SimulatedHost<'_> {
    fn now(&self) -> BootTime {
        BootTime(self.world.now)
    }

    fn introduce(&mut self, mut hello: v1::Hello) {
        if self.host().flaw == Some(Flaw::TooManySlots) {
            hello.devices.iter_mut().for_each(|device| device.slots = u32::MAX);
        }
        self.send(from_worker::Message::Hello(hello));
    }

    fn send(&mut self, message: from_worker::Message) -> bool {
        let connection_id = self.host().connection;
        if let Some(connection_id) = connection_id {
            self.world.send(connection_id, Packet::ToCoordinator(message));
        }
        connection_id.is_some()
    }

    fn start_runner(&mut self, runner: usize, generation: u64, _: &Equipment) -> Result<(), String> {
        let slots = self.host().slots_of(runner);
        if self.host().runners[slots.clone()].iter().any(Option::is_some) {
            let worker = self.worker;
            self.broken = Some(format!("runner {runner} of worker {worker} is started twice"));
        }
        if self.world.rng.one_in(200) {
            return Err("no process is left".to_owned());
        }
        let new = Runner { generation, ..Runner::default() };
        self.host().runners[slots].iter_mut().for_each(|lane| *lane = Some(new.clone()));
        Ok(())
    }

    fn send_to_runner(&mut self, runner: usize, lane: u32, message: to_runner::Message) {
        let slots = self.host().slots_of(runner);
        let Some(generation) = self.host().runners[slots.start].as_ref().map(|runner| runner.generation) else {
            return;
        };
        let receivers = match message {
            to_runner::Message::Lease(_) => slots,
            _ => slots.start + lane as usize..slots.start + lane as usize + 1,
        };
        for slot in receivers {
            let id = LaneId { worker: self.worker, process: self.process, slot, generation };
            self.world.after(1, SimEvent::RunnerReceives(id, message.clone()));
        }
    }

    fn kill_runner(&mut self, runner: usize) {
        let slot = self.host().slots_of(runner).start;
        if let Some(id) = self.world.remove_runner(self.worker, slot) {
            let exit = RunnerEvent::Exited(RunnerExit::Killed, String::new());
            self.world.after(1, SimEvent::DaemonReceives(id, exit));
        }
    }

    fn start_transfer(&mut self, attempt: AttemptId, transfer: Transfer) {
        self.host().transfers.insert(attempt);
        let after = self.world.rng.delay(300, 10_000);
        self.world.after(after, SimEvent::Transfer(self.worker, self.process, attempt, transfer));
    }

    fn abort_transfer(&mut self, attempt: AttemptId) {
        self.host().transfers.remove(&attempt);
    }

    fn trim_cache(&mut self, _: BTreeSet<Digest>) {}

    fn store_entry(&mut self, entry: OutboxEntry) {
        let at = self.world.disk_completion(self.worker);
        self.world.at(at, SimEvent::EntryStored(self.worker, self.process, entry));
    }

    fn delete_entry(&mut self, sequence: u64) {
        let at = self.world.disk_completion(self.worker);
        self.world.at(at, SimEvent::EntryDeleted(self.worker, self.process, sequence));
    }

    fn remove_checkpoints(&mut self, jobs: Vec<JobId>) {
        let place = self.world.checkpoints_of(self.worker);
        for job in jobs {
            self.world.workers[place].checkpoints.remove(&job);
        }
    }
}

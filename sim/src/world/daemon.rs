//! What happens to workers' daemons, and what their agents ask for.

use super::{Happening, Parcel, RunnerId, World};
use crate::network::Line;
use crate::runner::Runner;
use crate::worker::Worker;
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Event as CoordinatorEvent;
use plusminus_proto::v1::{self, from_worker, to_runner, to_worker};
use plusminus_worker::agent::{BootTime, Equipment, Event, OutboxEntry, RunnerEvent, RunnerExit};
use plusminus_worker::daemon::shell::{Environment, Transfer};
use std::collections::BTreeSet;

impl World {
    pub(super) fn happens_to_worker(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::StartWorker(worker) => return self.start_worker(worker),
            Happening::Connect(worker, process) if self.is(worker, process) => return self.connect(worker),
            Happening::DaemonLoses(worker, process, line)
                if self.is(worker, process) && self.workers[worker].line == Some(line) =>
            {
                self.workers[worker].line = None;
                let after = self.chance.delay(200, 5_000);
                self.after(after, Happening::Connect(worker, process));
                return self.tell(worker, Event::Disconnected);
            }
            Happening::WorkerTick(worker, process, at)
                if self.is(worker, process) && self.workers[worker].alarm == at =>
            {
                self.workers[worker].alarm = u64::MAX;
                return self.tell(worker, Event::Tick);
            }
            Happening::DaemonHears((worker, process, slot, generation), said) if self.is(worker, process) => {
                let (runner, _) = self.workers[worker].runner_of(slot);
                return self.tell(worker, Event::Runner { runner, generation, event: said });
            }
            Happening::Written(worker, process, entry) if self.is(worker, process) => {
                self.workers[worker].outbox.insert(entry.sequence, entry);
            }
            Happening::Deleted(worker, process, sequence) if self.is(worker, process) => {
                self.workers[worker].outbox.remove(&sequence);
            }
            Happening::Transfer(worker, process, of, what) if self.is(worker, process) => {
                return self.transfer(worker, of, what);
            }
            Happening::RunnerHears(id, message) if self.is(id.0, id.1) => return self.runner_hears(id, message),
            Happening::RunnerAlarm(id, alarm) if self.is(id.0, id.1) => return self.runner_wakes(id, alarm),
            Happening::RunnerThaws(id) if self.is(id.0, id.1) => return self.train(id),
            Happening::RunnerStops(id) if self.is(id.0, id.1) => self.runner_stops(id),
            _ => {}
        }
        Ok(())
    }

    /// Whether the worker's daemon is still that process.
    fn is(&self, worker: usize, process: u64) -> bool {
        self.workers[worker].process == process && self.workers[worker].shell.is_some()
    }

    fn start_worker(&mut self, worker: usize) -> Result<(), String> {
        if self.workers[worker].shell.is_some() {
            return Ok(());
        }
        let instance = self.chance.between(1, u64::MAX - 1);
        let place = &mut self.workers[worker];
        place.start(instance);
        let (process, entries) = (place.process, place.outbox.values().cloned().collect::<Vec<_>>());
        let after = self.chance.delay(50, 1_000);
        self.after(after, Happening::Connect(worker, process));
        if entries.is_empty() { Ok(()) } else { self.tell(worker, Event::OutboxLoaded(entries)) }
    }

    /// The daemon's process is gone, and its runners with it.
    pub(super) fn daemon_dies(&mut self, worker: usize) {
        for slot in 0..self.workers[worker].runners.len() {
            self.lane_goes(worker, slot);
        }
        self.workers[worker].die();
        for line in self.network.of_worker(worker) {
            let after = self.chance.delay(20, 2_000);
            self.after(after, Happening::Breaks(line));
        }
    }

    /// The runner of a slot is gone, whichever it is, and with it all that it trained.
    pub(super) fn runner_goes(&mut self, worker: usize, slot: usize) -> Option<RunnerId> {
        let (runner, _) = self.workers[worker].runner_of(slot);
        let gone = self.workers[worker].slots_of(runner).filter_map(|slot| self.lane_goes(worker, slot));
        gone.collect::<Vec<_>>().into_iter().next()
    }

    fn lane_goes(&mut self, worker: usize, slot: usize) -> Option<RunnerId> {
        let process = self.workers[worker].process;
        let mut runner = self.workers[worker].runners[slot].take()?;
        let id = (worker, process, slot, runner.generation);
        if let Some(job) = runner.pause(self.now) {
            self.promises.ends(job, id);
        }
        Some(id)
    }

    fn connect(&mut self, worker: usize) -> Result<(), String> {
        let there = self.coordinator.machine.is_some() && !self.network.is_cut(worker, self.now);
        if !there {
            let (process, after) = (self.workers[worker].process, self.chance.delay(500, 5_000));
            self.after(after, Happening::Connect(worker, process));
            return Ok(());
        }
        let line = self.network.open(worker);
        self.workers[worker].line = Some(line);
        self.tell(worker, Event::Connecting)
    }

    pub(super) fn daemon_hears_of(
        &mut self,
        worker: usize,
        line: Line,
        message: to_worker::Message,
    ) -> Result<(), String> {
        if self.workers[worker].shell.is_none() || self.workers[worker].line != Some(line) {
            return Ok(());
        }
        self.tell(worker, Event::Received(message))
    }

    /// Passes an event to a running daemon's shell, which acts on the simulated host.
    pub(super) fn tell(&mut self, worker: usize, event: Event) -> Result<(), String> {
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
            self.daemon_dies(worker);
            let after = self.chance.between(10, 5_000);
            self.after(after, Happening::StartWorker(worker));
        } else if due < self.workers[worker].alarm {
            self.workers[worker].alarm = due;
            self.at(due, Happening::WorkerTick(worker, self.workers[worker].process, due));
        }
        Ok(())
    }

    /// When the worker's disk will have done what it is asked now.
    fn disk(&mut self, worker: usize) -> u64 {
        let takes = self.chance.delay(20, 400);
        let busy = &mut self.workers[worker].disk_busy;
        *busy = (*busy).max(self.now) + takes;
        *busy
    }

    /// Where a worker's checkpoints lie.
    pub(super) fn checkpoints_of(&self, worker: usize) -> usize {
        if self.shared_checkpoints { 0 } else { worker }
    }

    /// A transfer of weights comes to its end, or is tried again.
    fn transfer(&mut self, worker: usize, of: AttemptId, what: Transfer) -> Result<(), String> {
        if !self.workers[worker].transfers.contains(&of) {
            return Ok(());
        }
        let process = self.workers[worker].process;
        let there = self.coordinator.machine.is_some()
            && self.now >= self.coordinator.frozen
            && self.now >= self.coordinator.disk_full
            && !self.network.is_cut(worker, self.now);
        let answer = match &what {
            Transfer::Fetch { digest, .. } if self.workers[worker].cache.contains(digest) => Ok(()),
            _ if !there => {
                self.after(1_000, Happening::Transfer(worker, process, of, what));
                return Ok(());
            }
            Transfer::Fetch { parent, digest, .. } => {
                if self.coordinator.weights.contains(digest) {
                    self.workers[worker].cache.insert(*digest);
                    Ok(())
                } else {
                    let lost = super::Request::User(CoordinatorEvent::Lost(*parent, *digest));
                    self.coordinator.inbox.push_back(lost);
                    self.after(0, Happening::Serve(self.coordinator.process));
                    Err(Failure::new(FailureKind::Preempted, "the weights are gone"))
                }
            }
            Transfer::Deliver(weights) if weights.is_subset(&self.workers[worker].cache) => {
                self.coordinator.weights.extend(weights.iter().copied());
                Ok(())
            }
            Transfer::Deliver(_) => Err(Failure::new(FailureKind::Infrastructure, "the weights are not there")),
        };
        self.workers[worker].transfers.remove(&of);
        let event = match what {
            Transfer::Fetch { .. } => Event::WeightsFetched(of, answer),
            Transfer::Deliver(_) => Event::WeightsDelivered(of, answer),
        };
        self.tell(worker, event)
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

    fn introduce(&mut self, hello: v1::Hello) {
        self.send(from_worker::Message::Hello(hello));
    }

    fn send(&mut self, message: from_worker::Message) -> bool {
        let line = self.host().line;
        if let Some(line) = line {
            self.world.send(line, Parcel::ToCoordinator(message));
        }
        line.is_some()
    }

    fn start_runner(&mut self, runner: usize, generation: u64, _: &Equipment) -> Result<(), String> {
        let slots = self.host().slots_of(runner);
        if self.host().runners[slots.clone()].iter().any(Option::is_some) {
            let worker = self.worker;
            self.broken = Some(format!("a second runner {runner} of worker {worker} is started"));
        }
        if self.world.chance.one_in(200) {
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
            let id = (self.worker, self.process, slot, generation);
            self.world.after(1, Happening::RunnerHears(id, message.clone()));
        }
    }

    fn kill_runner(&mut self, runner: usize) {
        let slot = self.host().slots_of(runner).start;
        if let Some(id) = self.world.runner_goes(self.worker, slot) {
            let exit = RunnerEvent::Exited(RunnerExit::Killed, String::new());
            self.world.after(1, Happening::DaemonHears(id, exit));
        }
    }

    fn start_transfer(&mut self, attempt: AttemptId, transfer: Transfer) {
        self.host().transfers.insert(attempt);
        let after = self.world.chance.delay(300, 10_000);
        self.world.after(after, Happening::Transfer(self.worker, self.process, attempt, transfer));
    }

    fn abort_transfer(&mut self, attempt: AttemptId) {
        self.host().transfers.remove(&attempt);
    }

    fn trim_cache(&mut self, _: BTreeSet<Digest>) {}

    fn store_entry(&mut self, entry: OutboxEntry) {
        let at = self.world.disk(self.worker);
        self.world.at(at, Happening::Written(self.worker, self.process, entry));
    }

    fn delete_entry(&mut self, sequence: u64) {
        let at = self.world.disk(self.worker);
        self.world.at(at, Happening::Deleted(self.worker, self.process, sequence));
    }

    fn remove_checkpoints(&mut self, jobs: Vec<JobId>) {
        let place = self.world.checkpoints_of(self.worker);
        for job in jobs {
            self.world.workers[place].checkpoints.remove(&job);
        }
    }
}

//! Injection of faults.

use super::{START, SimEvent, UserRequest, World};
use crate::fault::{Fault, FaultKind};
use crate::network::KEEPALIVE;
use crate::runner::LaneId;
use crate::worker::Worker;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_engines::Device;
use plusminus_worker::agent::{Event, RunnerEvent, RunnerExit};

impl World {
    pub(super) fn inject(&mut self, fault: Fault) -> Result<(), String> {
        if self.try_inject(fault)? {
            *self.fault_counts.entry(fault.kind).or_default() += 1;
            self.trace.line(self.now - START, format_args!("injected: {:?}", fault.kind));
        }
        Ok(())
    }

    /// Injects a fault. Returns false if it has no effect at present.
    fn try_inject(&mut self, fault: Fault) -> Result<bool, String> {
        let worker = (fault.worker % self.workers.len() as u64) as usize;
        match fault.kind {
            FaultKind::KillCoordinator
            | FaultKind::FreezeCoordinator
            | FaultKind::FullDisk
            | FaultKind::SlowDisk
            | FaultKind::LoseWeights => self.inject_into_coordinator(fault),
            FaultKind::KillWorker
            | FaultKind::ReplaceWorker
            | FaultKind::FreezeDaemon
            | FaultKind::FreezeHost
            | FaultKind::LeaveWorker
            | FaultKind::WorkerDiskFull => self.inject_into_worker(fault, worker),
            FaultKind::KillRunner | FaultKind::FreezeRunner | FaultKind::HangRunner => {
                Ok(self.inject_into_runner(fault, worker))
            }
            FaultKind::FailDevice | FaultKind::FullDevice => Ok(self.inject_into_device(fault, worker)),
            FaultKind::Reset | FaultKind::Cut => Ok(self.inject_into_network(fault, worker)),
            FaultKind::SubmitAgain => self.call(UserRequest::Submit).map(|()| true),
            FaultKind::Cancel => self.call(UserRequest::Cancel).map(|()| true),
            FaultKind::Resume => self.call(UserRequest::Resume).map(|()| true),
        }
    }

    fn inject_into_coordinator(&mut self, fault: Fault) -> Result<bool, String> {
        let until = self.now + fault.duration;
        match fault.kind {
            FaultKind::KillCoordinator if self.coordinator.is_running() => {
                self.kill_coordinator()?;
                self.after(fault.duration, SimEvent::StartCoordinator);
            }
            FaultKind::FreezeCoordinator if self.coordinator.is_running() => {
                self.coordinator.frozen = self.coordinator.frozen.max(until);
                if fault.duration > KEEPALIVE {
                    let ids: Vec<_> = self.network.connections.keys().copied().collect();
                    ids.into_iter().for_each(|id| self.after(KEEPALIVE, SimEvent::ConnectionLost(id)));
                }
            }
            FaultKind::FullDisk => self.coordinator.disk_full = self.coordinator.disk_full.max(until),
            FaultKind::SlowDisk => self.coordinator.disk_slow = self.coordinator.disk_slow.max(until),
            FaultKind::LoseWeights => return Ok(self.coordinator.weights.pop_first().is_some()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn inject_into_worker(&mut self, fault: Fault, worker: usize) -> Result<bool, String> {
        let until = self.now + fault.duration;
        if fault.kind == FaultKind::WorkerDiskFull {
            self.workers[worker].disk_full = self.workers[worker].disk_full.max(until);
            return Ok(true);
        }
        if self.workers[worker].shell.is_none() {
            return Ok(false);
        }
        match fault.kind {
            FaultKind::KillWorker => {
                self.kill_daemon(worker);
                self.after(fault.duration, SimEvent::StartWorker(worker));
            }
            FaultKind::ReplaceWorker => {
                self.kill_daemon(worker);
                let (slots, device) = (self.workers[worker].slots, self.workers[worker].device);
                let process = self.workers[worker].process;
                let name = format!("w{worker}-{}", self.now);
                let kept = self.shared_checkpoints.then(|| std::mem::take(&mut self.workers[worker].checkpoints));
                self.workers[worker] = Worker { process, ..Worker::new(name, slots, device) };
                self.workers[worker].checkpoints = kept.unwrap_or_default();
                self.after(fault.duration, SimEvent::StartWorker(worker));
            }
            FaultKind::FreezeDaemon => self.freeze_daemon(worker, fault.duration),
            FaultKind::FreezeHost => {
                self.freeze_daemon(worker, fault.duration);
                for slot in 0..self.workers[worker].runners.len() {
                    self.freeze_runner(worker, slot, until);
                }
            }
            // A suspended daemon cannot handle the request.
            FaultKind::LeaveWorker if self.now >= self.workers[worker].frozen => {
                self.notify_daemon(worker, Event::Drain)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn inject_into_runner(&mut self, fault: Fault, worker: usize) -> bool {
        let slot = (fault.slot % u64::from(self.workers[worker].slots)) as usize;
        match fault.kind {
            FaultKind::KillRunner => {
                let Some(id) = self.remove_runner(worker, slot) else { return false };
                let exit = RunnerEvent::Exited(RunnerExit::Killed, "killed".to_owned());
                self.after(1, SimEvent::DaemonReceives(id, exit));
                true
            }
            FaultKind::FreezeRunner => self.freeze_runner(worker, slot, self.now + fault.duration),
            _ => {
                let process = self.workers[worker].process;
                let Some(runner) = &self.workers[worker].runners[slot] else { return false };
                let generation = runner.generation;
                self.pause(LaneId { worker, process, slot, generation });
                if let Some(runner) = &mut self.workers[worker].runners[slot] {
                    runner.hangs = true;
                }
                true
            }
        }
    }

    fn inject_into_device(&mut self, fault: Fault, worker: usize) -> bool {
        let Some(id) = self.busy_gpu_lane(worker) else {
            // Retry later: a job may train on a GPU then.
            if fault.duration > 10 {
                let later = Fault { duration: fault.duration / 2, ..fault };
                self.after(later.duration, SimEvent::InjectFault(later));
            }
            return false;
        };
        self.pause(id);
        let failure = if fault.kind == FaultKind::FullDevice {
            Failure::new(FailureKind::OutOfMemory, "the device's memory is full")
        } else {
            Failure::new(FailureKind::Infrastructure, "an illegal address")
        };
        self.end_job(id, &Ending::Failed(failure));
        if fault.kind == FaultKind::FailDevice && self.remove_runner(id.worker, id.slot).is_some() {
            let exit = RunnerEvent::Exited(RunnerExit::DeviceFailed, "the device failed".to_owned());
            self.after(1, SimEvent::DaemonReceives(id, exit));
        }
        true
    }

    fn inject_into_network(&mut self, fault: Fault, worker: usize) -> bool {
        let ids = self.network.of_worker(worker);
        if fault.kind == FaultKind::Reset {
            let connected = !ids.is_empty();
            ids.into_iter().for_each(|id| self.breaks(id));
            return connected;
        }
        self.network.cut(worker, self.now + fault.duration);
        if fault.duration > KEEPALIVE {
            ids.into_iter().for_each(|id| self.after(KEEPALIVE, SimEvent::ConnectionLost(id)));
        }
        true
    }

    fn kill_coordinator(&mut self) -> Result<(), String> {
        let room = self.now >= self.coordinator.disk_full;
        // What was being written may have come to the disk, though nobody was told.
        if let Some(records) = self.coordinator.die()
            && room
            && self.rng.one_in(2)
        {
            self.durable(&records)?;
        }
        let lines: Vec<_> = self.network.connections.keys().copied().collect();
        for connection_id in lines {
            let after = self.rng.delay(20, 3_000);
            self.after(after, SimEvent::ConnectionLost(connection_id));
        }
        // Users repeat their requests.
        for call in std::mem::take(&mut self.calls).into_values() {
            self.after(1_000, SimEvent::User(call));
        }
        Ok(())
    }

    fn freeze_daemon(&mut self, worker: usize, duration: u64) {
        let until = self.now + duration;
        self.workers[worker].frozen = self.workers[worker].frozen.max(until);
        if duration > KEEPALIVE {
            for connection_id in self.network.of_worker(worker) {
                self.after(KEEPALIVE, SimEvent::ConnectionLost(connection_id));
            }
        }
    }

    /// A lane that trains on a GPU, searched from this worker on.
    fn busy_gpu_lane(&self, from: usize) -> Option<LaneId> {
        let count = self.workers.len();
        let workers = (from..from + count).map(|number| number % count);
        let slots = workers.flat_map(|worker| (0..self.workers[worker].runners.len()).map(move |slot| (worker, slot)));
        slots.filter(|(worker, _)| self.workers[*worker].device != Device::Cpu).find_map(|(worker, slot)| {
            let runner = self.workers[worker].runners[slot].as_ref().filter(|runner| runner.work.is_some())?;
            Some(LaneId { worker, process: self.workers[worker].process, slot, generation: runner.generation })
        })
    }

    fn freeze_runner(&mut self, worker: usize, slot: usize, until: u64) -> bool {
        let process = self.workers[worker].process;
        let Some(generation) = self.workers[worker].runners[slot].as_ref().map(|runner| runner.generation) else {
            return false;
        };
        let id = LaneId { worker, process, slot, generation };
        self.pause(id);
        if let Some(runner) = self.workers[worker].runner(slot, generation) {
            runner.frozen = runner.frozen.max(until);
            let resumes = runner.frozen;
            self.at(resumes, SimEvent::RunnerResumes(id));
        }
        true
    }
}

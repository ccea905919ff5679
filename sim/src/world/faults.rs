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
        let slot = (fault.slot % u64::from(self.workers[worker].slots)) as usize;
        let until = self.now + fault.duration;
        let running = self.workers[worker].shell.is_some();
        match fault.kind {
            FaultKind::KillCoordinator if self.coordinator.is_running() => {
                self.kill_coordinator()?;
                self.after(fault.duration, SimEvent::StartCoordinator);
            }
            FaultKind::FreezeCoordinator if self.coordinator.is_running() => {
                self.coordinator.frozen = self.coordinator.frozen.max(until);
                if fault.duration > KEEPALIVE {
                    let lines: Vec<_> = self.network.connections.keys().copied().collect();
                    lines
                        .into_iter()
                        .for_each(|connection_id| self.after(KEEPALIVE, SimEvent::ConnectionLost(connection_id)));
                }
            }
            FaultKind::FullDisk => self.coordinator.disk_full = self.coordinator.disk_full.max(until),
            FaultKind::SlowDisk => self.coordinator.disk_slow = self.coordinator.disk_slow.max(until),
            FaultKind::LoseWeights => return Ok(self.coordinator.weights.pop_first().is_some()),
            FaultKind::KillWorker if running => {
                self.kill_daemon(worker);
                self.after(fault.duration, SimEvent::StartWorker(worker));
            }
            FaultKind::ReplaceWorker if running => {
                self.kill_daemon(worker);
                let (slots, device) = (self.workers[worker].slots, self.workers[worker].device);
                let process = self.workers[worker].process;
                let name = format!("w{worker}-{}", self.now);
                let kept = self.shared_checkpoints.then(|| std::mem::take(&mut self.workers[worker].checkpoints));
                self.workers[worker] = Worker { process, ..Worker::new(name, slots, device) };
                self.workers[worker].checkpoints = kept.unwrap_or_default();
                self.after(fault.duration, SimEvent::StartWorker(worker));
            }
            FaultKind::FreezeDaemon if running => self.freeze_daemon(worker, fault.duration),
            FaultKind::FreezeHost if running => {
                self.freeze_daemon(worker, fault.duration);
                for slot in 0..self.workers[worker].runners.len() {
                    self.freeze_runner(worker, slot, until);
                }
            }
            FaultKind::LeaveWorker if running => {
                // A suspended daemon cannot handle the request.
                if self.now < self.workers[worker].frozen {
                    return Ok(false);
                }
                self.notify_daemon(worker, Event::Drain)?;
            }
            FaultKind::WorkerDiskFull => {
                self.workers[worker].disk_full = self.workers[worker].disk_full.max(until);
            }
            FaultKind::KillRunner => {
                let Some(id) = self.remove_runner(worker, slot) else { return Ok(false) };
                self.after(
                    1,
                    SimEvent::DaemonReceives(id, RunnerEvent::Exited(RunnerExit::Killed, "killed".to_owned())),
                );
            }
            FaultKind::FreezeRunner => return Ok(self.freeze_runner(worker, slot, until)),
            FaultKind::HangRunner => {
                let process = self.workers[worker].process;
                let Some(runner) = &mut self.workers[worker].runners[slot] else { return Ok(false) };
                let generation = runner.generation;
                self.pause(LaneId { worker, process, slot, generation });
                if let Some(runner) = &mut self.workers[worker].runners[slot] {
                    runner.hangs = true;
                }
            }
            FaultKind::FailDevice | FaultKind::FullDevice => {
                let Some(id) = self.busy_gpu_lane(worker) else {
                    // Retry later: a job may train on a GPU then.
                    if fault.duration > 10 {
                        let later = Fault { duration: fault.duration / 2, ..fault };
                        self.after(later.duration, SimEvent::InjectFault(later));
                    }
                    return Ok(false);
                };
                self.pause(id);
                let of_device = if fault.kind == FaultKind::FullDevice {
                    Failure::new(FailureKind::OutOfMemory, "the device's memory is full")
                } else {
                    Failure::new(FailureKind::Infrastructure, "an illegal address")
                };
                self.end_job(id, &Ending::Failed(of_device));
                if fault.kind == FaultKind::FailDevice && self.remove_runner(id.worker, id.slot).is_some() {
                    self.after(
                        1,
                        SimEvent::DaemonReceives(
                            id,
                            RunnerEvent::Exited(RunnerExit::DeviceFailed, "the device failed".to_owned()),
                        ),
                    );
                }
            }
            FaultKind::Reset => {
                let lines = self.network.of_worker(worker);
                let connected = !lines.is_empty();
                lines.into_iter().for_each(|connection_id| self.breaks(connection_id));
                return Ok(connected);
            }
            FaultKind::Cut => {
                self.network.cut(worker, until);
                if fault.duration > KEEPALIVE {
                    for connection_id in self.network.of_worker(worker) {
                        self.after(KEEPALIVE, SimEvent::ConnectionLost(connection_id));
                    }
                }
            }
            FaultKind::SubmitAgain => self.call(UserRequest::Submit)?,
            FaultKind::Cancel => self.call(UserRequest::Cancel)?,
            FaultKind::Resume => self.call(UserRequest::Resume)?,
            _ => return Ok(false),
        }
        Ok(true)
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

//! What befalls whom, carried out.

use super::{BEGINNING, Call, Happening, KEEPALIVE, RunnerId, World};
use crate::fault::{Fault, Kind};
use crate::worker::Worker;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_engines::Device;
use plusminus_worker::agent::{Event, RunnerEvent, RunnerExit};

impl World {
    pub(super) fn befalls(&mut self, fault: Fault) -> Result<(), String> {
        if self.carry_out(fault)? {
            *self.befallen.entry(fault.kind).or_default() += 1;
            self.trace.line(self.now - BEGINNING, format_args!("it has: {:?}", fault.kind));
        }
        Ok(())
    }

    /// Makes it happen; whether it could.
    fn carry_out(&mut self, fault: Fault) -> Result<bool, String> {
        let worker = (fault.worker % self.workers.len() as u64) as usize;
        let slot = (fault.slot % u64::from(self.workers[worker].slots)) as usize;
        let until = self.now + fault.lasting;
        let lives = self.workers[worker].shell.is_some();
        match fault.kind {
            Kind::KillCoordinator if self.coordinator.machine.is_some() => {
                self.kill_coordinator()?;
                self.after(fault.lasting, Happening::StartCoordinator);
            }
            Kind::FreezeCoordinator if self.coordinator.machine.is_some() => {
                self.coordinator.frozen = self.coordinator.frozen.max(until);
                if fault.lasting > KEEPALIVE {
                    let lines: Vec<_> = self.network.connections.keys().copied().collect();
                    lines.into_iter().for_each(|line| self.after(KEEPALIVE, Happening::Breaks(line)));
                }
            }
            Kind::FullDisk => self.coordinator.disk_full = self.coordinator.disk_full.max(until),
            Kind::SlowDisk => self.coordinator.disk_slow = self.coordinator.disk_slow.max(until),
            Kind::LoseWeights => return Ok(self.coordinator.weights.pop_first().is_some()),
            Kind::KillWorker if lives => {
                self.daemon_dies(worker);
                self.after(fault.lasting, Happening::StartWorker(worker));
            }
            Kind::ReplaceWorker if lives => {
                self.daemon_dies(worker);
                let (slots, device) = (self.workers[worker].slots, self.workers[worker].device);
                let process = self.workers[worker].process;
                let name = format!("w{worker}-{}", self.now);
                let kept = self.shared_checkpoints.then(|| std::mem::take(&mut self.workers[worker].checkpoints));
                self.workers[worker] = Worker { process, ..Worker::new(name, slots, device) };
                self.workers[worker].checkpoints = kept.unwrap_or_default();
                self.after(fault.lasting, Happening::StartWorker(worker));
            }
            Kind::FreezeDaemon if lives => self.freeze_daemon(worker, fault.lasting),
            Kind::FreezeMachine if lives => {
                self.freeze_daemon(worker, fault.lasting);
                for slot in 0..self.workers[worker].runners.len() {
                    self.freeze_runner(worker, slot, until);
                }
            }
            Kind::LeaveWorker if lives => {
                // Who is asleep hears of it later.
                if self.now < self.workers[worker].frozen {
                    return Ok(false);
                }
                self.tell(worker, Event::Drain)?;
            }
            Kind::WorkerDiskFull => {
                self.workers[worker].disk_full = self.workers[worker].disk_full.max(until);
            }
            Kind::KillRunner => {
                let Some(id) = self.runner_goes(worker, slot) else { return Ok(false) };
                self.after(1, Happening::DaemonHears(id, RunnerEvent::Exited(RunnerExit::Killed, "killed".to_owned())));
            }
            Kind::FreezeRunner => return Ok(self.freeze_runner(worker, slot, until)),
            Kind::HangRunner => {
                let process = self.workers[worker].process;
                let Some(runner) = &mut self.workers[worker].runners[slot] else { return Ok(false) };
                let generation = runner.generation;
                self.pause((worker, process, slot, generation));
                if let Some(runner) = &mut self.workers[worker].runners[slot] {
                    runner.hangs = true;
                }
            }
            Kind::FailDevice | Kind::FullDevice => {
                let Some(id) = self.on_a_gpu(worker) else {
                    // Perhaps something will be on one soon.
                    if fault.lasting > 10 {
                        let later = Fault { lasting: fault.lasting / 2, ..fault };
                        self.after(later.lasting, Happening::Befalls(later));
                    }
                    return Ok(false);
                };
                self.pause(id);
                let of_device = if fault.kind == Kind::FullDevice {
                    Failure::new(FailureKind::OutOfMemory, "the device's memory is full")
                } else {
                    Failure::new(FailureKind::Infrastructure, "an illegal address")
                };
                self.say_ended(id, &Ending::Failed(of_device));
                if fault.kind == Kind::FailDevice && self.runner_goes(id.0, id.2).is_some() {
                    self.after(
                        1,
                        Happening::DaemonHears(
                            id,
                            RunnerEvent::Exited(RunnerExit::DeviceFailed, "it failed".to_owned()),
                        ),
                    );
                }
            }
            Kind::Reset => {
                let lines = self.network.of_worker(worker);
                let there = !lines.is_empty();
                lines.into_iter().for_each(|line| self.breaks(line));
                return Ok(there);
            }
            Kind::Cut => {
                self.network.cut(worker, until);
                if fault.lasting > KEEPALIVE {
                    for line in self.network.of_worker(worker) {
                        self.after(KEEPALIVE, Happening::Breaks(line));
                    }
                }
            }
            Kind::SubmitAgain => self.call(Call::Submit)?,
            Kind::Cancel => self.call(Call::Cancel)?,
            Kind::Resume => self.call(Call::Resume)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn kill_coordinator(&mut self) -> Result<(), String> {
        let room = self.now >= self.coordinator.disk_full;
        // What was being written may have come to the disk, though nobody was told.
        if let Some(round) = self.coordinator.die()
            && room
            && self.chance.one_in(2)
        {
            self.durable(&round.records)?;
        }
        let lines: Vec<_> = self.network.connections.keys().copied().collect();
        for line in lines {
            let after = self.chance.delay(20, 3_000);
            self.after(after, Happening::Breaks(line));
        }
        // Users ask again.
        for call in std::mem::take(&mut self.calls).into_values() {
            self.after(1_000, Happening::User(call));
        }
        Ok(())
    }

    fn freeze_daemon(&mut self, worker: usize, lasting: u64) {
        let until = self.now + lasting;
        self.workers[worker].frozen = self.workers[worker].frozen.max(until);
        if lasting > KEEPALIVE {
            for line in self.network.of_worker(worker) {
                self.after(KEEPALIVE, Happening::Breaks(line));
            }
        }
    }

    /// What has something in hand on a GPU: the first from a worker on.
    fn on_a_gpu(&self, from: usize) -> Option<RunnerId> {
        let count = self.workers.len();
        let workers = (from..from + count).map(|number| number % count);
        let slots = workers.flat_map(|worker| (0..self.workers[worker].runners.len()).map(move |slot| (worker, slot)));
        slots.filter(|(worker, _)| self.workers[*worker].device != Device::Cpu).find_map(|(worker, slot)| {
            let runner = self.workers[worker].runners[slot].as_ref().filter(|runner| runner.work.is_some())?;
            Some((worker, self.workers[worker].process, slot, runner.generation))
        })
    }

    fn freeze_runner(&mut self, worker: usize, slot: usize, until: u64) -> bool {
        let process = self.workers[worker].process;
        let Some(generation) = self.workers[worker].runners[slot].as_ref().map(|runner| runner.generation) else {
            return false;
        };
        let id = (worker, process, slot, generation);
        self.pause(id);
        if let Some(runner) = self.workers[worker].runner(slot, generation) {
            runner.frozen = runner.frozen.max(until);
            let thaws = runner.frozen;
            self.at(thaws, Happening::RunnerThaws(id));
        }
        true
    }
}

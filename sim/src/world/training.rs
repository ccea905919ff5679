//! Events of runners: jobs, leases, finished epochs, checkpoints.

use super::{SimEvent, World};
use crate::runner::{LaneId, Training};
use crate::worker::Flaw;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_proto::convert;
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_worker::agent::RunnerEvent;

/// The number of checkpoints that are kept per job.
const KEPT_CHECKPOINTS: usize = 2;

impl World {
    fn send_from_runner(&mut self, id: LaneId, message: from_runner::Message) {
        let (_, lane) = self.workers[id.worker].runner_of(id.slot);
        self.after(1, SimEvent::DaemonReceives(id, RunnerEvent::Message(lane, message)));
    }

    fn send_epoch(&mut self, id: LaneId, epoch: u32, measurements: &Measurements) {
        self.send_from_runner(id, from_runner::Message::Epoch(convert::epoch(epoch, measurements)));
    }

    pub(super) fn end_job(&mut self, id: LaneId, ending: &Ending) {
        if let Some(runner) = self.workers[id.worker].runner(id.slot, id.generation) {
            runner.work = None;
        }
        self.send_from_runner(id, from_runner::Message::Ended(v1::Ending::from(ending)));
    }

    /// Starts or resumes training if that is allowed now.
    pub(super) fn train(&mut self, id: LaneId) -> Result<(), String> {
        let now = self.now;
        let Some(runner) = self.workers[id.worker].runner(id.slot, id.generation) else { return Ok(()) };
        if !runner.may_train(now) {
            return Ok(());
        }
        let Some(work) = &mut runner.work else { return Ok(()) };
        work.since = Some(now);
        let job = work.job;
        runner.timer += 1;
        let (timer, due) = (runner.timer, runner.due().unwrap_or(now));
        self.at(due, SimEvent::RunnerTimer(id, timer));
        self.promises.training_started(job, id)
    }

    pub(super) fn pause(&mut self, id: LaneId) {
        let now = self.now;
        let job = self.workers[id.worker].runner(id.slot, id.generation).and_then(|runner| runner.pause(now));
        if let Some(job) = job {
            self.promises.training_stopped(job, id);
        }
    }

    pub(super) fn deliver_to_runner(&mut self, id: LaneId, message: to_runner::Message) -> Result<(), String> {
        match message {
            to_runner::Message::Lease(lease) => {
                self.pause(id);
                if let Some(runner) = self.workers[id.worker].runner(id.slot, id.generation) {
                    runner.lease = lease.until;
                }
                self.train(id)
            }
            to_runner::Message::Stop(_) => {
                self.pause(id);
                if let Some(work) =
                    self.workers[id.worker].runner(id.slot, id.generation).and_then(|runner| runner.work.as_mut())
                {
                    work.stopping = true;
                    // Sometimes longer than the grace period.
                    let after = self.rng.delay(300, 6_000);
                    self.after(after, SimEvent::RunnerStopped(id));
                }
                Ok(())
            }
            to_runner::Message::Train(assignment) => self.start_job(id, &assignment),
        }
    }

    fn start_job(&mut self, id: LaneId, assignment: &v1::Assignment) -> Result<(), String> {
        let of = convert::required_attempt(assignment.of.as_ref()).map_err(|error| error.to_string())?;
        let keeps = assignment.keeps().map_err(|error| error.to_string())?;
        let planned =
            self.plan.job(of.job).cloned().ok_or_else(|| format!("job {} is not part of the plan", of.job))?;
        let place = self.checkpoints_of(id.worker);
        let done = self.workers[place].checkpoints.get(&of.job).and_then(|epochs| epochs.last().copied()).unwrap_or(0);
        let Some(runner) = self.workers[id.worker].runner(id.slot, id.generation) else { return Ok(()) };
        if runner.work.is_some() {
            return Err(format!("lane {id:?} receives a job while it trains"));
        }
        let (remaining, epochs) = (planned.epoch_duration, planned.epochs);
        let work =
            Training { job: of.job, planned: planned.clone(), keeps, done, remaining, since: None, stopping: false };
        runner.work = Some(work);
        match self.workers[id.worker].flaw {
            Some(Flaw::OutOfMemory) => {
                self.end_job(id, &Ending::Failed(Failure::new(FailureKind::OutOfMemory, "the host's memory is full")));
                return Ok(());
            }
            Some(Flaw::Crashes) => {
                let after = self.rng.between(1, 3_000);
                self.after(after, SimEvent::RunnerCrashes(id));
            }
            _ => {}
        }
        (1..=done).for_each(|epoch| self.send_epoch(id, epoch, &planned.measurements(epoch)));
        if done == epochs { self.finish(id) } else { self.train(id) }
    }

    fn finish(&mut self, id: LaneId) -> Result<(), String> {
        let Some(work) = self.workers[id.worker].runner(id.slot, id.generation).and_then(|runner| runner.work.clone())
        else {
            return Ok(());
        };
        self.workers[id.worker].cache.extend(work.keeps.iter().map(|at| work.planned.weights(*at)));
        self.end_job(id, &Ending::Finished(Box::new(work.planned.facts(&work.keeps))));
        Ok(())
    }

    /// Handles the timer of a lane: an epoch is finished or the lease has expired.
    pub(super) fn runner_timer(&mut self, id: LaneId, timer: u64) -> Result<(), String> {
        let now = self.now;
        if self.workers[id.worker]
            .runner(id.slot, id.generation)
            .is_none_or(|runner| runner.timer != timer || runner.hangs)
        {
            return Ok(());
        }
        self.pause(id);
        let Some(runner) = self.workers[id.worker].runner(id.slot, id.generation) else { return Ok(()) };
        let valid = now < runner.lease;
        let Some(work) = runner.work.as_mut().filter(|work| work.remaining == 0 && !work.stopping && valid) else {
            return self.train(id);
        };
        work.done += 1;
        work.remaining = work.planned.epoch_duration;
        let (job, done, planned) = (work.job, work.done, work.planned.clone());
        self.promises.trained += 1;
        if let Some(failure) = planned.fails_in(done) {
            self.end_job(id, &Ending::Failed(failure));
            return Ok(());
        }
        if self.rng.one_in(2) {
            self.write_checkpoint(id.worker, job, done);
        }
        self.send_epoch(id, done, &planned.measurements(done));
        if done == planned.epochs { self.finish(id) } else { self.train(id) }
    }

    fn write_checkpoint(&mut self, worker: usize, job: plusminus_core::id::JobId, epoch: u32) {
        let place = self.checkpoints_of(worker);
        if self.now < self.workers[place].disk_full || epoch == 0 {
            return;
        }
        let epochs = self.workers[place].checkpoints.entry(job).or_default();
        epochs.insert(epoch);
        while epochs.len() > KEPT_CHECKPOINTS {
            epochs.pop_first();
        }
    }

    /// Completes a stop: the finished epochs are in a checkpoint.
    pub(super) fn runner_stopped(&mut self, id: LaneId) {
        let Some(work) = self.workers[id.worker].runner(id.slot, id.generation).and_then(|runner| runner.work.clone())
        else {
            return;
        };
        if work.stopping {
            self.write_checkpoint(id.worker, work.job, work.done);
            self.end_job(id, &Ending::Failed(Failure::new(FailureKind::Preempted, "stopped")));
        }
    }
}

//! What happens to runners: time passes, epochs are done, checkpoints are left.

use super::{Happening, RunnerId, World};
use crate::runner::Work;
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::Ending;
use plusminus_proto::convert;
use plusminus_proto::v1::{self, from_runner, to_runner};
use plusminus_worker::agent::RunnerEvent;

/// Checkpoints of a job that are kept.
const KEPT: usize = 2;

impl World {
    fn say(&mut self, id: RunnerId, message: from_runner::Message) {
        let (_, lane) = self.workers[id.0].runner_of(id.2);
        self.after(1, Happening::DaemonHears(id, RunnerEvent::Message(lane, message)));
    }

    fn say_epoch(&mut self, id: RunnerId, epoch: u32, measurements: &Measurements) {
        self.say(id, from_runner::Message::Epoch(convert::epoch(epoch, measurements)));
    }

    pub(super) fn say_ended(&mut self, id: RunnerId, ending: &Ending) {
        if let Some(runner) = self.workers[id.0].runner(id.2, id.3) {
            runner.work = None;
        }
        self.say(id, from_runner::Message::Ended(v1::Ending::from(ending)));
    }

    /// Goes on where it may.
    pub(super) fn train(&mut self, id: RunnerId) -> Result<(), String> {
        let now = self.now;
        let Some(runner) = self.workers[id.0].runner(id.2, id.3) else { return Ok(()) };
        if !runner.may_train(now) {
            return Ok(());
        }
        let Some(work) = &mut runner.work else { return Ok(()) };
        work.since = Some(now);
        let job = work.job;
        runner.alarm += 1;
        let (alarm, due) = (runner.alarm, runner.due().unwrap_or(now));
        self.at(due, Happening::RunnerAlarm(id, alarm));
        self.promises.begins(job, id)
    }

    pub(super) fn pause(&mut self, id: RunnerId) {
        let now = self.now;
        let job = self.workers[id.0].runner(id.2, id.3).and_then(|runner| runner.pause(now));
        if let Some(job) = job {
            self.promises.ends(job, id);
        }
    }

    pub(super) fn runner_hears(&mut self, id: RunnerId, message: to_runner::Message) -> Result<(), String> {
        match message {
            to_runner::Message::Lease(lease) => {
                self.pause(id);
                if let Some(runner) = self.workers[id.0].runner(id.2, id.3) {
                    runner.lease = lease.until;
                }
                self.train(id)
            }
            to_runner::Message::Stop(_) => {
                self.pause(id);
                if let Some(work) = self.workers[id.0].runner(id.2, id.3).and_then(|runner| runner.work.as_mut()) {
                    work.stopping = true;
                    // Now and then for longer than it has.
                    let after = self.chance.delay(300, 6_000);
                    self.after(after, Happening::RunnerStops(id));
                }
                Ok(())
            }
            to_runner::Message::Train(assignment) => self.begin(id, &assignment),
        }
    }

    fn begin(&mut self, id: RunnerId, assignment: &v1::Assignment) -> Result<(), String> {
        let of = convert::required_attempt(assignment.of.as_ref()).map_err(|error| error.to_string())?;
        let keeps = assignment.keeps().map_err(|error| error.to_string())?;
        let planned = self.plan.job(of.job).cloned().ok_or_else(|| format!("job {} is not of the plan", of.job))?;
        let place = self.checkpoints_of(id.0);
        let done = self.workers[place].checkpoints.get(&of.job).and_then(|epochs| epochs.last().copied()).unwrap_or(0);
        let Some(runner) = self.workers[id.0].runner(id.2, id.3) else { return Ok(()) };
        if runner.work.is_some() {
            return Err(format!("runner {id:?} is told to train while it trains"));
        }
        let (left, epochs) = (planned.pace, planned.epochs);
        let work = Work { job: of.job, planned: planned.clone(), keeps, done, left, since: None, stopping: false };
        runner.work = Some(work);
        (1..=done).for_each(|epoch| self.say_epoch(id, epoch, &planned.measurements(epoch)));
        if done == epochs { self.finish(id) } else { self.train(id) }
    }

    fn finish(&mut self, id: RunnerId) -> Result<(), String> {
        let Some(work) = self.workers[id.0].runner(id.2, id.3).and_then(|runner| runner.work.clone()) else {
            return Ok(());
        };
        self.workers[id.0].cache.extend(work.keeps.iter().map(|at| work.planned.weights(*at)));
        self.say_ended(id, &Ending::Finished(Box::new(work.planned.facts(&work.keeps))));
        Ok(())
    }

    /// An epoch is done, or the lease has passed.
    pub(super) fn runner_wakes(&mut self, id: RunnerId, alarm: u64) -> Result<(), String> {
        let now = self.now;
        if self.workers[id.0].runner(id.2, id.3).is_none_or(|runner| runner.alarm != alarm || runner.hangs) {
            return Ok(());
        }
        self.pause(id);
        let Some(runner) = self.workers[id.0].runner(id.2, id.3) else { return Ok(()) };
        let lasts = now < runner.lease;
        let Some(work) = runner.work.as_mut().filter(|work| work.left == 0 && !work.stopping && lasts) else {
            return self.train(id);
        };
        work.done += 1;
        work.left = work.planned.pace;
        let (job, done, planned) = (work.job, work.done, work.planned.clone());
        self.promises.trained += 1;
        if let Some(failure) = planned.fails_in(done) {
            self.say_ended(id, &Ending::Failed(failure));
            return Ok(());
        }
        if self.chance.one_in(2) {
            self.leave_checkpoint(id.0, job, done);
        }
        self.say_epoch(id, done, &planned.measurements(done));
        if done == planned.epochs { self.finish(id) } else { self.train(id) }
    }

    fn leave_checkpoint(&mut self, worker: usize, job: plusminus_core::id::JobId, epoch: u32) {
        let place = self.checkpoints_of(worker);
        if self.now < self.workers[place].disk_full || epoch == 0 {
            return;
        }
        let epochs = self.workers[place].checkpoints.entry(job).or_default();
        epochs.insert(epoch);
        while epochs.len() > KEPT {
            epochs.pop_first();
        }
    }

    /// It has wound down: what it had done is in a checkpoint.
    pub(super) fn runner_stops(&mut self, id: RunnerId) {
        let Some(work) = self.workers[id.0].runner(id.2, id.3).and_then(|runner| runner.work.clone()) else { return };
        if work.stopping {
            self.leave_checkpoint(id.0, work.job, work.done);
            self.say_ended(id, &Ending::Failed(Failure::new(FailureKind::Preempted, "stopped")));
        }
    }
}

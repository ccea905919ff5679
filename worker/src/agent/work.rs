//! What is trained in the slots: from its assignment to its ending.

use super::Agent;
use super::event::{BootTime, Effect, RunnerEvent, RunnerExit};
use super::outbox::failed;
use super::places::{Death, LOADING, Runner, Slot, Stage, Work};
use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_engines::ExecutionOptions;
use plusminus_proto::convert::{self, attempt_id};
use plusminus_proto::v1::{self, from_runner, from_worker, report::Body, to_runner};
use plusminus_trainer::MemoryEstimate;
use std::collections::BTreeSet;
use std::ops::Range;
use tracing::{debug, warn};

/// How long a runner that is killed may take to be gone, in milliseconds: then its attempt has failed, whatever holds the process.
pub(super) const DYING: u64 = 30_000;
impl Agent {
    pub(super) fn assigned(&mut self, now: BootTime, of: AttemptId, assignment: v1::Assignment) {
        if self.holds().any(|held| held == of) {
            return debug!(job = %of.job, attempt = %of.attempt, "is in hand already");
        }
        if self.leaving.is_some() {
            return self.end(of, FailureKind::Preempted, "the worker is leaving");
        }
        if self.free_slots(now) <= self.queue.len() {
            if self.runners.iter().any(|runner| runner.is_stuck(now)) {
                return self.decline(of);
            }
            if self.slots.iter().any(|slot| slot.closed) {
                let why = "the device's memory has no room for so many jobs at once";
                return self.end(of, FailureKind::Preempted, why);
            }
            return self.end(of, FailureKind::Infrastructure, "the worker has no free slot");
        }
        self.queue.push_back((of, assignment));
    }

    /// Slots that are free, or will be in a while.
    fn free_slots(&self, now: BootTime) -> usize {
        let free = |slot: &&Slot| {
            let taken = slot.work.as_ref().is_some_and(|work| work.wanted);
            !taken && !slot.closed && !self.runners[slot.runner].is_stuck(now)
        };
        self.slots.iter().filter(free).count()
    }

    /// A slot for the next attempt, of those devices on which fewest are trained.
    fn free_slot(&self) -> Option<usize> {
        let free = |slot: &Slot| slot.work.is_none() && !slot.closed && self.runners[slot.runner].killed.is_none();
        let busy = |slot: &Slot| {
            let beside = &self.slots[self.runners[slot.runner].slots.clone()];
            beside.iter().filter(|slot| slot.work.is_some()).count()
        };
        let all = self.slots.iter().enumerate().filter(|(_, slot)| free(slot));
        all.min_by_key(|(index, slot)| (busy(slot), *index)).map(|(index, _)| index)
    }

    /// Gives back what was to be trained in a slot that may never be free again.
    fn decline(&mut self, of: AttemptId) {
        let why = "a runner of this worker was killed and does not end, and its slot is taken for as long";
        self.end(of, FailureKind::Preempted, why);
    }

    /// Begins what waits for a slot, where there is one.
    pub(super) fn begin_queued(&mut self) {
        while !self.queue.is_empty()
            && let Some(index) = self.free_slot()
            && let Some((of, assignment)) = self.queue.pop_front()
        {
            self.begin(index, of, assignment);
        }
    }

    fn begin(&mut self, index: usize, of: AttemptId, assignment: v1::Assignment) {
        let parent = match assignment.parent.as_ref().map(v1::ParentWeights::to_core).transpose() {
            Ok(parent) => parent,
            Err(error) => return self.end(of, FailureKind::UserError, error.to_string()),
        };
        debug!(job = %of.job, attempt = %of.attempt, slot = index, "begins");
        let slots = self.runners[self.slots[index].runner].slots.clone();
        let mut alone = true;
        for beside in self.slots[slots].iter_mut().filter_map(|slot| slot.work.as_mut()) {
            (alone, beside.alone) = (false, false);
        }
        self.slots[index].work = Some(Work { of, assignment, stage: Stage::Fetching, wanted: true, alone });
        match parent {
            Some((parent, digest)) => {
                let needed = self.needed();
                self.effects.push(Effect::Fetch { of, parent, digest, needed });
            }
            None => self.train(index),
        }
    }

    /// Hands what is in a slot to its runner, which is started where there is none.
    fn train(&mut self, slot: usize) {
        let until = self.granted().0;
        let heard = self.watch.counted;
        let Slot { runner: number, work: Some(work), .. } = &mut self.slots[slot] else { return };
        let runner = &mut self.runners[*number];
        if !runner.there {
            runner.there = true;
            runner.generation += 1;
            self.effects.push(Effect::Start { runner: *number, generation: runner.generation });
            let message = to_runner::Message::Lease(v1::Lease { until });
            self.effects.push(Effect::Tell { runner: *number, generation: runner.generation, lane: 0, message });
        }
        work.stage = Stage::Training { heard, spoken: false };
        let message = to_runner::Message::Train(work.assignment.clone());
        self.tell_lane(slot, message);
    }

    /// Tells the lane of a runner that trains in a slot.
    fn tell_lane(&mut self, slot: usize, message: to_runner::Message) {
        let number = self.slots[slot].runner;
        let runner = &self.runners[number];
        let (generation, lane) = (runner.generation, runner.lane(slot));
        self.effects.push(Effect::Tell { runner: number, generation, lane, message });
    }

    /// The files of weights that must stay on this machine for now.
    fn needed(&self) -> BTreeSet<Digest> {
        let working = self.slots.iter().filter_map(|slot| Some(&slot.work.as_ref()?.assignment));
        let assignments = working.chain(self.queue.iter().map(|(_, assignment)| assignment));
        let built_on = assignments.filter_map(|assignment| Some(assignment.parent.as_ref()?.to_core().ok()?.1));
        built_on.chain(self.outbox.weights()).collect()
    }

    pub(super) fn fetched(&mut self, of: AttemptId, fetched: Result<(), Failure>) {
        let waits = |work: &Work| work.of == of && matches!(work.stage, Stage::Fetching);
        let Some(index) = self.slots.iter().position(|slot| slot.work.as_ref().is_some_and(waits)) else { return };
        match fetched {
            Ok(()) => self.train(index),
            Err(failure) => {
                self.slots[index].work = None;
                self.end(of, failure.kind, failure.message);
            }
        }
    }

    pub(super) fn delivered(&mut self, of: AttemptId, delivered: Result<(), Failure>) {
        let Some(entry) = self.outbox.settle(of, delivered.err().map(failed)) else { return };
        self.effects.push(Effect::Write(entry));
        let needed = self.needed();
        self.effects.push(Effect::MakeRoom(needed));
    }

    /// An attempt is not the worker's any more: it is wound down, and nothing is said of it.
    pub(super) fn stop(&mut self, now: BootTime, of: AttemptId) {
        for entry in self.outbox.forget(of) {
            if entry.waits {
                self.effects.push(Effect::Abort(of));
            }
            self.effects.push(Effect::Delete(entry.sequence));
        }
        self.queue.retain(|(queued, _)| *queued != of);
        if let Some(index) = self.slots.iter().position(|slot| slot.work.as_ref().is_some_and(|work| work.of == of)) {
            self.wind_down(now, index);
            if let Some(work) = &mut self.slots[index].work {
                work.wanted = false;
                return;
            }
        }
        // Whatever it held is free: the coordinator shall know.
        self.next_beat = now;
    }

    /// Has the runner of a slot stop. What has not begun is gone at once.
    fn wind_down(&mut self, now: BootTime, slot: usize) {
        let by = now.after(self.settings.grace.as_millis() as u64);
        let place = &mut self.slots[slot].work;
        let Some(work) = place else { return };
        match work.stage {
            Stage::Fetching => {
                self.effects.push(Effect::Abort(work.of));
                *place = None;
            }
            Stage::Training { .. } => {
                work.stage = Stage::Stopping { by };
                self.tell_lane(slot, to_runner::Message::Stop(v1::StopTraining {}));
            }
            Stage::Stopping { .. } | Stage::Dying(_) => {}
        }
    }

    /// Stops all that is in hand, to be made elsewhere.
    pub(super) fn give_back(&mut self, now: BootTime) {
        let mut unbegun: Vec<AttemptId> = self.queue.drain(..).map(|(of, _)| of).collect();
        for index in 0..self.slots.len() {
            let of = self.slots[index].work.as_ref().map(|work| work.of);
            self.wind_down(now, index);
            unbegun.extend(of.filter(|_| self.slots[index].work.is_none()));
        }
        for of in unbegun {
            self.end(of, FailureKind::Preempted, "stopped before it had begun");
        }
    }

    pub(super) fn heard(&mut self, now: BootTime, number: usize, generation: u64, said: RunnerEvent) {
        let there = |runner: &&mut Runner| runner.there && runner.generation == generation;
        let Some(runner) = self.runners.get_mut(number).filter(there) else { return };
        match said {
            RunnerEvent::Message(lane, message) => {
                if let Some(slot) = runner.slot(lane) {
                    self.said(now, slot, message);
                }
            }
            RunnerEvent::Exited(how, log) => {
                (runner.there, runner.killed) = (false, None);
                let slots = runner.slots.clone();
                // What waits for weights has not been handed to it.
                let handed = |work: &mut Work| !matches!(work.stage, Stage::Fetching);
                let works = self.slots[slots.clone()].iter_mut().map(|slot| slot.work.take_if(handed));
                let works: Vec<_> = works.collect();
                // Whoever took the memory: one slot less may do.
                let crowded = works.iter().flatten().any(|work| !work.alone);
                if how == RunnerExit::OutOfMemory && crowded {
                    self.close(slots.end - 1);
                }
                for (slot, work) in slots.zip(works) {
                    if let Some(work) = work {
                        self.lost(now, slot, &work, &how, &log);
                    }
                }
            }
        }
    }

    /// Takes in what is said of what is trained in a slot.
    fn said(&mut self, now: BootTime, index: usize, message: from_runner::Message) {
        let counted = self.watch.counted;
        let slot = &mut self.slots[index];
        let Some(work) = &mut slot.work else { return };
        let (of, wanted) = (work.of, work.wanted);
        if let Stage::Training { heard, spoken } = &mut work.stage {
            (*heard, *spoken) = (counted, true);
        }
        match message {
            from_runner::Message::Ended(ending) => {
                let crowded = !work.alone;
                slot.work = None;
                if wanted {
                    self.ended(of, ending, crowded.then_some(index));
                } else {
                    self.next_beat = now;
                }
            }
            _ if !wanted => {}
            from_runner::Message::Progress(progress) => {
                if self.connected && self.lease.lasts(now) {
                    let report = v1::ProgressReport { of: Some(attempt_id(of)), progress: Some(progress) };
                    self.effects.push(Effect::Send(from_worker::Message::Progress(report)));
                }
            }
            from_runner::Message::Epoch(epoch) => self.push(of, Body::Epoch(epoch), false),
        }
    }

    /// Takes in that a runner has trained its job to the end, or failed: what it leaves for others goes ahead of the news. `crowded` is
    /// its slot, where others were trained beside it.
    fn ended(&mut self, of: AttemptId, ending: v1::Ending, crowded: Option<usize>) {
        if let (Some(v1::ending::How::Failed(failure)), Some(slot)) = (&ending.how, crowded)
            && failure.kind == i32::from(v1::FailureKind::OutOfMemory)
        {
            let why = format!("{}; it was not alone there, and is tried again with fewer beside it", failure.message);
            self.close(slot);
            return self.end(of, FailureKind::Preempted, why);
        }
        let kept = match &ending.how {
            Some(v1::ending::How::Finished(facts)) => facts.kept.values().map(|text| convert::digest(text)).collect(),
            _ => Ok(BTreeSet::new()),
        };
        match kept {
            Ok(weights) if weights.is_empty() => self.push(of, Body::Ended(ending), false),
            Ok(weights) => {
                self.push(of, Body::Ended(ending), true);
                self.effects.push(Effect::Deliver { of, weights });
            }
            Err(error) => self.end(of, FailureKind::Infrastructure, error.to_string()),
        }
    }

    /// Takes in that a runner has ended in the midst of an attempt.
    fn lost(&mut self, now: BootTime, slot: usize, work: &Work, how: &RunnerExit, log: &str) {
        if !work.wanted {
            self.next_beat = now;
            return;
        }
        let last = if log.is_empty() { "it logged nothing".to_owned() } else { format!("its log ends: {log}") };
        let (kind, message) = match (&work.stage, how) {
            // This machine cannot; of the job nothing is known.
            (_, RunnerExit::NotStarted(why)) => {
                (FailureKind::Preempted, format!("cannot start a runner process: {why}"))
            }
            (Stage::Dying(Death::Stalled(silent)), _) => {
                let seconds = *silent as f64 / 1000.0;
                (FailureKind::Infrastructure, format!("the runner process made no progress for {seconds} s; {last}"))
            }
            (Stage::Dying(Death::Unstopped), _) => {
                (FailureKind::Preempted, "the runner was killed for not stopping in time".to_owned())
            }
            (Stage::Dying(Death::Beside), _) => {
                (FailureKind::Preempted, "the runner was killed because of another job that it trained".to_owned())
            }
            (Stage::Stopping { .. }, _) | (_, RunnerExit::Left) => {
                (FailureKind::Preempted, "the runner process left before the job was done".to_owned())
            }
            (_, RunnerExit::Unwell) => {
                let why = "the runner process was replaced, because its device failed another job that it trained";
                (FailureKind::Preempted, why.to_owned())
            }
            (_, RunnerExit::OutOfMemory) if !work.alone => {
                let why = "the system ran out of memory with several jobs in one runner process, and killed it; \
                           each is tried again with fewer beside it";
                (FailureKind::Preempted, why.to_owned())
            }
            (_, RunnerExit::OutOfMemory) => {
                let means = self.settings.equipment[self.runners[self.slots[slot].runner].equipment].means;
                let need = memory(&work.assignment, means);
                let why = format!("the system ran out of memory{need}: give fewer --slots or a smaller batch_size");
                (FailureKind::OutOfMemory, format!("the runner process was killed by SIGKILL, for {why}; {last}"))
            }
            (_, RunnerExit::Killed) => {
                let who = "by somebody, for the system says nothing of memory that ran out";
                (FailureKind::Infrastructure, format!("the runner process was killed by SIGKILL {who}; {last}"))
            }
            (_, RunnerExit::Crashed(how)) => (FailureKind::Infrastructure, format!("the runner process {how}; {last}")),
        };
        self.end(work.of, kind, message);
    }

    /// Kills the runners that do not stop, and those that say nothing although they may train.
    pub(super) fn kill_what_does_not_move(&mut self, now: BootTime) {
        let (stall, may_train) = (self.stall(), now < self.granted());
        // It was told of no lease that lasts longer than that, and is told of none after.
        let gone_by = now.after(DYING).max(self.lease.until());
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let death = if slot.stops_by().is_some_and(|by| by <= now) {
                Death::Unstopped
            } else if may_train && slot.silence_left(&self.watch, stall) == Some(0) {
                let spoken = matches!(&slot.work, Some(Work { stage: Stage::Training { spoken: true, .. }, .. }));
                Death::Stalled(if spoken { stall } else { stall.saturating_mul(LOADING) })
            } else {
                continue;
            };
            if let Some(work) = &mut slot.work {
                warn!(job = %work.of.job, attempt = %work.of.attempt, ?death, "killing a runner");
                work.stage = Stage::Dying(death);
            }
            let number = slot.runner;
            let runner = &mut self.runners[number];
            if runner.killed.is_none() {
                runner.killed = Some(gone_by);
                self.effects.push(Effect::Kill { runner: number, generation: runner.generation });
            }
            let slots = runner.slots.clone();
            self.take_along(slots);
        }
    }

    /// What is trained beside what has its runner killed goes with it; what has not begun waits for another.
    fn take_along(&mut self, slots: Range<usize>) {
        for slot in &mut self.slots[slots] {
            match &mut slot.work {
                Some(Work { stage: stage @ (Stage::Training { .. } | Stage::Stopping { .. }), .. }) => {
                    *stage = Stage::Dying(Death::Beside);
                }
                Some(Work { stage: Stage::Fetching, of, .. }) => {
                    self.effects.push(Effect::Abort(*of));
                    self.queue.extend(slot.work.take().map(|work| (work.of, work.assignment)));
                }
                _ => {}
            }
        }
    }

    /// A slot takes nothing more, unless it is the only one that its runner has left.
    fn close(&mut self, slot: usize) {
        let slots = self.runners[self.slots[slot].runner].slots.clone();
        let open = self.slots[slots.clone()].iter().filter(|slot| !slot.closed).count();
        // Another in its place, where it is closed already.
        let place = std::iter::once(slot).chain(slots.rev()).find(|slot| !self.slots[*slot].closed);
        if let Some(place) = place.filter(|_| open > 1) {
            self.slots[place].closed = true;
            warn!(slot = place, left = open - 1, "memory is full: fewer jobs are trained at once from now on");
        }
    }

    /// Gives up what the runners had in hand that were killed and do not end. Their leases have passed, so they train nothing any more,
    /// and others may.
    pub(super) fn give_up_what_does_not_die(&mut self, now: BootTime) {
        for index in 0..self.slots.len() {
            let Slot { runner, work, .. } = &mut self.slots[index];
            let Some(work) = work.take_if(|_| self.runners[*runner].is_stuck(now)) else { continue };
            warn!(job = %work.of.job, attempt = %work.of.attempt, slot = index, "a runner was killed and does not end");
            if !work.wanted {
                self.next_beat = now;
                continue;
            }
            if let Stage::Dying(Death::Beside) = work.stage {
                let why = "the runner was killed because of another job that it trained, and did not end";
                self.end(work.of, FailureKind::Preempted, why);
                continue;
            }
            let why = match work.stage {
                Stage::Dying(Death::Stalled(silent)) => format!("made no progress for {} s", silent as f64 / 1000.0),
                _ => "did not stop when it was told to".to_owned(),
            };
            let where_to_look = "look for a disk or a device of the worker's machine that does not answer";
            let message = format!("the runner process {why}, was killed and did not end: {where_to_look}");
            self.end(work.of, FailureKind::Infrastructure, message);
        }
        while self.queue.len() > self.free_slots(now)
            && let Some((of, _)) = self.queue.pop_back()
        {
            self.decline(of);
        }
    }

    pub(super) fn end(&mut self, of: AttemptId, kind: FailureKind, message: impl Into<String>) {
        self.push(of, failed(Failure::new(kind, message)), false);
    }

    fn push(&mut self, of: AttemptId, body: Body, waits: bool) {
        let entry = self.outbox.push(of, body, waits);
        self.effects.push(Effect::Write(entry));
    }
}

/// What training takes, in a half-sentence; nothing where it is not known.
fn memory(assignment: &v1::Assignment, means: ExecutionOptions) -> String {
    let memory = assignment.job().ok().and_then(|job| MemoryEstimate::on_host(&job.configuration, means));
    memory.map_or_else(String::new, |memory| format!(" (the job takes about {memory})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_estimated_is_not_told() {
        assert_eq!(memory(&v1::Assignment::default(), ExecutionOptions::default()), "");
    }
}

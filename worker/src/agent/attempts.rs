//! Attempts from assignment to report: queueing for a slot, transfers of weights, stopping, reporting.

use super::Agent;
use super::event::{BootTime, Effect};
use super::outbox::failed;
use super::slots::{ActiveAttempt, Slot, Stage};
use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert;
use plusminus_proto::v1::{self, report::Body, to_runner};
use std::collections::BTreeSet;
use tracing::debug;

impl Agent {
    /// Queues an assigned attempt, or reports it as failed if no slot is free.
    pub(super) fn assigned(&mut self, now: BootTime, attempt: AttemptId, assignment: v1::Assignment) {
        if self.held_attempts().any(|held| held == attempt) {
            return debug!(job = %attempt.job, attempt = %attempt.attempt, "assigned again");
        }
        if self.drain_deadline.is_some() {
            return self.report_failure(attempt, FailureKind::Preempted, "the worker is draining");
        }
        if self.free_slots(now) <= self.queue.len() {
            if self.runners.iter().any(|runner| !runner.accepts(now)) {
                return self.decline(attempt);
            }
            if self.slots.iter().any(|slot| slot.closed) {
                let why = "no free slot: the device ran out of memory, so this worker has closed slots";
                return self.report_failure(attempt, FailureKind::Preempted, why);
            }
            return self.report_failure(attempt, FailureKind::Infrastructure, "the worker has no free slot");
        }
        self.queue.push_back((attempt, assignment));
    }

    /// The number of slots that are free or become free once their revoked attempt has stopped.
    pub(super) fn free_slots(&self, now: BootTime) -> usize {
        let free = |slot: &&Slot| {
            let occupied = slot.active.as_ref().is_some_and(|active| !active.revoked);
            !occupied && !slot.closed && self.runners[slot.runner].accepts(now)
        };
        self.slots.iter().filter(free).count()
    }

    /// A free slot, of the runner with the fewest active attempts.
    fn free_slot(&self, now: BootTime) -> Option<usize> {
        let free = |slot: &Slot| {
            let runner = &self.runners[slot.runner];
            slot.active.is_none() && !slot.closed && runner.exit_deadline.is_none() && runner.accepts(now)
        };
        let load = |slot: &Slot| {
            let neighbours = &self.slots[self.runners[slot.runner].slots.clone()];
            neighbours.iter().filter(|slot| slot.active.is_some()).count()
        };
        let all = self.slots.iter().enumerate().filter(|(_, slot)| free(slot));
        all.min_by_key(|(index, slot)| (load(slot), *index)).map(|(index, _)| index)
    }

    /// Returns an attempt to the coordinator because the runner of its slot may never exit, or rests.
    pub(super) fn decline(&mut self, attempt: AttemptId) {
        let why = "no free slot: a runner of this worker was killed and has not exited, or cannot train at present";
        self.report_failure(attempt, FailureKind::Preempted, why);
    }

    /// Moves queued attempts into free slots.
    pub(super) fn start_queued(&mut self, now: BootTime) {
        while !self.queue.is_empty()
            && let Some(index) = self.free_slot(now)
            && let Some((attempt, assignment)) = self.queue.pop_front()
        {
            self.start(index, attempt, assignment);
        }
    }

    fn start(&mut self, index: usize, attempt: AttemptId, assignment: v1::Assignment) {
        let parent = match assignment.parent.as_ref().map(v1::ParentWeights::to_core).transpose() {
            Ok(parent) => parent,
            Err(error) => return self.report_failure(attempt, FailureKind::UserError, error.to_string()),
        };
        debug!(job = %attempt.job, attempt = %attempt.attempt, slot = index, "starting an attempt");
        let slots = self.runners[self.slots[index].runner].slots.clone();
        let mut alone = true;
        for neighbour in self.slots[slots].iter_mut().filter_map(|slot| slot.active.as_mut()) {
            (alone, neighbour.alone) = (false, false);
        }
        let (stage, revoked, waiting) = (Stage::Fetching, false, false);
        self.slots[index].active = Some(ActiveAttempt { attempt, assignment, stage, revoked, alone, waiting });
        match parent {
            Some((parent, digest)) => {
                let needed = self.needed_weights();
                self.effects.push(Effect::FetchWeights { attempt, parent, digest, needed });
            }
            None => self.train(index),
        }
    }

    /// Hands the attempt in a slot to its runner, which is started if it is not running.
    fn train(&mut self, slot: usize) {
        let until = self.training_deadline().0;
        let last_message = self.training_clock.elapsed;
        let Slot { runner: number, active: Some(active), .. } = &mut self.slots[slot] else { return };
        let runner = &mut self.runners[*number];
        if !runner.running {
            runner.running = true;
            runner.generation += 1;
            let (number, generation) = (*number, runner.generation);
            self.effects.push(Effect::StartRunner { runner: number, generation });
            let message = to_runner::Message::Lease(v1::Lease { until });
            self.effects.push(Effect::SendToRunner { runner: number, generation, lane: 0, message });
        }
        active.stage = Stage::Training { last_message, reported: false };
        let message = to_runner::Message::Train(active.assignment.clone());
        self.send_to_lane(slot, message);
    }

    /// Sends a message to the lane that serves a slot.
    fn send_to_lane(&mut self, slot: usize, message: to_runner::Message) {
        let number = self.slots[slot].runner;
        let runner = &self.runners[number];
        let (generation, lane) = (runner.generation, runner.lane(slot));
        self.effects.push(Effect::SendToRunner { runner: number, generation, lane, message });
    }

    /// The weight files that must stay in this worker's cache: parent weights of its attempts, and weights to be delivered.
    fn needed_weights(&self) -> BTreeSet<Digest> {
        let active = self.slots.iter().filter_map(|slot| Some(&slot.active.as_ref()?.assignment));
        let assignments = active.chain(self.queue.iter().map(|(_, assignment)| assignment));
        let of_parents = assignments.filter_map(|assignment| Some(assignment.parent.as_ref()?.to_core().ok()?.1));
        of_parents.chain(self.outbox.weights()).collect()
    }

    pub(super) fn weights_fetched(&mut self, attempt: AttemptId, result: Result<(), Failure>) {
        let waits = |active: &ActiveAttempt| active.attempt == attempt && matches!(active.stage, Stage::Fetching);
        let Some(index) = self.slots.iter().position(|slot| slot.active.as_ref().is_some_and(waits)) else { return };
        match result {
            Ok(()) => self.train(index),
            Err(failure) => {
                self.slots[index].active = None;
                self.report_failure(attempt, failure.kind, failure.message);
            }
        }
    }

    pub(super) fn weights_delivered(&mut self, attempt: AttemptId, result: Result<(), Failure>) {
        let Some(entry) = self.outbox.release(attempt, result.err().map(failed)) else { return };
        self.effects.push(Effect::StoreEntry(entry));
        let needed = self.needed_weights();
        self.effects.push(Effect::TrimCache(needed));
    }

    /// Stops an attempt that the coordinator has taken back, and drops its reports.
    pub(super) fn revoke(&mut self, now: BootTime, attempt: AttemptId) {
        for entry in self.outbox.drop_reports(attempt) {
            if entry.awaits_weights {
                self.effects.push(Effect::AbortTransfer(attempt));
            }
            self.effects.push(Effect::DeleteEntry(entry.sequence));
        }
        self.queue.retain(|(queued, _)| *queued != attempt);
        let holds = |slot: &Slot| slot.active.as_ref().is_some_and(|active| active.attempt == attempt);
        if let Some(index) = self.slots.iter().position(holds) {
            self.stop(now, index);
            if let Some(active) = &mut self.slots[index].active {
                active.revoked = true;
                return;
            }
        }
        // A heartbeat at once, so that the coordinator learns that the slot is free.
        self.next_heartbeat = now;
    }

    /// Asks the runner of a slot to stop. An attempt whose training has not started is removed at once.
    fn stop(&mut self, now: BootTime, slot: usize) {
        let deadline = now.after(self.settings.grace);
        let place = &mut self.slots[slot].active;
        let Some(active) = place else { return };
        match active.stage {
            Stage::Fetching => {
                self.effects.push(Effect::AbortTransfer(active.attempt));
                *place = None;
            }
            Stage::Training { .. } => {
                active.stage = Stage::Stopping { deadline };
                self.send_to_lane(slot, to_runner::Message::Stop(v1::StopTraining {}));
            }
            Stage::Stopping { .. } | Stage::Killed(_) => {}
        }
    }

    /// Stops every attempt, so that the coordinator requeues it.
    pub(super) fn stop_all(&mut self, now: BootTime) {
        let mut unstarted: Vec<AttemptId> = self.queue.drain(..).map(|(attempt, _)| attempt).collect();
        for index in 0..self.slots.len() {
            let attempt = self.slots[index].active.as_ref().map(|active| active.attempt);
            self.stop(now, index);
            unstarted.extend(attempt.filter(|_| self.slots[index].active.is_none()));
        }
        for attempt in unstarted {
            self.report_failure(attempt, FailureKind::Preempted, "stopped before training started");
        }
    }

    /// Reports an ending. Weights that it names are delivered first.
    pub(super) fn report_ending(&mut self, attempt: AttemptId, ending: v1::Ending) {
        let kept = match &ending.how {
            Some(v1::ending::How::Finished(facts)) => facts.kept.values().map(|text| convert::digest(text)).collect(),
            _ => Ok(BTreeSet::new()),
        };
        match kept {
            Ok(weights) if weights.is_empty() => self.report(attempt, Body::Ended(ending), false),
            Ok(weights) => {
                self.report(attempt, Body::Ended(ending), true);
                self.effects.push(Effect::DeliverWeights { attempt, weights });
            }
            Err(error) => self.report_failure(attempt, FailureKind::Infrastructure, error.to_string()),
        }
    }

    pub(super) fn report_failure(&mut self, attempt: AttemptId, kind: FailureKind, message: impl Into<String>) {
        self.report(attempt, failed(Failure::new(kind, message)), false);
    }

    pub(super) fn report(&mut self, attempt: AttemptId, body: Body, awaits_weights: bool) {
        let entry = self.outbox.push(attempt, body, awaits_weights);
        self.effects.push(Effect::StoreEntry(entry));
    }
}

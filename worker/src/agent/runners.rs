//! Messages and exits of runners, and the supervision of runners that stall or do not stop.

use super::Agent;
use super::event::{BootTime, Effect, RunnerEvent, RunnerExit};
use super::slots::{ActiveAttempt, FIRST_MESSAGE_FACTOR, KillReason, RunnerState, Slot, Stage};
use plusminus_core::id::AttemptId;
use plusminus_core::outcome::FailureKind;
use plusminus_engines::ExecutionOptions;
use plusminus_proto::convert::attempt_id;
use plusminus_proto::v1::{self, from_runner, from_worker, report::Body};
use plusminus_trainer::MemoryEstimate;
use std::ops::Range;
use std::time::Duration;
use tracing::warn;

/// How long a killed runner may take to exit. Then its attempts are reported as failed although the process still exists.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said of [`RunnerExit::HostFailed`].
const HOST_FAILED: &str = "a runner process has exited because its host lacks threads, memory for them, or open files";

impl Agent {
    pub(super) fn runner_event(&mut self, now: BootTime, number: usize, generation: u64, event: RunnerEvent) {
        let current = |runner: &&mut RunnerState| runner.running && runner.generation == generation;
        let Some(runner) = self.runners.get_mut(number).filter(current) else { return };
        match event {
            RunnerEvent::Message(lane, message) => {
                if let Some(slot) = runner.slot(lane) {
                    self.runner_message(now, slot, message);
                }
            }
            RunnerEvent::Exited(exit, log) => {
                (runner.running, runner.exit_deadline) = (false, None);
                let slots = runner.slots.clone();
                // An attempt that waits for weights has not been handed to the runner.
                let handed = |active: &mut ActiveAttempt| !matches!(active.stage, Stage::Fetching);
                let lost = self.slots[slots.clone()].iter_mut().map(|slot| slot.active.take_if(handed));
                let lost: Vec<_> = lost.collect();
                let shared = lost.iter().flatten().any(|active| !active.alone);
                if exit == RunnerExit::OutOfMemory && shared {
                    self.close_slot(slots.end - 1);
                }
                match &exit {
                    RunnerExit::NotStarted(why) => self.start_rest(now, number, why),
                    RunnerExit::HostFailed => self.start_rest(now, number, HOST_FAILED),
                    _ => {}
                }
                for (slot, active) in slots.zip(lost) {
                    if let Some(active) = active {
                        self.report_lost(now, slot, &active, &exit, &log);
                    }
                }
            }
        }
    }

    fn runner_message(&mut self, now: BootTime, index: usize, message: from_runner::Message) {
        let elapsed = self.training_clock.elapsed;
        let slot = &mut self.slots[index];
        let Some(active) = &mut slot.active else { return };
        let (attempt, revoked, runner) = (active.attempt, active.revoked, slot.runner);
        let unasked = matches!(active.stage, Stage::Training { .. });
        if let Stage::Training { last_message, reported } = &mut active.stage {
            (*last_message, *reported) = (elapsed, true);
        }
        match message {
            from_runner::Message::Ended(ending) => {
                let shared = !active.alone;
                match &ending.how {
                    Some(v1::ending::How::Finished(_)) => {
                        self.set_waiting(index, None);
                        self.end_rests(runner);
                    }
                    // The host cannot train: otherwise a runner gives back only what it was asked to stop.
                    Some(v1::ending::How::Failed(failure))
                        if unasked && failure.kind == i32::from(v1::FailureKind::Preempted) =>
                    {
                        self.start_rest(now, runner, &failure.message);
                    }
                    _ => {}
                }
                self.slots[index].active = None;
                if revoked {
                    self.next_heartbeat = now;
                } else {
                    self.attempt_ended(attempt, ending, shared.then_some(index));
                }
            }
            _ if revoked => {}
            from_runner::Message::Waiting(v1::WaitingToSave { reason }) => {
                self.set_waiting(index, Some((attempt.job, reason)));
            }
            from_runner::Message::Progress(progress) => {
                if self.connected && self.lease.is_valid(now) {
                    let report = v1::ProgressReport { of: Some(attempt_id(attempt)), progress: Some(progress) };
                    self.effects.push(Effect::Send(from_worker::Message::Progress(report)));
                }
            }
            from_runner::Message::Epoch(epoch) => self.report(attempt, Body::Epoch(epoch), false),
        }
    }

    /// Reports the ending that a runner sent. `shared` is the attempt's slot if other attempts shared the runner: then a lack of memory is
    /// not the job's fault.
    fn attempt_ended(&mut self, attempt: AttemptId, ending: v1::Ending, shared: Option<usize>) {
        if let (Some(v1::ending::How::Failed(failure)), Some(slot)) = (&ending.how, shared)
            && failure.kind == i32::from(v1::FailureKind::OutOfMemory)
        {
            let why = format!("{}; the job shared the device and is retried with fewer neighbours", failure.message);
            self.close_slot(slot);
            return self.report_failure(attempt, FailureKind::Preempted, why);
        }
        self.report_ending(attempt, ending);
    }

    /// Reports an attempt whose runner exited before the attempt ended.
    fn report_lost(&mut self, now: BootTime, slot: usize, active: &ActiveAttempt, exit: &RunnerExit, log: &str) {
        if active.revoked {
            self.next_heartbeat = now;
            return;
        }
        let log = if log.is_empty() { "its log is empty".to_owned() } else { format!("its log ends: {log}") };
        let (kind, message) = match (&active.stage, exit) {
            // The host's fault: the job itself was not tried.
            (_, RunnerExit::NotStarted(why)) => (FailureKind::Preempted, why.clone()),
            (_, RunnerExit::HostFailed) => (FailureKind::Preempted, format!("{HOST_FAILED}; {log}")),
            (Stage::Killed(KillReason::Stalled(silence)), _) => {
                let seconds = silence.as_secs_f64();
                (FailureKind::Infrastructure, format!("the runner process made no progress for {seconds} s; {log}"))
            }
            (Stage::Killed(KillReason::DidNotStop), _) => {
                (FailureKind::Preempted, "the runner did not stop in time and was killed".to_owned())
            }
            (Stage::Killed(KillReason::SharedRunner), _) => {
                let why = "the runner was killed because of another job, which stalled or did not stop in time";
                (FailureKind::Preempted, why.to_owned())
            }
            (Stage::Stopping { .. }, _) | (_, RunnerExit::Clean) => {
                (FailureKind::Preempted, "the runner process exited before the job finished".to_owned())
            }
            (_, RunnerExit::DeviceFailed) => {
                let why = "the runner process was replaced because its device failed another job";
                (FailureKind::Preempted, why.to_owned())
            }
            (_, RunnerExit::OutOfMemory) if !active.alone => {
                let why = "the system ran out of memory and killed the runner process, which trained several jobs; \
                           each is retried with fewer neighbours";
                (FailureKind::Preempted, why.to_owned())
            }
            (_, RunnerExit::OutOfMemory) => {
                let execution = self.settings.equipment[self.runners[self.slots[slot].runner].equipment].execution;
                let need = memory_estimate(&active.assignment, execution);
                let message = format!(
                    "the runner process was killed by SIGKILL because the system ran out of memory{need}: use fewer --slots or a smaller batch_size; {log}"
                );
                (FailureKind::OutOfMemory, message)
            }
            (_, RunnerExit::Killed) => {
                let why = "the system reports no lack of memory, so a user or another program killed it";
                (FailureKind::Infrastructure, format!("the runner process was killed by SIGKILL: {why}; {log}"))
            }
            (_, RunnerExit::Crashed(how)) => (FailureKind::Infrastructure, format!("the runner process {how}; {log}")),
        };
        self.report_failure(active.attempt, kind, message);
    }

    /// Kills runners with an attempt that did not stop in time or has stalled.
    pub(super) fn kill_unresponsive_runners(&mut self, now: BootTime) {
        let (stall, may_train) = (self.settings.stall, now < self.training_deadline());
        // A killed runner receives no further lease, so it trains no longer than the present one.
        let exit_deadline = now.after(KILL_TIMEOUT).max(self.lease.until());
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let stalled = slot.time_to_stall(&self.training_clock, stall) == Some(Duration::ZERO);
            let reason = if slot.stop_deadline().is_some_and(|deadline| deadline <= now) {
                KillReason::DidNotStop
            } else if may_train && stalled {
                let active = slot.active.as_ref();
                let reported =
                    active.is_some_and(|active| matches!(active.stage, Stage::Training { reported: true, .. }));
                KillReason::Stalled(if reported { stall } else { stall.saturating_mul(FIRST_MESSAGE_FACTOR) })
            } else {
                continue;
            };
            if let Some(active) = &mut slot.active {
                warn!(job = %active.attempt.job, attempt = %active.attempt.attempt, ?reason, "killing a runner");
                active.stage = Stage::Killed(reason);
            }
            let number = slot.runner;
            let runner = &mut self.runners[number];
            if runner.exit_deadline.is_none() {
                runner.exit_deadline = Some(exit_deadline);
                self.effects.push(Effect::KillRunner { runner: number, generation: runner.generation });
            }
            let slots = runner.slots.clone();
            self.vacate(slots);
        }
    }

    /// Marks the other attempts of a killed runner. Those that wait for weights return to the queue.
    fn vacate(&mut self, slots: Range<usize>) {
        for slot in &mut self.slots[slots] {
            match &mut slot.active {
                Some(ActiveAttempt { stage: stage @ (Stage::Training { .. } | Stage::Stopping { .. }), .. }) => {
                    *stage = Stage::Killed(KillReason::SharedRunner);
                }
                Some(ActiveAttempt { stage: Stage::Fetching, attempt, .. }) => {
                    self.effects.push(Effect::AbortTransfer(*attempt));
                    self.queue.extend(slot.active.take().map(|active| (active.attempt, active.assignment)));
                }
                _ => {}
            }
        }
    }

    /// Closes a slot, or another one of its runner if it is closed already. The last open slot of a runner stays open.
    fn close_slot(&mut self, slot: usize) {
        let slots = self.runners[self.slots[slot].runner].slots.clone();
        let open = self.slots[slots.clone()].iter().filter(|slot| !slot.closed).count();
        let closable = std::iter::once(slot).chain(slots.rev()).find(|slot| !self.slots[*slot].closed);
        if let Some(slot) = closable.filter(|_| open > 1) {
            self.slots[slot].closed = true;
            warn!(slot, left = open - 1, "out of memory: closing a slot of the device");
        }
    }

    /// Reports the attempts of killed runners that do not exit. Their leases have expired, so other workers may train the jobs.
    pub(super) fn abandon_stuck_runners(&mut self, now: BootTime) {
        for index in 0..self.slots.len() {
            let Slot { runner, active, .. } = &mut self.slots[index];
            let Some(active) = active.take_if(|_| self.runners[*runner].is_stuck(now)) else { continue };
            let AttemptId { job, attempt } = active.attempt;
            warn!(%job, %attempt, slot = index, "a runner was killed and has not exited");
            if active.revoked {
                self.next_heartbeat = now;
                continue;
            }
            if let Stage::Killed(KillReason::SharedRunner) = active.stage {
                let why = "the runner was killed because of another job, and did not exit";
                self.report_failure(active.attempt, FailureKind::Preempted, why);
                continue;
            }
            let why = match active.stage {
                Stage::Killed(KillReason::Stalled(silence)) => {
                    format!("made no progress for {} s", silence.as_secs_f64())
                }
                _ => "did not stop in time".to_owned(),
            };
            let message = format!(
                "the runner process {why}, was killed and did not exit: look for a disk or a device of the worker's host that does not respond"
            );
            self.report_failure(active.attempt, FailureKind::Infrastructure, message);
        }
        while self.queue.len() > self.free_slots(now)
            && let Some((attempt, _)) = self.queue.pop_back()
        {
            self.decline(attempt);
        }
    }
}

/// The estimated memory of a job, in parentheses; empty if there is no estimate.
fn memory_estimate(assignment: &v1::Assignment, execution: ExecutionOptions) -> String {
    let memory = assignment.job().ok().and_then(|job| MemoryEstimate::on_host(&job.configuration, execution));
    memory.map_or_else(String::new, |memory| format!(" (the job takes about {memory})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_a_memory_estimate_has_none_in_its_error() {
        assert_eq!(memory_estimate(&v1::Assignment::default(), ExecutionOptions::default()), "");
    }
}

//! Slots and the state of the runners that serve them: one runner per slot of a CPU, one runner for all slots of a GPU.

use super::event::{BootTime, Equipment};
use super::rest::Rest;
use plusminus_core::id::AttemptId;
use plusminus_proto::v1;
use std::ops::Range;
use std::time::Duration;

/// Until its first message an attempt may be silent this many times as long as later: it loads its data set.
pub(super) const FIRST_MESSAGE_FACTOR: u32 = 6;
/// A longer gap between two events means that the daemon itself was suspended. The excess does not count as silence of a runner.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// Capacity for one running attempt.
#[derive(Debug)]
pub(super) struct Slot {
    /// The number of the runner that serves the slot.
    pub runner: usize,
    /// The slot accepts no further attempts: the device ran out of memory.
    pub closed: bool,
    pub active: Option<ActiveAttempt>,
}

/// A runner process, running or not, and the slots that it serves: one lane per slot.
#[derive(Debug)]
pub(super) struct RunnerState {
    /// The index of its device in `Settings::equipment`.
    pub equipment: usize,
    pub slots: Range<usize>,
    pub running: bool,
    /// The number of processes started so far; the latest one's generation.
    pub generation: u64,
    /// Set once the process is killed: it receives no further messages, leases included, and should have exited by then.
    pub exit_deadline: Option<BootTime>,
    pub rest: Rest,
}

/// An attempt in a slot.
#[derive(Debug)]
pub(super) struct ActiveAttempt {
    pub attempt: AttemptId,
    pub assignment: v1::Assignment,
    pub stage: Stage,
    /// The coordinator has taken the attempt back: nothing is reported, but the slot is occupied until training stops.
    pub revoked: bool,
    /// Whether the attempt has had its runner to itself since it started.
    pub alone: bool,
    /// The attempt has trained all epochs and waits for its weights to be saved.
    pub waiting: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The parent weights are being fetched.
    Fetching,
    /// The runner trains. `last_message` is a reading of the training clock; `reported` is set by the first message.
    Training { last_message: Duration, reported: bool },
    /// The runner was asked to stop and is killed at the deadline.
    Stopping { deadline: BootTime },
    /// The runner was killed for this reason.
    Killed(KillReason),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum KillReason {
    /// The attempt did not stop within the grace period.
    DidNotStop,
    /// The attempt sent no message for this long.
    Stalled(Duration),
    /// Another attempt in the same runner did not stop or stalled.
    SharedRunner,
}

/// Measures the time in which runners may train and the daemon receives their messages.
#[derive(Debug, Default)]
pub(super) struct TrainingClock {
    last_event: BootTime,
    pub elapsed: Duration,
}

impl TrainingClock {
    /// Advances to `now`. The time since the last call counts if runners were `training`.
    pub fn advance(&mut self, now: BootTime, training: bool) {
        if training {
            self.elapsed += now.since(self.last_event).min(LONGEST_GAP);
        }
        self.last_event = self.last_event.max(now);
    }

    /// The time of the last event.
    pub fn now(&self) -> BootTime {
        self.last_event
    }
}

/// The runners and slots that `equipment` provides.
pub(super) fn lay_out(equipment: &[Equipment]) -> (Vec<RunnerState>, Vec<Slot>) {
    let (mut runners, mut slots) = (Vec::new(), Vec::new());
    for (number, equipment) in equipment.iter().enumerate() {
        let lanes = equipment.lanes();
        for _ in 0..equipment.device.slots.checked_div(lanes).unwrap_or(0) {
            let first = slots.len();
            slots.extend((0..lanes).map(|_| Slot { runner: runners.len(), closed: false, active: None }));
            let slots = first..slots.len();
            let (exit_deadline, rest) = (None, Rest::default());
            runners.push(RunnerState { equipment: number, slots, running: false, generation: 0, exit_deadline, rest });
        }
    }
    (runners, slots)
}

impl RunnerState {
    /// Whether the process was killed and has not exited by its deadline: it blocks in the kernel, for example on a disk that does not
    /// respond.
    pub fn is_stuck(&self, now: BootTime) -> bool {
        self.exit_deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the runner takes attempts.
    pub fn accepts(&self, now: BootTime) -> bool {
        !self.is_stuck(now) && !self.rest.is_resting(now)
    }

    /// The deadline of a killed process, if it is in the future.
    pub fn pending_exit(&self, now: BootTime) -> Option<BootTime> {
        self.exit_deadline.filter(|deadline| *deadline > now)
    }

    /// The lane that serves a slot.
    pub fn lane(&self, slot: usize) -> u32 {
        slot.saturating_sub(self.slots.start) as u32
    }

    /// The slot that a lane serves.
    pub fn slot(&self, lane: u32) -> Option<usize> {
        self.slots.clone().nth(lane as usize)
    }
}

impl Slot {
    /// When the runner is killed if the attempt has not stopped.
    pub fn stop_deadline(&self) -> Option<BootTime> {
        match self.active.as_ref()?.stage {
            Stage::Stopping { deadline } => Some(deadline),
            _ => None,
        }
    }

    /// How much longer the attempt may be silent before it counts as stalled.
    pub fn time_to_stall(&self, clock: &TrainingClock, stall: Duration) -> Option<Duration> {
        match self.active.as_ref()?.stage {
            Stage::Training { last_message, reported } => {
                let allowed = if reported { stall } else { stall.saturating_mul(FIRST_MESSAGE_FACTOR) };
                Some(allowed.saturating_sub(clock.elapsed - last_message))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_engines::{Device, ExecutionOptions};

    #[test]
    fn a_cpu_has_one_runner_per_slot_and_a_gpu_one_for_all() {
        let equipment = |device: Device, slots| Equipment {
            device: v1::Device { name: device.to_string(), slots, ..v1::Device::default() },
            execution: ExecutionOptions { device, ..ExecutionOptions::default() },
            uuid: None,
        };
        let layout = |equipment: &[Equipment]| {
            let (runners, slots) = lay_out(equipment);
            let by_slot: Vec<usize> = slots.iter().map(|slot| slot.runner).collect();
            (runners.into_iter().map(|runner| runner.slots).collect::<Vec<_>>(), by_slot)
        };
        assert_eq!(layout(&[equipment(Device::Cpu, 3)]), (vec![0..1, 1..2, 2..3], vec![0, 1, 2]));
        let gpus = [equipment(Device::Cuda(0), 2), equipment(Device::Cuda(3), 3)];
        assert_eq!(layout(&gpus), (vec![0..2, 2..5], vec![0, 0, 1, 1, 1]));
        let (runners, _) = lay_out(&gpus);
        assert_eq!((runners[1].lane(4), runners[1].slot(2), runners[1].slot(3)), (2, Some(4), None));
        assert_eq!(layout(&[equipment(Device::Cuda(0), 0)]), (vec![], vec![]));
    }
}

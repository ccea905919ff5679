//! Slots and the runners that train in them: on a processor each slot has its own, on a GPU all slots share one.

use super::event::{BootTime, Equipment};
use plusminus_core::id::AttemptId;
use plusminus_proto::v1;
use std::ops::Range;

/// So many times as long as between two words an attempt may take to its first one: it reads data, and perhaps all of it.
pub(super) const LOADING: u64 = 6;
/// If time was not told for longer than this, the daemon stood still, and has heard nothing for that reason: in milliseconds.
const STOOD: u64 = 5_000;

/// A place in which one attempt at a time is trained.
#[derive(Debug)]
pub(super) struct Slot {
    /// By its number, who trains in it.
    pub runner: usize,
    /// Its device has no memory for so many attempts at once: it takes nothing more.
    pub closed: bool,
    pub work: Option<Work>,
}

/// A process, or the want of one, and the slots that it trains in, each a lane of it.
#[derive(Debug)]
pub(super) struct Runner {
    /// By its number, with what.
    pub equipment: usize,
    pub slots: Range<usize>,
    /// Whether there is one, by which `generation` is meant.
    pub there: bool,
    pub generation: u64,
    /// It is killed and has yet to end: it is told nothing more, no lease either. By when it should be gone.
    pub killed: Option<BootTime>,
}

/// An attempt in a slot.
#[derive(Debug)]
pub(super) struct Work {
    pub of: AttemptId,
    /// What it was told to train.
    pub assignment: v1::Assignment,
    pub stage: Stage,
    /// Whether the coordinator wants to hear of it. If not, nothing is said but that the slot is taken.
    pub wanted: bool,
    /// Whether its runner has had nothing else in hand since it began.
    pub alone: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The weights that it builds on are on their way.
    Fetching,
    /// Its runner has it, and has last said something at `heard`, by the watch.
    Training { heard: u64, spoken: bool },
    /// Its runner is told to stop, and is killed then.
    Stopping { by: BootTime },
    /// Its runner is killed, and why.
    Dying(Death),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// It did not stop when it was told to.
    Unstopped,
    /// It said nothing for so many milliseconds.
    Stalled(u64),
    /// What was trained beside it has had their runner killed.
    Beside,
}

/// Counts the time in which runners may train and are listened to, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BootTime,
    pub counted: u64,
}

impl Watch {
    pub fn pass(&mut self, now: BootTime, training: bool) {
        if training {
            self.counted += now.since(self.seen).min(STOOD);
        }
        self.seen = self.seen.max(now);
    }

    /// When time was last told.
    pub fn seen(&self) -> BootTime {
        self.seen
    }
}

/// The runners that all of `equipment` takes, and their slots.
pub(super) fn laid_out(equipment: &[Equipment]) -> (Vec<Runner>, Vec<Slot>) {
    let (mut runners, mut slots) = (Vec::new(), Vec::new());
    for (number, equipment) in equipment.iter().enumerate() {
        let lanes = equipment.lanes();
        for _ in 0..equipment.device.slots.checked_div(lanes).unwrap_or(0) {
            let begin = slots.len();
            slots.extend((0..lanes).map(|_| Slot { runner: runners.len(), closed: false, work: None }));
            let slots = begin..slots.len();
            runners.push(Runner { equipment: number, slots, there: false, generation: 0, killed: None });
        }
    }
    (runners, slots)
}

impl Runner {
    /// Whether it lives on although it was killed long ago, which nothing but the system can end: one that waits in the kernel for a
    /// disk that does not answer.
    pub fn is_stuck(&self, now: BootTime) -> bool {
        self.killed.is_some_and(|by| by <= now)
    }

    /// When it should be gone, if it is killed and that is yet to come.
    pub fn gone_by(&self, now: BootTime) -> Option<BootTime> {
        self.killed.filter(|by| *by > now)
    }

    /// Which of its lanes trains in a slot.
    pub fn lane(&self, slot: usize) -> u32 {
        slot.saturating_sub(self.slots.start) as u32
    }

    /// The slot of a lane.
    pub fn slot(&self, lane: u32) -> Option<usize> {
        self.slots.clone().nth(lane as usize)
    }
}

impl Slot {
    /// When its runner is killed for not stopping.
    pub fn stops_by(&self) -> Option<BootTime> {
        match self.work.as_ref()?.stage {
            Stage::Stopping { by } => Some(by),
            _ => None,
        }
    }

    /// How much longer its runner may be silent.
    pub fn silence_left(&self, watch: &Watch, stall: u64) -> Option<u64> {
        match self.work.as_ref()?.stage {
            Stage::Training { heard, spoken } => {
                let allowed = if spoken { stall } else { stall.saturating_mul(LOADING) };
                Some(allowed.saturating_sub(watch.counted - heard))
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
    fn a_processor_has_a_runner_a_slot_and_a_gpu_one_for_all_of_its_slots() {
        let equipment = |device: Device, slots| Equipment {
            device: v1::Device { name: device.to_string(), slots, ..v1::Device::default() },
            means: ExecutionOptions { device, ..ExecutionOptions::default() },
            uuid: None,
        };
        let of = |equipment: &[Equipment]| {
            let (runners, slots) = laid_out(equipment);
            let by_slot: Vec<usize> = slots.iter().map(|slot| slot.runner).collect();
            (runners.into_iter().map(|runner| runner.slots).collect::<Vec<_>>(), by_slot)
        };
        assert_eq!(of(&[equipment(Device::Cpu, 3)]), (vec![0..1, 1..2, 2..3], vec![0, 1, 2]));
        let gpus = [equipment(Device::Cuda(0), 2), equipment(Device::Cuda(3), 3)];
        assert_eq!(of(&gpus), (vec![0..2, 2..5], vec![0, 0, 1, 1, 1]));
        let (runners, _) = laid_out(&gpus);
        assert_eq!((runners[1].lane(4), runners[1].slot(2), runners[1].slot(3)), (2, Some(4), None));
        assert_eq!(of(&[equipment(Device::Cuda(0), 0)]), (vec![], vec![]));
    }
}

//! What the agent does when its host lacks something: threads, processes, disk space.

use super::Agent;
use super::event::BootTime;
use super::rest::Rest;
use plusminus_core::id::JobId;
use tracing::{info, warn};

impl Agent {
    /// Lets a runner rest, because its host prevented an attempt.
    pub(super) fn start_rest(&mut self, now: BootTime, runner: usize, why: &str) {
        if let Some(length) = self.runners[runner].rest.start(now, runner) {
            let seconds = length.as_secs();
            warn!(runner, seconds, "{why}; no job loses a try, and this slot of the worker rests");
        }
    }

    /// Records that a runner has finished a job.
    pub(super) fn end_rests(&mut self, runner: usize) {
        self.runners[runner].rest = Rest::default();
    }

    /// Records that the training in a slot waits for its weights to be saved, or no longer does. The reason is logged once for all slots.
    pub(super) fn set_waiting(&mut self, slot: usize, waiting: Option<(JobId, String)>) {
        let before = self.is_any_waiting();
        if let Some(active) = &mut self.slots[slot].active {
            active.waiting = waiting.is_some();
        }
        match waiting {
            Some((job, why)) if !before => warn!(
                %job,
                "{why}: the trained weights stay in memory until they can be saved, and this worker gets no more jobs until then"
            ),
            None if before && !self.is_any_waiting() => info!("the weights can be saved again"),
            _ => {}
        }
    }

    /// Whether a finished training waits for its weights to be saved.
    pub(super) fn is_any_waiting(&self) -> bool {
        self.slots.iter().filter_map(|slot| slot.active.as_ref()).any(|active| active.waiting)
    }
}

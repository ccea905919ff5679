//! The coordinator's state machine: `handle(now, event) -> effects`, `apply(record)`.
//!
//! - [`event`]: what can happen, and what the machine asks for in return.
//! - [`record`]: what is written down. [`State::apply`] is the only thing that changes what is known of jobs, live and on restart.
//! - [`state`]: jobs, sweeps and the queue; `index`, `family`, `membership`: jobs by id, by what they build on, and
//!   by sweep.
//! - [`handle`]: decisions: who gets which job, what a report is worth, when a lease has passed, what is tried again.
//! - `calls`, `lineage`: the same of what users ask for, and of jobs that build on others.
//! - [`view`]: what users are shown of it.
//!
//! *Architecture invariants:* a report is acknowledged by an effect that comes after the record it depends on, and whoever drives
//! the machine commits records before it acts on the effects behind them. What a past attempt says changes nothing.

mod calls;
pub mod event;
mod family;
pub mod handle;
mod index;
mod lineage;
mod membership;
mod queue;
pub mod record;
pub mod state;
pub mod view;

#[cfg(test)]
mod tests;

pub use event::{Again, Effect, Event, Refusal, Report, ReportBody, Session, Submission, SubmitSummary, Ticket};
pub use handle::{Policy, Scheduler};
pub use record::{Ending, NewCell, NewJob, Next, Origin, Record, StoredState};
pub use state::{JobState, State};
pub use view::{Counts, JobView, Position, SweepView, Waiting, WorkerView};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch, by the clock of whoever drives the machine, which never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub u64);

impl WallTime {
    /// So many milliseconds later.
    pub fn after(self, milliseconds: u64) -> WallTime {
        WallTime(self.0.saturating_add(milliseconds))
    }
}

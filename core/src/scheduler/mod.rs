//! The scheduler: a pure state machine, `handle(now, event) -> effects` and `State::apply(record)`.
//!
//! - [`handle`]: [`Scheduler`], which composes the parts and routes events.
//! - [`event`]: events and effects. [`record`]: committed state changes. `policy`: lease length, retry policy, back-off.
//! - [`state`]: the committed state; `apply`: the only code that changes it, live and on a restart.
//! - Parts of the state: `job_entry`, `id_index`, `job_counts`, `failure_groups`, `queue`, `parents`.
//! - `connections`, `leases`: connected workers and the attempts that they hold; not stored.
//! - `fleet`: which workers are sound, suspected or in quarantine; not stored.
//! - `intake`: checks what workers report.
//! - Decisions, as functions over a `step`: `user_requests`, `worker_events`, `retry`, `blame` (is the job or the machine at fault),
//!   `sweep_pause` (a sweep whose first jobs all fail alike), `dependencies` (jobs with a parent), `dispatch`.
//! - [`view`]: what users see.
//!
//! *Architecture invariants:* the effect that acknowledges a report follows the record that the report causes, and the driver commits
//! records before it performs the effects behind them. A report of a stale attempt changes nothing (fencing).

mod apply;
mod blame;
mod connections;
mod dependencies;
mod device_class;
mod dispatch;
pub mod event;
mod failure_groups;
mod fleet;
pub mod handle;
mod id_index;
mod intake;
mod job_counts;
mod job_entry;
mod leases;
mod parents;
mod policy;
mod queue;
pub mod record;
mod retry;
pub mod state;
mod step;
mod sweep_pause;
mod time;
mod user_requests;
pub mod view;
mod worker_events;

#[cfg(test)]
mod tests;

pub use connections::WorkerView;
pub use device_class::DeviceClass;
pub use event::{
    Effect, Event, Heartbeat, Notice, ParentFile, Refusal, Report, ReportBody, RetrySelection, Session, Submission,
    SubmitSummary, Ticket,
};
pub use fleet::{Quarantine, QuarantineCause};
pub use handle::Scheduler;
pub use job_counts::JobCounts;
pub use job_entry::{JobState, Reached, Reported};
pub use policy::Policy;
pub use record::{Ending, NewCell, NewJob, Next, Origin, PausedSweep, Place, Record, StoredState};
pub use state::{DurableJob, State};
pub use time::WallTime;
pub use view::{FailureSummary, JobDetails, JobView, JobsAlike, ListedBy, ListedJob, SweepView, View, WaitReason};

//! Queues jobs of a sweep again in a state directory without a coordinator. The next `run` or coordinator trains them.

use crate::answer::AnswerError;
use crate::answer::explain::find_jobs;
use crate::store::{Reader, Store, StoreError};
use plusminus_core::id::SweepName;
use plusminus_core::scheduler::{
    Effect, Event, Policy, Record, Refusal, RetrySelection, Scheduler, Submission, Ticket, WallTime,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why no job was queued.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The store cannot be used, or has no such sweep or job.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The sweep is cancelled, or does not list the job.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<StoreError> for ResumeError {
    fn from(error: StoreError) -> Self {
        ResumeError::Answer(error.into())
    }
}

/// Queues jobs of the sweep `name` again: all failed ones with `failed`, or else the jobs whose ids start with `jobs`, or else all without a
/// result. Returns their number.
///
/// # Errors
/// If a coordinator runs on the state directory, or there is no such sweep or job.
pub fn resume(directory: &Path, name: &SweepName, failed: bool, jobs: &[String]) -> Result<u64, ResumeError> {
    // A store is not created.
    Reader::open(directory)?;
    let mut store = Store::open(directory)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let now = WallTime(now);
    let records = store.records()?;
    let listed = records.iter().find_map(|record| as_listed(record, name));
    let mut scheduler = Scheduler::restart(Policy::default(), records, now);
    let event = if failed {
        Event::Resume(Ticket(0), name.clone(), RetrySelection::AllFailed)
    } else if !jobs.is_empty() {
        Event::Resume(Ticket(0), name.clone(), RetrySelection::Jobs(find_jobs(&scheduler, jobs)?))
    } else {
        // The same as submitting the sweep again, with the jobs that a selection has added.
        let unknown = || {
            let known = scheduler.view().sweeps().into_iter().map(|sweep| sweep.name).collect();
            ResumeError::Refused(Refusal::UnknownSweep { name: name.clone(), known })
        };
        Event::Submit(Ticket(0), listed.ok_or_else(unknown)?)
    };
    let (mut records, mut queued) = (Vec::new(), 0);
    for effect in scheduler.handle(now, event) {
        match effect {
            Effect::Record(record) => records.push(record),
            Effect::Submitted(_, summary) => queued = summary.new + summary.requeued,
            Effect::Resumed(_, jobs) => queued = jobs,
            Effect::Refuse(_, refusal) => return Err(ResumeError::Refused(refusal)),
            // No worker is connected.
            _ => {}
        }
    }
    if !records.is_empty() {
        store.commit(&records)?;
    }
    Ok(queued as u64)
}

/// The submission of the sweep, if the record is that.
fn as_listed(record: &Record, wanted: &SweepName) -> Option<Submission> {
    match record {
        Record::Submitted { name, source, cells, jobs, .. } if name == wanted => {
            let (source, cells, jobs) = (Arc::clone(source), cells.clone(), jobs.clone());
            Some(Submission { name: name.clone(), source, cells, jobs })
        }
        _ => None,
    }
}

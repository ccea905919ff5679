//! Assigns queued jobs to free slots.

use super::connections::{Candidate, Choice};
use super::device_class::DeviceClass;
use super::event::{Effect, ParentFile};
use super::job_entry::{JobEntry, JobState};
use super::record::Record;
use super::step::Step;
use crate::id::{Attempt, AttemptId};
use std::cmp::Reverse;
use std::sync::Arc;

/// Assigns the next job in the queue to the connection with the most free slots, as long as there are both.
pub(super) fn dispatch(step: &mut Step<'_>) {
    let mut assignments = Vec::new();
    loop {
        let [cpu, gpu] = [DeviceClass::Cpu, DeviceClass::Gpu].map(|device| step.connections.freest(step.now, device));
        // A search may scan the whole queue, so it starts only if a worker can take a job.
        if cpu.is_none() && gpu.is_none() {
            break;
        }
        let Some((entry, candidate)) = next_assignment(step, cpu, gpu) else { break };
        let (Reverse(session), worker) = (candidate.session, candidate.worker);
        let (job, seed) = (entry.id, entry.seed);
        let attempt = AttemptId::new(job, Attempt(entry.attempts).next());
        let configuration = Arc::clone(&step.state.cells[entry.cell as usize].configuration);
        let parents = &step.state.parents;
        let file = |origin| Some(ParentFile { job: parents.origin(job)?.job, digest: parents.file(origin)? });
        let (parent, keeps) = (parents.origin(job).and_then(file), parents.wanted(job).clone());
        step.record(Record::Assigned { attempt, worker, at: step.now });
        step.leases.grant(job, step.now.after(step.policy.lease));
        if let Some(connection) = step.connections.get_mut(session) {
            connection.busy.insert(attempt);
        }
        assignments.push(Effect::Assign { session, attempt, configuration, seed, parent, keeps });
    }
    step.effects.append(&mut assignments);
}

/// The first job in the queue that a worker can train now, and that worker. `cpu` and `gpu` are the freest workers of each class.
fn next_assignment<'s>(
    step: &'s Step<'_>,
    cpu: Option<Candidate>,
    gpu: Option<Candidate>,
) -> Option<(&'s JobEntry, Candidate)> {
    let (state, device) = (&*step.state, if gpu.is_some() { DeviceClass::Gpu } else { DeviceClass::Cpu });
    let due = |state: &JobState| matches!(state, JobState::Queued { not_before } if *not_before <= step.now);
    let is_ready = |entry: &JobEntry| {
        due(&entry.state)
            && state.has_parent_weights(entry.id)
            && !state.is_held(entry)
            && !step.leases.is_revoked(entry.id)
    };
    let ready = state.in_queue_order(step.policy.only.as_ref(), device).filter(|entry| is_ready(entry));
    for entry in ready {
        // A job that failed on a worker waits for another one, if there is one.
        let choice = match state.failed_on(entry.id) {
            [] => Choice::Anyone,
            places => step.connections.choose_for_failed(step.now, entry.requires, places),
        };
        match choice {
            Choice::Wait => {}
            Choice::One(candidate) => return Some((entry, candidate)),
            Choice::Anyone => {
                let candidate = match (cpu, gpu) {
                    (_, Some(gpu)) if entry.requires == DeviceClass::Gpu => Some(gpu),
                    // While jobs wait for a GPU, other jobs leave it free.
                    (Some(cpu), Some(gpu)) if !state.queue.has_gpu_jobs() => Some(cpu.max(gpu)),
                    (cpu, gpu) => cpu.or(gpu),
                };
                return candidate.map(|candidate| (entry, candidate));
            }
        }
    }
    None
}

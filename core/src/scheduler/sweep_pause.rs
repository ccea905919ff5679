//! Pauses the dispatch of a sweep whose first jobs all failed alike: the sweep, not a machine, is at fault.

use super::event::{Effect, Notice};
use super::job_entry::JobState;
use super::record::{PausedSweep, Record};
use super::state::State;
use super::step::Step;
use crate::id::{JobId, SweepName};
use crate::outcome::{Failure, FailureKind};

/// The number of jobs that have to fail alike.
pub(super) const ALIKE: usize = 20;
/// The most characters of a message that are compared and quoted.
const COMPARED: usize = 300;

/// The sweeps that list `job`, each with the number of its failed jobs.
pub(super) fn failures_of_sweeps(state: &State, job: JobId) -> Vec<(SweepName, usize)> {
    let listing = state.entry(job).map(|entry| state.counts.sweeps_in(entry.sweeps)).unwrap_or_default();
    let listed = state.sweeps.iter().filter(|(_, sweep)| listing.contains(&sweep.ordinal));
    listed.map(|(name, sweep)| (name.clone(), state.counts.of_sweep(sweep.ordinal).failed)).collect()
}

/// Notes that jobs of these sweeps failed for good. `before` are the numbers of failed jobs before that.
pub(super) fn jobs_failed(step: &mut Step<'_>, before: Vec<(SweepName, usize)>) {
    for (name, before) in before {
        // Decided once, when the number is reached: a later scan of the sweep would cost time for each failed job.
        let Some(sweep) = step.state.sweeps.get(&name).filter(|sweep| !sweep.cancelled && sweep.paused.is_none())
        else {
            continue;
        };
        let counts = step.state.counts.of_sweep(sweep.ordinal);
        if before < ALIKE && counts.failed >= ALIKE && counts.finished == 0 && counts.queued > 0 {
            let (jobs, ordinal) = (counts.failed as u32, sweep.ordinal);
            if let Some(failure) = common_failure(step.state, ordinal) {
                let paused = PausedSweep { failure, jobs, at: step.now };
                step.effects.push(Effect::Notice(Notice::SweepPaused { sweep: name.clone(), paused: paused.clone() }));
                step.record(Record::Paused { name, paused });
            }
        }
    }
}

/// The failure that all failed jobs of a sweep share. Nothing if they differ, or if one diverged: that is a result.
fn common_failure(state: &State, ordinal: u32) -> Option<Failure> {
    let sweep = state.sweeps.values().find(|sweep| sweep.ordinal == ordinal)?;
    let entries = sweep.jobs.iter().map(|index| &state.jobs[*index as usize]);
    let mut failures = entries.filter_map(|entry| match &entry.state {
        JobState::Failed(failure) => Some(failure),
        _ => None,
    });
    let first = failures.next()?;
    let common = (first.kind, normalised(&first.message));
    let alike = |failure: &Failure| failure.kind == common.0 && normalised(&failure.message) == common.1;
    let all = first.kind != FailureKind::Diverged && failures.all(alike);
    all.then(|| Failure::new(first.kind, first.message.chars().take(COMPARED).collect::<String>()))
}

/// Notes that a job finished: a paused sweep that lists it can work.
pub(super) fn job_finished(step: &mut Step<'_>, job: JobId) {
    if !step.state.has_paused_sweeps() {
        return;
    }
    for (name, _) in failures_of_sweeps(step.state, job) {
        release(step, &name);
    }
}

/// Resumes the dispatch of a sweep, if it is paused.
pub(super) fn release(step: &mut Step<'_>, name: &SweepName) {
    if step.state.sweeps.get(name).is_some_and(|sweep| sweep.paused.is_some()) {
        step.effects.push(Effect::Notice(Notice::SweepReleased { sweep: name.clone() }));
        step.record(Record::Released { name: name.clone() });
    }
}

/// The message without what differs from job to job: numbers, ids and paths.
fn normalised(message: &str) -> String {
    // What the scheduler adds names workers.
    let message = message.split(" (given up after ").next().unwrap_or_default();
    let mut text = String::new();
    for word in message.chars().take(COMPARED).collect::<String>().split_whitespace() {
        let plain = word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '/');
        let is_id = plain.len() >= 8 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id || plain.contains('/') {
            text.push('#');
        } else {
            let mut in_number = false;
            for letter in word.chars() {
                let digit = letter.is_ascii_digit();
                if !(digit && in_number) {
                    text.push(if digit { '0' } else { letter });
                }
                in_number = digit;
            }
        }
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn messages_that_differ_in_numbers_ids_and_paths_are_alike() {
        let one = "job 3f2a00112233445566778899aabbccdd: cannot read /data/a/train.bin: line 17 of 203";
        let other = "job 0123456789abcdef0123456789abcdef: cannot read /mnt/b/x: line 4 of 9";
        assert_eq!(normalised(one), normalised(other));
        assert_ne!(
            normalised(one),
            normalised("job 3f2a00112233445566778899aabbccdd: cannot write /data/a: line 1 of 2")
        );
    }
}

//! What must hold all the time, and in the end.

use crate::plan::{Expected, Plan};
use plusminus_core::id::{Attempt, AttemptId, JobId};
use plusminus_core::metric::Metric;
use plusminus_core::scheduler::{Ending, JobState, Record, Scheduler};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The cluster's seed.
    pub seed: u64,
    /// When, in simulated milliseconds.
    pub at: u64,
    /// What should have held, and what was found.
    pub promise: String,
    /// The last things that happened before, a line each.
    pub before: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.before.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {}: after {} ms: {}", self.seed, self.at, self.promise)
    }
}

/// Who is training, as a worker and the number of its process, a slot and the number of its runner.
pub(crate) type Trainer = (usize, u64, usize, u64);

/// What has been promised so far.
#[derive(Default)]
pub(crate) struct Promises {
    /// Jobs that a user was told to be accepted.
    accepted: BTreeSet<JobId>,
    /// Jobs with a result, as committed.
    finished: BTreeSet<JobId>,
    /// Jobs of these that are trained again, for their weights.
    again: BTreeSet<JobId>,
    /// Rows of every attempt, as committed.
    epochs: BTreeMap<AttemptId, BTreeMap<u32, f64>>,
    /// The attempt that gave the result.
    by: BTreeMap<JobId, Attempt>,
    training: BTreeMap<JobId, Trainer>,
    /// Epochs that were trained, whatever became of them.
    pub trained: u64,
}

impl Promises {
    pub fn accept(&mut self, plan: &Plan) {
        self.accepted.extend(plan.jobs.iter().map(|planned| planned.job.id));
    }

    /// A runner begins to train.
    pub fn begins(&mut self, job: JobId, by: Trainer) -> Result<(), String> {
        match self.training.insert(job, by) {
            Some(other) if other != by => Err(format!("job {job} is trained by {by:?} while {other:?} trains it")),
            _ => Ok(()),
        }
    }

    pub fn ends(&mut self, job: JobId, by: Trainer) {
        if self.training.get(&job) == Some(&by) {
            self.training.remove(&job);
        }
    }

    /// Records are durable.
    pub fn committed(&mut self, plan: &Plan, records: &[Record]) -> Result<(), String> {
        for record in records {
            match record {
                Record::Epoch { job, attempt, epoch, measurements, .. } => {
                    let value = measurements.get(&Metric::TestAccuracy).copied().unwrap_or(f64::NAN);
                    let rows = self.epochs.entry(AttemptId::new(*job, *attempt)).or_default();
                    let next = rows.last_key_value().map_or(1, |(last, _)| last + 1);
                    // Said again after a reconnection, a report is a row that is there.
                    if *epoch > next || *epoch < next && rows.get(epoch) != Some(&value) {
                        return Err(format!(
                            "attempt {attempt} at {job} reports epoch {epoch} where {next} should come"
                        ));
                    }
                    rows.insert(*epoch, value);
                }
                Record::Ended { job, attempt, ending: Ending::Finished(facts), .. } => {
                    if !self.finished.insert(*job) && !self.again.remove(job) {
                        return Err(format!("job {job} has finished twice"));
                    }
                    self.by.insert(*job, *attempt);
                    let expected = plan.expected().remove(job);
                    if expected != Some(Expected::Finished(facts.weights.clone())) {
                        return Err(format!("job {job} has weights {}, {expected:?} was expected", facts.weights));
                    }
                }
                Record::Requeued { job, .. } => self.trained_again(std::slice::from_ref(job)),
                Record::Submitted { requeued, .. } => self.trained_again(requeued),
                _ => {}
            }
        }
        Ok(())
    }

    fn trained_again(&mut self, jobs: &[JobId]) {
        self.again.extend(jobs.iter().filter(|job| self.finished.contains(job)));
    }

    /// A coordinator has started from its disk: whatever was accepted or finished is there.
    pub fn restarted(&self, machine: &Scheduler) -> Result<(), String> {
        let lost = self.accepted.iter().find(|job| machine.state().job(**job).is_none());
        if let Some(job) = lost {
            return Err(format!("job {job} was accepted, and the coordinator does not know it after a restart"));
        }
        let unfinished = |job: &&JobId| {
            let state = machine.state().job(**job);
            state != Some(&JobState::Finished) && !self.again.contains(*job)
        };
        match self.finished.iter().find(unfinished) {
            Some(job) => Err(format!("job {job} had finished, and is {:?} after a restart", machine.state().job(*job))),
            None => Ok(()),
        }
    }

    /// Everything has come to rest: the table is that of an undisturbed sweep.
    pub fn settled(&self, plan: &Plan, machine: &Scheduler) -> Result<(), String> {
        for (job, expected) in plan.expected() {
            let state = machine.state().job(job);
            match (&expected, state) {
                (Expected::Finished(_), Some(JobState::Finished)) => {}
                (Expected::Failed(kind), Some(JobState::Failed(failure))) if failure.kind == *kind => continue,
                _ => return Err(format!("job {job} should be {expected:?} and is {state:?}")),
            }
            let Some(planned) = plan.job(job) else { continue };
            let whole: BTreeMap<u32, f64> = (1..=planned.epochs).map(|e| (e, planned.accuracy(e))).collect();
            let rows = self.by.get(&job).and_then(|attempt| self.epochs.get(&AttemptId::new(job, *attempt)));
            if rows != Some(&whole) {
                return Err(format!("job {job} should have the rows {whole:?} and has {rows:?}"));
            }
        }
        Ok(())
    }
}

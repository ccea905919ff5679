//! The promises of a cluster: what must hold at all times, and what must hold at the end.

use crate::plan::{Expected, Plan};
use crate::runner::LaneId;
use plusminus_core::id::{Attempt, AttemptId, JobId};
use plusminus_core::metric::Metric;
use plusminus_core::scheduler::{Ending, JobState, Next, Record, Scheduler};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPromise {
    /// The cluster's seed.
    pub seed: u64,
    /// The simulated time in milliseconds since the start.
    pub at: u64,
    /// What was expected and what was found.
    pub promise: String,
    /// The last events before, one per line.
    pub before: Vec<String>,
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.before.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {}: after {} ms: {}", self.seed, self.at, self.promise)
    }
}

/// The facts that later states are checked against.
#[derive(Default)]
pub(crate) struct Promises {
    /// Jobs whose submission was confirmed to a user.
    accepted: BTreeSet<JobId>,
    /// Jobs with a committed result.
    finished: BTreeSet<JobId>,
    /// Finished jobs that are trained again because their weights were lost.
    retrained: BTreeSet<JobId>,
    /// The committed epochs of every attempt, with their test accuracy.
    epochs: BTreeMap<AttemptId, BTreeMap<u32, f64>>,
    /// The attempt that finished each job.
    finished_by: BTreeMap<JobId, Attempt>,
    training: BTreeMap<JobId, LaneId>,
    /// The number of trained epochs, including lost ones.
    pub trained: u64,
}

impl Promises {
    pub fn accept(&mut self, plan: &Plan) {
        self.accepted.extend(plan.jobs.iter().map(|planned| planned.job.id));
    }

    /// Records that a lane starts training. Errs if another lane trains the same job.
    pub fn training_started(&mut self, job: JobId, by: LaneId) -> Result<(), String> {
        match self.training.insert(job, by) {
            Some(other) if other != by => {
                Err(format!("job {job} is trained by {by:?} and by {other:?} at the same time"))
            }
            _ => Ok(()),
        }
    }

    pub fn training_stopped(&mut self, job: JobId, by: LaneId) {
        if self.training.get(&job) == Some(&by) {
            self.training.remove(&job);
        }
    }

    /// Checks records that have become durable.
    pub fn committed(&mut self, plan: &Plan, records: &[Record]) -> Result<(), String> {
        for record in records {
            match record {
                Record::Epoch { attempt: AttemptId { job, attempt }, epoch, measurements, .. } => {
                    let value = measurements.get(&Metric::TestAccuracy).copied().unwrap_or(f64::NAN);
                    let rows = self.epochs.entry(AttemptId::new(*job, *attempt)).or_default();
                    let next = rows.last_key_value().map_or(1, |(last, _)| last + 1);
                    // A report that is repeated after a reconnection matches an existing row.
                    if *epoch > next || *epoch < next && rows.get(epoch) != Some(&value) {
                        return Err(format!(
                            "expected attempt {attempt} of job {job} to report epoch {next}, found {epoch}"
                        ));
                    }
                    rows.insert(*epoch, value);
                }
                Record::Ended { attempt: AttemptId { job, attempt }, ending: Ending::Finished(facts), .. } => {
                    if !self.finished.insert(*job) && !self.retrained.remove(job) {
                        return Err(format!("job {job} has finished twice"));
                    }
                    self.finished_by.insert(*job, *attempt);
                    let expected = plan.expected().remove(job);
                    if expected != Some(Expected::Finished(facts.weights.clone())) {
                        return Err(format!("expected job {job} to be {expected:?}, found weights {}", facts.weights));
                    }
                }
                Record::Requeued { job, .. } => self.trained_again(std::slice::from_ref(job)),
                Record::Submitted { requeued, .. } => self.trained_again(requeued),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that no job is given up for machines. A sound worker lives.
    pub fn check_blame(records: &[Record]) -> Result<(), String> {
        let given_up = records.iter().find_map(|record| match record {
            Record::Ended { attempt, ending: Ending::Failed(failure), next: Next::GiveUp, .. } => {
                failure.kind.is_transient().then_some((attempt.job, failure))
            }
            _ => None,
        });
        match given_up {
            Some((job, failure)) => Err(format!("expected a sound worker to finish job {job}, found {failure}")),
            None => Ok(()),
        }
    }

    fn trained_again(&mut self, jobs: &[JobId]) {
        self.retrained.extend(jobs.iter().filter(|job| self.finished.contains(job)));
    }

    /// Checks that a restarted coordinator has every accepted and every finished job.
    pub fn restarted(&self, machine: &Scheduler) -> Result<(), String> {
        let lost = self.accepted.iter().find(|job| machine.state().job(**job).is_none());
        if let Some(job) = lost {
            return Err(format!("job {job} was accepted and is missing after a restart"));
        }
        let unfinished = |job: &&JobId| {
            let state = machine.state().job(**job);
            state != Some(&JobState::Finished) && !self.retrained.contains(*job)
        };
        match self.finished.iter().find(unfinished) {
            Some(job) => Err(format!("job {job} had finished and is {:?} after a restart", machine.state().job(*job))),
            None => Ok(()),
        }
    }

    /// Checks at the end that every job has its outcome and its epochs of a sweep without faults.
    pub fn check_outcomes(&self, plan: &Plan, machine: &Scheduler) -> Result<(), String> {
        for (job, expected) in plan.expected() {
            let state = machine.state().job(job);
            match (&expected, state) {
                (Expected::Finished(_), Some(JobState::Finished)) => {}
                (Expected::Failed(kind), Some(JobState::Failed(failure))) if failure.kind == *kind => continue,
                _ => return Err(format!("expected job {job} to be {expected:?}, found {state:?}")),
            }
            let Some(planned) = plan.job(job) else { continue };
            let whole: BTreeMap<u32, f64> = (1..=planned.epochs).map(|e| (e, planned.accuracy(e))).collect();
            let rows = self.finished_by.get(&job).and_then(|attempt| self.epochs.get(&AttemptId::new(job, *attempt)));
            if rows != Some(&whole) {
                return Err(format!("expected job {job} to have the epochs {whole:?}, found {rows:?}"));
            }
        }
        Ok(())
    }
}

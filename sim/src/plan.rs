//! The sweep of a cluster, and each job's result without faults.

use crate::rng::Rng;
use plusminus_core::id::{CellId, Digest, JobId, SweepName};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::scheduler::{NewCell, NewJob, Origin, Submission};
use std::collections::{BTreeMap, BTreeSet};

/// A job of the sweep.
#[derive(Clone, Debug)]
pub(crate) struct PlannedJob {
    pub job: NewJob,
    pub epochs: u32,
    /// The duration of an epoch in milliseconds.
    pub epoch_duration: u64,
    /// The failure of the job, if it fails without faults, and the epoch in which it fails.
    pub fails: Option<(FailureKind, u32)>,
}

/// The sweep.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub jobs: Vec<PlannedJob>,
}

/// The required outcome of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A result with these final weights.
    Finished(String),
    Failed(FailureKind),
}

impl Plan {
    /// A random sweep. Jobs have parents only `with_parents`: a real store would read them from configurations, which these jobs do not have.
    /// `longest` is the longest epoch in milliseconds.
    pub fn generate(rng: &mut Rng, with_parents: bool, longest: u64) -> Self {
        let count = rng.between(2, 9);
        let mut jobs: Vec<PlannedJob> = Vec::new();
        for seed in 0..count {
            let older: Vec<JobId> = jobs.iter().map(|planned| planned.job.id).collect();
            let parent = if with_parents && rng.one_in(3) { rng.choose(&older) } else { None };
            let at = if rng.one_in(2) { EpochSelection::Final } else { EpochSelection::Best };
            let epochs = rng.between(1, 6) as u32;
            let fails = rng.one_in(8).then(|| {
                let kind = if rng.one_in(2) { FailureKind::UserError } else { FailureKind::Diverged };
                (kind, rng.between(1, u64::from(epochs)) as u32)
            });
            let origin = parent.map(|job| Origin { job, at });
            jobs.push(PlannedJob {
                job: NewJob { id: job_id(seed), cell: cell_id(seed), seed, origin },
                epochs,
                epoch_duration: if longest > 6_000 { rng.between(6_000, longest) } else { rng.delay(1_500, longest) },
                fails,
            });
        }
        Plan { jobs }
    }

    pub fn sweep() -> SweepName {
        "simulated".parse().unwrap_or_else(|_| unreachable!("it is a name"))
    }

    pub fn submission(&self) -> Submission {
        Submission {
            name: Plan::sweep(),
            source: "".into(),
            cells: self.jobs.iter().map(PlannedJob::cell).collect(),
            jobs: self.jobs.iter().map(|planned| planned.job).collect(),
        }
    }

    pub fn job(&self, id: JobId) -> Option<&PlannedJob> {
        self.jobs.iter().find(|planned| planned.job.id == id)
    }

    /// The number of epochs that are trained without faults.
    pub fn epochs(&self) -> u64 {
        let of = |planned: &PlannedJob, expected: &Expected| match (expected, planned.fails) {
            (Expected::Finished(_), _) => planned.epochs,
            (Expected::Failed(kind), Some((own, epoch))) if *kind == own && !self.has_failed_parent(planned) => epoch,
            (Expected::Failed(_), _) => 0,
        };
        let expected = self.expected();
        let all = self.jobs.iter().filter_map(|planned| Some(of(planned, expected.get(&planned.job.id)?)));
        all.map(u64::from).sum()
    }

    /// Whether the parent job fails.
    fn has_failed_parent(&self, planned: &PlannedJob) -> bool {
        let origin = planned.job.origin.and_then(|origin| self.expected().remove(&origin.job));
        matches!(origin, Some(Expected::Failed(_)))
    }

    /// The required outcome of every job.
    pub fn expected(&self) -> BTreeMap<JobId, Expected> {
        let mut all = BTreeMap::new();
        for planned in &self.jobs {
            let of_parent = planned.job.origin.and_then(|origin| all.get(&origin.job).cloned());
            let own = match planned.fails {
                Some((kind, _)) => Expected::Failed(kind),
                None => Expected::Finished(planned.weights(EpochSelection::Final).to_string()),
            };
            let inherited = match of_parent {
                Some(Expected::Failed(FailureKind::Diverged)) => Expected::Failed(FailureKind::Diverged),
                Some(Expected::Failed(_)) => Expected::Failed(FailureKind::UserError),
                _ => own,
            };
            all.insert(planned.job.id, inherited);
        }
        all
    }
}

impl PlannedJob {
    /// The cell, of which the coordinator reads only the number of epochs.
    fn cell(&self) -> NewCell {
        NewCell { id: self.job.cell, configuration: format!(r#"{{"epochs":{}}}"#, self.epochs).into() }
    }

    /// The weights that the job keeps for an epoch selection.
    pub fn weights(&self, at: EpochSelection) -> Digest {
        Digest::of(format!("{} {at}", self.job.id).as_bytes())
    }

    /// The test accuracy after an epoch. The best epoch may be the first, the last or any other.
    pub fn accuracy(&self, epoch: u32) -> f64 {
        let varying = (u64::from(epoch) * 7 + self.job.seed * 3) % 11;
        varying as f64 / 100.0 + f64::from(epoch) / 1000.0
    }

    /// The test accuracy after the last epoch.
    pub fn final_accuracy(&self) -> f64 {
        self.accuracy(self.epochs)
    }

    /// The best test accuracy of all epochs.
    pub fn best_accuracy(&self) -> f64 {
        (1..=self.epochs).map(|epoch| self.accuracy(epoch)).fold(f64::NEG_INFINITY, f64::max)
    }

    pub fn measurements(&self, epoch: u32) -> Measurements {
        Measurements::from([(Metric::TestAccuracy, self.accuracy(epoch))])
    }

    /// The facts of the result if the weights of these selections are kept.
    pub fn facts(&self, keeps: &BTreeSet<EpochSelection>) -> Facts {
        Facts {
            parameters: 1,
            samples: Samples { train: 1, validation: 0, test: 1 },
            noise_rate: 0.0,
            transition: TransitionMatrix::identity(2),
            data: Digest::of(b"data").to_string(),
            engine: "simulated".to_owned(),
            weights: self.weights(EpochSelection::Final).to_string(),
            start: None,
            kept: keeps.iter().map(|at| (*at, self.weights(*at))).collect(),
        }
    }

    /// The failure of the job in this epoch, if it fails then.
    pub fn fails_in(&self, epoch: u32) -> Option<Failure> {
        let (kind, when) = self.fails?;
        (when == epoch).then(|| Failure::new(kind, format!("planned failure in epoch {epoch}")))
    }
}

fn cell_id(seed: u64) -> CellId {
    format!("{:032x}", 0xce11 + (seed << 16)).parse().unwrap_or_else(|_| unreachable!("it is an id"))
}

fn job_id(seed: u64) -> JobId {
    format!("{:032x}", 0xabc0 + seed).parse().unwrap_or_else(|_| unreachable!("it is an id"))
}

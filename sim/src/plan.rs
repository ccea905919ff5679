//! The sweep of a cluster, and what each of its jobs gives where nothing disturbs it.

use crate::chance::Chance;
use plusminus_core::id::{CellId, Digest, JobId, SweepName};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{EpochSelection, Measurements, Metric};
use plusminus_core::outcome::{Facts, Failure, FailureKind, Samples};
use plusminus_core::scheduler::{NewCell, NewJob, Origin, Submission};
use std::collections::{BTreeMap, BTreeSet};

/// A job of the sweep.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub job: NewJob,
    pub epochs: u32,
    /// How long an epoch takes, in milliseconds.
    pub pace: u64,
    /// How it ends instead of with a result, and in which epoch.
    pub fails: Option<(FailureKind, u32)>,
}

/// The sweep.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub jobs: Vec<Planned>,
}

/// What must become of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A result, with these final weights.
    Finished(String),
    Failed(FailureKind),
}

impl Plan {
    /// A sweep, of which jobs may build on others: a store would have to read that from their configurations.
    pub fn draw(chance: &mut Chance, families: bool) -> Self {
        let count = chance.between(2, 9);
        let mut jobs: Vec<Planned> = Vec::new();
        for seed in 0..count {
            let older: Vec<JobId> = jobs.iter().map(|planned| planned.job.id).collect();
            let parent = if families && chance.one_in(3) { chance.of(&older) } else { None };
            let at = if chance.one_in(2) { EpochSelection::Final } else { EpochSelection::Best };
            let epochs = chance.between(1, 6) as u32;
            let fails = chance.one_in(8).then(|| {
                let kind = if chance.one_in(2) { FailureKind::UserError } else { FailureKind::Diverged };
                (kind, chance.between(1, u64::from(epochs)) as u32)
            });
            let origin = parent.map(|job| Origin { job, at });
            jobs.push(Planned {
                job: NewJob { id: job_id(seed), cell: cell(), seed, origin },
                epochs,
                pace: chance.delay(1_500, 6_000),
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
            cells: vec![NewCell { id: cell(), configuration: "{}".into() }],
            jobs: self.jobs.iter().map(|planned| planned.job).collect(),
        }
    }

    pub fn job(&self, id: JobId) -> Option<&Planned> {
        self.jobs.iter().find(|planned| planned.job.id == id)
    }

    /// Epochs that are trained where nothing disturbs it.
    pub fn epochs(&self) -> u64 {
        let of = |planned: &Planned, expected: &Expected| match (expected, planned.fails) {
            (Expected::Finished(_), _) => planned.epochs,
            (Expected::Failed(kind), Some((own, epoch))) if *kind == own && !self.is_stranded(planned) => epoch,
            (Expected::Failed(_), _) => 0,
        };
        let expected = self.expected();
        let all = self.jobs.iter().filter_map(|planned| Some(of(planned, expected.get(&planned.job.id)?)));
        all.map(u64::from).sum()
    }

    /// Whether what the job builds on fails.
    fn is_stranded(&self, planned: &Planned) -> bool {
        let origin = planned.job.origin.and_then(|origin| self.expected().remove(&origin.job));
        matches!(origin, Some(Expected::Failed(_)))
    }

    /// What must become of every job.
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

impl Planned {
    /// The weights that it leaves at a selection.
    pub fn weights(&self, at: EpochSelection) -> Digest {
        Digest::of(format!("{} {at}", self.job.id).as_bytes())
    }

    /// Best in the midst of the training, or at its end, or at its beginning.
    pub fn accuracy(&self, epoch: u32) -> f64 {
        let wanders = (u64::from(epoch) * 7 + self.job.seed * 3) % 11;
        wanders as f64 / 100.0 + f64::from(epoch) / 1000.0
    }

    /// That of its last epoch.
    pub fn last(&self) -> f64 {
        self.accuracy(self.epochs)
    }

    /// The best of all its epochs.
    pub fn best(&self) -> f64 {
        (1..=self.epochs).map(|epoch| self.accuracy(epoch)).fold(f64::NEG_INFINITY, f64::max)
    }

    pub fn measurements(&self, epoch: u32) -> Measurements {
        Measurements::from([(Metric::TestAccuracy, self.accuracy(epoch))])
    }

    /// The facts of its result, where these weights are to be left.
    pub fn facts(&self, keeps: &BTreeSet<EpochSelection>) -> Facts {
        Facts {
            parameters: 1,
            samples: Samples { train: 1, validation: 0, test: 1 },
            noise_rate: 0.0,
            transition: TransitionMatrix::identity(2),
            data: String::new(),
            engine: "simulated".to_owned(),
            weights: self.weights(EpochSelection::Final).to_string(),
            start: None,
            kept: keeps.iter().map(|at| (*at, self.weights(*at))).collect(),
        }
    }

    /// How it ends after this epoch, if it does not go on.
    pub fn fails_in(&self, epoch: u32) -> Option<Failure> {
        let (kind, when) = self.fails?;
        (when == epoch).then(|| Failure::new(kind, format!("in epoch {epoch}, as ever")))
    }
}

fn cell() -> CellId {
    "c".repeat(32).parse().unwrap_or_else(|_| unreachable!("it is an id"))
}

fn job_id(seed: u64) -> JobId {
    format!("{:032x}", 0xabc0 + seed).parse().unwrap_or_else(|_| unreachable!("it is an id"))
}

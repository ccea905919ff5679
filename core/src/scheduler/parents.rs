//! Which job starts from which parent's weights, which weights children want, and which weights parents saved.

use super::record::Origin;
use crate::id::{Digest, JobId};
use crate::metric::EpochSelection;
use std::collections::{BTreeMap, BTreeSet};

/// A job with children.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parent {
    children: BTreeSet<JobId>,
    /// The weights that children want.
    wanted: BTreeSet<EpochSelection>,
    /// The weights that were wanted when the last attempt was assigned.
    requested: BTreeSet<EpochSelection>,
    /// The weights that the job saved.
    kept: BTreeMap<EpochSelection, Digest>,
}

/// The parent-child relation of all jobs. Jobs may be added in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parents {
    origins: BTreeMap<JobId, Origin>,
    parents: BTreeMap<JobId, Parent>,
}

impl Parents {
    /// Adds that `job` starts from `origin`.
    pub fn link(&mut self, job: JobId, origin: Origin) {
        self.origins.insert(job, origin);
        let parent = self.parents.entry(origin.job).or_default();
        parent.children.insert(job);
        parent.wanted.insert(origin.at);
    }

    /// Notes that an attempt at `job` is assigned: it is asked for the weights that are wanted now.
    pub fn request_weights(&mut self, job: JobId) {
        if let Some(parent) = self.parents.get_mut(&job) {
            parent.requested = parent.wanted.clone();
        }
    }

    /// Notes which weights `job` saved.
    pub fn set_kept(&mut self, job: JobId, kept: &BTreeMap<EpochSelection, Digest>) {
        if let Some(parent) = self.parents.get_mut(&job) {
            parent.kept = kept.clone();
        }
    }

    /// Forgets the weights that `job` saved and was asked for, because it is retrained.
    pub fn forget_weights(&mut self, job: JobId) {
        if let Some(parent) = self.parents.get_mut(&job) {
            parent.requested.clear();
            parent.kept.clear();
        }
    }

    /// The weights that `job` starts from.
    pub fn origin(&self, job: JobId) -> Option<Origin> {
        self.origins.get(&job).copied()
    }

    /// The jobs that start from weights of `job`.
    pub fn children(&self, job: JobId) -> impl Iterator<Item = JobId> + '_ {
        self.parents.get(&job).into_iter().flat_map(|parent| &parent.children).copied()
    }

    /// The weights of `job` that its children want.
    pub fn wanted(&self, job: JobId) -> &BTreeSet<EpochSelection> {
        const NONE: &BTreeSet<EpochSelection> = &BTreeSet::new();
        self.parents.get(&job).map_or(NONE, |parent| &parent.wanted)
    }

    /// Whether the parent's last attempt was asked to save these weights.
    pub fn was_requested(&self, origin: Origin) -> bool {
        self.parents.get(&origin.job).is_some_and(|parent| parent.requested.contains(&origin.at))
    }

    /// The file with these weights, if the parent saved them.
    pub fn file(&self, origin: Origin) -> Option<Digest> {
        self.parents.get(&origin.job)?.kept.get(&origin.at).copied()
    }

    /// Whether `job` saved the file with this digest.
    pub fn is_kept(&self, job: JobId, file: Digest) -> bool {
        self.parents.get(&job).is_some_and(|parent| parent.kept.values().any(|kept| *kept == file))
    }
}

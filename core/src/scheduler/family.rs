//! Jobs that build on others: who on whom, which weights are wanted of a job, and which it has left.

use super::record::Origin;
use crate::id::{Digest, JobId};
use crate::metric::EpochSelection;
use std::collections::{BTreeMap, BTreeSet};

/// A job that others build on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Family {
    children: BTreeSet<JobId>,
    /// The weights that the children want.
    wanted: BTreeSet<EpochSelection>,
    /// Of these, those that were wanted when its last attempt began.
    asked: BTreeSet<EpochSelection>,
    /// The weights that it has left.
    kept: BTreeMap<EpochSelection, Digest>,
}

/// The parents and children among all jobs, in whichever order they become known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Families {
    origins: BTreeMap<JobId, Origin>,
    families: BTreeMap<JobId, Family>,
}

impl Families {
    /// Takes in that `job` builds on `origin`.
    pub fn link(&mut self, job: JobId, origin: Origin) {
        self.origins.insert(job, origin);
        let family = self.families.entry(origin.job).or_default();
        family.children.insert(job);
        family.wanted.insert(origin.at);
    }

    /// Takes in that an attempt at `job` begins, which is told what is wanted by now.
    pub fn assigned(&mut self, job: JobId) {
        if let Some(family) = self.families.get_mut(&job) {
            family.asked = family.wanted.clone();
        }
    }

    /// Takes in which weights `job` has left.
    pub fn kept(&mut self, job: JobId, kept: &BTreeMap<EpochSelection, Digest>) {
        if let Some(family) = self.families.get_mut(&job) {
            family.kept = kept.clone();
        }
    }

    /// Takes in that `job` is to be trained again: what it has left does not count any more.
    pub fn forget(&mut self, job: JobId) {
        if let Some(family) = self.families.get_mut(&job) {
            family.asked.clear();
            family.kept.clear();
        }
    }

    /// What `job` builds on.
    pub fn origin(&self, job: JobId) -> Option<Origin> {
        self.origins.get(&job).copied()
    }

    /// The jobs that build on `job`.
    pub fn children(&self, job: JobId) -> impl Iterator<Item = JobId> + '_ {
        self.families.get(&job).into_iter().flat_map(|family| &family.children).copied()
    }

    /// The weights that are wanted of `job`.
    pub fn wanted(&self, job: JobId) -> BTreeSet<EpochSelection> {
        self.families.get(&job).map(|family| family.wanted.clone()).unwrap_or_default()
    }

    /// Whether `job` was asked for these weights when its last attempt began.
    pub fn was_asked(&self, origin: Origin) -> bool {
        self.families.get(&origin.job).is_some_and(|family| family.asked.contains(&origin.at))
    }

    /// The file of these weights, if the job has left it.
    pub fn file(&self, origin: Origin) -> Option<Digest> {
        self.families.get(&origin.job)?.kept.get(&origin.at).copied()
    }

    /// Whether `file` is one that `job` has left.
    pub fn is_kept(&self, job: JobId, file: Digest) -> bool {
        self.families.get(&job).is_some_and(|family| family.kept.values().any(|kept| *kept == file))
    }
}

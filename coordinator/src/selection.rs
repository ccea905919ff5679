//! Sweeps that choose hyper-parameters: which of their jobs are to be trained follows from the results so far.
//!
//! A submission has what can be decided when it comes. Whenever a candidate's job has ended for good, and once after a restart, the
//! winners are read from what is committed, and where one lacks its jobs the sweep goes on with them.

use crate::answer::as_submitted;
use crate::store::{Reader, StoreError};
use plusminus_core::id::{CellId, JobId, SweepName};
use plusminus_core::job::Job;
use plusminus_core::metric::EpochSelection;
use plusminus_core::scheduler::{JobState, NewCell, NewJob, Next, Origin, Record, Scheduler, Submission};
use plusminus_core::sweep_file::{Cell, Decision, Sweep, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// A sweep that a user submits.
pub(crate) struct Submitted {
    /// With the jobs that are to be trained whatever comes of them.
    pub submission: Submission,
    /// The sweep, where it chooses.
    choosing: Option<Sweep>,
}

impl Submitted {
    /// The sweep of the file `source`.
    pub fn new(sweep: Sweep, source: Arc<str>) -> Self {
        let submission = submission(&sweep, source, &[]);
        Submitted { submission, choosing: Some(sweep).filter(|sweep| sweep.select.is_some()) }
    }
}

/// The jobs that a sweep has where this is decided.
fn submission(sweep: &Sweep, source: Arc<str>, decisions: &[Decision]) -> Submission {
    let cell = |cell: &Cell| NewCell { id: cell.id, configuration: cell.configuration.canonical().into() };
    let trained = sweep.trained();
    // A cell's parent has one id under each seed, so its hash is had once.
    let origins: BTreeMap<CellId, (CellId, EpochSelection)> =
        trained.iter().filter_map(|cell| Some((cell.id, cell.configuration.origin()?))).collect();
    let jobs = sweep.jobs_given(decisions).map(|job| {
        let origin = origins.get(&job.cell).map(|(parent, at)| Origin { job: Job::id_of(*parent, job.seed), at: *at });
        NewJob { id: job.id(), cell: job.cell, seed: job.seed, origin }
    });
    Submission {
        source,
        cells: trained.into_iter().map(cell).collect(),
        jobs: jobs.collect(),
        name: sweep.name.clone(),
    }
}

/// The sweeps that choose, and what is decided in each.
pub(crate) struct Selections {
    reader: Arc<Mutex<Reader>>,
    /// The one sweep that is trained, if it is not all.
    only: Option<SweepName>,
    sweeps: BTreeMap<SweepName, Choosing>,
    /// Where something may have been decided since it was last looked at.
    due: BTreeSet<SweepName>,
}

/// What is being read of a sweep in which something is to be decided.
pub(crate) struct Reading {
    pub of: News,
    /// The metric that it chooses by, of each job that has it.
    pub values: JoinHandle<Result<BTreeMap<JobId, f64>, StoreError>>,
}

/// Of a sweep, the groups in which something may be decided.
pub(crate) struct News {
    sweep: SweepName,
    groups: Vec<bool>,
}

struct Choosing {
    sweep: Sweep,
    source: Arc<str>,
    /// The jobs that its decisions hang on.
    candidates: BTreeMap<(CellId, u64), JobId>,
    ids: BTreeSet<JobId>,
    groups: Vec<Group>,
}

/// What has come of a group.
#[derive(Clone, Copy)]
struct Group {
    /// As last decided. A candidate that is trained again takes nothing from the winner until it has ended.
    decision: Decision,
    /// Whether that is by how its jobs stand now.
    stands: bool,
}

impl Group {
    const NEW: Group = Group { decision: Decision::Open, stands: false };

    /// Whether there is something to decide, where the group would be decided like this if every finished job were as good.
    fn has_news(&mut self, ended: Decision) -> bool {
        self.stands &= ended != Decision::Open;
        ended != Decision::Open && !self.stands
    }
}

impl Choosing {
    fn new(sweep: Sweep, source: Arc<str>) -> Self {
        let groups = sweep.select.iter().flat_map(|select| &select.groups).map(|_| Group::NEW).collect();
        let seeds = sweep.select.as_ref().map_or(0, |select| select.seeds);
        let contests = sweep.select.iter().flat_map(|select| &select.groups).filter(|group| group.len() > 1);
        let cells = contests.flatten().map(|cell| sweep.cells[*cell].id);
        let jobs = cells.flat_map(|cell| sweep.seeds.iter().take(seeds).map(move |seed| (cell, *seed)));
        let candidates: BTreeMap<_, _> = jobs.map(|(cell, seed)| ((cell, seed), Job::id_of(cell, seed))).collect();
        let ids = candidates.values().copied().collect();
        Choosing { sweep, source, candidates, ids, groups }
    }

    /// What was decided last.
    fn decided(&self) -> Vec<Decision> {
        self.groups.iter().map(|group| group.decision).collect()
    }

    /// Takes over what was decided of groups that are the same in `before`: what runs of their winners goes on.
    fn inherit(&mut self, before: &Choosing) {
        let rule = |choosing: &Choosing| {
            let Sweep { select, seeds, .. } = &choosing.sweep;
            select.as_ref().map(|select| (select.by, select.at, seeds[..select.seeds].to_vec()))
        };
        if rule(self) != rule(before) {
            return;
        }
        let groups = |choosing: &Choosing| -> Vec<Vec<CellId>> {
            let groups = choosing.sweep.select.iter().flat_map(|select| &select.groups);
            groups.map(|group| group.iter().map(|cell| choosing.sweep.cells[*cell].id).collect()).collect()
        };
        let known: BTreeMap<_, _> = groups(before).into_iter().zip(&before.groups).collect();
        for (candidates, group) in groups(self).iter().zip(&mut self.groups) {
            let Some(Group { decision, stands }) = known.get(candidates) else { continue };
            let decision = match decision {
                Decision::Won(winner) => {
                    let winner = before.sweep.cells[*winner].id;
                    let place = self.sweep.cells.iter().position(|cell| cell.id == winner);
                    place.map_or(Decision::Open, Decision::Won)
                }
                other => *other,
            };
            *group = Group { decision, stands: *stands };
        }
    }

    /// What is decided, where a finished job has the value that `value` gives.
    fn decisions(&self, machine: &Scheduler, value: impl Fn(&JobId) -> Option<f64>) -> Vec<Decision> {
        self.sweep.decisions(|cell, seed| {
            let Some(job) = self.candidates.get(&(cell, seed)) else { return Trial::Unsettled };
            match machine.state().job(*job) {
                Some(JobState::Finished) => value(job).map_or(Trial::Failed, Trial::Value),
                Some(JobState::Failed(_)) => Trial::Failed,
                // What nobody wants was called off with the sweep, and nothing is decided for that.
                Some(JobState::Queued { .. } | JobState::Running { .. } | JobState::Dropped) | None => Trial::Unsettled,
            }
        })
    }
}

impl Selections {
    /// Those of `machine` that are not cancelled, or the one that is trained at all.
    pub fn of(machine: &Scheduler, only: Option<SweepName>, reader: Reader) -> Self {
        let reader = Arc::new(Mutex::new(reader));
        let mut selections = Selections { reader, only, sweeps: BTreeMap::new(), due: BTreeSet::new() };
        for view in machine.sweeps().into_iter().filter(|view| !view.cancelled) {
            // Most do not choose, and to read a file takes a while.
            if !selections.is_trained(&view.name) || !view.source.contains("select") {
                continue;
            }
            match as_submitted(&view.source, view.name.as_str()) {
                Ok(sweep) if sweep.select.is_some() => selections.put(Choosing::new(sweep, view.source)),
                Ok(_) => {}
                Err(error) => warn!(sweep = %view.name, "{error}"),
            }
        }
        selections
    }

    fn is_trained(&self, name: &SweepName) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    fn put(&mut self, choosing: Choosing) {
        let name = choosing.sweep.name.clone();
        self.due.insert(name.clone());
        self.sweeps.insert(name, choosing);
    }

    /// Takes in what a user submits, and adds the jobs of winners that are known.
    pub fn submitted(&mut self, submitted: Submitted) -> Submission {
        let Submitted { submission: undecided, choosing } = submitted;
        // Which the machine refuses.
        if !self.is_trained(&undecided.name) {
            return undecided;
        }
        let before = self.sweeps.remove(&undecided.name);
        let Some(sweep) = choosing else { return undecided };
        let mut choosing = Choosing::new(sweep, Arc::clone(&undecided.source));
        let decided = match before {
            None => undecided,
            Some(before) => {
                choosing.inherit(&before);
                submission(&choosing.sweep, undecided.source, &choosing.decided())
            }
        };
        self.put(choosing);
        decided
    }

    /// Takes in a record that is about to be committed.
    pub fn note(&mut self, record: &Record) {
        let ended: &[JobId] = match record {
            Record::Ended { job, next: Next::Done | Next::GiveUp, .. } => std::slice::from_ref(job),
            Record::Stranded { jobs, .. } => jobs,
            Record::Submitted { requeued, .. } => requeued,
            // Nothing is decided until it has ended, and then anew.
            Record::Requeued { job, .. } => std::slice::from_ref(job),
            Record::Cancelled { name, .. } => {
                self.sweeps.remove(name);
                return;
            }
            _ => return,
        };
        let concerned = self.sweeps.iter().filter(|(_, choosing)| ended.iter().any(|job| choosing.ids.contains(job)));
        self.due.extend(concerned.map(|(name, _)| name.clone()));
    }

    /// The next sweep in which something is to be decided by what is committed, if there is one: it is being read. It stays due until it is
    /// decided.
    pub fn due(&mut self, machine: &Scheduler) -> Option<Reading> {
        while let Some(name) = self.due.first().cloned() {
            let Some(choosing) = self.sweeps.get_mut(&name) else {
                self.due.remove(&name);
                continue;
            };
            // Which groups have ended is known without the store.
            let ended = choosing.decisions(machine, |_| Some(0.0));
            let groups = choosing.groups.iter_mut().zip(ended);
            let news: Vec<bool> = groups.map(|(group, ended)| group.has_news(ended)).collect();
            let Some(select) = choosing.sweep.select.as_ref().filter(|_| news.contains(&true)) else {
                self.due.remove(&name);
                continue;
            };
            let (reader, sweep, by, at) = (Arc::clone(&self.reader), name.clone(), select.by, select.at);
            let read = move || reader.lock().unwrap_or_else(PoisonError::into_inner).values(&sweep, by, at);
            return Some(Reading { of: News { sweep: name, groups: news }, values: tokio::task::spawn_blocking(read) });
        }
        None
    }

    /// Decides by what was read of a sweep: all the jobs that it is to have, if it lacks any of its winners'.
    pub fn decide(&mut self, machine: &Scheduler, of: News, values: &BTreeMap<JobId, f64>) -> Option<Submission> {
        let News { sweep: name, groups: news } = of;
        self.due.remove(&name);
        let choosing = self.sweeps.get_mut(&name)?;
        let decided = choosing.decisions(machine, |job| values.get(job).copied());
        for ((group, decision), _) in choosing.groups.iter_mut().zip(decided).zip(news).filter(|(_, news)| *news) {
            *group = Group { decision, stands: true };
        }
        let wanted = submission(&choosing.sweep, Arc::clone(&choosing.source), &choosing.decided());
        let listed: BTreeSet<JobId> = machine.jobs_of(&name).map(|job| job.id).collect();
        let lacking = wanted.jobs.iter().filter(|job| !listed.contains(&job.id)).count();
        if lacking == 0 {
            return None;
        }
        info!(sweep = %name, jobs = lacking, "winners are known: their other seeds are trained");
        Some(wanted)
    }
}

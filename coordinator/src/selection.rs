//! Hyper-parameter selection: which further jobs a sweep gets follows from the results of its candidates.
//!
//! A submission contains the jobs that are decided at that time. Whenever a candidate's job ends for good, and once after a restart, the
//! winners are computed from committed results. If a winner lacks jobs, the sweep is extended by them.

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
pub(crate) struct SubmittedSweep {
    /// The jobs that are trained whatever the selection gives.
    pub submission: Submission,
    /// The sweep, if it selects hyper-parameters.
    selecting: Option<Sweep>,
}

impl SubmittedSweep {
    /// The sweep of the sweep file `source`.
    pub fn new(sweep: Sweep, source: Arc<str>) -> Self {
        let submission = submission(&sweep, source, &[]);
        SubmittedSweep { submission, selecting: Some(sweep).filter(|sweep| sweep.select.is_some()) }
    }
}

/// The jobs of a sweep, given these decisions.
fn submission(sweep: &Sweep, source: Arc<str>, decisions: &[Decision]) -> Submission {
    let cell = |cell: &Cell| NewCell { id: cell.id, configuration: cell.configuration.canonical().into() };
    let trained = sweep.trained();
    // The cell of a parent is hashed once for all seeds.
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

/// The sweeps that select hyper-parameters, with the decisions of each.
pub(crate) struct Selections {
    reader: Arc<Mutex<Reader>>,
    /// The only sweep that the coordinator runs, if it does not run all.
    only: Option<SweepName>,
    sweeps: BTreeMap<SweepName, SelectingSweep>,
    /// Sweeps whose decisions may have changed.
    due: BTreeSet<SweepName>,
}

/// The results that a sweep needs for a decision, while they are read.
pub(crate) struct ReadingResults {
    pub undecided: UndecidedGroups,
    /// The selection metric of each job that has it.
    pub values: JoinHandle<Result<BTreeMap<JobId, f64>, StoreError>>,
}

/// The groups of a sweep that can be decided.
pub(crate) struct UndecidedGroups {
    sweep: SweepName,
    /// One flag for each group of the sweep.
    groups: Vec<bool>,
}

/// A sweep with hyper-parameter selection.
struct SelectingSweep {
    sweep: Sweep,
    source: Arc<str>,
    /// The jobs that the decisions depend on, by cell and seed.
    candidates: BTreeMap<(CellId, u64), JobId>,
    /// The ids of the candidates.
    ids: BTreeSet<JobId>,
    groups: Vec<Group>,
}

/// The decision of a group of candidates.
#[derive(Clone, Copy)]
struct Group {
    /// The last decision. It stays while a candidate is retrained.
    decision: Decision,
    /// Whether the decision follows from the current state of the jobs.
    current: bool,
}

impl Group {
    const NEW: Group = Group { decision: Decision::Open, current: false };

    /// Whether the group can be decided and is not. `trial` is the decision if every finished job had the same result.
    fn is_due(&mut self, trial: Decision) -> bool {
        self.current &= trial != Decision::Open;
        trial != Decision::Open && !self.current
    }
}

impl SelectingSweep {
    fn new(sweep: Sweep, source: Arc<str>) -> Self {
        let groups = sweep.select.iter().flat_map(|select| &select.groups).map(|_| Group::NEW).collect();
        let seeds = sweep.select.as_ref().map_or(0, |select| select.seeds);
        let contests = sweep.select.iter().flat_map(|select| &select.groups).filter(|group| group.len() > 1);
        let cells = contests.flatten().map(|cell| sweep.cells[*cell].id);
        let jobs = cells.flat_map(|cell| sweep.seeds.iter().take(seeds).map(move |seed| (cell, *seed)));
        let candidates: BTreeMap<_, _> = jobs.map(|(cell, seed)| ((cell, seed), Job::id_of(cell, seed))).collect();
        let ids = candidates.values().copied().collect();
        SelectingSweep { sweep, source, candidates, ids, groups }
    }

    /// The last decision of each group.
    fn decided(&self) -> Vec<Decision> {
        self.groups.iter().map(|group| group.decision).collect()
    }

    /// Takes over the decisions of the groups that are the same in `before`, so that jobs of their winners continue.
    fn inherit(&mut self, before: &SelectingSweep) {
        let rule = |selecting: &SelectingSweep| {
            let Sweep { select, seeds, .. } = &selecting.sweep;
            select.as_ref().map(|select| (select.by, select.at, seeds[..select.seeds].to_vec()))
        };
        if rule(self) != rule(before) {
            return;
        }
        let groups = |selecting: &SelectingSweep| -> Vec<Vec<CellId>> {
            let groups = selecting.sweep.select.iter().flat_map(|select| &select.groups);
            groups.map(|group| group.iter().map(|cell| selecting.sweep.cells[*cell].id).collect()).collect()
        };
        let known: BTreeMap<_, _> = groups(before).into_iter().zip(&before.groups).collect();
        for (candidates, group) in groups(self).iter().zip(&mut self.groups) {
            let Some(Group { decision, current }) = known.get(candidates) else { continue };
            let decision = match decision {
                Decision::Won(winner) => {
                    let winner = before.sweep.cells[*winner].id;
                    let place = self.sweep.cells.iter().position(|cell| cell.id == winner);
                    place.map_or(Decision::Open, Decision::Won)
                }
                other => *other,
            };
            *group = Group { decision, current: *current };
        }
    }

    /// The decision of each group, if `value` gives the results of finished jobs.
    fn decisions(&self, scheduler: &Scheduler, value: impl Fn(&JobId) -> Option<f64>) -> Vec<Decision> {
        self.sweep.decisions(|cell, seed| {
            let Some(job) = self.candidates.get(&(cell, seed)) else { return Trial::Unsettled };
            match scheduler.state().job(*job) {
                Some(JobState::Finished) => value(job).map_or(Trial::Failed, Trial::Value),
                Some(JobState::Failed(_)) => Trial::Failed,
                // A dropped job was cancelled with its sweep, so it decides nothing.
                Some(JobState::Queued { .. } | JobState::Running { .. } | JobState::Dropped) | None => Trial::Unsettled,
            }
        })
    }
}

impl Selections {
    /// The sweeps of a scheduler after a restart, except cancelled ones and those that the coordinator does not run.
    pub fn of(scheduler: &Scheduler, only: Option<SweepName>, reader: Reader) -> Self {
        let reader = Arc::new(Mutex::new(reader));
        let mut selections = Selections { reader, only, sweeps: BTreeMap::new(), due: BTreeSet::new() };
        for view in scheduler.view().sweeps().into_iter().filter(|view| !view.cancelled) {
            // Most sweeps select nothing, and parsing a sweep file takes a while.
            if !selections.is_trained(&view.name) || !view.source.contains("select") {
                continue;
            }
            match as_submitted(&view.source, view.name.as_str()) {
                Ok(sweep) if sweep.select.is_some() => selections.put(SelectingSweep::new(sweep, view.source)),
                Ok(_) => {}
                Err(error) => warn!(sweep = %view.name, "{error}"),
            }
        }
        selections
    }

    fn is_trained(&self, name: &SweepName) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    fn put(&mut self, selecting: SelectingSweep) {
        let name = selecting.sweep.name.clone();
        self.due.insert(name.clone());
        self.sweeps.insert(name, selecting);
    }

    /// Registers a submitted sweep, and adds the jobs of winners that are known already.
    pub fn submitted(&mut self, submitted: SubmittedSweep) -> Submission {
        let SubmittedSweep { submission: undecided, selecting } = submitted;
        // The scheduler refuses this submission.
        if !self.is_trained(&undecided.name) {
            return undecided;
        }
        let before = self.sweeps.remove(&undecided.name);
        let Some(sweep) = selecting else { return undecided };
        let mut selecting = SelectingSweep::new(sweep, Arc::clone(&undecided.source));
        let decided = match before {
            None => undecided,
            Some(before) => {
                selecting.inherit(&before);
                submission(&selecting.sweep, undecided.source, &selecting.decided())
            }
        };
        self.put(selecting);
        decided
    }

    /// Notes which sweeps a new record concerns.
    pub fn note(&mut self, record: &Record) {
        let ended: &[JobId] = match record {
            Record::Ended { attempt, next: Next::Done | Next::GiveUp, .. } => std::slice::from_ref(&attempt.job),
            Record::ParentUnavailable { jobs, .. } => jobs,
            Record::Submitted { requeued, .. } => requeued,
            // The groups of the job are decided again once it has ended.
            Record::Requeued { job, .. } => std::slice::from_ref(job),
            Record::Cancelled { name, .. } => {
                self.sweeps.remove(name);
                return;
            }
            _ => return,
        };
        let concerned = self.sweeps.iter().filter(|(_, selecting)| ended.iter().any(|job| selecting.ids.contains(job)));
        self.due.extend(concerned.map(|(name, _)| name.clone()));
    }

    /// Starts to read the results of the next sweep with groups that can be decided. The sweep stays due until `decide`.
    pub fn read_due(&mut self, scheduler: &Scheduler) -> Option<ReadingResults> {
        while let Some(name) = self.due.first().cloned() {
            let Some(selecting) = self.sweeps.get_mut(&name) else {
                self.due.remove(&name);
                continue;
            };
            // Whether all jobs of a group have ended is known without the store.
            let trial = selecting.decisions(scheduler, |_| Some(0.0));
            let groups = selecting.groups.iter_mut().zip(trial);
            let due: Vec<bool> = groups.map(|(group, trial)| group.is_due(trial)).collect();
            let Some(select) = selecting.sweep.select.as_ref().filter(|_| due.contains(&true)) else {
                self.due.remove(&name);
                continue;
            };
            let (reader, sweep, by, at) = (Arc::clone(&self.reader), name.clone(), select.by, select.at);
            let read = move || reader.lock().unwrap_or_else(PoisonError::into_inner).values(&sweep, by, at);
            let undecided = UndecidedGroups { sweep: name, groups: due };
            return Some(ReadingResults { undecided, values: tokio::task::spawn_blocking(read) });
        }
        None
    }

    /// Decides the groups from the results. Returns all jobs of the sweep if it lacks jobs of a winner.
    pub fn decide(
        &mut self,
        scheduler: &Scheduler,
        undecided: UndecidedGroups,
        values: &BTreeMap<JobId, f64>,
    ) -> Option<Submission> {
        let UndecidedGroups { sweep: name, groups: due } = undecided;
        self.due.remove(&name);
        let selecting = self.sweeps.get_mut(&name)?;
        let decided = selecting.decisions(scheduler, |job| values.get(job).copied());
        for ((group, decision), _) in selecting.groups.iter_mut().zip(decided).zip(due).filter(|(_, due)| *due) {
            *group = Group { decision, current: true };
        }
        let wanted = submission(&selecting.sweep, Arc::clone(&selecting.source), &selecting.decided());
        let listed: BTreeSet<JobId> = scheduler.view().jobs_of(&name).map(|job| job.id).collect();
        let lacking = wanted.jobs.iter().filter(|job| !listed.contains(&job.id)).count();
        if lacking == 0 {
            return None;
        }
        info!(sweep = %name, jobs = lacking, "selection has winners: queueing their other seeds");
        Some(wanted)
    }
}

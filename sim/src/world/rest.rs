//! Whether a cluster has come to rest, and what must be so when it has.

use super::{Call, World};
use crate::fault::Kind;
use crate::plan::{Expected, Plan, Planned};
use plusminus_core::id::JobId;
use plusminus_core::metric::EpochSelection;
use plusminus_core::scheduler::JobState;
use std::collections::BTreeMap;

impl World {
    /// Whether every job has ended as it must, and nobody has anything more to say.
    pub(super) fn has_settled(&mut self) -> Result<bool, String> {
        let Some(machine) = &self.coordinator.machine else { return Ok(false) };
        let idle = self.coordinator.round.is_none() && self.coordinator.inbox.is_empty() && self.calls.is_empty();
        let states = || self.plan.jobs.iter().map(|planned| machine.state().job(planned.job.id));
        let over = states().all(|state| matches!(state, Some(JobState::Finished | JobState::Failed(_))));
        let quiet = machine.workers().all(|worker| worker.busy.is_empty());
        let shells = self.workers.iter().filter_map(|worker| worker.shell.as_ref());
        let said = shells.map(|shell| shell.agent().held_attempts().count()).sum::<usize>() == 0
            && self.workers.iter().all(|worker| worker.outbox.is_empty());
        if !(idle && over && quiet && said) {
            return Ok(false);
        }
        match self.promises.settled(&self.plan, machine) {
            Ok(()) => {}
            // What was given up after too many accidents is tried again when a user asks.
            Err(promise) if self.only_harmless() => return Err(promise),
            Err(_) if self.resumed < 20 && states().any(|state| matches!(state, Some(JobState::Failed(_)))) => {
                self.resumed += 1;
                self.call(Call::Resume)?;
                return Ok(false);
            }
            Err(promise) => return Err(promise),
        }
        self.table_is_right()?;
        Ok(true)
    }

    /// Whether nothing has befallen anybody that may cost a job one of its tries.
    pub(super) fn only_harmless(&self) -> bool {
        let harmless = [
            Kind::KillCoordinator,
            Kind::FullDisk,
            Kind::SlowDisk,
            Kind::LoseWeights,
            Kind::LeaveWorker,
            Kind::WorkerDiskFull,
            Kind::Reset,
            Kind::SubmitAgain,
            Kind::Cancel,
            Kind::Resume,
        ];
        self.befallen.keys().all(|kind| harmless.contains(kind))
    }

    /// What keeps a cluster from coming to rest, in words.
    pub(super) fn what_is_open(&self) -> String {
        let Some(machine) = &self.coordinator.machine else { return "no coordinator".to_owned() };
        let states = self.plan.jobs.iter().map(|planned| machine.state().job(planned.job.id));
        let open: Vec<_> =
            states.filter(|state| !matches!(state, Some(JobState::Finished | JobState::Failed(_)))).collect();
        let busy: Vec<_> = machine.workers().filter(|worker| !worker.busy.is_empty()).collect();
        let held: Vec<_> = self
            .workers
            .iter()
            .filter_map(|w| Some(w.shell.as_ref()?.agent().held_attempts().collect::<Vec<_>>()))
            .collect();
        let outboxes: Vec<_> = self.workers.iter().map(|worker| &worker.outbox).collect();
        let (round, inbox, calls) = (&self.coordinator.round, &self.coordinator.inbox, &self.calls);
        format!(
            "jobs {open:?}; busy {busy:?}; held {held:?}; outboxes {outboxes:?}; round {round:?}; inbox {inbox:?}; calls {calls:?}"
        )
    }

    /// The store tells the table of an undisturbed sweep, at its end and at its best.
    pub(super) fn table_is_right(&self) -> Result<(), String> {
        let all = self.plan.expected();
        let finishes = |planned: &&Planned| matches!(all.get(&planned.job.id), Some(Expected::Finished(_)));
        for (at, value) in
            [(EpochSelection::Final, Planned::last as fn(&Planned) -> f64), (EpochSelection::Best, Planned::best)]
        {
            let expected = self.plan.jobs.iter().filter(finishes).map(|planned| (planned.job.id, value(planned)));
            let expected: BTreeMap<JobId, f64> = expected.collect();
            let table = self.coordinator.disk.table(&Plan::sweep(), at).map_err(|error| error.to_string())?;
            // A diverged job may have a value too: of the epochs before.
            if let Some(table) = table
                && expected.iter().any(|(job, value)| table.get(job) != Some(value))
            {
                return Err(format!("the table at {at} should have {expected:?} and has {table:?}"));
            }
        }
        Ok(())
    }
}

//! Detects that all work of a cluster is done, and checks the promises that must hold then.

use super::{UserRequest, World};
use crate::fault::FaultKind;
use crate::plan::{Expected, Plan, PlannedJob};
use plusminus_core::id::JobId;
use plusminus_core::metric::EpochSelection;
use plusminus_core::scheduler::JobState;
use std::collections::BTreeMap;

impl World {
    /// Whether every job has ended and every report is acknowledged. Checks the outcome if so.
    pub(super) fn is_quiescent(&mut self) -> Result<bool, String> {
        let Some(machine) = self.coordinator.scheduler() else { return Ok(false) };
        let idle = self.coordinator.writing.is_none() && self.coordinator.inbox.is_empty() && self.calls.is_empty();
        let states = || self.plan.jobs.iter().map(|planned| machine.state().job(planned.job.id));
        let over = states().all(|state| matches!(state, Some(JobState::Finished | JobState::Failed(_))));
        let idle_workers = machine.workers().all(|worker| worker.busy.is_empty());
        let shells = self.workers.iter().filter_map(|worker| worker.shell.as_ref());
        let delivered = shells.map(|shell| shell.agent().held_attempts().count()).sum::<usize>() == 0
            && self.workers.iter().all(|worker| worker.outbox.is_empty());
        if !(idle && over && idle_workers && delivered) {
            return Ok(false);
        }
        match self.promises.check_outcomes(&self.plan, machine) {
            Ok(()) => {}
            // A job that failed after too many faults is retried on the request of a user.
            Err(promise) if self.only_harmless_faults() || self.has_flaws() => return Err(promise),
            Err(_) if self.resumed < 20 && states().any(|state| matches!(state, Some(JobState::Failed(_)))) => {
                self.resumed += 1;
                self.call(UserRequest::Resume)?;
                return Ok(false);
            }
            Err(promise) => return Err(promise),
        }
        self.check_table()?;
        Ok(true)
    }

    /// Whether only faults took effect that cannot cost a job an attempt.
    pub(super) fn only_harmless_faults(&self) -> bool {
        let harmless = [
            FaultKind::KillCoordinator,
            FaultKind::FullDisk,
            FaultKind::SlowDisk,
            FaultKind::LoseWeights,
            FaultKind::LeaveWorker,
            FaultKind::WorkerDiskFull,
            FaultKind::Reset,
            FaultKind::SubmitAgain,
            FaultKind::Cancel,
            FaultKind::Resume,
        ];
        self.fault_counts.keys().all(|kind| harmless.contains(kind))
    }

    /// Describes the unfinished work of a cluster.
    pub(super) fn describe_unfinished(&self) -> String {
        let Some(machine) = self.coordinator.scheduler() else { return "no coordinator".to_owned() };
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
        let (round, inbox, calls) = (&self.coordinator.writing, &self.coordinator.inbox, &self.calls);
        format!(
            "jobs {open:?}; busy {busy:?}; held {held:?}; outboxes {outboxes:?}; round {round:?}; inbox {inbox:?}; calls {calls:?}"
        )
    }

    /// Checks that the store has the values of a sweep without faults, for the final and the best epoch.
    pub(super) fn check_table(&self) -> Result<(), String> {
        let all = self.plan.expected();
        let finishes = |planned: &&PlannedJob| matches!(all.get(&planned.job.id), Some(Expected::Finished(_)));
        for (at, value) in [
            (EpochSelection::Final, PlannedJob::final_accuracy as fn(&PlannedJob) -> f64),
            (EpochSelection::Best, PlannedJob::best_accuracy),
        ] {
            let expected = self.plan.jobs.iter().filter(finishes).map(|planned| (planned.job.id, value(planned)));
            let expected: BTreeMap<JobId, f64> = expected.collect();
            let table = self.coordinator.disk.table(&Plan::sweep(), at).map_err(|error| error.to_string())?;
            // A diverged job may have a value too, from earlier epochs.
            if let Some(table) = table
                && expected.iter().any(|(job, value)| table.get(job) != Some(value))
            {
                return Err(format!("expected the table at {at} to have {expected:?}, found {table:?}"));
            }
        }
        Ok(())
    }
}

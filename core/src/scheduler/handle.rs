//! The scheduler: owns the state, the connections and the leases, and routes each event to the module that decides about it.

use super::connections::{Connection, Connections, WorkerView};
use super::dependencies;
use super::dispatch::dispatch;
use super::event::{Effect, Event, Session};
use super::fleet::Fleet;
use super::leases::Leases;
use super::policy::Policy;
use super::record::{Record, StoredState};
use super::state::State;
use super::step::Step;
use super::time::WallTime;
use super::user_requests;
use super::view::View;
use super::worker_events;
use crate::id::{AttemptId, JobId};
use std::time::Duration;

/// How long after a start other workers than the first are expected to connect.
const GATHERING: Duration = Duration::from_secs(5);

/// The coordinator's state machine. Only [`State`] is committed; connections and leases start empty after a restart.
#[derive(Clone, Debug)]
pub struct Scheduler {
    policy: Policy,
    state: State,
    connections: Connections,
    leases: Leases,
    fleet: Fleet,
    /// Set by a restart: decisions about children of finished and failed parents are due.
    restarted: bool,
}

impl Scheduler {
    /// A scheduler without sweeps.
    pub fn new(policy: Policy) -> Self {
        let (state, connections, leases) = (State::default(), Connections::default(), Leases::default());
        Scheduler { policy, state, connections, leases, fleet: Fleet::default(), restarted: false }
    }

    /// A scheduler that continues from committed records at `now`.
    pub fn restart(policy: Policy, records: impl IntoIterator<Item = Record>, now: WallTime) -> Self {
        let mut state = State::default();
        let latest = now.after(policy.backoff_limit);
        for mut record in records {
            if let Record::Restored { state: StoredState::Queued { not_before }, .. } = &mut record {
                // A clock that was set back must not delay a job for longer than the longest back-off.
                *not_before = latest.min(*not_before);
            }
            state.apply(&record);
        }
        state.advance_time(now);
        let leases = Leases::after_restart(&state, &policy, now);
        let mut fleet = Fleet::default();
        // Workers come one after another. The first is not yet the only one, unless the coordinator itself starts the only one.
        if policy.only.is_none() {
            fleet.expects_others_until = now.after(policy.lease.min(GATHERING));
            state.workers().iter().for_each(|worker| fleet.expect(worker, now));
        }
        Scheduler { policy, state, connections: Connections::default(), leases, fleet, restarted: true }
    }

    /// The settings.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The committed state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What users see.
    pub fn view(&self) -> View<'_> {
        View::new(&self.policy, &self.state, &self.connections, &self.leases, &self.fleet)
    }

    /// The connected workers.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView<'_>> {
        self.connections.views()
    }

    /// When the lease of a running job expires.
    pub fn lease(&self, job: JobId) -> Option<WallTime> {
        self.leases.expiry(job)
    }

    /// Whether the worker of this session holds the current attempt: only then is what it says of the attempt shown or recorded.
    pub fn runs(&self, session: Session, id: AttemptId) -> bool {
        self.connections.worker(session).is_some_and(|worker| self.state.is_current(worker, id))
    }

    /// Handles an event and returns the effects to perform, in order.
    pub fn handle(&mut self, now: WallTime, event: Event) -> Vec<Effect> {
        self.state.advance_time(now);
        let mut step = Step {
            now,
            policy: &self.policy,
            state: &mut self.state,
            connections: &mut self.connections,
            leases: &mut self.leases,
            fleet: &mut self.fleet,
            effects: Vec::new(),
        };
        if std::mem::take(&mut self.restarted) {
            dependencies::resolve_all(&mut step);
        }
        match event {
            Event::Submit(ticket, submission) => user_requests::submit(&mut step, ticket, submission),
            Event::Extend(submission) => user_requests::extend(&mut step, submission),
            Event::Cancel(ticket, name) => user_requests::cancel(&mut step, ticket, name),
            Event::Resume(ticket, name, selection) => user_requests::resume(&mut step, ticket, name, &selection),
            Event::Reinstate(ticket, worker) => user_requests::reinstate(&mut step, ticket, worker),
            Event::Connected { session, worker, host, instance, slots, device, holds } => {
                let connection = Connection::new(worker, instance, slots, device, holds);
                worker_events::connected(&mut step, session, connection, &host);
            }
            Event::Disconnected(session) => worker_events::disconnected(&mut step, session),
            Event::Draining(session) => worker_events::draining(&mut step, session),
            Event::Resized(session, slots) => step.connections.set_slots(session, slots),
            Event::Heartbeat(heartbeat) => worker_events::heartbeat(&mut step, heartbeat),
            Event::Reported(session, report) => worker_events::reported(&mut step, session, report),
            Event::WeightsLost(job, file) => dependencies::weights_lost(&mut step, job, file),
            Event::Tick => worker_events::tick(&mut step),
        }
        dispatch(&mut step);
        step.effects
    }
}

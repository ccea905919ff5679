//! The connected workers: their slots, the attempts that they hold, and whether they get new ones.

use super::device_class::DeviceClass;
use super::event::Session;
use super::fleet::Gate;
use super::record::Place;
use super::time::WallTime;
use crate::id::{AttemptId, WorkerName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A worker's live connection.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connection {
    pub worker: WorkerName,
    pub instance: u64,
    pub slots: u32,
    pub device: DeviceClass,
    /// Attempts that were assigned to the worker and whose end it has not reported. Each occupies a slot.
    pub busy: BTreeSet<AttemptId>,
    /// The attempts that its last heartbeat named.
    pub named: BTreeSet<AttemptId>,
    /// Whether a lease of the worker expired and it has sent nothing since. A silent worker gets no attempts.
    pub silent: bool,
    /// What is known of the worker under its name.
    pub gate: Gate,
}

/// The most slots of a worker that are used, whatever it offers.
const MOST_SLOTS: u32 = 1_024;

impl Connection {
    /// A connection of a worker that holds these attempts.
    pub fn new(worker: WorkerName, instance: u64, slots: u32, device: DeviceClass, holds: Vec<AttemptId>) -> Self {
        let busy: BTreeSet<_> = holds.into_iter().collect();
        let named = busy.clone();
        let slots = slots.min(MOST_SLOTS);
        Connection { worker, instance, slots, device, busy, named, silent: false, gate: Gate::default() }
    }

    fn free_slots(&self) -> usize {
        (self.slots as usize).saturating_sub(self.busy.len())
    }

    /// Whether it gets an attempt at `now`.
    fn accepts(&self, now: WallTime) -> bool {
        let gate = self.gate;
        self.free_slots() > 0 && !self.silent && gate.until <= now && (!gate.probation || self.busy.is_empty())
    }

    /// Whether it is a sound worker that can train a job which failed at these places, and has not failed it.
    fn is_alternative(&self, requires: DeviceClass, places: &[Place]) -> bool {
        let untried = || places.iter().all(|place| place.worker != self.worker);
        self.slots > 0 && !self.silent && !self.gate.suspected && self.device.can_train(requires) && untried()
    }

    fn candidate(&self, session: Session) -> Candidate {
        let (at_liberty, free_slots, worker) = (!self.gate.probation, self.free_slots(), self.worker.clone());
        Candidate { at_liberty, free_slots, session: Reverse(session), worker }
    }
}

/// A connected worker, as users see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView<'s> {
    /// The worker's session.
    pub session: Session,
    /// The worker's name.
    pub name: &'s WorkerName,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The class of its devices.
    pub device: DeviceClass,
    /// The attempts that occupy its slots.
    pub busy: &'s BTreeSet<AttemptId>,
    /// The end of the pause in dispatching to it; in the past if there is none.
    pub paused_until: WallTime,
}

/// A connection with free slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// A worker that is not in quarantine comes before one that waits for a probe.
    at_liberty: bool,
    free_slots: usize,
    /// Among equals the oldest session wins.
    pub session: Reverse<Session>,
    pub worker: WorkerName,
}

/// Who gets a job that has failed before.
pub(super) enum Choice {
    /// No sound worker is connected that has not failed it.
    Anyone,
    /// Such a worker is connected, and busy.
    Wait,
    /// Such a worker.
    One(Candidate),
}

/// All live connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    by_session: BTreeMap<Session, Connection>,
}

impl Connections {
    /// Decides about a worker that connects. Ends older sessions of the same process and returns them; returns nothing if another process
    /// with that name is connected.
    pub fn admit(&mut self, worker: &WorkerName, instance: u64) -> Option<Vec<Session>> {
        let namesakes = self.by_session.iter().filter(|(_, connection)| connection.worker == *worker);
        let (same, others): (Vec<_>, Vec<_>) = namesakes.partition(|(_, connection)| connection.instance == instance);
        if !others.is_empty() {
            return None;
        }
        let replaced: Vec<Session> = same.into_iter().map(|(session, _)| *session).collect();
        replaced.iter().for_each(|session| drop(self.remove(*session)));
        Some(replaced)
    }

    pub fn insert(&mut self, session: Session, connection: Connection) {
        self.by_session.insert(session, connection);
    }

    pub fn remove(&mut self, session: Session) -> Option<Connection> {
        self.by_session.remove(&session)
    }

    pub fn is_connected(&self, worker: &WorkerName) -> bool {
        self.by_session.values().any(|connection| connection.worker == *worker)
    }

    /// Whether the worker is connected and has sent something since a lease last expired.
    pub fn is_heard(&self, worker: &WorkerName) -> bool {
        self.by_session.values().any(|connection| connection.worker == *worker && !connection.silent)
    }

    /// Notes what is known of a worker.
    pub fn set_gate(&mut self, worker: &WorkerName, gate: Gate) {
        let of_worker = self.by_session.values_mut().filter(|connection| connection.worker == *worker);
        of_worker.for_each(|connection| connection.gate = gate);
    }

    /// The worker of a session.
    pub fn worker(&self, session: Session) -> Option<&WorkerName> {
        self.by_session.get(&session).map(|connection| &connection.worker)
    }

    pub fn get_mut(&mut self, session: Session) -> Option<&mut Connection> {
        self.by_session.get_mut(&session)
    }

    pub fn set_slots(&mut self, session: Session, slots: u32) {
        if let Some(connection) = self.by_session.get_mut(&session) {
            connection.slots = slots.min(MOST_SLOTS);
        }
    }

    /// Marks the worker's sessions as silent and returns them.
    pub fn mark_silent(&mut self, worker: &WorkerName) -> Vec<Session> {
        let of_worker = self.by_session.iter_mut().filter(|(_, connection)| connection.worker == *worker);
        let mark = |(session, connection): (&Session, &mut Connection)| {
            connection.silent = true;
            *session
        };
        of_worker.map(mark).collect()
    }

    /// The attempts that occupy slots, with the session of each.
    pub fn busy(&self) -> impl Iterator<Item = (Session, AttemptId)> + '_ {
        self.by_session
            .iter()
            .flat_map(|(session, connection)| connection.busy.iter().map(|attempt| (*session, *attempt)))
    }

    /// The connection with the most free slots, preferably not in quarantine, among those with devices of this class.
    pub fn freest(&self, now: WallTime, device: DeviceClass) -> Option<Candidate> {
        let accepts = |connection: &Connection| connection.device == device && connection.accepts(now);
        let candidates = self.by_session.iter().filter(|(_, connection)| accepts(connection));
        let freest = candidates.max_by_key(|(session, connection)| {
            (!connection.gate.probation, connection.free_slots(), Reverse(**session))
        });
        freest.map(|(session, connection)| connection.candidate(*session))
    }

    /// Who gets a job that failed at these places.
    pub fn choose_for_failed(&self, now: WallTime, requires: DeviceClass, places: &[Place]) -> Choice {
        let alternatives = self.by_session.iter().filter(|(_, connection)| connection.is_alternative(requires, places));
        let mut alternatives = alternatives.peekable();
        if alternatives.peek().is_none() {
            return Choice::Anyone;
        }
        let rank = |(session, connection): &(&Session, &Connection)| {
            (connection.gate.proven, connection.free_slots(), Reverse(**session))
        };
        let best = alternatives.filter(|(_, connection)| connection.accepts(now)).max_by_key(rank);
        best.map_or(Choice::Wait, |(session, connection)| Choice::One(connection.candidate(*session)))
    }

    /// Whether a connected worker has a GPU.
    pub fn has_gpu(&self) -> bool {
        self.by_session.values().any(|connection| connection.device == DeviceClass::Gpu)
    }

    /// The connected workers, as users see them.
    pub fn views(&self) -> impl Iterator<Item = WorkerView<'_>> {
        self.by_session.iter().map(|(session, connection)| {
            let Connection { worker: name, slots, device, busy, gate, .. } = connection;
            WorkerView { session: *session, name, slots: *slots, device: *device, busy, paused_until: gate.until }
        })
    }
}

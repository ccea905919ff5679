//! The connected workers: their slots, the attempts that they hold, and whether they get new ones.

use super::device_class::DeviceClass;
use super::event::Session;
use super::policy::Policy;
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
    pub pause: DispatchPause,
}

impl Connection {
    /// A connection of a worker that holds these attempts.
    pub fn new(worker: WorkerName, instance: u64, slots: u32, device: DeviceClass, holds: Vec<AttemptId>) -> Self {
        let busy: BTreeSet<_> = holds.into_iter().collect();
        let (named, pause) = (busy.clone(), DispatchPause::default());
        Connection { worker, instance, slots, device, busy, named, silent: false, pause }
    }

    fn free_slots(&self) -> usize {
        (self.slots as usize).saturating_sub(self.busy.len())
    }
}

/// A pause in dispatching to a worker. A worker that returns attempts without being asked (its disk is full, its runners do not start)
/// gets none for a while, and for longer each time. Otherwise it would go through the whole queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DispatchPause {
    /// The end of the pause.
    until: WallTime,
    /// The number of pauses since the worker last made progress.
    count: u32,
}

impl DispatchPause {
    /// Starts a pause. Attempts that are returned during a pause do not prolong it.
    pub fn start(&mut self, now: WallTime, policy: &Policy) {
        if self.until <= now {
            self.until = now.after(policy.backoff_after(self.count));
            self.count += 1;
        }
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

/// The answer to a worker that connects.
pub(super) struct Admission {
    /// Whether the process is the one that connected last under this name.
    pub same_process: bool,
    /// Older sessions of the same process, which are ended.
    pub replaced: Vec<Session>,
}

/// A connection with free slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    free_slots: usize,
    /// Among equals the oldest session wins.
    pub session: Reverse<Session>,
    pub worker: WorkerName,
}

/// All live connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    by_session: BTreeMap<Session, Connection>,
    /// The process that last connected under each name.
    instances: BTreeMap<WorkerName, u64>,
}

impl Connections {
    /// Decides about a worker that connects, and ends older sessions of the same process. Returns nothing if another process with that
    /// name is connected.
    pub fn admit(&mut self, worker: &WorkerName, instance: u64) -> Option<Admission> {
        let namesakes = self.by_session.iter().filter(|(_, connection)| connection.worker == *worker);
        let (same, others): (Vec<_>, Vec<_>) = namesakes.partition(|(_, connection)| connection.instance == instance);
        if !others.is_empty() {
            return None;
        }
        let replaced: Vec<Session> = same.into_iter().map(|(session, _)| *session).collect();
        replaced.iter().for_each(|session| self.remove(*session));
        let same_process = self.instances.insert(worker.clone(), instance) == Some(instance);
        Some(Admission { same_process, replaced })
    }

    pub fn insert(&mut self, session: Session, connection: Connection) {
        self.by_session.insert(session, connection);
    }

    pub fn remove(&mut self, session: Session) {
        self.by_session.remove(&session);
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
            connection.slots = slots;
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

    /// The connection with the most free slots among those with devices of this class.
    pub fn freest(&self, now: WallTime, device: DeviceClass) -> Option<Candidate> {
        let accepts = |connection: &Connection| {
            connection.device == device
                && connection.free_slots() > 0
                && !connection.silent
                && connection.pause.until <= now
        };
        let candidates = self.by_session.iter().filter(|(_, connection)| accepts(connection));
        let freest = candidates.max_by_key(|(session, connection)| (connection.free_slots(), Reverse(**session)));
        freest.map(|(session, connection)| Candidate {
            free_slots: connection.free_slots(),
            session: Reverse(*session),
            worker: connection.worker.clone(),
        })
    }

    /// Whether a connected worker has a GPU.
    pub fn has_gpu(&self) -> bool {
        self.by_session.values().any(|connection| connection.device == DeviceClass::Gpu)
    }

    /// The connected workers, as users see them.
    pub fn views(&self) -> impl Iterator<Item = WorkerView<'_>> {
        self.by_session.iter().map(|(session, connection)| {
            let Connection { worker: name, slots, device, busy, pause, .. } = connection;
            WorkerView { session: *session, name, slots: *slots, device: *device, busy, paused_until: pause.until }
        })
    }
}

//! Connections between workers and the coordinator. A connection delivers messages in order with random delays; a partition holds them
//! back; a break loses the messages in transit.

use crate::rng::Rng;
use plusminus_core::scheduler::Session;
use plusminus_proto::v1::{from_worker, to_worker};
use std::collections::BTreeMap;

/// The time in milliseconds after which a silent connection counts as broken.
pub(crate) const KEEPALIVE: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub u64);

/// A message in transit.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    ToCoordinator(from_worker::Message),
    ToWorker(to_worker::Message),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub worker: usize,
    /// The coordinator's session, after the Hello.
    pub session: Option<Session>,
    /// When the latest message to the coordinator and to the worker arrives.
    last: (u64, u64),
}

#[derive(Default)]
pub(crate) struct Network {
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// Until when a worker is separated from the coordinator.
    cuts: BTreeMap<usize, u64>,
    lines: u64,
}

impl Network {
    pub fn open(&mut self, worker: usize) -> ConnectionId {
        self.lines += 1;
        let connection_id = ConnectionId(self.lines);
        self.connections.insert(connection_id, Connection { worker, session: None, last: (0, 0) });
        connection_id
    }

    pub fn cut(&mut self, worker: usize, until: u64) {
        self.cuts.insert(worker, until);
    }

    pub fn is_cut(&self, worker: usize, now: u64) -> bool {
        self.cuts.get(&worker).is_some_and(|until| now < *until)
    }

    /// When a message that is sent now arrives. `None` on a broken connection.
    pub fn send(&mut self, connection_id: ConnectionId, packet: &Packet, now: u64, rng: &mut Rng) -> Option<u64> {
        let connection = self.connections.get_mut(&connection_id)?;
        let held_until = self.cuts.get(&connection.worker).copied().unwrap_or_default();
        let last = match packet {
            Packet::ToCoordinator(_) => &mut connection.last.0,
            Packet::ToWorker(_) => &mut connection.last.1,
        };
        *last = (*last).max(now.max(held_until) + rng.delay(20, 2_000));
        Some(*last)
    }

    /// Removes a connection and returns it.
    pub fn end(&mut self, connection_id: ConnectionId) -> Option<Connection> {
        self.connections.remove(&connection_id)
    }

    pub fn of_worker(&self, worker: usize) -> Vec<ConnectionId> {
        let of = self.connections.iter().filter(|(_, connection)| connection.worker == worker);
        of.map(|(connection_id, _)| *connection_id).collect()
    }

    pub fn of_session(&self, session: Session) -> Option<ConnectionId> {
        let mut of = self.connections.iter().filter(|(_, connection)| connection.session == Some(session));
        of.next().map(|(connection_id, _)| *connection_id)
    }
}

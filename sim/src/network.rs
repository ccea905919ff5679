//! Connections between workers and the coordinator: each a stream in both directions that delays what is sent, may hold it back for a
//! while, and loses what is on its way when it breaks.

use crate::chance::Chance;
use plusminus_core::scheduler::Session;
use plusminus_proto::v1::{from_worker, to_worker};
use std::collections::BTreeMap;

/// After how long without a sign of life a connection is given up, in milliseconds.
pub(crate) const KEEPALIVE: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(pub u64);

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    ToCoordinator(from_worker::Message),
    ToWorker(to_worker::Message),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub worker: usize,
    /// The coordinator's name for it, once it has been introduced.
    pub session: Option<Session>,
    /// When the last message arrives that was sent there, and back.
    last: (u64, u64),
}

#[derive(Default)]
pub(crate) struct Network {
    pub connections: BTreeMap<Line, Connection>,
    /// Until when nothing gets through to or from a worker.
    cuts: BTreeMap<usize, u64>,
    lines: u64,
}

impl Network {
    pub fn open(&mut self, worker: usize) -> Line {
        self.lines += 1;
        let line = Line(self.lines);
        self.connections.insert(line, Connection { worker, session: None, last: (0, 0) });
        line
    }

    pub fn cut(&mut self, worker: usize, until: u64) {
        self.cuts.insert(worker, until);
    }

    pub fn is_cut(&self, worker: usize, now: u64) -> bool {
        self.cuts.get(&worker).is_some_and(|until| now < *until)
    }

    /// When a message that is sent now arrives; never, where the connection is broken.
    pub fn send(&mut self, line: Line, parcel: &Parcel, now: u64, chance: &mut Chance) -> Option<u64> {
        let connection = self.connections.get_mut(&line)?;
        let held_until = self.cuts.get(&connection.worker).copied().unwrap_or_default();
        let last = match parcel {
            Parcel::ToCoordinator(_) => &mut connection.last.0,
            Parcel::ToWorker(_) => &mut connection.last.1,
        };
        *last = (*last).max(now.max(held_until) + chance.delay(20, 2_000));
        Some(*last)
    }

    /// Ends a connection; whose it was.
    pub fn end(&mut self, line: Line) -> Option<Connection> {
        self.connections.remove(&line)
    }

    pub fn of_worker(&self, worker: usize) -> Vec<Line> {
        let of = self.connections.iter().filter(|(_, connection)| connection.worker == worker);
        of.map(|(line, _)| *line).collect()
    }

    pub fn of_session(&self, session: Session) -> Option<Line> {
        let mut of = self.connections.iter().filter(|(_, connection)| connection.session == Some(session));
        of.next().map(|(line, _)| *line)
    }
}

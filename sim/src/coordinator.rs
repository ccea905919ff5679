//! The coordinator: its machine between an inbox and a disk. What comes in while a commit is under way waits; what follows from a
//! commit is done when it is durable.

use crate::disk::Disk;
use crate::network::ConnectionId;
use plusminus_core::id::Digest;
use plusminus_core::scheduler::{Effect, Event, Policy, Record, Scheduler, Session, State, Ticket};
use plusminus_proto::session::Terms;
use plusminus_proto::v1::from_worker;
use std::collections::{BTreeSet, VecDeque};

/// In milliseconds.
pub(crate) const LEASE: u64 = 8_000;

pub(crate) const TERMS: Terms = Terms { lease: LEASE, store: 1 };

pub(crate) fn policy() -> Policy {
    Policy { lease: LEASE, failures: 3, backoff: 500, backoff_limit: 5_000, only: None, lease_before: 0 }
}

/// What comes to the coordinator.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Hello(ConnectionId, from_worker::Message),
    Message(Session, from_worker::Message),
    Gone(Session),
    User(Event),
}

/// Records that are being written, and what is to be done then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub records: Vec<Record>,
    pub effects: Vec<Effect>,
}

pub(crate) struct Coordinator {
    /// Which process it is, from 1.
    pub process: u64,
    /// While it lives.
    pub machine: Option<Scheduler>,
    pub disk: Disk,
    pub inbox: VecDeque<Request>,
    /// Heartbeats that were answered while a commit was under way: the machine hears of them after it.
    pub held: Vec<Request>,
    pub round: Option<Round>,
    pub sessions: u64,
    pub tickets: u64,
    /// Until when it stands still, and until when its disk is full, or slow.
    pub frozen: u64,
    pub disk_full: u64,
    pub disk_slow: u64,
    /// What was committed when it was killed, if that is known for sure.
    pub committed: Option<State>,
    /// Weights that lie on its disk.
    pub weights: BTreeSet<Digest>,
}

impl Coordinator {
    pub fn new(disk: Disk) -> Self {
        Coordinator {
            process: 0,
            machine: None,
            disk,
            inbox: VecDeque::new(),
            held: Vec::new(),
            round: None,
            sessions: 0,
            tickets: 0,
            frozen: 0,
            disk_full: 0,
            disk_slow: 0,
            committed: None,
            weights: BTreeSet::new(),
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub fn session(&mut self) -> Session {
        self.sessions += 1;
        Session(self.sessions)
    }

    /// The process is gone, and with it all that is not on the disk. What was being written may be there or not.
    pub fn die(&mut self) -> Option<Round> {
        self.committed = self.machine.take().filter(|_| self.round.is_none()).map(|machine| machine.state().clone());
        self.inbox.clear();
        self.held.clear();
        self.frozen = 0;
        self.round.take()
    }
}

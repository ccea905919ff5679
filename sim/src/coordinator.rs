//! The coordinator's process: the shipped commit gate between an inbox and a disk.

use crate::disk::Disk;
use crate::network::ConnectionId;
use plusminus_coordinator::CommitGate;
use plusminus_core::id::Digest;
use plusminus_core::scheduler::{Event, Policy, Record, Scheduler, Session, State, Ticket};
use plusminus_proto::session::Terms;
use plusminus_proto::v1::from_worker;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// In milliseconds.
pub(crate) const LEASE: u64 = 8_000;

pub(crate) const TERMS: Terms = Terms { lease: LEASE, store: 1 };

pub(crate) fn policy() -> Policy {
    Policy {
        lease: Duration::from_millis(LEASE),
        failures: 3,
        backoff: Duration::from_millis(500),
        backoff_limit: Duration::from_millis(5_000),
        quarantine_limit: Duration::from_millis(30_000),
        only: None,
        lease_before: Duration::ZERO,
    }
}

/// What arrives at the coordinator.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Hello(ConnectionId, from_worker::Message),
    Message(Session, from_worker::Message),
    Gone(Session),
    User(Event),
}

pub(crate) struct Coordinator {
    /// The number of the process, from 1.
    pub process: u64,
    /// The scheduler and the effects that wait for a commit, while the process runs.
    pub gate: Option<CommitGate>,
    pub disk: Disk,
    pub inbox: VecDeque<Request>,
    /// The records of the commit that is under way.
    pub writing: Option<Vec<Record>>,
    pub sessions: u64,
    pub tickets: u64,
    /// The times until which the process is frozen, and its disk full or slow.
    pub frozen: u64,
    pub disk_full: u64,
    pub disk_slow: u64,
    /// The committed state when the process was killed; nothing if a commit was under way.
    pub committed: Option<State>,
    /// Kept weights on its disk.
    pub weights: BTreeSet<Digest>,
}

impl Coordinator {
    pub fn new(disk: Disk) -> Self {
        Coordinator {
            process: 0,
            gate: None,
            disk,
            inbox: VecDeque::new(),
            writing: None,
            sessions: 0,
            tickets: 0,
            frozen: 0,
            disk_full: 0,
            disk_slow: 0,
            committed: None,
            weights: BTreeSet::new(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.gate.is_some()
    }

    /// The scheduler, while the process runs.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.gate.as_ref().map(CommitGate::scheduler)
    }

    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub fn session(&mut self) -> Session {
        self.sessions += 1;
        Session(self.sessions)
    }

    /// Kills the process: everything except the disk is lost. Returns the records of the commit that was under way, which may have
    /// reached the disk.
    pub fn die(&mut self) -> Option<Vec<Record>> {
        let gate = self.gate.take().filter(|_| self.writing.is_none());
        self.committed = gate.map(|gate| gate.scheduler().state().clone());
        self.inbox.clear();
        self.frozen = 0;
        self.writing.take()
    }
}

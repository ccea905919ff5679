//! A worker: its agent while its daemon lives, and what its disk keeps when it does not.

use crate::network::Line;
use crate::runner::Runner;
use plusminus_core::id::{Digest, JobId};
use plusminus_trainer::Means;
use plusminus_worker::agent::{Agent, Entry, Of, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) struct Worker {
    pub name: String,
    /// Which process its daemon is, from 1.
    pub process: u64,
    pub agent: Option<Agent>,
    pub slots: u32,
    pub runners: Vec<Option<Runner>>,
    /// The newest connection.
    pub line: Option<Line>,
    /// Until when its daemon is frozen.
    pub frozen: u64,
    /// The earliest moment for which its daemon has asked to be told that time has passed.
    pub alarm: u64,
    pub transfers: BTreeSet<Of>,
    /// What is on its disk.
    pub outbox: BTreeMap<u64, Entry>,
    pub cache: BTreeSet<Digest>,
    pub checkpoints: BTreeMap<JobId, BTreeSet<u32>>,
    /// Until when its disk is full, and when the last of what was asked of it is done.
    pub disk_full: u64,
    pub disk_busy: u64,
}

impl Worker {
    pub fn new(name: String, slots: u32) -> Self {
        Worker {
            name,
            process: 0,
            agent: None,
            slots,
            runners: (0..slots).map(|_| None).collect(),
            line: None,
            frozen: 0,
            alarm: u64::MAX,
            transfers: BTreeSet::new(),
            outbox: BTreeMap::new(),
            cache: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
            disk_full: 0,
            disk_busy: 0,
        }
    }

    /// Starts the daemon; its agent has yet to be given what the outbox holds.
    pub fn start(&mut self, instance: u64) {
        self.process += 1;
        self.agent = Some(Agent::new(Settings {
            name: self.name.clone(),
            instance,
            slots: self.slots,
            attached: false,
            grace: Duration::from_secs(2),
            stall: Duration::from_secs(15),
            means: Means::default(),
        }));
    }

    /// The daemon is gone, and with it its runners and all that is not on the disk.
    pub fn die(&mut self) {
        self.agent = None;
        self.runners.iter_mut().for_each(|runner| *runner = None);
        self.line = None;
        self.frozen = 0;
        self.alarm = u64::MAX;
        self.transfers.clear();
        self.disk_busy = 0;
    }

    pub fn runner(&mut self, slot: usize, generation: u64) -> Option<&mut Runner> {
        self.runners.get_mut(slot)?.as_mut().filter(|runner| runner.generation == generation)
    }
}

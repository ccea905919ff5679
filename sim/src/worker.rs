//! A worker: its agent while its daemon lives, and what its disk keeps when it does not.

use crate::network::Line;
use crate::runner::Runner;
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::v1;
use plusminus_worker::agent::{Agent, Equipment, OutboxEntry, Settings};
use plusminus_worker::daemon::shell::Shell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

pub(crate) struct Worker {
    pub name: String,
    /// Which process its daemon is, from 1.
    pub process: u64,
    pub shell: Option<Shell>,
    pub slots: u32,
    /// What it trains on: on a GPU one process trains in all slots, and lives and dies with all of them.
    pub device: Device,
    /// By slot.
    pub runners: Vec<Option<Runner>>,
    /// The newest connection.
    pub line: Option<Line>,
    /// Until when its daemon is frozen.
    pub frozen: u64,
    /// The earliest moment for which its daemon has asked to be told that time has passed.
    pub alarm: u64,
    pub transfers: BTreeSet<AttemptId>,
    /// What is on its disk.
    pub outbox: BTreeMap<u64, OutboxEntry>,
    pub cache: BTreeSet<Digest>,
    pub checkpoints: BTreeMap<JobId, BTreeSet<u32>>,
    /// Until when its disk is full, and when the last of what was asked of it is done.
    pub disk_full: u64,
    pub disk_busy: u64,
}

impl Worker {
    pub fn new(name: String, slots: u32, device: Device) -> Self {
        Worker {
            name,
            process: 0,
            shell: None,
            slots,
            device,
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
        let agent = Agent::new(Settings {
            name: self.name.clone(),
            instance,
            equipment: vec![self.equipment()],
            attached: false,
            grace: Duration::from_secs(2),
            stall: Duration::from_secs(15),
        });
        self.shell = Some(Shell::new(agent));
    }

    fn equipment(&self) -> Equipment {
        let device = v1::Device { name: self.device.to_string(), slots: self.slots, ..v1::Device::default() };
        Equipment {
            device,
            execution: ExecutionOptions { device: self.device, ..ExecutionOptions::default() },
            uuid: None,
        }
    }

    /// The slots that a runner trains in, by its number.
    pub fn slots_of(&self, runner: usize) -> Range<usize> {
        match self.device {
            Device::Cpu => runner..runner + 1,
            Device::Cuda(_) => 0..self.slots as usize,
        }
    }

    /// The number of the runner that trains in a slot, and which of its lanes it is.
    pub fn runner_of(&self, slot: usize) -> (usize, u32) {
        match self.device {
            Device::Cpu => (slot, 0),
            Device::Cuda(_) => (0, slot as u32),
        }
    }

    /// The daemon is gone, and with it its runners and all that is not on the disk.
    pub fn die(&mut self) {
        self.shell = None;
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

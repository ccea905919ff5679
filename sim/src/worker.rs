//! A simulated worker: the shell of its daemon while it runs, and the disk that survives it.

use crate::network::ConnectionId;
use crate::runner::Runner;
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_proto::v1;
use plusminus_worker::agent::{Agent, Equipment, OutboxEntry, Settings};
use plusminus_worker::daemon::shell::Shell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// What is wrong with a worker all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Its runners crash soon after they get a job.
    Crashes,
    /// Its jobs run out of memory.
    OutOfMemory,
    /// Its daemon dies soon after each start.
    Flaps,
    /// It offers four billion slots.
    TooManySlots,
}

impl Flaw {
    /// All flaws.
    pub const ALL: [Flaw; 4] = [Flaw::Crashes, Flaw::OutOfMemory, Flaw::Flaps, Flaw::TooManySlots];
}

pub(crate) struct Worker {
    pub name: String,
    /// What is wrong with it, if it is not sound.
    pub flaw: Option<Flaw>,
    /// The number of the daemon process, from 1.
    pub process: u64,
    pub shell: Option<Shell>,
    pub slots: u32,
    /// The device. On a GPU one runner process serves all slots.
    pub device: Device,
    /// By slot: a lane of a running runner.
    pub runners: Vec<Option<Runner>>,
    /// The newest connection.
    pub connection: Option<ConnectionId>,
    /// Until when the daemon is suspended.
    pub frozen: u64,
    /// When the next tick of the daemon is due.
    pub next_tick: u64,
    pub transfers: BTreeSet<AttemptId>,
    /// The content of its disk.
    pub outbox: BTreeMap<u64, OutboxEntry>,
    pub cache: BTreeSet<Digest>,
    pub checkpoints: BTreeMap<JobId, BTreeSet<u32>>,
    /// Until when the disk is full, and when it has completed all requests.
    pub disk_full: u64,
    pub disk_busy: u64,
}

impl Worker {
    pub fn new(name: String, slots: u32, device: Device) -> Self {
        Worker {
            name,
            flaw: None,
            process: 0,
            shell: None,
            slots,
            device,
            runners: (0..slots).map(|_| None).collect(),
            connection: None,
            frozen: 0,
            next_tick: u64::MAX,
            transfers: BTreeSet::new(),
            outbox: BTreeMap::new(),
            cache: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
            disk_full: 0,
            disk_busy: 0,
        }
    }

    /// Starts the daemon. The caller passes the outbox to its agent.
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

    /// The slots that the runner with this number serves.
    pub fn slots_of(&self, runner: usize) -> Range<usize> {
        match self.device {
            Device::Cpu => runner..runner + 1,
            Device::Cuda(_) => 0..self.slots as usize,
        }
    }

    /// The runner that serves a slot, and its lane.
    pub fn runner_of(&self, slot: usize) -> (usize, u32) {
        match self.device {
            Device::Cpu => (slot, 0),
            Device::Cuda(_) => (0, slot as u32),
        }
    }

    /// Ends the daemon: its runners and everything that is not on disk are lost.
    pub fn die(&mut self) {
        self.shell = None;
        self.runners.iter_mut().for_each(|runner| *runner = None);
        self.connection = None;
        self.frozen = 0;
        self.next_tick = u64::MAX;
        self.transfers.clear();
        self.disk_busy = 0;
    }

    pub fn runner(&mut self, slot: usize, generation: u64) -> Option<&mut Runner> {
        self.runners.get_mut(slot)?.as_mut().filter(|runner| runner.generation == generation)
    }
}

//! Real processes under faults: processes are killed and frozen, connections cut, the disk filled up, and the sweep still ends with the
//! table and the weights of an undisturbed run. `just chaos` runs many rounds. The faults of a round depend only on its seed.

#![allow(clippy::print_stderr, reason = "the seed of a round that fails must be printed")]

use crate::common::disk::{Filler, Mount};
use crate::common::proxy::Proxy;
use crate::common::{Daemon, Place, children, eventually, signal, within};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Child jobs with a parent job each, and a loss with state.
const SWEEP: &str = "\
sweep: chaos
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  noise: {kind: uniform, rate: 0.4}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 10
  batch_size: 64
  train_size: 1500
  test_size: 400
  validation: 0.5
grid:
  loss: [dmi, {name: truncated-gce, q: 0.7, k: 0.05, start: 3, every: 2}]
overrides:
  - {when: {loss: dmi}, set: {parent: {set: {loss: cce}, at: best-validation}}}
";
/// A simulated GPU is slow: replacements that make the jobs smaller.
const SMALLER: [(&str, &str); 3] =
    [("train_size: 1500", "train_size: 48"), ("test_size: 400", "test_size: 16"), ("batch_size: 64", "batch_size: 12")];
const JOBS: u64 = 6;
const EPOCHS: u32 = 10;
/// Seconds.
const LEASE: u32 = 2;
/// How long a sweep may take after the last fault.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillCoordinator,
    FreezeCoordinator,
    KillWorker,
    FreezeWorker,
    DrainWorker,
    KillRunner,
    FreezeRunner,
    EvictRunner,
    Reset,
    Cut,
    FullDisk,
}

const FAULTS: [Fault; 11] = [
    Fault::KillCoordinator,
    Fault::FreezeCoordinator,
    Fault::KillWorker,
    Fault::FreezeWorker,
    Fault::DrainWorker,
    Fault::KillRunner,
    Fault::FreezeRunner,
    Fault::EvictRunner,
    Fault::Reset,
    Fault::Cut,
    Fault::FullDisk,
];

/// The devices of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Devices {
    /// One CPU slot per worker.
    Cpu,
    /// One GPU with two slots per worker; one runner serves both slots.
    Gpus,
}

impl Devices {
    fn place(self) -> Place {
        let place = match self {
            Devices::Cpu => Place::new(),
            Devices::Gpus => Place::with_gpus(2, &[]),
        };
        let smaller = SMALLER.iter().filter(|_| self == Devices::Gpus);
        place.file("chaos.yaml", smaller.fold(SWEEP.to_owned(), |sweep, (old, new)| sweep.replace(old, new)));
        place
    }
}

/// A coordinator, two workers, and a proxy between them.
struct Cluster {
    devices: Devices,
    place: Place,
    proxy: Proxy,
    coordinator: Option<Daemon>,
    workers: [Option<Daemon>; 2],
    /// The small file system of the coordinator's state, if this user may mount one.
    mount: Option<Mount>,
}

impl Cluster {
    fn start(devices: Devices) -> Self {
        let place = devices.place();
        let mount = Mount::new(&place, "size=24m");
        let workers = [None, None];
        let mut cluster = Cluster { devices, place, proxy: Proxy::start(), coordinator: None, workers, mount };
        cluster.start_coordinator();
        cluster.place.run(&["submit", "chaos.yaml"]).good();
        (0..2).for_each(|worker| cluster.start_worker(worker));
        cluster
    }

    fn start_coordinator(&mut self) {
        let (coordinator, url) = self.place.coordinator_with_lease(LEASE.into());
        self.proxy.aim(&url);
        self.coordinator = Some(coordinator);
    }

    fn start_worker(&mut self, worker: usize) {
        let gpu = format!("cuda:{worker}");
        let (device, slots) = match self.devices {
            Devices::Cpu => ("cpu", "1"),
            Devices::Gpus => (&*gpu, "2"),
        };
        let checkpoints = ["--checkpoints", "checkpoints", "--checkpoint-every", "1epochs"];
        let options = [&["--device", device, "--slots", slots], &checkpoints[..]].concat();
        self.workers[worker] = Some(self.place.worker(&self.proxy.url(), &format!("w{worker}"), &options));
    }

    fn coordinator(&self) -> &Daemon {
        self.coordinator.as_ref().unwrap()
    }

    fn worker(&self, worker: usize) -> u32 {
        self.workers[worker].as_ref().unwrap().id()
    }

    /// Waits for a worker's runner.
    fn runner(&self, worker: usize) -> Option<u32> {
        soon(|| children(self.worker(worker)).first().copied())
    }

    fn jobs(&self, state: &str) -> u64 {
        self.place.jobs("chaos", state)
    }

    /// Returns the status and the logs, for a round that fails.
    fn describe(&self) -> String {
        let daemons = self.coordinator.iter().chain(self.workers.iter().flatten());
        let logs: Vec<String> =
            daemons.map(|daemon| format!("log of process {}:\n{}", daemon.id(), daemon.log())).collect();
        let status = self.place.run(&["status"]);
        format!("{}{}\n{}", status.stdout, status.stderr, logs.join("\n"))
    }

    /// Injects a fault, and returns whether it took effect.
    fn inject(&mut self, fault: Fault, chance: u32) -> bool {
        let worker = (chance % 2) as usize;
        match fault {
            Fault::KillCoordinator => {
                let killed = kill(self.coordinator.take().unwrap());
                sleep(Duration::from_millis(u64::from(chance % 3000)));
                self.start_coordinator();
                killed
            }
            Fault::FreezeCoordinator => freeze(self.coordinator().id(), chance),
            Fault::KillWorker => {
                let killed = kill(self.workers[worker].take().unwrap());
                self.start_worker(worker);
                killed
            }
            Fault::FreezeWorker => freeze(self.worker(worker), chance),
            Fault::DrainWorker => {
                let leaving = self.workers[worker].take().unwrap();
                leaving.signal("TERM");
                let left = leaving.wait().0 == Some(0);
                self.start_worker(worker);
                left
            }
            Fault::KillRunner => self.runner(worker).is_some_and(|runner| {
                signal(runner, "KILL");
                has_exited(runner)
            }),
            Fault::FreezeRunner => self.runner(worker).is_some_and(|runner| freeze(runner, chance)),
            Fault::EvictRunner => self.runner(worker).is_some_and(|runner| {
                signal(runner, "TERM");
                has_exited(runner)
            }),
            Fault::Reset => soon(|| Some(self.proxy.reset()).filter(|connections| *connections > 0)).is_some(),
            Fault::Cut => {
                let before = self.proxy.held_back();
                self.proxy.cut(true);
                sleep(beyond_the_lease(chance));
                self.proxy.cut(false);
                self.proxy.held_back() > before
            }
            Fault::FullDisk => self.mount.as_ref().is_some_and(|mount| self.fill_the_disk(mount)),
        }
    }

    fn fill_the_disk(&self, mount: &Mount) -> bool {
        let complaints = || self.coordinator().log().matches("no space is left").count();
        let before = complaints();
        let filler = Filler::start(&mount.0);
        let stalled = soon(|| (complaints() > before).then_some(())).is_some();
        let refused = self.place.run(&["submit", "chaos.yaml"]);
        assert!(!stalled || refused.code != Some(0), "a submission that cannot be saved is refused");
        drop(filler);
        stalled
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.workers = [None, None];
        self.coordinator = None;
        self.mount = None;
    }
}

/// Checks that every epoch of every job is valid once, and returns the table and the weights of every job.
fn outcome(place: &Place) -> (String, BTreeMap<String, String>) {
    let epochs = "SELECT group_concat(epochs || ' ' || n) FROM (SELECT count(DISTINCT epoch) AS epochs, count(*) AS n
                  FROM metrics WHERE metric = 'test_accuracy' AND NOT superseded GROUP BY job)";
    assert_eq!(place.query(epochs), vec![format!("{EPOCHS} {EPOCHS}"); JOBS as usize].join(","), "every epoch once");
    (place.table_json("chaos"), place.weights())
}

/// Kills a daemon, and returns whether it still ran.
fn kill(mut daemon: Daemon) -> bool {
    daemon.child.try_wait().unwrap().is_none()
}

/// Returns the state of a process as in `/proc`, such as `T` for stopped.
fn state_of(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

fn has_exited(process: u32) -> bool {
    soon(|| matches!(state_of(process), None | Some('Z')).then_some(())).is_some()
}

/// Waits some seconds for something to appear.
fn soon<T>(find: impl FnMut() -> Option<T>) -> Option<T> {
    within(Duration::from_secs(8), find)
}

/// Returns a time that is longer than a lease.
fn beyond_the_lease(chance: u32) -> Duration {
    Duration::from_secs_f64(f64::from(LEASE) * (1.2 + f64::from(chance % 100) / 80.0))
}

/// Stops a process until its lease has expired, and resumes it.
fn freeze(process: u32, chance: u32) -> bool {
    signal(process, "STOP");
    let frozen = soon(|| (state_of(process) == Some('T')).then_some(())).is_some();
    sleep(beyond_the_lease(chance));
    signal(process, "CONT");
    frozen
}

/// Returns a number from the environment.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn real_processes_under_faults_give_the_table_of_an_undisturbed_run() {
    run_rounds(Devices::Cpu);
}

#[test]
fn processes_that_share_gpus_give_the_table_of_an_undisturbed_run() {
    run_rounds(Devices::Gpus);
}

fn run_rounds(devices: Devices) {
    let undisturbed = {
        let place = devices.place();
        place.run(&["run", "chaos.yaml"]).good();
        outcome(&place)
    };
    let (rounds, first) = (number("PLUSMINUS_CHAOS_ROUNDS", 2), number("PLUSMINUS_CHAOS_SEED", 0));
    let mut faults_injected: BTreeMap<Fault, (u64, u64)> = BTreeMap::new();
    for seed in first..first + rounds {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut cluster = Cluster::start(devices);
        // Two successive seeds inject every kind of fault.
        let mut faults: Vec<Fault> = FAULTS.iter().copied().skip((seed % 2) as usize).step_by(2).collect();
        faults.push(FAULTS[chance.next_u32() as usize % FAULTS.len()]);
        faults.sort_by_key(|_| chance.next_u32());
        eventually("a job is running", || cluster.jobs("running") > 0);
        for fault in faults {
            sleep(Duration::from_millis(u64::from(chance.next_u32() % 700)));
            if fault == Fault::FullDisk && cluster.mount.is_none() {
                continue;
            }
            let took_effect = cluster.inject(fault, chance.next_u32());
            let (effects, tried) = faults_injected.entry(fault).or_default();
            *effects += u64::from(took_effect);
            *tried += 1;
        }
        let started = Instant::now();
        while cluster.jobs("finished") < JOBS {
            if cluster.jobs("failed") > 0 {
                // A runner of several jobs that is killed three times before any of them finishes an epoch uses up their attempts.
                let status = cluster.place.run(&["status"]).stdout;
                let slow = devices == Devices::Gpus && status.contains("given up after 3 failures");
                assert!(slow, "seed {seed}: {status}");
                cluster.place.run(&["resume", "chaos", "--failed"]).good();
            }
            assert!(started.elapsed() < PATIENCE, "seed {seed}: the sweep did not end: {}", cluster.describe());
            sleep(Duration::from_millis(200));
        }
        assert!(outcome(&cluster.place) == undisturbed, "seed {seed}: table or weights differ");
        eprintln!("{devices:?}, seed {seed}: {faults_injected:?}");
    }
    for (fault, (effects, tried)) in &faults_injected {
        assert!(*effects > 0, "{fault:?} was injected {tried} times and never took effect");
    }
}

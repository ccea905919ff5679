//! Real processes under faults: whatever is killed, frozen, cut off or filled up, the sweep ends with the table and the weights of an
//! undisturbed one. `just chaos` makes many rounds; a round follows from its seed, as far as real processes can.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, and its seed is told")]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/proxy.rs"]
mod proxy;

use common::{Place, children, eventually, signal};
use disk::{Filler, Mount};
use proxy::Proxy;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Jobs that build on others, a loss with a state of its own, and a plain one.
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
/// A GPU that is made up is a slow one.
const LITTLE: [(&str, &str); 3] =
    [("train_size: 1500", "train_size: 48"), ("test_size: 400", "test_size: 16"), ("batch_size: 64", "batch_size: 12")];
const JOBS: u64 = 6;
const EPOCHS: u32 = 10;
/// In seconds.
const LEASE: f64 = 2.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillCoordinator,
    FreezeCoordinator,
    KillWorker,
    FreezeWorker,
    LeaveWorker,
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
    Fault::LeaveWorker,
    Fault::KillRunner,
    Fault::FreezeRunner,
    Fault::EvictRunner,
    Fault::Reset,
    Fault::Cut,
    Fault::FullDisk,
];

/// A daemon whose log is a file.
struct Logged(Child, PathBuf);

impl Logged {
    fn start(place: &Place, log: &str, arguments: &[&str]) -> Self {
        let path = place.path().join(log);
        let file = File::options().create(true).append(true).open(&path).unwrap();
        let mut command = place.plusminus(arguments);
        Logged(command.stdout(Stdio::null()).stderr(file).env("RUST_LOG", "info").spawn().unwrap(), path)
    }

    /// Whether it has been ended by this signal.
    fn killed(mut self, name: &str, number: i32) -> bool {
        signal(self.0.id(), name);
        let status = self.0.wait().unwrap();
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(number)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.1).unwrap()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What workers train on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// A slot of the processor each.
    Processor,
    /// Two slots of a GPU each, of which one process has charge.
    Gpus,
}

impl On {
    fn place(self) -> Place {
        let place = match self {
            On::Processor => Place::new(),
            On::Gpus => Place::with_gpus(2, &[]),
        };
        let little = LITTLE.iter().filter(|_| self == On::Gpus);
        place.file("chaos.yaml", little.fold(SWEEP.to_owned(), |sweep, (much, little)| sweep.replace(much, little)));
        place
    }
}

/// A coordinator, two workers, and a way between them.
struct Cluster {
    on: On,
    place: Place,
    proxy: Proxy,
    coordinator: Option<Logged>,
    workers: Vec<Option<Logged>>,
    /// The small file system on which the coordinator's state lies, where one may be mounted.
    mount: Option<Mount>,
}

impl Cluster {
    fn start(on: On) -> Self {
        let place = on.place();
        let (mount, workers) = (Mount::new(&place, "size=24m"), vec![None, None]);
        let mut cluster = Cluster { on, place, proxy: Proxy::start(), coordinator: None, workers, mount };
        cluster.start_coordinator();
        cluster.place.run(&["submit", "chaos.yaml", "--state", "state"]).good();
        (0..2).for_each(|worker| cluster.start_worker(worker));
        cluster
    }

    fn start_coordinator(&mut self) {
        let address = self.place.path().join("state/address");
        let _ = fs::remove_file(&address);
        let lease = LEASE.to_string();
        let arguments = ["coordinator", "--state", "state", "--listen", "127.0.0.1:0", "--lease", &lease];
        self.coordinator = Some(Logged::start(&self.place, "coordinator.log", &arguments));
        eventually("the coordinator has written its address", || {
            fs::read_to_string(&address).is_ok_and(|a| a.ends_with('\n'))
        });
        self.proxy.aim(fs::read_to_string(&address).unwrap().trim());
    }

    fn start_worker(&mut self, worker: usize) {
        let (name, url) = (format!("w{worker}"), self.proxy.url());
        let gpu = format!("cuda:{worker}");
        let (device, slots) = match self.on {
            On::Processor => ("cpu", "1"),
            On::Gpus => (&*gpu, "2"),
        };
        let arguments = ["worker", "--coordinator", &url, "--device", device, "--slots", slots];
        let arguments = [&arguments[..], &["--threads", "1", "--name", &name, "--state", &name]].concat();
        let checkpoints = ["--checkpoints", "checkpoints", "--checkpoint-every", "1epochs"];
        let log = format!("{name}.log");
        self.workers[worker] = Some(Logged::start(&self.place, &log, &[&arguments[..], &checkpoints[..]].concat()));
    }

    fn coordinator(&self) -> &Logged {
        self.coordinator.as_ref().unwrap()
    }

    fn worker(&self, worker: usize) -> u32 {
        self.workers[worker].as_ref().unwrap().0.id()
    }

    /// The runner of a worker, once it has one.
    fn runner(&self, worker: usize) -> Option<u32> {
        soon(|| children(self.worker(worker)).first().copied())
    }

    fn count(&self, how: &str) -> u64 {
        let said = self.place.run(&["status", "chaos", "--state", "state", "--output", "json"]);
        let status: Option<Value> = (said.code == Some(0)).then(|| serde_json::from_str(&said.stdout).unwrap());
        status.and_then(|status| status["sweeps"][0]["jobs"][how].as_u64()).unwrap_or(0)
    }

    /// Makes it happen; whether it really has.
    fn befall(&mut self, fault: Fault, chance: u32) -> bool {
        let worker = (chance % 2) as usize;
        match fault {
            Fault::KillCoordinator => {
                let killed = self.coordinator.take().unwrap().killed("KILL", 9);
                sleep(Duration::from_millis(u64::from(chance % 3000)));
                self.start_coordinator();
                killed
            }
            Fault::FreezeCoordinator => freeze(self.coordinator().0.id(), chance),
            Fault::KillWorker => {
                let killed = self.workers[worker].take().unwrap().killed("KILL", 9);
                self.start_worker(worker);
                killed
            }
            Fault::FreezeWorker => freeze(self.worker(worker), chance),
            Fault::LeaveWorker => {
                let mut leaving = self.workers[worker].take().unwrap();
                signal(leaving.0.id(), "TERM");
                let left = leaving.0.wait().unwrap().success();
                self.start_worker(worker);
                left
            }
            Fault::KillRunner => self.runner(worker).is_some_and(|runner| {
                signal(runner, "KILL");
                gone(runner)
            }),
            Fault::FreezeRunner => self.runner(worker).is_some_and(|runner| freeze(runner, chance)),
            Fault::EvictRunner => self.runner(worker).is_some_and(|runner| {
                signal(runner, "TERM");
                gone(runner)
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
        let refused = self.place.run(&["submit", "chaos.yaml", "--state", "state"]);
        assert!(!stalled || refused.code != Some(0), "a submission that cannot be kept is not accepted");
        drop(filler);
        stalled
    }

    /// The table, the weights of every job, and its epochs.
    fn outcome(&self) -> (String, BTreeMap<String, String>) {
        let table = self.place.run(&["table", "chaos", "--state", "state", "--format", "json"]).good();
        (table, weights(&self.place.path().join("state")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.workers.clear();
        self.coordinator = None;
        self.mount = None;
    }
}

/// The digest of each job's final weights; besides, no epoch stands twice, and none is missing.
fn weights(state: &std::path::Path) -> BTreeMap<String, String> {
    let store = Connection::open(state.join("plusminus.sqlite")).unwrap();
    let epochs = "SELECT job, count(DISTINCT epoch), count(*) FROM metrics WHERE metric = 'test_accuracy' AND NOT superseded GROUP BY job";
    let mut epochs = store.prepare(epochs).unwrap();
    let rows = epochs.query_map([], |row| Ok((row.get::<_, u32>(1)?, row.get::<_, u32>(2)?))).unwrap();
    let rows: Vec<(u32, u32)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, vec![(EPOCHS, EPOCHS); JOBS as usize], "every epoch once");
    let mut jobs = store.prepare("SELECT id, json_extract(facts, '$.weights') FROM jobs").unwrap();
    jobs.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn state_of(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

fn gone(process: u32) -> bool {
    soon(|| matches!(state_of(process), None | Some('Z')).then_some(())).is_some()
}

/// Waits a few seconds for something to be there.
fn soon<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        let found = look();
        if found.is_some() || began.elapsed() > Duration::from_secs(8) {
            return found;
        }
        sleep(Duration::from_millis(10));
    }
}

fn beyond_the_lease(chance: u32) -> Duration {
    Duration::from_secs_f64(LEASE * (1.2 + f64::from(chance % 100) / 80.0))
}

/// Stops a process until its lease has passed, and wakes it.
fn freeze(process: u32, chance: u32) -> bool {
    signal(process, "STOP");
    sleep(Duration::from_millis(20));
    let frozen = state_of(process) == Some('T');
    sleep(beyond_the_lease(chance));
    signal(process, "CONT");
    frozen
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn whatever_befalls_real_processes_the_table_is_that_of_an_undisturbed_sweep() {
    rounds(On::Processor);
}

#[test]
fn whatever_befalls_processes_that_share_gpus_the_table_is_that_of_an_undisturbed_sweep() {
    rounds(On::Gpus);
}

fn rounds(on: On) {
    let undisturbed = {
        let place = on.place();
        let table = place.run(&["run", "chaos.yaml", "--state", "state", "--format", "json"]).good();
        (table, weights(&place.path().join("state")))
    };
    let (rounds, first) = (number("PLUSMINUS_CHAOS_ROUNDS", 2), number("PLUSMINUS_CHAOS_SEED", 0));
    let mut fired: BTreeMap<Fault, (u64, u64)> = BTreeMap::new();
    for seed in first..first + rounds {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut cluster = Cluster::start(on);
        // Each kind of fault has its turn, whichever the seed.
        let mut faults: Vec<Fault> = FAULTS.iter().copied().skip((seed % 2) as usize).step_by(2).collect();
        faults.push(FAULTS[chance.next_u32() as usize % FAULTS.len()]);
        faults.sort_by_key(|_| chance.next_u32());
        eventually("training has begun", || cluster.count("running") > 0);
        for fault in faults {
            sleep(Duration::from_millis(u64::from(chance.next_u32() % 700)));
            if fault == Fault::FullDisk && cluster.mount.is_none() {
                continue;
            }
            let has = cluster.befall(fault, chance.next_u32());
            let (happened, tried) = fired.entry(fault).or_default();
            *happened += u64::from(has);
            *tried += 1;
        }
        let began = Instant::now();
        while cluster.count("finished") < JOBS {
            if cluster.count("failed") > 0 {
                // Whoever kills a process of several jobs three times before one of them has done an epoch has them given up.
                let status = cluster.place.run(&["status", "--state", "state"]).stdout;
                let slow = on == On::Gpus && status.contains("given up after 3 failures without getting further");
                assert!(slow, "seed {seed}: {status}");
                cluster.place.run(&["resume", "chaos", "--failed", "--state", "state"]).good();
            }
            assert!(began.elapsed() < Duration::from_secs(180), "seed {seed}: the sweep does not end");
            sleep(Duration::from_millis(200));
        }
        assert!(cluster.outcome() == undisturbed, "seed {seed}: another table, or other weights");
        eprintln!("{on:?}, seed {seed}: {fired:?}");
    }
    for (fault, (happened, tried)) in &fired {
        assert!(*happened > 0, "{fault:?} was tried {tried} times and never came to pass");
    }
}

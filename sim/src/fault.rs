//! The faults that are injected into a cluster.

use crate::rng::Rng;

/// A kind of fault, or a disturbing request of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Kills the coordinator and restarts it later.
    KillCoordinator,
    /// Suspends the coordinator for a while.
    FreezeCoordinator,
    /// The coordinator's disk is full for a while.
    FullDisk,
    /// The coordinator's disk is slow for a while.
    SlowDisk,
    /// The coordinator loses a weight file.
    LoseWeights,
    /// Kills a worker's daemon with its runners and restarts it later.
    KillWorker,
    /// Suspends a worker's daemon, but not its runners.
    FreezeDaemon,
    /// Suspends a worker's whole host.
    FreezeHost,
    /// A worker drains and restarts.
    LeaveWorker,
    /// A worker's disk is full for a while.
    WorkerDiskFull,
    /// Replaces a worker by one with another name and an empty disk.
    ReplaceWorker,
    /// Kills a runner.
    KillRunner,
    /// Suspends a runner for a while.
    FreezeRunner,
    /// A lane of a runner hangs until the runner is killed.
    HangRunner,
    /// A GPU fails for its runner process; a new process can use it.
    FailDevice,
    /// A GPU runs out of memory.
    FullDevice,
    /// The connections of a worker break, and messages in transit are lost.
    Reset,
    /// A network partition separates a worker from the coordinator for a while.
    Cut,
    /// A user submits the sweep again.
    SubmitAgain,
    /// A user cancels the sweep and submits it again later.
    Cancel,
    /// A user resumes failed jobs.
    Resume,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 21] = [
        FaultKind::KillCoordinator,
        FaultKind::FreezeCoordinator,
        FaultKind::FullDisk,
        FaultKind::SlowDisk,
        FaultKind::LoseWeights,
        FaultKind::KillWorker,
        FaultKind::FreezeDaemon,
        FaultKind::FreezeHost,
        FaultKind::LeaveWorker,
        FaultKind::WorkerDiskFull,
        FaultKind::ReplaceWorker,
        FaultKind::KillRunner,
        FaultKind::FreezeRunner,
        FaultKind::HangRunner,
        FaultKind::FailDevice,
        FaultKind::FullDevice,
        FaultKind::Reset,
        FaultKind::Cut,
        FaultKind::SubmitAgain,
        FaultKind::Cancel,
        FaultKind::Resume,
    ];

    /// The kinds that leave a sound worker sound.
    pub const BEARABLE: [FaultKind; 11] = [
        FaultKind::KillCoordinator,
        FaultKind::FreezeCoordinator,
        FaultKind::FullDisk,
        FaultKind::SlowDisk,
        FaultKind::LoseWeights,
        FaultKind::FreezeDaemon,
        FaultKind::Reset,
        FaultKind::Cut,
        FaultKind::SubmitAgain,
        FaultKind::Cancel,
        FaultKind::Resume,
    ];
}

/// A planned fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// The worker and its slot, modulo their numbers, for faults of a worker.
    pub worker: u64,
    pub slot: u64,
    /// The duration in milliseconds.
    pub duration: u64,
}

impl Fault {
    /// Random faults of these kinds with their times, all within the first `within` milliseconds.
    pub fn generate(rng: &mut Rng, within: u64, kinds: &[FaultKind]) -> Vec<(u64, Fault)> {
        let count = rng.between(1, 14);
        // Some clusters get faults of a single kind.
        let single = if rng.one_in(4) { rng.choose(kinds) } else { None };
        let one = |rng: &mut Rng| {
            let kind = single.or_else(|| rng.choose(kinds)).unwrap_or(FaultKind::Reset);
            let longest = if rng.one_in(3) { 60_000 } else { 6_000 };
            let duration = rng.between(10, longest);
            let (worker, slot) = (rng.between(0, 1 << 20), rng.between(0, 1 << 20));
            (rng.between(0, within), Fault { kind, worker, slot, duration })
        };
        (0..count).map(|_| one(rng)).collect()
    }
}

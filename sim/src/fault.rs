//! What may befall whom, and for how long.

use crate::chance::Chance;

/// What may befall a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The coordinator is killed, and started again after a while.
    KillCoordinator,
    /// The coordinator stands still, and goes on.
    FreezeCoordinator,
    /// The coordinator's disk takes nothing more for a while.
    FullDisk,
    /// The coordinator's disk is slow for a while.
    SlowDisk,
    /// A file of weights at the coordinator is gone.
    LoseWeights,
    /// A worker's daemon is killed, and its runners with it, and started again after a while.
    KillWorker,
    /// A worker's daemon stands still; its runners do not.
    FreezeDaemon,
    /// A worker's whole machine stands still.
    FreezeMachine,
    /// A worker leaves of its own will, and comes back.
    LeaveWorker,
    /// A worker's disk takes nothing more for a while.
    WorkerDiskFull,
    /// A worker's machine is replaced by an empty one of another name.
    ReplaceWorker,
    /// A runner is killed.
    KillRunner,
    /// A runner stands still, and goes on.
    FreezeRunner,
    /// A runner, or a lane of one, gets stuck for good.
    HangRunner,
    /// A GPU fails its runner for good: another process may use it.
    FailDevice,
    /// A GPU has no memory for what a job asks for.
    FullDevice,
    /// A connection breaks, and what was on its way is lost.
    Reset,
    /// Nothing gets through between a worker and the coordinator for a while.
    Cut,
    /// A user submits the sweep once more.
    SubmitAgain,
    /// A user cancels the sweep, and submits it again later.
    Cancel,
    /// A user asks for what has failed to be tried again.
    Resume,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 21] = [
        Kind::KillCoordinator,
        Kind::FreezeCoordinator,
        Kind::FullDisk,
        Kind::SlowDisk,
        Kind::LoseWeights,
        Kind::KillWorker,
        Kind::FreezeDaemon,
        Kind::FreezeMachine,
        Kind::LeaveWorker,
        Kind::WorkerDiskFull,
        Kind::ReplaceWorker,
        Kind::KillRunner,
        Kind::FreezeRunner,
        Kind::HangRunner,
        Kind::FailDevice,
        Kind::FullDevice,
        Kind::Reset,
        Kind::Cut,
        Kind::SubmitAgain,
        Kind::Cancel,
        Kind::Resume,
    ];
}

/// A fault that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub kind: Kind,
    /// Which worker, and which of its slots, where it is one's.
    pub worker: u64,
    pub slot: u64,
    /// For how long, in milliseconds.
    pub lasting: u64,
}

impl Fault {
    /// Faults with their moments, within the first so many milliseconds.
    pub fn draw(chance: &mut Chance, within: u64) -> Vec<(u64, Fault)> {
        let count = chance.between(1, 14);
        // Some clusters are visited by one kind alone.
        let single = if chance.one_in(4) { chance.of(&Kind::ALL) } else { None };
        let one = |chance: &mut Chance| {
            let kind = single.or_else(|| chance.of(&Kind::ALL)).unwrap_or(Kind::Reset);
            let longest = if chance.one_in(3) { 60_000 } else { 6_000 };
            let lasting = chance.between(10, longest);
            let (worker, slot) = (chance.between(0, 1 << 20), chance.between(0, 1 << 20));
            (chance.between(0, within), Fault { kind, worker, slot, lasting })
        };
        (0..count).map(|_| one(chance)).collect()
    }
}

//! `plusminus-sim`: simulates many clusters, or one with a trace of its events.

use clap::Parser;
use plusminus_sim::{BrokenPromise, FaultKind, Flaw, Fleet, Outcome, simulate};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Simulate clusters under faults and check every promise
#[derive(Parser)]
struct Arguments {
    /// Number of clusters
    #[arg(long, default_value_t = 1)]
    clusters: u64,
    /// Seed of the first cluster; the others have the seeds that follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Simulate fleets with flawed workers beside a sound one
    #[arg(long)]
    flawed: bool,
    /// Print every event on a line
    #[arg(long)]
    trace: bool,
}

/// The sums over all simulated clusters.
#[derive(Default)]
struct Total {
    clusters: u64,
    events: u64,
    epochs: (u64, u64),
    faults: BTreeMap<FaultKind, u64>,
    /// Clusters with flawed workers, by flaw.
    flaws: BTreeMap<Flaw, u64>,
    broken: Vec<BrokenPromise>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.clusters += 1;
        self.events += outcome.events;
        self.epochs = (self.epochs.0 + outcome.epochs.0, self.epochs.1 + outcome.epochs.1);
        outcome.flaws.iter().for_each(|flaw| *self.flaws.entry(*flaw).or_default() += 1);
        outcome.faults.iter().for_each(|(kind, times)| *self.faults.entry(*kind).or_default() += times);
    }

    fn merge(&mut self, other: Total) {
        self.clusters += other.clusters;
        self.events += other.events;
        self.epochs = (self.epochs.0 + other.epochs.0, self.epochs.1 + other.epochs.1);
        other.faults.into_iter().for_each(|(kind, times)| *self.faults.entry(kind).or_default() += times);
        other.flaws.into_iter().for_each(|(flaw, workers)| *self.flaws.entry(flaw).or_default() += workers);
        self.broken.extend(other.broken);
    }
}

fn main() -> io::Result<ExitCode> {
    let Arguments { clusters, seed, flawed, trace } = Arguments::parse();
    let fleet = if flawed { Fleet::Flawed } else { Fleet::Sound };
    let (next, last) = (AtomicU64::new(seed), seed.saturating_add(clusters));
    let work = || {
        let mut total = Total::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return Ok(total);
            }
            match simulate(seed, fleet, trace) {
                Ok(outcome) => {
                    total.add(&outcome);
                    let mut out = io::stdout().lock();
                    outcome.trace.iter().filter(|_| trace).try_for_each(|line| writeln!(out, "{line}"))?;
                    if trace || clusters == 1 {
                        writeln!(out, "seed {seed}: {} events, hash {}", outcome.events, outcome.digest)?;
                    }
                }
                Err(broken) => total.broken.push(*broken),
            }
        }
    };
    let mut total = Total::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            // The thread itself prints its panic.
            total.merge(handle.join().unwrap_or_else(|_| Err(io::Error::other("a simulation panicked")))?);
        }
        io::Result::Ok(())
    })?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} clusters kept every promise, through {} events", total.clusters, total.events)?;
    writeln!(out, "{} epochs trained; without faults {}", total.epochs.1, total.epochs.0)?;
    total.faults.iter().try_for_each(|(kind, times)| writeln!(out, "{times:>8} times {kind:?}"))?;
    total.flaws.iter().try_for_each(|(flaw, workers)| writeln!(out, "{workers:>8} workers with the flaw {flaw:?}"))?;
    let mut err = io::stderr().lock();
    for broken in total.broken.iter().take(3) {
        writeln!(
            err,
            "{broken}\nto reproduce: cargo run --release -p plusminus-sim -- --seed {} --trace",
            broken.seed
        )?;
    }
    if total.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(err, "{} clusters broke a promise", total.broken.len())?;
    Ok(ExitCode::FAILURE)
}

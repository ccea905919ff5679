//! Divides a host's cores and memory among jobs: slots, and threads per job.
//!
//! A sweep usually has more jobs than a host has cores, and a second thread speeds up a job by less than a factor of two: so each core
//! trains its own job. Cores without a job, because jobs or memory are scarce, become additional threads. Results do not depend on the
//! number of threads.

use plusminus_core::id::Digest;
use std::num::{NonZeroU32, NonZeroUsize};
use std::{fmt, fs, thread};

/// The resources of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The cores that this process may use.
    pub cores: NonZeroUsize,
    /// The memory in bytes that this process may use: the available memory, or the container's limit if it is lower. `None` if the system
    /// reports neither.
    pub memory: Option<usize>,
}

/// Requested slots and threads. Values that are not given are chosen automatically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRequest {
    /// The number of jobs that are trained at the same time.
    pub slots: Option<NonZeroU32>,
    /// The number of threads per job.
    pub threads: Option<NonZeroUsize>,
    /// The number of jobs of the sweep, if known.
    pub jobs: Option<usize>,
}

/// The division of a host among jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// The number of jobs that are trained at the same time.
    pub slots: NonZeroU32,
    /// The number of threads per job.
    pub threads: NonZeroUsize,
}

impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = if self.slots.get() == 1 { "one job at a time" } else { &format!("{} jobs at once", self.slots) };
        let threads = if self.threads.get() == 1 { "one thread" } else { &format!("{} threads", self.threads) };
        write!(f, "{jobs}, {threads} each")
    }
}

impl Host {
    /// The resources of this host, as limited by CPU affinity and control groups.
    pub fn here() -> Self {
        let limits =
            [cgroup_limit("/sys/fs/cgroup/memory.max"), cgroup_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
        Host {
            cores: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory: available_memory().into_iter().chain(limits.into_iter().flatten()).min(),
        }
    }

    /// Divides the host among jobs. `need` returns the memory in bytes of the largest job with a number of threads, if known.
    ///
    /// There is always at least one slot.
    pub fn divide(&self, request: SlotRequest, need: impl Fn(NonZeroUsize) -> Option<usize>) -> Division {
        let cores = self.cores.get();
        let threads = |slots: NonZeroU32| {
            let share = NonZeroUsize::new(cores / slots.get() as usize).unwrap_or(NonZeroUsize::MIN);
            request.threads.unwrap_or(share)
        };
        let fits = |slots: &NonZeroU32| match (self.memory, need(threads(*slots))) {
            (Some(memory), Some(need)) => need.saturating_mul(slots.get() as usize) <= memory,
            _ => true,
        };
        let slots = request.slots.unwrap_or_else(|| {
            let most = cores / request.threads.map_or(1, NonZeroUsize::get);
            let most = request.jobs.map_or(most, |jobs| most.min(jobs));
            (1..=most as u32).rev().filter_map(NonZeroU32::new).find(fits).unwrap_or(NonZeroU32::MIN)
        });
        Division { slots, threads: threads(slots) }
    }
}

/// Identifies this host to the coordinator: its name, and a digest of its machine id, because cloned hosts may have the same one of either.
pub fn identity() -> String {
    let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let name: String =
        read("/proc/sys/kernel/hostname").chars().filter(|letter| !letter.is_control()).take(64).collect();
    let digest = Digest::of(read("/etc/machine-id").as_bytes()).to_string();
    format!("{name}-{}", digest.get(..8).unwrap_or_default())
}

/// The memory in bytes that is available without swapping, as estimated by Linux.
fn available_memory() -> Option<usize> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The memory limit in bytes of a container, which sees its own control group at the top. `None` if the file holds no number.
fn cgroup_limit(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    /// The slots and threads for a request `[slots, threads, jobs]`, where 0 means not given. A job takes 1 GiB plus 64 MiB per thread.
    fn divided(cores: usize, gibibytes: usize, [slots, threads, jobs]: [u32; 3]) -> [usize; 2] {
        let host =
            Host { cores: NonZeroUsize::new(cores).unwrap(), memory: (gibibytes > 0).then_some(gibibytes * GIB) };
        let request = SlotRequest {
            slots: NonZeroU32::new(slots),
            threads: NonZeroUsize::new(threads as usize),
            jobs: (jobs > 0).then_some(jobs as usize),
        };
        let Division { slots, threads } = host.divide(request, |threads| Some(GIB + threads.get() * (GIB / 16)));
        [slots.get() as usize, threads.get()]
    }

    #[test]
    fn slots_times_threads_fill_the_cores() {
        let cases = [
            // Nothing requested: one job per core.
            (1, [0, 0, 0], [1, 1]),
            (16, [0, 0, 0], [16, 1]),
            // Slots requested: the cores are divided evenly; remaining cores idle.
            (16, [1, 0, 0], [1, 16]),
            (16, [3, 0, 0], [3, 5]),
            (16, [16, 0, 0], [16, 1]),
            (2, [5, 0, 0], [5, 1]),
            // Threads requested: as many slots as the cores allow.
            (16, [0, 4, 0], [4, 4]),
            (16, [0, 5, 0], [3, 5]),
            (2, [0, 8, 0], [1, 8]),
            // Both requested.
            (16, [2, 3, 0], [2, 3]),
            // Few jobs: the remaining cores become threads.
            (16, [0, 0, 5], [5, 3]),
            (16, [0, 0, 1], [1, 16]),
            (16, [0, 0, 400], [16, 1]),
            (16, [0, 4, 3], [3, 4]),
            (16, [8, 0, 1], [8, 2]),
        ];
        for (cores, request, expected) in cases {
            assert_eq!(divided(cores, 0, request), expected, "{request:?} on {cores} cores");
        }
    }

    #[test]
    fn memory_limits_the_automatic_number_of_slots() {
        let cases = [
            (64, [0, 0, 0], [16, 1]),
            // 3 jobs of 5 threads take 3 × 1.3125 GiB; 4 of 4 threads take 5.
            (4, [0, 0, 0], [3, 5]),
            (5, [0, 0, 0], [4, 4]),
            // Too little for one job: it is tried, because the estimate is an upper bound.
            (1, [0, 0, 0], [1, 16]),
            // A request is not limited.
            (4, [8, 0, 0], [8, 2]),
        ];
        for (gibibytes, request, expected) in cases {
            assert_eq!(divided(16, gibibytes, request), expected, "{request:?} in {gibibytes} GiB");
        }
    }

    #[test]
    fn a_sweep_without_jobs_left_still_gets_a_slot() {
        let host = Host { cores: NonZeroUsize::new(4).unwrap(), memory: None };
        let division = host.divide(SlotRequest { jobs: Some(0), ..SlotRequest::default() }, |_| None);
        assert_eq!((division.slots.get(), division.threads.get()), (1, 4));
    }

    #[test]
    fn this_host_has_a_core() {
        let Host { cores, memory } = Host::here();
        assert!(cores.get() >= 1 && memory.is_none_or(|bytes| bytes > 0));
    }
}

//! How a machine is divided: jobs at once, and the threads of each.
//!
//! A sweep has more jobs than a machine has cores, and a job gains less from a second thread than another job does: so a core trains a
//! job. Cores that no job is left for, or that memory has no room for jobs on, are threads of those that there are. What a job
//! computes does not depend on it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::{fmt, fs, thread};

/// What a machine has for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Processors that this process may use.
    pub cores: NonZeroUsize,
    /// Bytes of memory that it may use, where the system tells: what is available, or the limit of the container, if that is less
    /// (of which the container may have used a part).
    pub memory: Option<usize>,
}

/// What was asked for. The rest is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Jobs at once.
    pub slots: Option<NonZeroU32>,
    /// Threads of each.
    pub threads: Option<NonZeroUsize>,
    /// How many jobs there are, where that is known.
    pub jobs: Option<usize>,
}

/// How a machine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Jobs at once.
    pub slots: NonZeroU32,
    /// Threads of each.
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
    /// The machine that this process runs on: the cores that affinity and cgroups leave, and its memory.
    pub fn here() -> Self {
        let limits =
            [cgroup_limit("/sys/fs/cgroup/memory.max"), cgroup_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
        Host {
            cores: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory: available().into_iter().chain(limits.into_iter().flatten()).min(),
        }
    }

    /// Divides the machine among jobs of which the largest takes `need` bytes with so many threads, where that is known.
    ///
    /// One job is trained in any case.
    pub fn divide(&self, wanted: Wanted, need: impl Fn(NonZeroUsize) -> Option<usize>) -> Division {
        let cores = self.cores.get();
        let threads = |slots: NonZeroU32| {
            let share = NonZeroUsize::new(cores / slots.get() as usize).unwrap_or(NonZeroUsize::MIN);
            wanted.threads.unwrap_or(share)
        };
        let fits = |slots: &NonZeroU32| match (self.memory, need(threads(*slots))) {
            (Some(memory), Some(need)) => need.saturating_mul(slots.get() as usize) <= memory,
            _ => true,
        };
        let slots = wanted.slots.unwrap_or_else(|| {
            let most = cores / wanted.threads.map_or(1, NonZeroUsize::get);
            let most = wanted.jobs.map_or(most, |jobs| most.min(jobs));
            (1..=most as u32).rev().filter_map(NonZeroU32::new).find(fits).unwrap_or(NonZeroU32::MIN)
        });
        Division { slots, threads: threads(slots) }
    }
}

/// What could be had without swapping, as Linux reckons.
fn available() -> Option<usize> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The limit of a container, in which its own group is the topmost that is seen. What is no number is no limit.
fn cgroup_limit(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    /// Slots and threads where of slots, threads and jobs what is 0 is not given, and a job takes 1 GiB and 64 MiB a thread.
    fn divided(cores: usize, gibibytes: usize, [slots, threads, jobs]: [u32; 3]) -> [usize; 2] {
        let machine =
            Host { cores: NonZeroUsize::new(cores).unwrap(), memory: (gibibytes > 0).then_some(gibibytes * GIB) };
        let wanted = Wanted {
            slots: NonZeroU32::new(slots),
            threads: NonZeroUsize::new(threads as usize),
            jobs: (jobs > 0).then_some(jobs as usize),
        };
        let Division { slots, threads } = machine.divide(wanted, |threads| Some(GIB + threads.get() * (GIB / 16)));
        [slots.get() as usize, threads.get()]
    }

    #[test]
    fn slots_times_threads_fill_the_cores() {
        let cases = [
            // Nothing asked for: a job a core.
            (1, [0, 0, 0], [1, 1]),
            (16, [0, 0, 0], [16, 1]),
            // Slots asked for: the cores are shared out; a core that is left over idles.
            (16, [1, 0, 0], [1, 16]),
            (16, [3, 0, 0], [3, 5]),
            (16, [16, 0, 0], [16, 1]),
            (2, [5, 0, 0], [5, 1]),
            // Threads asked for: as many slots as there are cores for.
            (16, [0, 4, 0], [4, 4]),
            (16, [0, 5, 0], [3, 5]),
            (2, [0, 8, 0], [1, 8]),
            // Both asked for.
            (16, [2, 3, 0], [2, 3]),
            // Few jobs: the cores that are left are threads.
            (16, [0, 0, 5], [5, 3]),
            (16, [0, 0, 1], [1, 16]),
            (16, [0, 0, 400], [16, 1]),
            (16, [0, 4, 3], [3, 4]),
            (16, [8, 0, 1], [8, 2]),
        ];
        for (cores, wanted, expected) in cases {
            assert_eq!(divided(cores, 0, wanted), expected, "{wanted:?} on {cores} cores");
        }
    }

    #[test]
    fn no_more_jobs_are_chosen_than_memory_holds() {
        let cases = [
            (64, [0, 0, 0], [16, 1]),
            // 3 jobs of 5 threads take 3 × 1.3125 GiB; 4 of 4 threads take 5.
            (4, [0, 0, 0], [3, 5]),
            (5, [0, 0, 0], [4, 4]),
            // Not even one: it may do all the same, for the estimate is an upper bound.
            (1, [0, 0, 0], [1, 16]),
            // What was asked for is done.
            (4, [8, 0, 0], [8, 2]),
        ];
        for (gibibytes, wanted, expected) in cases {
            assert_eq!(divided(16, gibibytes, wanted), expected, "{wanted:?} in {gibibytes} GiB");
        }
    }

    #[test]
    fn no_job_is_left_and_yet_there_is_a_slot() {
        let machine = Host { cores: NonZeroUsize::new(4).unwrap(), memory: None };
        let division = machine.divide(Wanted { jobs: Some(0), ..Wanted::default() }, |_| None);
        assert_eq!((division.slots.get(), division.threads.get()), (1, 4));
    }

    #[test]
    fn this_machine_has_a_core() {
        let Host { cores, memory } = Host::here();
        assert!(cores.get() >= 1 && memory.is_none_or(|bytes| bytes > 0));
    }
}

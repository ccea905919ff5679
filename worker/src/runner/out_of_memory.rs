//! Detects whether the system killed processes for lack of memory while a runner was running: a SIGKILL does not name its sender.

use std::fs;
use std::path::{Path, PathBuf};

/// The number of out-of-memory kills in a process's control group at the time of creation.
#[derive(Debug)]
pub(super) struct OutOfMemoryKills {
    /// A file of Linux with a line `oom_kill NUMBER`.
    counter: PathBuf,
    before: u64,
}

impl OutOfMemoryKills {
    /// Counts from now on in the control group of `process`. `None` if the system has no counter.
    pub fn near(process: u32) -> Option<Self> {
        Self::in_root(Path::new("/"), process)
    }

    /// Like `near`, with `/proc` and `/sys` in `root`.
    fn in_root(root: &Path, process: u32) -> Option<Self> {
        let groups = root.join("sys/fs/cgroup");
        let own = fs::read_to_string(root.join(format!("proc/{process}/cgroup"))).unwrap_or_default();
        // The line of cgroup version 2. Its path is relative to the root of the namespace, which is `/sys/fs/cgroup`.
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|group| groups.join(group));
        // The second is for containers that see their own group at the top but read the host's path; the third counts the kills of the
        // whole host.
        let counters = [own, Some(groups)].into_iter().flatten().map(|group| group.join("memory.events"));
        let mut counters = counters.chain([root.join("proc/vmstat")]);
        counters.find_map(|counter| Some(OutOfMemoryKills { before: count(&counter)?, counter }))
    }

    /// Whether the count has increased.
    pub fn any_since(&self) -> bool {
        count(&self.counter).is_some_and(|now| now > self.before)
    }
}

fn count(counter: &Path) -> Option<u64> {
    let table = fs::read_to_string(counter).ok()?;
    table.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const NONE: &str = "low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\noom_group_kill 0\n";
    const ONE: &str = "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n";

    #[test]
    fn only_kills_in_the_group_of_the_process_count() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "proc/7/cgroup", "0::/jobs/a\n");
        put(root.path(), "proc/vmstat", "nr_free_pages 1\noom_kill 4\n");
        for group in ["jobs/a", "jobs/b", "jobs"] {
            put(root.path(), &format!("sys/fs/cgroup/{group}/memory.events"), NONE);
        }
        let kills = OutOfMemoryKills::in_root(root.path(), 7).unwrap();
        assert!(!kills.any_since());
        put(root.path(), "sys/fs/cgroup/jobs/b/memory.events", ONE);
        put(root.path(), "proc/vmstat", "nr_free_pages 1\noom_kill 5\n");
        assert!(!kills.any_since(), "in another group");
        put(root.path(), "sys/fs/cgroup/jobs/a/memory.events", ONE);
        assert!(kills.any_since());
        assert!(!OutOfMemoryKills::in_root(root.path(), 7).unwrap().any_since(), "an earlier kill does not count");
    }

    #[test]
    fn a_container_that_does_not_see_its_path_reads_the_top_group() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "proc/7/cgroup", "0::/kubepods/pod1\n");
        put(root.path(), "sys/fs/cgroup/memory.events", NONE);
        let kills = OutOfMemoryKills::in_root(root.path(), 7).unwrap();
        put(root.path(), "sys/fs/cgroup/memory.events", ONE);
        assert!(kills.any_since());
    }

    #[test]
    fn without_cgroup_version_2_the_counter_of_the_host_is_used() {
        let root = tempfile::tempdir().unwrap();
        assert!(OutOfMemoryKills::in_root(root.path(), 7).is_none());
        put(root.path(), "proc/7/cgroup", "4:memory:/jobs\n0::/\n");
        put(root.path(), "proc/vmstat", "oom_kill_extra 9\noom_kill 4\n");
        let kills = OutOfMemoryKills::in_root(root.path(), 7).unwrap();
        put(root.path(), "proc/vmstat", "oom_kill_extra 9\noom_kill 5\n");
        assert!(kills.any_since());
    }
}

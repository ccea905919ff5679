//! Whether the system ran out of memory while a process lived. A SIGKILL itself does not say who sent it.

use std::fs;
use std::path::{Path, PathBuf};

/// How many processes the system had killed for want of memory when this was made, where the process was.
#[derive(Debug)]
pub(super) struct OutOfMemoryKills {
    /// A file of Linux with a line `oom_kill` and their number.
    counter: PathBuf,
    before: u64,
}

impl OutOfMemoryKills {
    /// Counts from now on where `process` is; nothing where the system does not count.
    pub fn around(process: u32) -> Option<Self> {
        Self::below(Path::new("/"), process)
    }

    /// The same with `/proc` and `/sys` below `root`.
    fn below(root: &Path, process: u32) -> Option<Self> {
        let groups = root.join("sys/fs/cgroup");
        let own = fs::read_to_string(root.join(format!("proc/{process}/cgroup"))).unwrap_or_default();
        // The line of version 2, whose path is seen from the root of the namespace, as is what lies in `/sys/fs/cgroup`.
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|group| groups.join(group));
        // The second where a container sees its own group at the top and is told its path from outside; the third counts those
        // of the whole machine.
        let counters = [own, Some(groups)].into_iter().flatten().map(|group| group.join("memory.events"));
        let mut counters = counters.chain([root.join("proc/vmstat")]);
        counters.find_map(|counter| Some(OutOfMemoryKills { before: count(&counter)?, counter }))
    }

    /// Whether there have been more since.
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
    fn what_is_killed_in_the_group_of_the_process_is_counted_and_elsewhere_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "proc/7/cgroup", "0::/jobs/a\n");
        put(root.path(), "proc/vmstat", "nr_free_pages 1\noom_kill 4\n");
        for group in ["jobs/a", "jobs/b", "jobs"] {
            put(root.path(), &format!("sys/fs/cgroup/{group}/memory.events"), NONE);
        }
        let kills = OutOfMemoryKills::below(root.path(), 7).unwrap();
        assert!(!kills.any_since());
        put(root.path(), "sys/fs/cgroup/jobs/b/memory.events", ONE);
        put(root.path(), "proc/vmstat", "nr_free_pages 1\noom_kill 5\n");
        assert!(!kills.any_since(), "a neighbour's");
        put(root.path(), "sys/fs/cgroup/jobs/a/memory.events", ONE);
        assert!(kills.any_since());
        assert!(!OutOfMemoryKills::below(root.path(), 7).unwrap().any_since(), "of one before nobody else dies");
    }

    #[test]
    fn a_container_that_does_not_see_its_path_counts_at_the_top() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "proc/7/cgroup", "0::/kubepods/pod1\n");
        put(root.path(), "sys/fs/cgroup/memory.events", NONE);
        let kills = OutOfMemoryKills::below(root.path(), 7).unwrap();
        put(root.path(), "sys/fs/cgroup/memory.events", ONE);
        assert!(kills.any_since());
    }

    #[test]
    fn without_groups_of_version_2_the_machine_counts_and_without_that_nobody() {
        let root = tempfile::tempdir().unwrap();
        assert!(OutOfMemoryKills::below(root.path(), 7).is_none());
        put(root.path(), "proc/7/cgroup", "4:memory:/jobs\n0::/\n");
        put(root.path(), "proc/vmstat", "oom_kill_extra 9\noom_kill 4\n");
        let kills = OutOfMemoryKills::below(root.path(), 7).unwrap();
        put(root.path(), "proc/vmstat", "oom_kill_extra 9\noom_kill 5\n");
        assert!(kills.any_since());
    }
}

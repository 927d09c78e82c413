//! What do the processes of a cgroup use, and what has the kernel done to them for it?

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::allowance::number;
use super::cgroup::Cgroup;
use crate::sys::{Shortage, Usage};

impl Cgroup {
    /// What its processes use and have used. It takes the kernel a moment: it adds up what each processor has counted.
    pub fn usage(&self) -> Usage {
        let file = |name: &str| number(&self.path().join(name));
        Usage {
            memory: file("memory.current"),
            memory_max: file("memory.max"),
            memory_peak: file("memory.peak"),
            tasks: file("pids.current"),
            tasks_max: file("pids.max"),
            cpu: counter(self.path(), "cpu.stat", "usage_usec").map(Duration::from_micros),
            oom_kills: counter(self.path(), "memory.events", "oom_kill"),
        }
    }

    /// Whether the end of a run came with a kill for want of memory: of all of it together, or at least of its main
    /// process, which a signal has `killed`. One in a cgroup that the service has made below its own, for that one's
    /// own limit, is the service's business; so is one that the service has arranged to outlive.
    pub(super) fn lost_to_memory(&self, killed: bool) -> bool {
        // Linux before 5.2 counts for both together.
        let text = fs::read_to_string(self.path().join("memory.events.local"))
            .or_else(|_| fs::read_to_string(self.path().join("memory.events")));
        // The second one from Linux 5.17 on; before that the first one tells as well, but for processes further below.
        let text = text.unwrap_or_default();
        let any =
            ["oom_kill", "oom_group_kill"].iter().any(|key| entry(&text, key).is_some_and(|count| count > 0));
        any && (killed || number(&self.path().join("memory.oom.group")) == Some(1))
    }

    /// Whether its own limit has ever been in the way of memory that was asked for.
    pub fn met_its_limit(&self) -> bool {
        counter(self.path(), "memory.events.local", "max").is_some_and(|count| count > 0)
    }

    /// What was short, after such a kill.
    pub fn shortage(&self) -> Shortage {
        match counter(self.path(), "memory.events.local", "oom") {
            Some(1..) => return Shortage::Own,
            Some(0) => {}
            None => return Shortage::Unknown,
        }
        for above in self.path().ancestors().skip(1).take_while(|above| above.join("cgroup.procs").exists()) {
            if let Some(limit) = number(&above.join("memory.max")) {
                return Shortage::Above { cgroup: above.to_path_buf(), limit };
            }
        }
        Shortage::Machine
    }
}

/// A number from a file of lines `KEY NUMBER`.
fn counter(cgroup: &Path, file: &str, key: &str) -> Option<u64> {
    entry(&fs::read_to_string(cgroup.join(file)).ok()?, key)
}

fn entry(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(directory: &Path, files: &[(&str, &str)]) -> Cgroup {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files.iter().chain(&[("cgroup.procs", "")]) {
            fs::write(directory.join(name), text).unwrap();
        }
        Cgroup::at(directory.to_path_buf())
    }

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Cgroup::at(directory.path().join("gone")).usage(), Usage::default());
        let cgroup = cgroup(
            directory.path(),
            &[
                ("memory.current", "4096\n"),
                ("memory.max", "max\n"),
                ("memory.peak", "67108864\n"),
                ("pids.current", "3\n"),
                ("pids.max", "10\n"),
                ("cpu.stat", "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n"),
                ("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n"),
            ],
        );
        let expected = Usage {
            memory: Some(4096),
            memory_max: None,
            memory_peak: Some(64 << 20),
            tasks: Some(3),
            tasks_max: Some(10),
            cpu: Some(Duration::from_millis(1500)),
            oom_kills: Some(2),
        };
        assert_eq!(cgroup.usage(), expected);
    }

    #[test]
    fn whose_processes_were_killed() {
        let local = "memory.events.local";
        let hierarchy = ("memory.events", "oom 1\noom_kill 1\noom_group_kill 1\n");
        for (files, lost) in [
            (vec![hierarchy, (local, "oom 1\noom_kill 1\noom_group_kill 0\n")], true),
            // All of it, though its processes are further below.
            (vec![hierarchy, (local, "oom 1\noom_kill 0\noom_group_kill 1\n")], true),
            // Somebody below it, for a limit there.
            (vec![hierarchy, (local, "oom 0\noom_kill 0\noom_group_kill 0\n")], false),
            (vec![hierarchy], true),
            (vec![], false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let cgroup = cgroup(directory.path(), &files);
            assert!(!cgroup.lost_to_memory(false), "{files:?}: it went on without that process");
            assert_eq!(cgroup.lost_to_memory(true), lost, "{files:?}");
            fs::write(directory.path().join("memory.oom.group"), "1\n").unwrap();
            assert_eq!(cgroup.lost_to_memory(false), lost, "{files:?}");
        }
    }

    #[test]
    fn what_was_short() {
        let directory = tempfile::tempdir().unwrap();
        let above = directory.path().join("unit");
        cgroup(&above, &[("memory.max", "209715200\n"), ("memory.events.local", "oom 5\n")]);
        cgroup(&above.join("mcpd"), &[("memory.max", "max\n")]);
        let run = above.join("mcpd/web@1");
        let own =
            cgroup(&run, &[("memory.max", "4096\n"), ("memory.events.local", "max 7\noom 2\noom_kill 1\n")]);
        assert_eq!((own.shortage(), own.met_its_limit()), (Shortage::Own, true));
        let run = cgroup(&run, &[("memory.max", "4096\n"), ("memory.events.local", "oom 0\noom_kill 1\n")]);
        assert_eq!(run.shortage(), Shortage::Above { cgroup: above.clone(), limit: 200 << 20 });
        assert!(!run.met_its_limit());
        cgroup(&above, &[("memory.max", "max\n")]);
        assert_eq!(run.shortage(), Shortage::Machine);
        assert_eq!(Cgroup::at(above.join("gone")).shortage(), Shortage::Unknown);
    }
}

//! How do controllers come to the cgroups of runs?
//!
//! A cgroup has those that the one above it hands down (`cgroup.subtree_control`). The daemon's own cgroup has what it
//! was given; from there they go down two levels, to the directory of all runs and to each run. One that is handed down
//! cannot be taken back while somebody below uses it, and who hands down holds no processes of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{allowance, proc_files};
use crate::sys::{Controller, Disallowed};

const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
/// As many of the processes that are in the way are named.
const NAMED: usize = 3;

/// The controllers of the daemon's part of the tree.
#[derive(Debug)]
pub(super) struct Controllers {
    /// From the top: who hands them down.
    levels: [PathBuf; 2],
    /// Those that the first level handed down before the daemon asked for any.
    before: Vec<Controller>,
}

impl Controllers {
    pub(super) fn of(home: &Path, base: &Path) -> Self {
        let before = listed(home, SUBTREE_CONTROL);
        Self { levels: [home.to_path_buf(), base.to_path_buf()], before }
    }

    /// Whether the daemon has it to hand down.
    pub(super) fn are_there(&self, controller: Controller) -> bool {
        listed(&self.levels[0], "cgroup.controllers").contains(&controller)
    }

    /// Every run has it from here on, those that are there already too.
    pub(super) fn hand_down(&self, controller: Controller) -> Result<(), Disallowed> {
        for level in &self.levels {
            if listed(level, SUBTREE_CONTROL).contains(&controller) {
                continue;
            }
            if !listed(level, "cgroup.controllers").contains(&controller) {
                return Err(Disallowed { message: self.missing(controller), permanent: true });
            }
            let path = level.join(SUBTREE_CONTROL);
            let text = format!("+{}", controller.name());
            allowance::set(&path, &text).map_err(|error| refused(level, &path, &text, &error))?;
        }
        Ok(())
    }

    /// The end: as it was before, as far as nobody else has come to use it. `all`: also those that were there before,
    /// for it may be that a life that was killed has left them.
    pub(super) fn withdraw(&self, all: bool) {
        let [home, base] = &self.levels;
        for controller in Controller::ALL {
            let text = format!("-{}", controller.name());
            let _ = allowance::set(&base.join(SUBTREE_CONTROL), &text);
            if all || !self.before.contains(&controller) {
                let _ = allowance::set(&home.join(SUBTREE_CONTROL), &text);
            }
        }
    }

    /// It is not the daemon's to hand down: why, and what is to be done about it.
    fn missing(&self, controller: Controller) -> String {
        let home = self.levels[0].display();
        let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
        match of_v1(&text, controller) {
            Some(V1::Bound) => format!(
                "{home} has none: this machine has it in the old hierarchy (cgroup v1); boot it with \
                 systemd.unified_cgroup_hierarchy=1, or take the key out"
            ),
            Some(V1::Disabled) => {
                "the kernel was booted without it; change its command line, or take the key out".to_owned()
            }
            None => format!(
                "it has not been handed down to {home}; that takes Delegate=yes in mcpd's unit, or \
                 cgroup.subtree_control of the directory above; or take the key out"
            ),
        }
    }
}

/// Where a controller is instead.
#[derive(Debug, PartialEq, Eq)]
enum V1 {
    /// In a hierarchy of version 1.
    Bound,
    /// Nowhere.
    Disabled,
}

/// `/proc/cgroups`: name, hierarchy (0: that of version 2), number of cgroups, whether it is enabled.
fn of_v1(text: &str, controller: Controller) -> Option<V1> {
    let name = match controller {
        Controller::Io => "blkio",
        Controller::Cpu | Controller::Memory | Controller::Pids => controller.name(),
    };
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    let mut numbers = line.split_whitespace().skip(1);
    let (hierarchy, enabled) = (numbers.next()?, numbers.nth(1)?);
    match (hierarchy, enabled) {
        (_, "0") => Some(V1::Disabled),
        ("0", _) => None,
        (_, _) => Some(V1::Bound),
    }
}

fn refused(level: &Path, path: &Path, text: &str, error: &io::Error) -> Disallowed {
    let mut message = format!("writing \"{text}\" to {}: {error}", path.display());
    let busy = error.raw_os_error() == Some(libc::EBUSY);
    if busy {
        let pids = fs::read_to_string(level.join("cgroup.procs")).unwrap_or_default();
        let names: Vec<String> = pids
            .lines()
            .filter_map(|pid| pid.parse().ok())
            .take(NAMED)
            .map(|pid| format!("{} ({pid})", proc_files::command_name(pid)))
            .collect();
        message.push_str(&format!(
            ": other processes live there ({}); start mcpd in a cgroup of its own",
            names.join(", ")
        ));
    }
    let passes = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOMEM));
    Disallowed { message, permanent: !passes }
}

/// The controllers in a file that lists them.
fn listed(cgroup: &Path, file: &str) -> Vec<Controller> {
    let text = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let is = |name: &str| Controller::ALL.into_iter().find(|controller| controller.name() == name);
    text.split_whitespace().filter_map(is).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_controller_is_instead() {
        let hybrid = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t3\t1\nmemory\t4\t3\t1\nblkio\t7\t1\t1\n\
                      pids\t0\t1\t1\n";
        let of = |controller| of_v1(hybrid, controller);
        assert_eq!([of(Controller::Memory), of(Controller::Io)], [Some(V1::Bound), Some(V1::Bound)]);
        assert_eq!(of(Controller::Pids), None);
        assert_eq!(of_v1("memory\t0\t1\t0\n", Controller::Memory), Some(V1::Disabled));
        assert_eq!(of_v1("", Controller::Memory), None);
    }

    #[test]
    fn controllers_go_down_level_by_level() {
        let directory = tempfile::tempdir().unwrap();
        let (home, base) = (directory.path(), directory.path().join("mcpd-x"));
        fs::create_dir(&base).unwrap();
        fs::write(home.join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        fs::write(home.join(SUBTREE_CONTROL), "pids\n").unwrap();
        fs::write(base.join("cgroup.controllers"), "memory pids\n").unwrap();
        fs::write(base.join(SUBTREE_CONTROL), "memory\n").unwrap();
        let controllers = Controllers::of(home, &base);
        assert!(controllers.are_there(Controller::Cpu) && !controllers.are_there(Controller::Io));
        let read = |path: &Path| fs::read_to_string(path.join(SUBTREE_CONTROL)).unwrap();
        controllers.hand_down(Controller::Pids).unwrap();
        assert_eq!((read(home).as_str(), read(&base).as_str()), ("pids\n", "+pids"));
        controllers.hand_down(Controller::Memory).unwrap();
        assert_eq!((read(home).as_str(), read(&base).as_str()), ("+memory", "+memory"));
        let missing = controllers.hand_down(Controller::Io).unwrap_err();
        assert!(missing.permanent, "{missing}");
        // The last one was there before.
        controllers.withdraw(false);
        assert_eq!((read(home).as_str(), read(&base).as_str()), ("-memory", "-pids"));
        controllers.withdraw(true);
        assert_eq!(read(home), "-pids");
    }
}

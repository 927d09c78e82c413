//! Which processes are there, and whose are they: `/proc`, read by marks and parents.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::sandbox::MARK;

/// One line of `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The program's name, at most 15 bytes of it.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z`, ...
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
}

/// The process with this id, when there is one; a zombie is one.
#[must_use]
pub fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses as well.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat[close + 1..].split_whitespace();
    Some(Process {
        pid,
        name: stat[open + 1..close].to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

/// All processes.
#[must_use]
pub fn all() -> Vec<Process> {
    let entries = Path::new("/proc").read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The children of `parent`, zombies among them.
#[must_use]
pub fn children(parent: u32) -> Vec<Process> {
    all().into_iter().filter(|process| process.parent == parent).collect()
}

/// Whether the process lives: it is there and no zombie.
#[must_use]
pub fn lives(pid: u32) -> bool {
    process(pid).is_some_and(|process| process.state != 'Z')
}

/// The living processes that carry a sandbox's mark.
#[must_use]
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let carries = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    all().into_iter().filter(|process| process.state != 'Z' && carries(process.pid)).collect()
}

/// Sends a signal; nothing when the process is gone.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // Gone already is as good.
        let _ = kill_process(pid, signal);
    }
}

/// Kills an mcpd and the daemon that it keeps at one stroke: neither sees the end of the other.
pub fn kill_with_daemon(keeper: u32) {
    signal(keeper, Signal::STOP);
    // It has the second name until it has given itself the first.
    for child in children(keeper).iter().filter(|child| ["mcpd", "exe"].contains(&&*child.name)) {
        signal(child.pid, Signal::KILL);
    }
    signal(keeper, Signal::KILL);
}

/// Whether the system knows the id, zombies included.
#[must_use]
pub fn exists(pid: u32) -> bool {
    to_pid(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Kills what carries the mark, by id; what it found.
pub fn kill_marked(mark: &str) -> Vec<Process> {
    let mut killed: Vec<Process> = Vec::new();
    // One that was just starting another may slip through the first look.
    for _ in 0..100 {
        let found = marked(mark);
        if found.is_empty() {
            break;
        }
        for process in &found {
            signal(process.pid, Signal::KILL);
        }
        // One that is still dying at the next look may have another parent or state by then.
        let known = |one: &Process| killed.iter().any(|other| other.pid == one.pid);
        let new: Vec<_> = found.into_iter().filter(|one| !known(one)).collect();
        killed.extend(new);
        std::thread::sleep(crate::wait::STEP);
    }
    killed
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

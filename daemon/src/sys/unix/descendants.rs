//! What a dead leader has left running, and how to signal it without ever hitting anyone else.
//!
//! The daemon is a child subreaper: when the leader of a run dies, all that it had started hangs, at some depth, below
//! processes that are now the daemon's own children though it never started them: the strangers. So the whole tree is
//! found by walking down from the strangers; nothing else on the machine is looked at. A process belongs to the run if
//! its environment holds the run's id, or if it is still in the leader's session or group, or if its parent belongs, or
//! if it did so when it was last looked at.
//!
//! These processes are not the daemon's own children, or may be reaped by others, so that a pid may mean somebody else a
//! moment later. Each is therefore known by its pid and the time it started, and is signalled through a pidfd.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};

use super::proc_files::{self, Family, Stat};

/// How often a tree that changes while it is walked is walked again. A tree that still changes then is being signalled
/// or is forking; its end brings the caller back.
const WALK_LIMIT: usize = 8;

/// A run whose leader is dead.
pub(super) struct Estate<'a> {
    /// The pids of its leaders, which are also the numbers of their sessions and groups: of the main process and of the
    /// commands around it. Not one that is reaped and whose number is in use again: its session and group, which pin the
    /// number, are gone, and the number tells nothing any more.
    pub(super) leaders: &'a [libc::pid_t],
    /// The run's id in the environment.
    pub(super) run_id: &'a [u8],
    /// Those found at the last look. One that had belonged only through its parent is recognised by this once the
    /// parent is dead.
    pub(super) known: &'a HashSet<Member>,
}

/// One process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) pid: libc::pid_t,
    pub(super) started: u64,
}

/// The living processes of a run. `strangers` lists, each time it is called, the daemon's children that it did not
/// start.
pub(super) fn living(
    estate: &Estate<'_>,
    mut strangers: impl FnMut(&Family) -> Vec<libc::pid_t>,
) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..WALK_LIMIT {
        let family = Family::now();
        let roots = strangers(&family);
        if roots.is_empty() {
            return Vec::new();
        }
        let walk = Walk::down(estate, &family, &roots);
        members = walk.members;
        // Whoever dies hands its children over to the daemon before it counts as dead. So if none was seen dead, or no
        // stranger has come since the walk began, none has slipped past it.
        if !walk.met_dead || strangers(&Family::now()).iter().all(|pid| roots.contains(pid)) {
            break;
        }
    }
    members
}

struct Walk<'a> {
    estate: &'a Estate<'a>,
    members: Vec<Member>,
    met_dead: bool,
}

impl<'a> Walk<'a> {
    fn down(estate: &'a Estate<'a>, family: &Family, roots: &[libc::pid_t]) -> Self {
        let mut walk = Self { estate, members: Vec::new(), met_dead: false };
        let mut seen = HashSet::new();
        let mut open: Vec<(libc::pid_t, bool)> = roots.iter().map(|&pid| (pid, false)).collect();
        while let Some((pid, parent_belongs)) = open.pop() {
            if !seen.insert(pid) {
                continue;
            }
            let belongs = walk.visit(pid, parent_belongs);
            open.extend(family.children_of(pid).into_iter().map(|child| (child, belongs)));
        }
        walk
    }

    /// Notes the process if it belongs to the run.
    fn visit(&mut self, pid: libc::pid_t, parent_belongs: bool) -> bool {
        let Some(stat) = proc_files::stat(pid).filter(|stat| !stat.dead) else {
            self.met_dead = true;
            return false;
        };
        let member = Member { pid, started: stat.started };
        let belongs = parent_belongs || self.estate.known.contains(&member) || self.is_marked(pid, &stat);
        if belongs {
            self.members.push(member);
        } else if proc_files::stat(pid).is_none_or(|stat| stat.dead || stat.exiting) {
            // It may have lost its environment before it could be read.
            self.met_dead = true;
        }
        belongs
    }

    fn is_marked(&self, pid: libc::pid_t, stat: &Stat) -> bool {
        match proc_files::run_id(pid) {
            Some(run_id) => run_id == self.estate.run_id,
            // It was started without it, or belongs to another user and may not be asked.
            None => {
                let leaders = self.estate.leaders;
                leaders.contains(&stat.session) || leaders.contains(&stat.group)
            }
        }
    }
}

/// Sends a signal to exactly this process; `false` when it is gone or out of reach.
pub(super) fn signal(member: Member, signal: i32) -> bool {
    let Some(pid) = Pid::from_raw(member.pid) else { return false };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor holds whoever had the pid when it was opened: if that still is the right one, the signal
        // cannot reach anyone else.
        Ok(pidfd) => is_still(member) && send(&pidfd, signal),
        // Before Linux 5.3 only the moment between this look and the kill remains.
        Err(rustix::io::Errno::NOSYS) => is_still(member) && kill(member.pid, signal),
        Err(_) => false,
    }
}

pub(super) fn is_still(member: Member) -> bool {
    proc_files::stat(member.pid).is_some_and(|stat| !stat.dead && stat.started == member.started)
}

pub(super) fn send(pidfd: &OwnedFd, signal: i32) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: the call takes numbers and a null pointer, which asks for the siginfo of an ordinary kill; the descriptor
    // is open for as long as `pidfd` is borrowed.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0) == 0
    }
}

/// Sends a signal to a pid, or with a negative one to a group.
pub(super) fn kill(pid: libc::pid_t, signal: i32) -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::kill(pid, signal) == 0 }
}

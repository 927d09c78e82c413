//! What a dead leader has left running, and how to signal it without ever hitting anyone else.
//!
//! The daemon is a child subreaper: when the leader of a run dies, all that it had started hangs, at some depth, below
//! processes that are now the daemon's own children though it never started them: the strangers. So the whole tree is
//! found by walking down from the strangers; nothing else on the machine is looked at. A process belongs to the run if
//! its environment holds the run's id, or if it is still in the leader's session or group, or if its parent belongs, or
//! if it did so when it was last looked at.
//!
//! Who has none of this is of another run, unless it cannot be asked in this moment: in the middle of exec a process has
//! no environment, and none any more while it ends. What a tree does that changes all the time may also escape a look.
//! So there are three answers: these are left, nothing is left, and "it cannot be told now".
//!
//! These processes are not the daemon's own children, or may be reaped by others, so that a pid may mean somebody else a
//! moment later. Each is therefore known by its pid and the time it started, and is signalled through a pidfd.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};

use super::proc_files::{self, Environment, Family, Stat};

/// How often a tree that changes while it is walked is walked again. One that still changes then is being signalled or is
/// forking: what was seen of it counts, and that nothing was seen proves nothing.
const WALK_LIMIT: usize = 8;

/// A run whose leader is dead.
pub(super) struct Estate<'a> {
    /// The pids of its leaders, which are also the numbers of their sessions and groups: of the main process and of the
    /// commands around it. Not one that is reaped and whose number is in use again: its session and group, which pin the
    /// number, are gone, and the number tells nothing any more.
    pub(super) leaders: &'a [libc::pid_t],
    /// When the first of them started, where that is known: what started before it is none of their descendants.
    pub(super) began: Option<u64>,
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

/// What was seen of a run.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Who lives.
    pub(super) members: Vec<Member>,
    /// Who may be one of them and could not be asked.
    pub(super) doubtful: Vec<Member>,
    /// Some may have slipped past.
    pub(super) unsettled: bool,
}

/// The living processes of a run. `strangers` lists, each time it is called, the daemon's children that it did not
/// start.
///
/// Why nothing slips past a look that ends settled: whoever is left hangs below a stranger, by way of members. All
/// strangers that there were at the end have been visited. Whoever dies hands its children over to the daemon before it
/// counts as dead, so that they are strangers by then. A stranger that is dead stays so, and keeps its number, until this
/// thread reaps it.
pub(super) fn living(estate: &Estate<'_>, mut strangers: impl FnMut(&Family) -> Vec<libc::pid_t>) -> Look {
    let mut look = Look::default();
    let mut found = estate.known.clone();
    let mut dead: HashSet<libc::pid_t> = HashSet::new();
    for _ in 0..WALK_LIMIT {
        let family = Family::now();
        let mut roots = strangers(&family);
        roots.retain(|pid| !dead.contains(pid));
        let walk = Walk::down(estate, &family, &roots);
        dead.extend(roots.iter().filter(|pid| walk.dead.contains(pid)));
        found.extend(&walk.members);
        (look.members, look.doubtful) = (walk.members, walk.doubtful);
        let roots: HashSet<libc::pid_t> = roots.into_iter().collect();
        let visited = |pid: &libc::pid_t| roots.contains(pid) || dead.contains(pid);
        look.unsettled = !roots.is_empty() && !strangers(&Family::now()).iter().all(visited);
        if !look.unsettled && look.doubtful.is_empty() {
            break;
        }
        std::thread::yield_now();
    }
    // Those of the last walk count even if they have died since: who came after them has not been looked for. One that
    // was known, or seen before the last walk only, is one as long as it lives.
    let seen: HashSet<Member> = look.members.iter().copied().collect();
    look.members.extend(found.into_iter().filter(|member| !seen.contains(member) && is_still(*member)));
    look
}

struct Walk<'a> {
    estate: &'a Estate<'a>,
    members: Vec<Member>,
    doubtful: Vec<Member>,
    dead: HashSet<libc::pid_t>,
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The run's.
    Ours,
    /// Another run's, as it says itself.
    Others,
    /// It says nothing, so that it is taken for a stranger's. What it starts may say more: many a program writes over its
    /// own environment.
    Unsaid,
    /// It cannot be told now.
    Doubtful,
}

impl<'a> Walk<'a> {
    fn down(estate: &'a Estate<'a>, family: &Family, roots: &[libc::pid_t]) -> Self {
        let mut walk = Self { estate, members: Vec::new(), doubtful: Vec::new(), dead: HashSet::new() };
        let mut seen = HashSet::new();
        let mut open: Vec<(libc::pid_t, Whose)> = roots.iter().map(|&pid| (pid, Whose::Unsaid)).collect();
        while let Some((pid, parent)) = open.pop() {
            if !seen.insert(pid) {
                continue;
            }
            let whose = walk.visit(pid, parent);
            open.extend(family.children_of(pid).into_iter().map(|child| (child, whose)));
        }
        walk
    }

    /// Notes the process if it belongs to the run, or may.
    fn visit(&mut self, pid: libc::pid_t, parent: Whose) -> Whose {
        let Some(stat) = proc_files::stat(pid).filter(|stat| !stat.dead) else {
            self.dead.insert(pid);
            return Whose::Unsaid;
        };
        let member = Member { pid, started: stat.started };
        let whose = self.whose(member, &stat, parent);
        match whose {
            Whose::Ours => self.members.push(member),
            Whose::Doubtful => self.doubtful.push(member),
            Whose::Others | Whose::Unsaid => {}
        }
        whose
    }

    fn whose(&self, member: Member, stat: &Stat, parent: Whose) -> Whose {
        let estate = self.estate;
        if parent == Whose::Ours || estate.known.contains(&member) {
            return Whose::Ours;
        }
        let environment = proc_files::run_id(member.pid);
        if let Environment::Says(run_id) = environment {
            return if run_id == estate.run_id { Whose::Ours } else { Whose::Others };
        }
        if estate.leaders.contains(&stat.session) || estate.leaders.contains(&stat.group) {
            return Whose::Ours;
        }
        match (environment, parent) {
            (_, Whose::Others) => Whose::Others,
            (Environment::Away, _) if estate.began.is_none_or(|began| stat.started >= began) => {
                Whose::Doubtful
            }
            // It was started without a run id, or belongs to another user and may not be asked.
            (Environment::Away | Environment::Silent | Environment::Says(_), _) => Whose::Unsaid,
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

//! What earlier lives of the daemon have left running: recognised, watched, signalled.
//!
//! When the daemon is killed, its services live on as children of somebody else. Nothing of them is its child any more,
//! and a number may mean a stranger by now. So a process is one of theirs only
//!
//! * if it has the pid of a recorded run *and* started at the very tick that was recorded with it, or
//! * if the environment that it was started with holds the run id of an earlier life, or
//! * if it is in the cgroup of one of their runs, or
//! * if its parent is one of theirs, or
//! * if its session is that of a recorded run, or led by one of theirs, and one of theirs of that run is in it: a
//!   session's number is not given out again while the session has members.
//!
//! The daemon itself and whoever started it, and that one's parents, are never among them.
//!
//! Their ends are told by pidfds. What is to be done about them is not decided here.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::census::Census;
use super::descendants::{self, Member};
use super::proc_files::{self, Marks, Stat};
use crate::sys::{KnownLives, KnownRun, Leftover};

/// How often a process is looked at whose end nothing tells: the kernel has no pidfd (before Linux 5.3), or the daemon
/// has no descriptor left for one.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long a look that cannot tell whether it has seen everything is followed by another. What cannot be asked for longer
/// hangs in the kernel, and most likely is nobody's business: the machine has other processes.
const UNSETTLED_LIMIT: Duration = Duration::from_secs(2);
/// How often all that is left of a service is killed and looked for again at a time. One round is enough where nothing
/// forks.
const KILLS: usize = 32;
/// How often the family is walked again for members that came to light: each round finds another generation, so that only
/// a tree that forks faster than it is read needs more. What is missed is found by the next look.
const ROUNDS: usize = 64;

/// What is left, and how to hear of its end.
#[derive(Debug)]
pub struct Remains {
    known: KnownLives,
    members: HashMap<Member, Watched>,
    wake: Arc<OwnedFd>,
    blind: Option<String>,
    /// Since when no look could tell whether it has seen everything.
    unsettled: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    service: Arc<str>,
    name: String,
    /// Readable once it has ended.
    pidfd: Option<OwnedFd>,
}

/// Ends a [`Remains::wait`] from another thread.
#[derive(Debug, Clone)]
pub struct RemainsWaker(Arc<OwnedFd>);

impl RemainsWaker {
    /// Ends the wait that is under way, or the next one.
    pub fn wake(&self) {
        // Full: it has been woken a few thousand million times already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Remains {
    /// Looks for what is left of these lives.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new(known: KnownLives) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut remains =
            Self { known, members: HashMap::new(), wake: Arc::new(wake), blind: None, unsettled: None };
        remains.look();
        while !remains.is_settled() {
            remains.look();
        }
        Ok(remains)
    }

    /// What was there at the last look and has not been seen to end, in the order of pids.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut all: Vec<Leftover> = self
            .members
            .iter()
            .map(|(member, watched)| Leftover {
                service: Arc::clone(&watched.service),
                pid: member.pid.unsigned_abs(),
                name: watched.name.clone(),
            })
            .collect();
        all.sort_by_key(|leftover| leftover.pid);
        all
    }

    /// Looks at every process of the machine.
    pub fn look(&mut self) {
        self.look_and(|_, _| ());
    }

    /// Whether the last look has seen everything, or nothing more can be seen: nobody that is left has escaped it.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_none_or(|since| since.elapsed() > UNSETTLED_LIMIT)
    }

    /// Whoever is one of them by its own mark is handed over in the moment in which it is seen.
    fn look_and(&mut self, mut seen: impl FnMut(Member, &Arc<str>)) {
        // One that is empty stays so: nobody enters it any more.
        self.known.cgroups.retain(|(_, cgroup)| cgroup.is_populated() || cgroup.remove().is_err());
        let (found, mut settled) = recognise(&self.known, &mut seen);
        self.members.retain(|member, _| found.contains_key(member));
        for (member, service) in found {
            if self.members.contains_key(&member) {
                continue;
            }
            let pidfd =
                Pid::from_raw(member.pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
            let pidfd = match pidfd {
                Some(Ok(pidfd)) => Some(pidfd),
                Some(Err(rustix::io::Errno::SRCH)) | None => {
                    // It has ended since: who came after it has not been looked for.
                    settled = false;
                    continue;
                }
                Some(Err(error)) => {
                    self.blind = Some(format!("pidfd_open: {error}"));
                    None
                }
            };
            // Opened now: only if it still is the one that was found does the descriptor stand for it.
            if !descendants::is_still(member) {
                settled = false;
                continue;
            }
            let name = proc_files::command_name(member.pid);
            self.members.insert(member, Watched { service, name, pidfd });
        }
        self.unsettled = if settled { None } else { self.unsettled.or_else(|| Some(Instant::now())) };
    }

    /// Why some of them have to be looked at now and then, once.
    pub fn take_blindness(&mut self) -> Option<String> {
        self.blind.take()
    }

    /// Sends a signal to all that is left of a service; who got it. SIGKILL also goes to whoever is started meanwhile.
    pub fn signal(&mut self, service: &str, signal: i32) -> Vec<Leftover> {
        let mut reached = Vec::new();
        for _ in 0..KILLS {
            if signal != libc::SIGKILL {
                break;
            }
            let before = reached.len();
            self.look_and(|member, of| {
                // One that forks away is gone before a look is over.
                if &**of == service
                    && !reached.iter().any(|one: &Leftover| one.pid == member.pid.unsigned_abs())
                    && descendants::signal(member, signal)
                {
                    let name = proc_files::command_name(member.pid);
                    reached.push(Leftover { service: Arc::clone(of), pid: member.pid.unsigned_abs(), name });
                }
            });
            if reached.len() == before && self.is_settled() {
                break;
            }
        }
        for (&member, watched) in self.members.iter().filter(|(_, watched)| &*watched.service == service) {
            let sent = match &watched.pidfd {
                Some(pidfd) => descendants::send(pidfd, signal),
                None => descendants::signal(member, signal),
            };
            let told = reached.iter().any(|one| one.pid == member.pid.unsigned_abs());
            if sent && !told {
                let (service, name) = (Arc::clone(&watched.service), watched.name.clone());
                reached.push(Leftover { service, pid: member.pid.unsigned_abs(), name });
            }
        }
        if signal == libc::SIGKILL {
            // What is just being forked as well.
            let cgroups = self.known.cgroups.iter().filter(|(of, _)| &**of == service);
            cgroups.for_each(|(_, cgroup)| cgroup.kill());
        }
        reached
    }

    /// A handle to end [`Self::wait`] with.
    pub fn waker(&self) -> RemainsWaker {
        RemainsWaker(Arc::clone(&self.wake))
    }

    /// Waits until one of them has ended, or somebody wakes it, and strikes out those that have.
    pub fn wait(&mut self) {
        let mut ended = Vec::new();
        {
            let watched: Vec<(Member, &OwnedFd)> = self
                .members
                .iter()
                .filter_map(|(member, watched)| Some((*member, watched.pidfd.as_ref()?)))
                .collect();
            let mut polled: Vec<PollFd<'_>> =
                watched.iter().map(|(_, pidfd)| PollFd::new(*pidfd, PollFlags::IN)).collect();
            polled.push(PollFd::new(&*self.wake, PollFlags::IN));
            let blind = watched.len() < self.members.len() || !self.is_settled();
            let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
            // An interrupted wait is a short one: the caller looks again.
            let _ = rustix::event::poll(&mut polled, blind.then_some(&timeout));
            for ((member, _), polled) in watched.iter().zip(&polled) {
                if !polled.revents().is_empty() {
                    ended.push(*member);
                }
            }
        }
        let unwatched = self.members.iter().filter(|(_, watched)| watched.pidfd.is_none());
        ended.extend(unwatched.map(|(member, _)| *member).filter(|&member| !descendants::is_still(member)));
        for member in ended {
            self.members.remove(&member);
        }
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
    }
}

/// Every living process that belongs to one of the lives, and to which service; and whether that is all of them. `seen`
/// is told of each that has a mark in the moment in which it is seen.
fn recognise(
    known: &KnownLives,
    seen: &mut dyn FnMut(Member, &Arc<str>),
) -> (HashMap<Member, Arc<str>>, bool) {
    let by_id: HashMap<&str, &KnownRun> = known.runs.iter().map(|run| (run.run_id.as_str(), run)).collect();
    // Of which service, and of which recorded run.
    let owner = |marks: &Marks| -> Option<(Arc<str>, Option<&KnownRun>)> {
        let run_id = str::from_utf8(&marks.run_id).ok().filter(|run_id| known.owns(run_id))?;
        let recorded = by_id.get(run_id).copied();
        let named = || marks.service.as_ref().map(|name| String::from_utf8_lossy(name).as_ref().into());
        let service = recorded.map(|run| Arc::clone(&run.service)).or_else(named);
        Some((service.unwrap_or_else(|| "?".into()), recorded))
    };
    let own = own_line();
    let Census { mut family, marks, unasked, began_anew } = Census::take(|member, marks| {
        if let Some((service, _)) = owner(marks).filter(|_| !own.contains(&member.pid)) {
            seen(member, &service);
        }
    });
    family.retain(|pid, _| !own.contains(pid));
    let mut belongs = Belongs::default();
    for run in &known.runs {
        let Ok(pid) = libc::pid_t::try_from(run.pid) else { continue };
        if family.get(&pid).is_some_and(|stat| stat.started == run.start_ticks) {
            belongs.sessions.insert(pid, Arc::clone(&run.service));
            belongs.processes.insert(pid, Arc::clone(&run.service));
        }
    }
    for (pid, marks) in &marks {
        let Some(stat) = family.get(pid) else { continue };
        let Some((service, recorded)) = owner(marks) else { continue };
        if let Some(run) = recorded
            && libc::pid_t::try_from(run.pid) == Ok(stat.session)
        {
            belongs.sessions.insert(stat.session, Arc::clone(&run.service));
        }
        belongs.processes.entry(*pid).or_insert(service);
    }
    for (service, cgroup) in &known.cgroups {
        for pid in cgroup.processes().into_iter().filter(|pid| family.contains_key(pid)) {
            belongs.processes.entry(pid).or_insert_with(|| Arc::clone(service));
        }
    }
    belongs.grow(&family);
    let member = |pid: libc::pid_t| Some(Member { pid, started: family.get(&pid)?.started });
    let settled = !began_anew && unasked.iter().all(|pid| belongs.processes.contains_key(pid));
    let members = belongs.processes.into_iter();
    (members.filter_map(|(pid, service)| Some((member(pid)?, service))).collect(), settled)
}

/// The daemon and its parents, and theirs.
fn own_line() -> HashSet<libc::pid_t> {
    let mut line = HashSet::new();
    let mut next = Some(rustix::process::getpid().as_raw_nonzero().get());
    while let Some(pid) = next.filter(|&pid| line.insert(pid)) {
        next = proc_files::stat(pid).map(|stat| stat.parent);
    }
    line
}

/// Who belongs to which service, by pid, and which sessions do.
#[derive(Debug, Default)]
struct Belongs {
    processes: HashMap<libc::pid_t, Arc<str>>,
    sessions: HashMap<libc::pid_t, Arc<str>>,
}

impl Belongs {
    /// Adds children and members of sessions until there are no more.
    fn grow(&mut self, family: &HashMap<libc::pid_t, Stat>) {
        for _ in 0..ROUNDS {
            let before = self.processes.len();
            for (&pid, stat) in family {
                if let Some(service) = self.processes.get(&pid) {
                    if stat.session == pid {
                        self.sessions.entry(pid).or_insert_with(|| Arc::clone(service));
                    }
                    continue;
                }
                let by = self.processes.get(&stat.parent).or_else(|| self.sessions.get(&stat.session));
                if let Some(service) = by.map(Arc::clone) {
                    self.processes.insert(pid, service);
                }
            }
            if self.processes.len() == before {
                break;
            }
        }
    }
}

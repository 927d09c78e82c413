//! Every process that the daemon has started, and the orphans that fell to it.
//!
//! There is no pidfd per child, and none is needed. A pid is not given out again before its process is reaped, all
//! reaping happens in [`Children::collect`], and signalling happens on the same thread: as long as a child is in the
//! table as living, its pid and its group mean that child. Only what is not in the table, the descendants of a reaped
//! leader, needs proof of identity; `descendants.rs` has it.

mod fostered;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Process;
use super::cgroup::Cgroup;
use super::cgroup_watch::CgroupWatch;
use super::descendants::{self, Estate, Look, Member};
use super::ends::{any_dead_child, exit, peek, reap, was_killed};
use super::limits;
use super::proc_files::{self, Family};
use super::strangers::StrangerWatch;
use crate::sys::{Collected, Dead, Ending, Key, Named, Waker, Whom};

/// How long [`Children::end_all`] waits for killed processes to be gone. Only a process that hangs in the kernel (a dead
/// network disk) takes longer, and no one can end that.
const END_ALL_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for one of them before it looks at all again.
const END_ALL_PAUSE: Duration = Duration::from_millis(50);

/// How far up a process's ancestors are followed.
const ANCESTORS: usize = 64;
/// So many ends of unknown children are remembered while a spawn is in flight. One of them that matters is claimed
/// within moments; only while another spawn hangs do they add up.
const UNCLAIMED_LIMIT: usize = 4096;

/// The processes of the daemon, owned by one thread.
pub struct Children {
    runs: HashMap<Key, Run>,
    /// The children that are not reaped yet, by pid.
    living: HashMap<libc::pid_t, Key>,
    /// The same of those that an earlier daemon has started: the keeper reaps them.
    fostered: HashMap<libc::pid_t, Key>,
    /// To whom orphans fall when the daemon that has started them is dead.
    keeper: Option<libc::pid_t>,
    /// Children that ended while some spawn was in flight and were nobody's: orphans, or a process that ended before it
    /// was adopted.
    unclaimed: Vec<Unclaimed>,
    /// Ends that adopting a process brought to light.
    claimed: Vec<Collected>,
    wake: Waker,
    /// From the first run on that is in a cgroup and leaves something.
    watch: Option<CgroupWatch>,
    /// Of those that were taken over, the ones that somebody else reaps: neither this process nor its keeper.
    strangers: Option<StrangerWatch>,
}

#[derive(Debug)]
struct Unclaimed {
    reaped: Dead,
    at: u64,
}

#[derive(Debug)]
struct Run {
    pid: libc::pid_t,
    /// When the main process started, where that is known.
    began: Option<u64>,
    rss_floor_bytes: u64,
    run_id: Vec<u8>,
    /// The main process is reaped.
    ended: bool,
    /// The main process's number has been seen in use again since.
    number_reused: bool,
    /// What it had left at the last look.
    leftovers: HashSet<Member>,
    cgroup: Option<Cgroup>,
    /// What it and its descendants are, they are of that run.
    part_of: Option<Key>,
    /// Of a process that an earlier daemon has started: whoever else may get its number is not signalled by this.
    pidfd: Option<OwnedFd>,
}

impl Run {
    fn new(
        pid: libc::pid_t,
        began: Option<u64>,
        rss_floor_bytes: u64,
        run_id: Vec<u8>,
        cgroup: Option<Cgroup>,
    ) -> Self {
        Self {
            pid,
            began,
            rss_floor_bytes,
            run_id,
            ended: false,
            number_reused: false,
            leftovers: HashSet::new(),
            cgroup,
            part_of: None,
            pidfd: None,
        }
    }
}

impl Children {
    /// Makes the daemon the one to whom the orphans among its descendants fall, and keeps the descriptors that whoever
    /// started it left open from reaching its services. The loop learns of ended children by SIGCHLD; `wake` is for what
    /// is heard of otherwise.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to make the daemon a child subreaper.
    pub fn new(wake: Waker) -> io::Result<Self> {
        limits::close_on_exec();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self {
            runs: HashMap::new(),
            living: HashMap::new(),
            fostered: HashMap::new(),
            keeper: None,
            unclaimed: Vec::new(),
            claimed: Vec::new(),
            wake,
            watch: None,
            strangers: None,
        })
    }

    /// The daemon has a keeper, with this pid, or none.
    pub fn set_keeper(&mut self, keeper: Option<u32>) {
        self.keeper = keeper.and_then(|keeper| libc::pid_t::try_from(keeper).ok());
    }

    fn main_at(&self, pid: libc::pid_t) -> Option<Key> {
        self.living.get(&pid).or_else(|| self.fostered.get(&pid)).copied()
    }

    /// Takes over a started process. `run_id` is the value of [`RUN_ID_VARIABLE`](crate::sys::RUN_ID_VARIABLE) in its
    /// environment.
    pub fn adopt(&mut self, key: Key, process: Process, run_id: &str) {
        for earlier in self.runs.values_mut().filter(|run| run.ended && run.pid == process.pid) {
            earlier.number_reused = true;
        }
        let Process { pid, began, rss_floor_bytes, start_ticks, cgroup } = process;
        // A pid that was given out after `began` cannot have been an orphan's before and be this child's now: the kernel
        // goes through all of them before it gives one out again. An orphan that ended before `began` may have had it.
        let ended =
            self.unclaimed.iter().position(|one| one.reaped.pid == pid.unsigned_abs() && one.at >= began);
        match ended.map(|place| self.unclaimed.swap_remove(place)) {
            Some(Unclaimed { reaped, .. }) => {
                let exit = exit(&reaped, rss_floor_bytes, cgroup.as_ref());
                self.claimed.push(Collected::Main { key, exit });
            }
            None => drop(self.living.insert(pid, key)),
        }
        let run_id = run_id.as_bytes().to_vec();
        let run = Run::new(pid, start_ticks, rss_floor_bytes, run_id, cgroup);
        self.runs.insert(key, Run { ended: ended.is_some(), ..run });
    }

    /// From now on the process of `part`, which was started with the run id of `whole` and in its cgroup, and whatever
    /// comes of it, belongs to `whole`.
    pub fn join(&mut self, part: Key, whole: Key) {
        if let Some(run) = self.runs.get_mut(&part) {
            run.part_of = Some(whole);
            // A signal to this part is none to the whole.
            run.cgroup = None;
        }
    }

    /// Whether [`collect`](Self::collect) has something to give without asking the kernel, which goes through all children for
    /// that. Of what it would find there a signal tells.
    pub fn has_claimed(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// Reaps all that is dead and adds it to `out`. To be called after SIGCHLD, which tells of any number of children
    /// at once, and after each answer of [`spawn`](super::spawn): a child may be dead before it is adopted.
    ///
    /// `spawns_in_flight`: some call of `spawn` may have succeeded whose process is not adopted yet. An unknown child
    /// that ends meanwhile is reaped all the same, for a spawn may hang for long, and remembered until it is clear whose
    /// it was.
    ///
    /// [`Exit::max_rss_bytes`](crate::sys::Exit::max_rss_bytes) is only given when it exceeds what the daemon itself had resident at the start: until
    /// the program is executed the child shares the daemon's memory, and the kernel counts that as the child's.
    ///
    /// `note` hears of the end of each process that was started, or may have been, before the kernel forgets it: should the
    /// daemon be killed in between, the next one can know.
    pub fn collect(
        &mut self,
        spawns_in_flight: bool,
        note: &mut dyn FnMut(Ending<'_>),
        out: &mut Vec<Collected>,
    ) {
        self.collect_strangers();
        out.append(&mut self.claimed);
        if self.watch.as_ref().is_some_and(CgroupWatch::has_stirred) {
            out.push(Collected::Orphan { pid: 0 });
        }
        if !spawns_in_flight {
            self.unclaimed.clear();
        }
        while let Some(pid) = any_dead_child() {
            if let Some(&key) = self.living.get(&pid) {
                self.reap_main(pid, key, note, out);
                continue;
            }
            if spawns_in_flight && let Some(dead) = peek(pid) {
                note(Ending::Unknown(&dead));
            }
            let Some(reaped) = reap(pid) else { return };
            out.push(Collected::Orphan { pid: pid.unsigned_abs() });
            if spawns_in_flight {
                self.unclaimed.push(Unclaimed { reaped, at: super::monotonic_ns() });
                let over = self.unclaimed.len().saturating_sub(UNCLAIMED_LIMIT);
                self.unclaimed.drain(..over);
            }
        }
    }

    fn reap_main(
        &mut self,
        pid: libc::pid_t,
        key: Key,
        note: &mut dyn FnMut(Ending<'_>),
        out: &mut Vec<Collected>,
    ) {
        let Some(dead) = peek(pid) else { return };
        self.living.remove(&pid);
        let exit = match self.runs.get_mut(&key) {
            Some(run) => {
                run.ended = true;
                exit(&dead, run.rss_floor_bytes, run.cgroup.as_ref())
            }
            None => exit(&dead, 0, None),
        };
        note(Ending::Main(key, &exit));
        let _ = reap(pid);
        out.push(Collected::Main { key, exit });
    }

    /// Sends a signal to a process that was started, or to its group.
    ///
    /// # Errors
    ///
    /// `NotFound` when it has ended (and was collected), otherwise what the system says.
    pub fn signal(&mut self, key: Key, signal: i32, whom: Whom) -> io::Result<()> {
        let Some(run) = self.runs.get(&key).filter(|run| !run.ended) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        };
        if let Some(pidfd) = &run.pidfd {
            if has_ended(pidfd) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
            }
            if whom == Whom::Main {
                let signal = Signal::from_named_raw(signal);
                let signal = signal.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
                return Ok(rustix::process::pidfd_send_signal(pidfd, signal)?);
            }
        }
        let target = match whom {
            Whom::Main => run.pid,
            Whom::Group => -run.pid,
        };
        if let (libc::SIGKILL, Whom::Group, Some(cgroup)) = (signal, whom, &run.cgroup) {
            cgroup.kill();
        }
        if descendants::kill(target, signal) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The run that a process belongs to: it leads it, or is in its session or group, or descends from its leader, or, where
    /// all of that has been left behind, hangs below the daemon and has the run's id in its environment. `None`: it is
    /// nobody's, or it is gone.
    pub fn run_of(&self, pid: u32) -> Option<Key> {
        let pid = libc::pid_t::try_from(pid).ok()?;
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let mut at = pid;
        for _ in 0..ANCESTORS {
            if let Some(key) = self.main_at(at) {
                return Some(key);
            }
            let stat = proc_files::stat(at)?;
            // A living leader pins the numbers of its session and group, and nobody joins a session from outside.
            if let Some(key) = self.main_at(stat.session) {
                return Some(key);
            }
            if stat.parent == own || Some(stat.parent) == self.keeper {
                let run_id = proc_files::run_id_now(pid)?;
                let is = |run: &Run| run.run_id == run_id && run.part_of.is_none();
                return self.runs.iter().find(|(_, run)| is(run)).map(|(&key, _)| key);
            }
            at = stat.parent;
        }
        None
    }

    /// How many processes of an ended run still live: members of its cgroup, group or session, and descendants that left
    /// them. `None`: that cannot be told at this moment, for one that may belong to it is in the middle of exec or on its
    /// way out, or they fork faster than they are looked at. Nothing tells when an exec is over: look again in a while,
    /// and after [`Collected::Orphan`].
    pub fn leftovers(&mut self, key: Key) -> Option<usize> {
        let look = self.look(key, false);
        let sure = look.doubtful.is_empty() && !look.unsettled;
        (sure || !look.members.is_empty()).then_some(look.members.len())
    }

    /// Who may be among the [`leftovers`](Self::leftovers) and cannot be told now, in the order of pids.
    pub fn doubtful(&mut self, key: Key) -> Vec<Named> {
        named(self.look(key, false).doubtful.into_iter().map(|member| member.pid).collect())
    }

    /// Sends a signal to each of the [`leftovers`](Self::leftovers); returns how many got it.
    pub fn signal_leftovers(&mut self, key: Key, signal: i32) -> usize {
        let members = self.look(key, false).members;
        let reached = members.into_iter().filter(|&member| descendants::signal(member, signal)).count();
        if signal == libc::SIGKILL
            && let Some(cgroup) = self.cgroup(key)
        {
            // What is just being forked as well.
            cgroup.kill();
        }
        reached
    }

    /// Everything that lives of a run, its main process included, in the order of pids.
    pub fn living(&mut self, key: Key) -> Vec<Named> {
        let in_cgroup = self.cgroup(key).map(Cgroup::processes);
        let members = |look: Look| look.members.into_iter().map(|member| member.pid).collect();
        named(in_cgroup.unwrap_or_else(|| members(self.look(key, true))))
    }

    /// `with_main`: a main process that lives is one of them, and what hangs below it is.
    fn look(&mut self, key: Key, with_main: bool) -> Look {
        let (mut leaders, mut parts, mut began) = (Vec::new(), Vec::new(), Some(u64::MAX));
        for (&other, run) in &mut self.runs {
            if other != key && run.part_of != Some(key) {
                continue;
            }
            // A process with the leader's number: as long as its session or group has members, no other can get it.
            if run.ended && !run.number_reused {
                run.number_reused = proc_files::stat(run.pid).is_some();
            }
            leaders.extend((!run.number_reused).then_some(run.pid));
            parts.extend((other != key && !run.ended).then_some(run.pid));
            began = began.zip(run.began).map(|(one, other)| one.min(other));
        }
        let Some(run) = self.runs.get_mut(&key) else { return Look::default() };
        let estate = Estate { leaders: &leaders, began, run_id: &run.run_id, known: &run.leftovers };
        let (living, fostered, keeper) = (&self.living, &self.fostered, self.keeper);
        let main = (!run.ended).then_some(run.pid);
        let mut look = descendants::living(&estate, |family| {
            let mut roots =
                strangers(family, keeper, |pid| living.contains_key(&pid) || fostered.contains_key(&pid));
            roots.extend(main.filter(|_| with_main));
            roots.extend(&parts);
            roots
        });
        if let Some(cgroup) = &run.cgroup {
            // Before it is read, so that no change is missed.
            if self.watch.is_none() {
                self.watch = CgroupWatch::start(Arc::clone(&self.wake)).ok();
            }
            if let Some(watch) = &self.watch {
                watch.watch(cgroup);
            }
            // Nothing leaves it by itself: who is not in it is none of the run's, and what slips past a look is in it. Asked
            // first, for it may become empty at any moment.
            look.doubtful.clear();
            look.unsettled = cgroup.is_populated();
            let seen: HashSet<libc::pid_t> = look.members.iter().map(|member| member.pid).collect();
            let more = cgroup.processes().into_iter().filter(|pid| !seen.contains(pid));
            for pid in more.filter(|&pid| with_main || Some(pid) != main) {
                let stat = proc_files::stat(pid).filter(|stat| !stat.dead);
                look.members.extend(stat.map(|stat| Member { pid, started: stat.started }));
            }
        }
        run.leftovers = look.members.iter().copied().collect();
        look
    }

    /// Ends the watch over a run of which nothing is left. A main process that still lives becomes an orphan. Its cgroup,
    /// which is to be removed, is handed back.
    pub fn forget(&mut self, key: Key) -> Option<Cgroup> {
        let run = self.runs.remove(&key)?;
        if !run.ended {
            self.living.remove(&run.pid);
            self.fostered.retain(|_, other| *other != key);
        }
        // A part that still lives is on its own now.
        self.runs.retain(|_, part| part.part_of != Some(key) || !part.ended);
        self.runs.values_mut().filter(|part| part.part_of == Some(key)).for_each(|part| part.part_of = None);
        run.cgroup
    }

    /// The cgroup that a run is in.
    pub fn cgroup(&self, key: Key) -> Option<&Cgroup> {
        self.runs.get(&key)?.cgroup.as_ref()
    }

    /// The last resort at the daemon's end: kills every child and orphan, and what falls to the daemon by that, until
    /// none is left. Returns how many were killed. It waits, but at most 10 seconds.
    pub fn end_all(&mut self) -> usize {
        let deadline = Instant::now() + END_ALL_LIMIT;
        let mut killed = 0;
        loop {
            // Once none is left, or only such as the daemon may not kill, it is over.
            let mut dying = own_children(&Family::now(), self.keeper);
            dying.retain(|&pid| descendants::kill(pid, libc::SIGKILL));
            let now = Instant::now();
            if dying.is_empty() || now >= deadline {
                break;
            }
            for pid in dying.iter().filter(|&pid| self.living.contains_key(pid)) {
                descendants::kill(-pid, libc::SIGKILL);
            }
            let mut reaped_any = false;
            while let Some(reaped) = any_dead_child().and_then(reap) {
                killed += usize::from(was_killed(&reaped));
                self.living.retain(|pid, _| pid.unsigned_abs() != reaped.pid);
                reaped_any = true;
            }
            if !reaped_any {
                wait_for_death(dying[0], END_ALL_PAUSE.min(deadline - now));
            }
        }
        self.runs.clear();
        self.living.clear();
        killed
    }
}

/// Processes by number and name, in the order of pids.
fn named(mut pids: Vec<libc::pid_t>) -> Vec<Named> {
    pids.sort_unstable();
    let named = |pid: libc::pid_t| Named { pid: pid.unsigned_abs(), name: proc_files::command_name(pid) };
    pids.into_iter().map(named).collect()
}

/// The children of the daemon, and of its keeper, that neither did start. The kernel gives orphans to the first thread.
fn strangers(
    family: &Family,
    keeper: Option<libc::pid_t>,
    started: impl Fn(libc::pid_t) -> bool,
) -> Vec<libc::pid_t> {
    let own = own_pid();
    let mut children = family.children_of_first_thread(own);
    children.extend(keeper.map(|keeper| family.children_of_first_thread(keeper)).unwrap_or_default());
    children.retain(|&pid| pid != own && !started(pid));
    children
}

/// Whatever is to be ended with the daemon.
fn own_children(family: &Family, keeper: Option<libc::pid_t>) -> Vec<libc::pid_t> {
    let own = own_pid();
    let mut children = family.children_of(own);
    children.extend(keeper.map(|keeper| family.children_of(keeper)).unwrap_or_default());
    children.retain(|&pid| pid != own);
    children
}

fn own_pid() -> libc::pid_t {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Whether the process of this descriptor is dead, reaped or not.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits until a child has ended or the time is over.
fn wait_for_death(pid: libc::pid_t, limit: Duration) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
        // Before Linux 5.3 there is nothing to wait on without reaping.
        std::thread::sleep(limit.min(Duration::from_millis(1)));
        return;
    };
    let timeout = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    // An interrupted wait is a short one: the caller looks again.
    let _ = rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
}

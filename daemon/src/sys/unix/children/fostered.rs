//! Processes that a dead daemon has started: they are taken over by pid, start time and pidfd, and somebody else reaps them, the
//! keeper or whoever is process 1.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use super::{Children, Run, has_ended, strangers};
use crate::sys::unix::cgroup::Cgroup;
use crate::sys::unix::descendants;
use crate::sys::unix::ends::exit;
use crate::sys::unix::proc_files::{self, Family};
use crate::sys::unix::strangers::StrangerWatch;
use crate::sys::{Collected, Dead, Effort, Exit, Handed, Key};

/// How often, and after which pause, what a dead daemon was starting is looked for: an exec takes about a millisecond, and
/// on a busy machine much longer.
const STRAY_LOOKS: usize = 500;
const STRAY_PAUSE: Duration = Duration::from_millis(2);

impl Children {
    /// Whether some process that a dead daemon has made has not become its program yet.
    pub fn is_starting(&self) -> bool {
        let children = strangers(&Family::now(), self.keeper, |pid| self.main_at(pid).is_some());
        children.into_iter().any(is_own_program)
    }

    /// Kills what a dead daemon of this life was starting or had beside its services: children of the keeper with a run id of
    /// that life, and not one of `runs`. One that is in exec has no environment that could be read: it is looked at again, for
    /// a moment.
    pub fn end_strays(&mut self, life: &str, runs: &[String]) {
        let of_life = |id: &[u8]| id.strip_prefix(life.as_bytes()).is_some_and(|rest| rest.starts_with(b"-"));
        let known = |id: &[u8]| runs.iter().any(|run| run.as_bytes() == id);
        for _ in 0..STRAY_LOOKS {
            let children = strangers(&Family::now(), self.keeper, |pid| self.main_at(pid).is_some());
            let mut unsure = false;
            for pid in children {
                if proc_files::stat(pid).is_none_or(|stat| stat.dead) {
                    continue;
                }
                match proc_files::run_id_now(pid) {
                    Some(id) if of_life(&id) && !known(&id) => {
                        descendants::kill(-pid, libc::SIGKILL);
                        descendants::kill(pid, libc::SIGKILL);
                        unsure = true;
                    }
                    Some(_) => {}
                    None => unsure |= is_own_program(pid),
                }
            }
            if !unsure {
                break;
            }
            std::thread::sleep(STRAY_PAUSE);
        }
    }

    /// For the next daemon.
    pub fn hand_over(&self, key: Key) -> Option<Handed> {
        let run = self.runs.get(&key)?;
        Some(Handed {
            pid: run.pid.unsigned_abs(),
            start_ticks: run.began,
            run_id: String::from_utf8_lossy(&run.run_id).into_owned(),
            cgroup: run.cgroup.as_ref().map(|cgroup| cgroup.path().to_path_buf()),
            rss_floor_bytes: run.rss_floor_bytes,
            ended: run.ended,
        })
    }

    /// Takes over what an earlier daemon has started. False: it is not there any more, and its end was not told. It may be
    /// that the keeper still tells it ([`Self::bury`]).
    pub fn take_over(&mut self, key: Key, handed: Handed) -> bool {
        let Handed { pid, start_ticks, run_id, cgroup, rss_floor_bytes, ended } = handed;
        let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
        // In this order: what it is that the descriptor holds is found out once it is held.
        let pidfd = Pid::from_raw(pid)
            .filter(|_| !ended)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let stat = proc_files::stat(pid);
        let is_it = stat.is_some_and(|stat| start_ticks == Some(stat.started));
        let pidfd = pidfd.filter(|_| is_it);
        if let Some(pidfd) =
            pidfd.as_ref().filter(|_| stat.is_some_and(|stat| Some(stat.parent) != self.keeper))
        {
            self.watch_stranger(pid, pidfd, key);
        }
        if !ended {
            self.fostered.insert(pid, key);
        }
        let there = ended || pidfd.is_some();
        let run = Run::new(pid, start_ticks, rss_floor_bytes, run_id.into_bytes(), cgroup.map(Cgroup::at));
        let number_reused = !is_it && stat.is_some();
        self.runs.insert(key, Run { ended, number_reused, pidfd, ..run });
        there
    }

    /// Nobody here is told of its end but by its descriptor.
    fn watch_stranger(&mut self, pid: libc::pid_t, pidfd: &OwnedFd, key: Key) {
        if self.strangers.is_none() {
            self.strangers = StrangerWatch::start(self.wake.clone()).ok();
        }
        if let Some(watch) = &self.strangers {
            watch.add(pid, pidfd, key);
        }
    }

    /// What somebody else has reaped.
    pub(super) fn collect_strangers(&mut self) {
        let ended = self.strangers.as_ref().map(StrangerWatch::ended).unwrap_or_default();
        for (key, status) in ended {
            let Some(run) = self.runs.get_mut(&key).filter(|run| !run.ended) else { continue };
            (run.ended, run.pidfd) = (true, None);
            let (code, signal, core_dumped) = status.parts();
            let (max_rss_bytes, cpu, effort) = (0, Duration::ZERO, Effort::default());
            let pid = run.pid.unsigned_abs();
            let dead = Dead { pid, code, signal, core_dumped, max_rss_bytes, cpu, effort };
            // What it used was told to whoever has reaped it.
            let exit = Exit {
                max_rss_bytes: None,
                cpu: None,
                effort: None,
                ..exit(&dead, run.rss_floor_bytes, run.cgroup.as_ref())
            };
            self.fostered.retain(|_, other| *other != key);
            self.claimed.push(Collected::Main { key, exit });
        }
    }

    /// The keeper has reaped this one: it is one that was taken over, or somebody's orphan. To be collected.
    pub fn bury(&mut self, dead: &Dead) {
        let pid = libc::pid_t::try_from(dead.pid).unwrap_or(0);
        let lives = |run: &Run| run.pidfd.as_ref().is_some_and(|pidfd| !has_ended(pidfd));
        // One that lives has got the number of one that has ended before.
        let key = self.fostered.get(&pid).copied().filter(|key| !self.runs.get(key).is_some_and(lives));
        let Some((key, run)) = key.and_then(|key| Some((key, self.runs.get_mut(&key)?))) else {
            self.claimed.push(Collected::Orphan { pid: dead.pid });
            return;
        };
        self.fostered.remove(&pid);
        run.ended = true;
        run.pidfd = None;
        let exit = exit(dead, run.rss_floor_bytes, run.cgroup.as_ref());
        self.claimed.push(Collected::Main { key, exit });
    }

    /// Whether this is a process that was taken over, and that was there then.
    pub fn is_fostered(&self, pid: u32) -> bool {
        let key = libc::pid_t::try_from(pid).ok().and_then(|pid| self.fostered.get(&pid));
        key.and_then(|key| self.runs.get(key)).is_some_and(|run| run.pidfd.is_some())
    }

    /// One that is not there, and of whose end nobody knows anything.
    pub fn is_missing(&mut self, key: Key) -> bool {
        let missing = self.runs.get(&key).is_some_and(|run| !run.ended && run.pidfd.is_none());
        let missing = missing && self.fostered.values().any(|&other| other == key);
        if missing && let Some(run) = self.runs.get_mut(&key) {
            run.ended = true;
            self.fostered.retain(|_, other| *other != key);
        }
        missing
    }
}

/// The daemon's own program, which is about to become another one, has the name of the thread that has made it.
fn is_own_program(pid: libc::pid_t) -> bool {
    let name = proc_files::command_name(pid);
    name.starts_with("mcpd") || name.starts_with("spawner") || name == "exe"
}

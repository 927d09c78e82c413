//! Processes that were taken over and are nobody's children here: of their end a descriptor tells. How they ended says `/proc`
//! until somebody has reaped them, and after that a kernel that remembers it for whoever holds one (Linux 6.15).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::proc_files;
use crate::sys::{Key, Waker};

/// So long whoever reaps it may take: before that the kernel does not tell how it ended.
const REAPED_WITHIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Waits for the ends of such processes.
#[derive(Debug)]
pub(super) struct StrangerWatch {
    epoll: Arc<OwnedFd>,
    waited_for: Arc<Mutex<Vec<Stranger>>>,
    ended: Arc<Mutex<Vec<(Key, Status)>>>,
}

#[derive(Debug)]
struct Stranger {
    key: Key,
    pid: libc::pid_t,
    /// A copy: it is closed only after the end.
    pidfd: OwnedFd,
}

/// As `waitpid(2)` gives it; nothing where nobody tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(Option<i32>);

impl StrangerWatch {
    /// Starts the thread that listens; it lives as long as the daemon.
    pub(super) fn start(wake: Waker) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let waited_for: Arc<Mutex<Vec<Stranger>>> = Arc::default();
        let ended: Arc<Mutex<Vec<(Key, Status)>>> = Arc::default();
        let (source, waits, ends) = (Arc::clone(&epoll), Arc::clone(&waited_for), Arc::clone(&ended));
        let listen = move || {
            let mut events = Vec::with_capacity(64);
            loop {
                events.clear();
                match epoll::wait(&source, spare_capacity(&mut events), None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                for event in &events {
                    let key = event.data.u64();
                    let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(place) = waits.iter().position(|stranger| stranger.key == key) {
                        let stranger = waits.swap_remove(place);
                        drop(waits);
                        let _ = epoll::delete(&source, &stranger.pidfd);
                        let status = Status(stranger.status());
                        ends.lock().unwrap_or_else(PoisonError::into_inner).push((key, status));
                    }
                }
                wake();
            }
        };
        std::thread::Builder::new().name("strangers".into()).stack_size(64 * 1024).spawn(listen)?;
        Ok(Self { epoll, waited_for, ended })
    }

    /// From now on its end is heard of.
    pub(super) fn add(&self, pid: libc::pid_t, pidfd: &OwnedFd, key: Key) {
        let Ok(copy) = pidfd.try_clone() else { return };
        let mut waited_for = self.waited_for.lock().unwrap_or_else(PoisonError::into_inner);
        if epoll::add(&self.epoll, &copy, EventData::new_u64(key), EventFlags::IN).is_ok() {
            waited_for.push(Stranger { key, pid, pidfd: copy });
        }
    }

    /// Those that have ended since this was asked last.
    pub(super) fn ended(&self) -> Vec<(Key, Status)> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `struct pidfd_info` of `linux/pidfd.h`, as long as its first version.
#[repr(C)]
#[derive(Debug, Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`
const GET_INFO: libc::c_ulong = 0xC040_FF0B;
/// `PIDFD_INFO_EXIT`
const INFO_EXIT: u64 = 1 << 3;

impl Stranger {
    /// It has ended: how?
    fn status(&self) -> Option<i32> {
        // In this order: its number is another's only after it is reaped, and then it is no zombie.
        let said = proc_files::zombie_status(self.pid);
        let mut reaped = [PollFd::new(&self.pidfd, PollFlags::empty())];
        let hung_up = rustix::event::poll(&mut reaped, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0);
        if said.is_some() && !hung_up {
            return said;
        }
        // Where the kernel does not say that it is reaped the time is over.
        let _ = rustix::event::poll(&mut reaped, Some(&REAPED_WITHIN));
        remembered(&self.pidfd).or(said)
    }
}

/// What the kernel remembers of one that is reaped.
fn remembered(pidfd: &OwnedFd) -> Option<i32> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes at most as many bytes as the number of this request says, and that is the size of `info`.
    let done = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), GET_INFO as _, &raw mut info) };
    (done == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

impl Status {
    /// Exit code, signal, and whether there was a core.
    pub(super) fn parts(self) -> (Option<i32>, Option<i32>, bool) {
        match self.0 {
            None => (None, None, false),
            Some(status) if libc::WIFEXITED(status) => (Some(libc::WEXITSTATUS(status)), None, false),
            Some(status) => (None, Some(libc::WTERMSIG(status)), libc::WCOREDUMP(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn the_size_is_that_of_the_request() {
        assert_eq!(size_of::<PidfdInfo>(), 64);
    }

    #[test]
    fn an_end_is_heard_of() {
        let (said, hears) = mpsc::channel();
        let said = Mutex::new(said);
        let watch = StrangerWatch::start(Arc::new(move || said.lock().unwrap().send(()).unwrap())).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "read line; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        watch.add(pid.as_raw_nonzero().get(), &pidfd, 5);
        assert!(watch.ended().is_empty());
        drop(child.stdin.take());
        hears.recv_timeout(Duration::from_secs(60)).unwrap();
        // Nobody has reaped it: a zombie says how it ended.
        let ended = watch.ended();
        assert_eq!((ended.len(), ended[0].0, ended[0].1.parts()), (1, 5, (Some(7), None, false)));
        assert_eq!(remembered(&pidfd), None);
        assert_eq!(child.wait().unwrap().code(), Some(7));
        // Before Linux 6.15 nobody knows any more.
        let status = Status(remembered(&pidfd));
        assert!(status == Status(None) || status.parts() == (Some(7), None, false), "{status:?}");
        assert_eq!(Status(Some(9)).parts(), (None, Some(9), false));
    }
}

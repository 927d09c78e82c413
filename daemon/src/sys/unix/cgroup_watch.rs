//! Hears that a cgroup has become empty: the kernel says so by a change of `cgroup.events`, and inotify tells of that.
//!
//! Most ends of a tree are heard of by SIGCHLD, for the daemon is a child subreaper. Not those below a process that is
//! itself one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::cgroup::Cgroup;
use crate::sys::Waker;

/// Watches those cgroups that somebody waits for.
#[derive(Debug)]
pub(super) struct CgroupWatch {
    inotify: Arc<OwnedFd>,
    stirred: Arc<AtomicBool>,
}

impl CgroupWatch {
    /// Starts the thread that listens; it lives as long as the daemon.
    pub(super) fn start(wake: Waker) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let stirred = Arc::new(AtomicBool::new(false));
        let (source, flag) = (Arc::clone(&inotify), Arc::clone(&stirred));
        std::thread::Builder::new().name("cgroup-watch".into()).stack_size(64 * 1024).spawn(move || {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = Reader::new(&*source, &mut buffer);
            loop {
                match reader.next() {
                    // A watch that goes with its cgroup tells nothing new.
                    Ok(event) if event.events().contains(ReadFlags::IGNORED) => {}
                    Ok(_) | Err(rustix::io::Errno::INTR) => {
                        flag.store(true, Ordering::Release);
                        wake();
                    }
                    Err(_) => return,
                }
            }
        })?;
        Ok(Self { inotify, stirred })
    }

    /// From here on a change of this cgroup's population is heard of. Watching it twice is watching it once; the watch
    /// goes with the cgroup.
    pub(super) fn watch(&self, cgroup: &Cgroup) {
        // Failing leaves SIGCHLD, which nearly always is enough.
        let _ = inotify::add_watch(&*self.inotify, cgroup.path().join("cgroup.events"), WatchFlags::MODIFY);
    }

    /// Whether any has changed since it was asked last.
    pub(super) fn has_stirred(&self) -> bool {
        self.stirred.swap(false, Ordering::AcqRel)
    }
}

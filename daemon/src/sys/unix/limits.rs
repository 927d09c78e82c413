//! What the daemon was given and its services must not see: its limit of open files, its inherited descriptors.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::process::{PTracer, Pid, Resource, Rlimit, getrlimit, setrlimit};

/// The limits as the daemon got them, once it has raised its own.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the daemon's soft limit of open files to its hard one: each service costs it two pipes. What it starts gets
/// the old soft limit back, for a program that uses `select` or closes every descriptor up to the limit suffers from a
/// high one. Calling it again changes nothing; failing leaves the limit as it is.
pub fn raise_open_files_limit() {
    let inherited = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: inherited.maximum, maximum: inherited.maximum };
    if inherited.current != inherited.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        // Only the first call finds anything to raise, so it is the one that is remembered.
        let _ = INHERITED.set(inherited);
    }
}

/// Does this error say that the machine, or the daemon's share of it, has no room: no descriptor, process or memory?
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const SHORTAGES: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
    error.raw_os_error().is_some_and(|raw| SHORTAGES.iter().any(|errno| errno.raw_os_error() == raw))
}

/// What the limits (soft, hard) were before this process's parent has raised them.
pub fn open_files_limit_was(soft: Option<u64>, hard: Option<u64>) {
    let _ = INHERITED.set(Rlimit { current: soft, maximum: hard });
}

/// The soft and the hard limit of open files that the daemon was given, when it has another one by now.
pub fn inherited_open_files_limit() -> Option<(Option<u64>, Option<u64>)> {
    INHERITED.get().map(|limit| (limit.current, limit.maximum))
}

/// Gives a just-started child the limit that the daemon itself was given. Children that go through the exec step have it
/// before their program runs.
///
/// The child runs already: in its first microseconds it may still see the higher limit. A child that has changed its
/// user (a set-user-id program) keeps it, for an unprivileged daemon may not touch it any more; a dead one needs none.
pub(super) fn restore_in(pid: libc::pid_t) {
    let (Some(inherited), Some(pid)) = (INHERITED.get(), Pid::from_raw(pid)) else { return };
    let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, *inherited);
}

/// Gives memory that has been freed back to the system. The C library keeps it for the next time, which after a
/// configuration of a thousand services was read is half of all that the daemon has.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number and may be made at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets the daemon write to a terminal before which it is not: with `stty tostop` it would be stopped for it (SIGTTOU). What it
/// starts has every signal at its default again.
pub fn write_from_the_background() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
}

/// A descriptor that the program which this process ran before has left open for this one, by its number. It is this one's
/// own then, and closes on exec.
///
/// # Errors
/// When nothing is open there, or it is a standard one.
pub fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only and fails on a descriptor that is not open.
    let done =
        number > libc::STDERR_FILENO && unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    if !done {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: it is open, and nobody else in this program knows of it: who left it said so.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What is open by this number, for as long as it is looked at; `None`: nothing is.
pub fn with_descriptor<T>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
    // SAFETY: the call takes numbers only and fails on a descriptor that is not open.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it was open a moment ago. Should another thread close it meanwhile, whatever is looked at fails or is something
    // else, which is what the caller wants to find out; nothing is written to it.
    look(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Lets that process take what this one has open (`pidfd_getfd(2)`), where a descendant alone might (Yama).
pub fn let_trace(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A kernel without Yama knows no such thing, and asks for nothing.
        let _ = rustix::process::set_ptracer(PTracer::ProcessID(pid));
    }
}

/// Makes all descriptors but the standard ones close on exec. Those that the daemon opens are so from the start; this is
/// for the ones that it was started with (a careless shell, an editor, a build tool).
pub fn close_on_exec() {
    let first = libc::c_uint::from(3_u8);
    // SAFETY: the call takes numbers only; it closes nothing.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return;
    }
    // Before Linux 5.11 one by one.
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let fd = entry.file_name().to_str().and_then(|name| name.parse::<libc::c_int>().ok());
        if let Some(fd) = fd.filter(|&fd| fd > libc::STDERR_FILENO) {
            // SAFETY: the call takes numbers only and fails on a descriptor that is closed by now.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

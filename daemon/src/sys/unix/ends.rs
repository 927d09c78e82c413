//! How a child ended, as the kernel tells it: asked without reaping, by reaping, and as news of any of them.

use std::mem::MaybeUninit;
use std::time::Duration;

use super::cgroup::Cgroup;
use crate::sys::{Dead, Effort, Exit};

/// The kernel counts resident memory per processor and adds up now and then: by so much two readings may differ.
const RSS_SLACK_BYTES: u64 = 1024 * 1024;

/// Some child that is dead and not reaped; it stays so.
pub(super) fn any_dead_child() -> Option<libc::pid_t> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable and of the right type. Without a dead child the call leaves its pid 0, as it was set.
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) != 0 {
            return None;
        }
        info.assume_init().si_pid()
    };
    (pid != 0).then_some(pid)
}

/// How a dead child ended; it stays what it is, and can be asked again.
pub(super) fn peek(pid: libc::pid_t) -> Option<Dead> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: both pointers are to writable memory of the right types, of which all zeroes is a valid value; the system
    // call has a fifth argument that the C library's function does not (`waitid(2)`, "C library/kernel differences").
    let (done, info, usage) = unsafe {
        let done =
            libc::syscall(libc::SYS_waitid, libc::P_PID, pid, info.as_mut_ptr(), options, usage.as_mut_ptr());
        (done, info.assume_init(), usage.assume_init())
    };
    // SAFETY: the kernel has filled in a child's end, or left zeroes.
    let (of, status) = unsafe { (info.si_pid(), info.si_status()) };
    if done != 0 || of != pid {
        return None;
    }
    let signalled = info.si_code == libc::CLD_KILLED || info.si_code == libc::CLD_DUMPED;
    let end = (!signalled).then_some(status);
    Some(dead(pid, end, signalled.then_some(status), info.si_code == libc::CLD_DUMPED, &usage))
}

/// Reaps a child if it is dead.
pub(super) fn reap(pid: libc::pid_t) -> Option<Dead> {
    match wait(pid, libc::WNOHANG)? {
        (_, Changed::Ended(dead)) => Some(dead),
        (_, Changed::Stopped | Changed::Continued) => None,
    }
}

/// What has become of a child.
pub enum Changed {
    /// It has ended, and is reaped.
    Ended(Dead),
    /// It has been stopped.
    Stopped,
    /// It goes on.
    Continued,
}

/// The next news of any child, if there are some: for the keeper, which knows none of them by name.
pub fn any_news() -> Option<(u32, Changed)> {
    wait(-1, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED)
}

fn wait(pid: libc::pid_t, options: libc::c_int) -> Option<(u32, Changed)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to writable memory of the right types; all zeroes is a valid rusage.
    let (pid, usage) =
        unsafe { (libc::wait4(pid, &raw mut status, options, usage.as_mut_ptr()), usage.assume_init()) };
    if pid <= 0 {
        return None;
    }
    let signalled = libc::WIFSIGNALED(status);
    let changed = if libc::WIFSTOPPED(status) {
        Changed::Stopped
    } else if libc::WIFCONTINUED(status) {
        Changed::Continued
    } else {
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        let signal = signalled.then(|| libc::WTERMSIG(status));
        Changed::Ended(dead(pid, code, signal, signalled && libc::WCOREDUMP(status), &usage))
    };
    Some((pid.unsigned_abs(), changed))
}

fn dead(
    pid: libc::pid_t,
    code: Option<i32>,
    signal: Option<i32>,
    core_dumped: bool,
    usage: &libc::rusage,
) -> Dead {
    Dead {
        pid: pid.unsigned_abs(),
        code,
        signal,
        core_dumped,
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        effort: Effort {
            minor_faults: counted(usage.ru_minflt),
            major_faults: counted(usage.ru_majflt),
            voluntary_switches: counted(usage.ru_nvcsw),
            involuntary_switches: counted(usage.ru_nivcsw),
        },
    }
}

pub(super) fn was_killed(dead: &Dead) -> bool {
    dead.signal == Some(libc::SIGKILL)
}

/// `cgroup`: of its run. The kernel counts a kill before it sends the signal, so what it has counted by now includes
/// whatever this process died of.
pub(super) fn exit(dead: &Dead, rss_floor_bytes: u64, cgroup: Option<&Cgroup>) -> Exit {
    let own = dead.max_rss_bytes > rss_floor_bytes.saturating_add(RSS_SLACK_BYTES);
    Exit {
        code: dead.code,
        signal: dead.signal,
        core_dumped: dead.core_dumped,
        oom: cgroup.is_some_and(|cgroup| cgroup.lost_to_memory(was_killed(dead))),
        max_rss_bytes: own.then_some(dead.max_rss_bytes),
        cpu: Some(dead.cpu),
        effort: Some(dead.effort),
    }
}

/// The kernel's counters of `getrusage(2)` are never negative.
fn counted(count: libc::c_long) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

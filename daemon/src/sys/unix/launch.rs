//! Starts a program, inside a cgroup if it is to have one: `posix_spawn` with two steps more.
//!
//! The C library has the one only from glibc 2.39 on, and the other not at all, so this does what its `posix_spawn` does: a
//! child that shares the daemon's memory while the calling thread waits (`CLONE_VM | CLONE_VFORK`), and calls nothing but
//! what may be called there. Its first step is to write its pid where it is found without the daemon (`slots.rs`). No process of the program is ever outside: the child is born in the cgroup (`clone3` with `CLONE_INTO_CGROUP`,
//! Linux 5.7), or, where that cannot be had, moves into it before anything else. To be born there is what one wants: for
//! a process that moves, the kernel waits until every processor has passed through its scheduler, some 5 to 10 ms.
//!
//! Some kernels (seen with 6.18) kill whoever is to be born in a cgroup that has been killed once (`cgroup.kill`), as
//! if they took the count of the parent's cgroup for that of the child's. Such a child never comes to its first instruction.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use super::slots::Slot;

/// The child runs a handful of system calls, none of which needs a page.
const STACK_BYTES: usize = 64 * 1024;

/// Everything that the child needs, prepared by the parent: the child must not allocate.
pub(super) struct Launch<'a> {
    pub(super) program: &'a CStr,
    /// Ended by a null pointer, as `env`.
    pub(super) argv: &'a [*mut libc::c_char],
    pub(super) env: &'a [*mut libc::c_char],
    /// Stdin, stdout, stderr; each above 2.
    pub(super) streams: [RawFd; 3],
    /// Those that the program has under the same numbers; all others are closed.
    pub(super) inherits: &'a [RawFd],
    pub(super) directory: Option<RawFd>,
    /// Where its pid goes.
    pub(super) slot: Option<Slot>,
}

/// What did not work.
#[derive(Debug)]
pub(super) enum Failed {
    /// The program could not be executed, or what comes before that.
    Start(libc::c_int),
    /// The child could not enter the cgroup.
    Cgroup(libc::c_int),
}

/// What parent and child both see.
struct Shared<'a> {
    launch: &'a Launch<'a>,
    /// The directory of the cgroup that it is not in yet.
    cgroup: Option<RawFd>,
    errno: AtomicI32,
    in_cgroup: AtomicI32,
}

/// Starts the program, in the cgroup with this directory if there is one, and returns its pid once it runs.
pub(super) fn start(launch: &Launch<'_>, cgroup: Option<RawFd>) -> Result<libc::pid_t, Failed> {
    let mut stack = vec![MaybeUninit::<u128>::uninit(); STACK_BYTES / size_of::<u128>()];
    let mut shared = Shared { launch, cgroup: None, errno: AtomicI32::new(0), in_cgroup: AtomicI32::new(0) };
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are writable and initialised by the calls before they are read. The stack is the child's alone
    // until it has ended or executed the program, which this call waits for (CLONE_VFORK), and so are `shared` and what
    // it points to kept alive. Its end is aligned as the type is (stacks grow downwards everywhere that Linux runs with
    // Rust's std). Signals are blocked meanwhile, so that no handler of the daemon runs in the child on shared memory.
    let pid = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let born = cgroup.and_then(|cgroup| born_in(cgroup, &mut stack, &shared));
        let pid = if let Some(pid) = born
            && shared.in_cgroup.load(Ordering::Acquire) != 0
        {
            Ok(pid)
        } else {
            if let Some(stillborn) = born {
                reap(stillborn);
            }
            // Whatever the reason was: what is wrong with the cgroup shows here again, and what was wrong with the other
            // way does not matter.
            shared.cgroup = cgroup;
            let top = stack.as_mut_ptr().add(stack.len()).cast();
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(child, top, flags, (&raw const shared).cast_mut().cast());
            if pid < 0 { Err(last_errno()) } else { Ok(pid) }
        };
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        pid.map_err(Failed::Start)?
    };
    let errno = shared.errno.load(Ordering::Acquire);
    if errno == 0 {
        return Ok(pid);
    }
    reap(pid);
    let entered = shared.in_cgroup.load(Ordering::Acquire) != 0;
    Err(if entered { Failed::Start(errno) } else { Failed::Cgroup(errno) })
}

/// A child that begins its life in the cgroup. `None`: the kernel is too old for that, something forbids it, or it does
/// not work now.
///
/// # Safety
/// As [`start`] says of its own call.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
unsafe fn born_in(
    cgroup: RawFd,
    stack: &mut [MaybeUninit<u128>],
    shared: &Shared<'_>,
) -> Option<libc::pid_t> {
    /// `clone(2)`; the C library's own has the type of the older call, for which it is too large.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zeroes is a valid value of this type: nothing is asked for.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::try_from(libc::CLONE_VM | libc::CLONE_VFORK).ok()? | CLONE_INTO_CGROUP;
    args.exit_signal = u64::try_from(libc::SIGCHLD).ok()?;
    args.stack = stack.as_mut_ptr().expose_provenance() as u64;
    args.stack_size = size_of_val(stack) as u64;
    args.cgroup = u64::try_from(cgroup).ok()?;
    let result: libc::c_long;
    // SAFETY: the C library has no `clone3` (Linux 5.3). In the parent the call changes rax, rcx and r11 only. The child
    // comes out of it with the parent's registers, on the end of `stack`, which is aligned to 16 bytes as a call wants
    // it; it calls `child` and ends with what that returns, without ever coming back to this function.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "mov edi, eax",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r8") child as extern "C" fn(*mut libc::c_void) -> libc::c_int,
            in("r9") std::ptr::from_ref(shared),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    libc::pid_t::try_from(result).ok().filter(|&pid| pid > 0)
}

/// Here the child moves.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
unsafe fn born_in(_: RawFd, _: &mut [MaybeUninit<u128>], _: &Shared<'_>) -> Option<libc::pid_t> {
    None
}

/// The child. It shares memory with the daemon, whose other threads go on: only calls that are safe in a signal handler,
/// no lock, no allocation, no panic.
extern "C" fn child(shared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent keeps what this points to alive and does not change it while it waits.
    let shared = unsafe { &*shared.cast::<Shared<'_>>() };
    // SAFETY: all descriptors are open, all pointers lead to what the parent has prepared, and each call is one that
    // `signal-safety(7)` lists or a bare system call.
    unsafe {
        if enter_and_execute(shared) {
            // `execve` does not return when it succeeds, so this is not reached.
            return 0;
        }
        shared.errno.store(last_errno(), Ordering::Release);
        libc::_exit(127)
    }
}

/// # Safety
/// Only in the child, as [`child`] says.
unsafe fn enter_and_execute(shared: &Shared<'_>) -> bool {
    let launch = shared.launch;
    // SAFETY: as `child` says.
    unsafe {
        if let Some(slot) = launch.slot {
            // Not the C library's function, which might have remembered the daemon's.
            slot.fill(libc::pid_t::try_from(libc::syscall(libc::SYS_getpid)).unwrap_or(0));
        }
        if let Some(cgroup) = shared.cgroup {
            let procs = libc::openat(cgroup, c"cgroup.procs".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            // 0 is whoever writes it.
            if procs < 0 || libc::write(procs, c"0".as_ptr().cast(), 1) != 1 {
                return false;
            }
            libc::close(procs);
        }
        shared.in_cgroup.store(1, Ordering::Release);
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            // SIGKILL, SIGSTOP and the C library's own refuse, as they should.
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        if libc::setsid() < 0 {
            return false;
        }
        for (target, stream) in (0..).zip(launch.streams) {
            if libc::dup2(stream, target) < 0 {
                return false;
            }
        }
        if let Some(directory) = launch.directory
            && libc::fchdir(directory) != 0
        {
            return false;
        }
        if launch.inherits.is_empty() {
            // They are closed on exec anyway; closed before it, an exec that hangs holds no end of another spawn's pipe
            // open. Before Linux 5.9 that has to do.
            libc::syscall(libc::SYS_close_range, libc::STDERR_FILENO + 1, libc::c_uint::MAX, 0);
        }
        for &fd in launch.inherits {
            if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                return false;
            }
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::execve(launch.program.as_ptr(), launch.argv.as_ptr().cast(), launch.env.as_ptr().cast());
        false
    }
}

/// Takes a dead child away. Whoever reaps children may have been faster.
fn reap(pid: libc::pid_t) {
    // SAFETY: the call takes numbers and a null pointer.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn last_errno() -> libc::c_int {
    // SAFETY: it points to the calling thread's errno; in the child that is the waiting parent's, which nobody reads
    // meanwhile.
    unsafe { *libc::__errno_location() }
}

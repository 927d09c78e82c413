//! Starts a program from a process of one thread, and does not wait until it is one.
//!
//! `posix_spawn(3)` and the standard library do: somebody who stops the new process (SIGSTOP) before it executes its program
//! stops this one with it.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::process::Pid;

/// The status with which a shell tells of a program that could not be executed.
const NOT_EXECUTED: libc::c_int = 127;

/// Forks and executes: in a process group of its own, with this stdin, and what is not to be closed on exec. Only for a process that
/// has one thread. A program that cannot be executed ends with status 127.
///
/// # Errors
/// When the system has no room, or a word holds a NUL.
pub fn fork_and_execute(
    program: &CStr,
    words: Vec<OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    stdin: BorrowedFd<'_>,
) -> io::Result<Pid> {
    let text = |word: OsString| CString::new(word.into_vec());
    let words: Vec<CString> = words.into_iter().map(text).collect::<Result<_, _>>()?;
    let variable = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        text(name)
    };
    let variables: Vec<CString> = environment.into_iter().map(variable).collect::<Result<_, _>>()?;
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&words), pointers(&variables));
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: there is one thread, so the child has all that this process has, its locks free. It makes calls that take
    // numbers, and pointers to what lives on in its copy of the memory, until it is another program or ends.
    let pid = unsafe {
        match libc::fork() {
            0 => {
                libc::setpgid(0, 0);
                libc::dup2(stdin.as_raw_fd(), libc::STDIN_FILENO);
                // What this process ignores its child would ignore, too.
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::sigemptyset(none.as_mut_ptr());
                libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
                libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
                libc::_exit(NOT_EXECUTED)
            }
            pid => pid,
        }
    };
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)
}

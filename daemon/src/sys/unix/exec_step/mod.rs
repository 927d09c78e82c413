//! The exec step: what has to be set in a process before its program runs, and cannot be set from outside.
//!
//! In a program with threads next to nothing may be done between `fork` and `exec`. So mcpd spawns itself, by
//! `/proc/self/exe`: that is the program that runs, also when an upgrade has put another one in its place. The new
//! process does what the plan says, in its order, and then becomes the service's program. It has no threads, no runtime,
//! none of the daemon's descriptors and none of the service's environment (`LD_PRELOAD` of a service must not be
//! loaded as root).
//!
//! `handover.rs` is the daemon's side, `perform.rs` the other one, `identity.rs` knows users and groups. What can be
//! slow, fail or need memory or descriptors comes before the first change: the limits that are set are in force for the
//! step itself.

mod handover;
mod identity;
mod perform;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(super) use handover::Handover;

use crate::sys::{Setup, SpawnError, SpawnStep};

/// The first argument of a process that is an exec step; the second is the descriptor of its plan.
const ARGUMENT: &str = "__exec-step";
/// Written just before the program is executed. Together with the end of the pipe, which a successful exec brings, it
/// says that the program runs; without it the step itself has died.
const ABOUT_TO_EXEC: u8 = b'x';

/// Why nothing can be started with this identity on this machine, whoever starts it: an account that nobody knows. It
/// asks the system's name services: not for the daemon, which they could hold up.
pub fn unknown_account(setup: &[Setup]) -> Option<String> {
    setup.iter().find_map(|one| match one {
        Setup::Identity { user, group, supplementary_groups } => {
            identity::unknown(user.as_deref(), group.as_deref(), supplementary_groups)
        }
        Setup::Limit { .. }
        | Setup::Nice(_)
        | Setup::OomScoreAdjust(_)
        | Setup::CpuAffinity(_)
        | Setup::Umask(_) => None,
    })
}

/// Does what the daemon asks of this process, when it was started as an exec step: `None` otherwise, and the code to
/// end with when the program could not be run. To be called first of all.
pub fn exec_step() -> Option<i32> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != OsStr::new(ARGUMENT) {
        return None;
    }
    let plan = arguments.next().and_then(|word| word.to_str()?.parse::<RawFd>().ok());
    let Some(plan) = plan.filter(|&fd| fd > libc::STDERR_FILENO && is_open(fd)) else {
        eprintln!("mcpd: {ARGUMENT} is how mcpd starts services; it is of no use to anybody else");
        return Some(2);
    };
    // SAFETY: the descriptor is open, and the daemon has passed it to be owned here.
    let plan = unsafe { OwnedFd::from_raw_fd(plan) };
    let (error, status) = match handover::receive(plan) {
        Ok((plan, mut status)) => (perform::perform(plan, &mut status), Some(status)),
        Err((error, status)) => (error, status),
    };
    if let Some(mut status) = status {
        report(&mut status, &error);
    }
    Some(1)
}

fn report(status: &mut File, error: &SpawnError) {
    if let Ok(text) = serde_json::to_vec(error) {
        // Without a reader the daemon is gone, and nobody wants to know.
        let _ = status.write_all(&text);
    }
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: the call takes numbers only and fails on a descriptor that is not open.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// What the system calls the error, without its number.
fn words(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An error of the exec step's own business.
fn own_error(what: &str, error: &std::io::Error) -> SpawnError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    SpawnError { step: SpawnStep::Setup, errno, message: format!("exec step: {what}: {error}") }
}

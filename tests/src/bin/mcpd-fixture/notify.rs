//! Says things about itself, as `sd_notify(3)` has it, step by step.
#![allow(unsafe_code)]

use std::io::{Read, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::args::Args;
use crate::{life, sys, wrong};

/// `notify`
pub(crate) fn notify(mut args: Args) -> ! {
    let signals = sys::Signals::block();
    while let Some(step) = args.next() {
        let Some((what, rest)) = step.split_once('=') else { wrong(&format!("`{step}` is no step")) };
        match what {
            "say" => say(rest),
            "child" => drop(child(&["notify", &format!("say={rest}")])),
            "brief" => drop(child(&["notify", &format!("say={rest}"), "barrier=", "exit=0"]).wait()),
            "away" => drop(child(&["notify", "leave=", &format!("say={rest}")])),
            "barrier" => barrier(),
            "leave" => leave(),
            "feed" => feed(rest),
            "await" => life::wait_for(Path::new(rest)),
            "pause" => sleep(Duration::from_millis(number(rest))),
            "exit" => exit(i32::try_from(number(rest)).unwrap_or(1)),
            _ => wrong(&format!("`{step}` is no step")),
        }
    }
    life::ready();
    signals.stay(&sys::Stay::default())
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| wrong(&format!("`{text}` is no number")))
}

fn socket() -> (UnixDatagram, PathBuf) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { wrong("NOTIFY_SOCKET is not set") };
    let socket = UnixDatagram::unbound().unwrap_or_else(|error| wrong(&format!("no socket: {error}")));
    (socket, path.into())
}

fn say(text: &str) {
    let (socket, path) = socket();
    let sent = socket.send_to(text.replace("\\n", "\n").as_bytes(), &path);
    sent.unwrap_or_else(|error| wrong(&format!("cannot say {text:?}: {error}")));
}

/// Another one of this program, in the same group.
fn child(words: &[&str]) -> Child {
    let program = std::env::current_exe().unwrap_or_else(|error| wrong(&format!("who am I: {error}")));
    // Only this process says that it is ready.
    let child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.unwrap_or_else(|error| wrong(&format!("cannot start a child: {error}")))
}

/// Into a session of its own, with nobody as a parent but whoever takes orphans in.
fn leave() {
    // SAFETY: this process has one thread; the parent only exits.
    unsafe {
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::setsid();
    }
}

/// `feed=MS:FILE`: says that it is alive until FILE is there.
fn feed(text: &str) {
    let Some((every, until)) = text.split_once(':') else { wrong("feed=MS:FILE") };
    let (every, until) = (Duration::from_millis(number(every)), PathBuf::from(until));
    spawn(move || {
        while !until.exists() {
            say("WATCHDOG=1");
            sleep(every);
        }
    });
}

/// `sd_notify_barrier(3)`: waits until everything that was said has been dealt with.
fn barrier() {
    let (socket, path) = socket();
    if socket.connect(&path).is_err() {
        wrong("cannot connect");
    }
    let (mut waits, held) = pipe().unwrap_or_else(|error| wrong(&format!("no pipe: {error}")));
    let mut bytes = *b"BARRIER=1";
    let mut control = [0_u64; 4];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the header and what it points to live through the call; the control data has room for one descriptor and
    // is aligned for its header.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let one = libc::CMSG_FIRSTHDR(&raw const header);
        (*one).cmsg_level = libc::SOL_SOCKET;
        (*one).cmsg_type = libc::SCM_RIGHTS;
        (*one).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(one).cast::<i32>().write_unaligned(held.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
    };
    if sent < 0 {
        wrong("cannot send a barrier");
    }
    drop(held);
    // Its end comes when the last copy of the other one is closed.
    let _ = waits.read(&mut [0; 1]);
}

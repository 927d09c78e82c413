//! From a daemon that goes on without a keeper to the next mcpd: that one asks what there is, takes it out of the other process,
//! ends that, and goes on as after the death of a daemon of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};
use serde_json::json;

use super::papers::{HAND_OVER, Heir, Inheritance, Item};
use super::{Kept, Legacy, Line};

/// So long the other one may take to answer, and to end.
const WITHIN: Duration = Duration::from_secs(10);

/// Takes over from a daemon without a keeper that listens on this socket, if there is one; all that is with the own keeper then.
///
/// # Errors
/// There is one, and why it cannot be taken over from. It goes on.
pub fn take_over(socket: &Path, line: &Line) -> Result<Option<Legacy>, String> {
    let Some(Inheritance { pid, items, .. }) = ask(socket) else { return Ok(None) };
    let failed = |what: &str| {
        let what =
            format!("the daemon (pid {pid}) that goes on without a keeper cannot be taken over from: {what}");
        move |error: io::Error| format!("{what}: {error}")
    };
    let process =
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("{pid} is no pid"))?;
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty())
        .map_err(io::Error::from)
        .map_err(failed("it cannot be found"))?;
    let get = |number: &i32| -> io::Result<OwnedFd> {
        Ok(rustix::process::pidfd_getfd(&process, *number, PidfdGetfdFlags::empty())?)
    };
    let mut legacy = Legacy::default();
    for Item { name, text, handles } in items {
        let handles: io::Result<Vec<OwnedFd>> = handles.iter().map(get).collect();
        let handles = handles.map_err(failed("what it has open cannot be had"))?;
        legacy.put(name, Kept { text, handles });
    }
    // It is as if somebody had killed it: that is the one way to take over.
    rustix::process::pidfd_send_signal(&process, Signal::KILL)
        .map_err(io::Error::from)
        .map_err(failed("it cannot be ended"))?;
    if !ends(&process) {
        return Err(failed("it does not end")(io::ErrorKind::TimedOut.into()));
    }
    for (name, Kept { text, handles }) in legacy.all() {
        let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
        line.keep_now(name, text.clone(), &handles);
    }
    Ok(Some(legacy))
}

/// What there is; `None`: nobody is there, or has a keeper.
fn ask(socket: &Path) -> Option<Inheritance> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    stream.set_write_timeout(Some(WITHIN)).ok()?;
    let heir = Heir { pid: std::process::id() };
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": HAND_OVER, "params": heir });
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
    serde_json::from_value(answer.get("result")?.clone()).ok()
}

fn ends(process: &OwnedFd) -> bool {
    let timeout = Timespec { tv_sec: i64::try_from(WITHIN.as_secs()).unwrap_or(1), tv_nsec: 0 };
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|count| count > 0),
        }
    }
}

//! CTRL+C for one service.
//!
//! Windows sends CTRL+C to the processes of a console, and only a process attached to that console may cause it. The
//! daemon must not attach itself: it would lose its own console and be hit as well. So a short-lived second copy of it
//! does: it is started with a hidden argument, attaches to the service's hidden console, sends and ends.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::os::windows::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::DETACHED_PROCESS;

use super::job::succeeded;

/// The hidden argument by which the daemon's program is the helper: `mcpd __ctrl-c PID`.
pub const CTRL_C_ARGUMENT: &str = "__ctrl-c";

/// The helper: sends CTRL+C to all processes of the console that `pid` is attached to. Returns the exit code for the
/// program: 0, or the system's number of what went wrong. Only for a process that does nothing else.
pub fn ctrl_c_helper(pid: u32) -> i32 {
    match send(pid) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(1),
    }
}

fn send(pid: u32) -> io::Result<()> {
    // SAFETY: these calls take numbers only; `None` with TRUE makes this process ignore CTRL+C, which the last one would
    // otherwise end it with.
    unsafe {
        // It fails when there is none, which is as good.
        FreeConsole();
        succeeded(AttachConsole(pid))?;
        succeeded(SetConsoleCtrlHandler(None, 1))?;
        succeeded(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
    }
}

/// Makes the daemon hear CTRL+C again if whoever started it had switched that off: its services would inherit it, and
/// none could be stopped by CTRL+C.
pub(super) fn hear_ctrl_c() {
    // SAFETY: the call takes numbers only.
    unsafe { SetConsoleCtrlHandler(None, 0) };
}

/// Starts the helpers, on a thread of its own: creating a process takes milliseconds, and a stop of all services asks
/// for many at once.
#[derive(Debug)]
pub(super) struct CtrlC {
    requests: mpsc::Sender<Request>,
}

struct Request {
    pid: u32,
    /// Keeps the pid from being given to another process until the helper is done.
    hold: OwnedHandle,
}

impl CtrlC {
    /// Starts the thread. It ends when this value is dropped and all that was asked for is done.
    pub(super) fn start() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let (requests, inbox) = mpsc::channel();
        std::thread::Builder::new().name("mcpd-ctrl-c".to_owned()).spawn(move || serve(&program, &inbox))?;
        Ok(Self { requests })
    }

    /// Asks for a CTRL+C to the console of `pid`, which `hold` is a handle of.
    pub(super) fn ask(&self, pid: u32, hold: OwnedHandle) -> io::Result<()> {
        self.requests
            .send(Request { pid, hold })
            .map_err(|_| io::Error::other("the thread that sends CTRL+C has ended"))
    }
}

fn serve(program: &PathBuf, inbox: &mpsc::Receiver<Request>) {
    let mut running: Vec<(Child, OwnedHandle)> = Vec::new();
    for request in inbox {
        running.retain_mut(|(helper, _)| matches!(helper.try_wait(), Ok(None)));
        let helper = Command::new(program)
            .arg(CTRL_C_ARGUMENT)
            .arg(request.pid.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .creation_flags(DETACHED_PROCESS)
            .spawn();
        match helper {
            Ok(helper) => running.push((helper, request.hold)),
            Err(error) => tracing::warn!(
                pid = request.pid,
                program = %program.display(),
                %error,
                "cannot start the helper that sends CTRL+C; the process will be terminated when its time to stop is over"
            ),
        }
    }
}

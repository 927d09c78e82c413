//! Runs the real binary, bounded.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

use crate::fake::BOUND;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// Bytes, for some are no UTF-8.
    pub(crate) stdout: Vec<u8>,
    /// Text.
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Standard output as one document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `mcpctl ARGUMENTS`, its surroundings the same on every machine.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpctl"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    for name in ["MCPD_SOCKET", "MCPD_CONFIG", "XDG_RUNTIME_DIR", "COLUMNS", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("TZ", "UTC");
    command
}

/// Runs it to its end against this socket.
pub(crate) fn mcpctl(socket: &Path, arguments: &str) -> Ended {
    let mut command = command(arguments);
    command.arg("--socket").arg(socket);
    Running::start(command).end()
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let mut pipe = child.stderr.take().unwrap();
        let (tell, stderr) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            let _ = tell.send(text);
        });
        Self { child, stdout, stderr }
    }

    /// Its process id.
    #[cfg(unix)]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut stdout = self.stdout.take().expect("standard output is open");
        let (tell, heard) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = tell.send((line, stdout));
        });
        let Ok((line, stdout)) = heard.recv_timeout(BOUND) else {
            let _ = self.child.kill();
            panic!("no line came");
        };
        self.stdout = Some(stdout);
        line
    }

    /// Closes its standard output, as `head` does when it has enough.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let stdout = self.stdout.take();
        let (tell, heard) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stdout) = stdout {
                let _ = stdout.read_to_end(&mut bytes);
            }
            let _ = tell.send(bytes);
        });
        let ended = heard.recv_timeout(BOUND).and_then(|out| Ok((out, self.stderr.recv_timeout(BOUND)?)));
        let Ok((stdout, stderr)) = ended else {
            let _ = self.child.kill();
            panic!("mcpctl did not end");
        };
        let status: ExitStatus = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| panic!("killed: {status}: {stderr}"));
        Ended { code, stdout, stderr }
    }
}

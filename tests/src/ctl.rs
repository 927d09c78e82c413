//! `mcpctl`, run for its output.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Instant;

use serde_json::Value;

use crate::wait::{STEP, stretched};

/// What a command said.
#[derive(Debug, Clone)]
pub struct CtlOutput {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// stdout, as bytes.
    pub raw: Vec<u8>,
    /// stdout, as text.
    pub stdout: String,
    /// stderr, as text.
    pub stderr: String,
}

impl CtlOutput {
    /// Runs `command` to its end, at most for 60 s times the patience.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    #[track_caller]
    pub fn of(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (give, take) = channel();
        // Read while it runs: a command must not block on a full pipe here.
        let reader = spawn(move || {
            let mut bytes = Vec::new();
            let _ = out.read_to_end(&mut bytes);
            bytes
        });
        spawn(move || {
            let mut bytes = Vec::new();
            let _ = err.read_to_end(&mut bytes);
            let _ = give.send(bytes);
        });
        let deadline = Instant::now() + stretched(std::time::Duration::from_secs(60));
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{line} did not end");
            }
            sleep(STEP / 5);
        };
        let raw = reader.join().expect("the reader does not panic");
        let stderr = String::from_utf8_lossy(&take.recv().unwrap_or_default()).into_owned();
        let stdout = String::from_utf8_lossy(&raw).into_owned();
        Self { command: line, code: status.code().unwrap_or(-1), raw, stdout, stderr }
    }

    /// Its code must be `code`.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code of {}\nstdout: {}\nstderr: {}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// stdout as one JSON document.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{}: no JSON ({error}): {}\n{}", self.command, self.stdout, self.stderr)
        })
    }

    /// stdout as JSON lines.
    ///
    /// # Panics
    /// When a line is no JSON.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.command))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// stdout and stderr, for messages that may stand in either.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

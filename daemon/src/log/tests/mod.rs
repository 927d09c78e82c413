//! The whole path with real pipes and real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod follow;
mod pipes;
mod rotation;
mod roundtrip;
mod trouble;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mcpd_config::spec::{LogFormat, LogSpec, LogTarget};
use mcpd_proto::log::{LogLine, Stream};
use mio::unix::pipe::Sender;

use super::console::Outputs;
use super::format::bytes;
use super::{LogEvent, LogPipe, Logs, Settings, Tails, read::read};

/// No answer takes this long; reaching it is a failure.
const BOUND: Duration = Duration::from_secs(60);

fn spec(target: LogTarget, format: LogFormat, max_size: u64, max_files: u32) -> LogSpec {
    LogSpec { target, format, max_size, max_files }
}

fn text(max_size: u64, max_files: u32) -> LogSpec {
    spec(LogTarget::File, LogFormat::Text, max_size, max_files)
}

struct Lab {
    dir: tempfile::TempDir,
    logs: Logs,
    events: mpsc::Receiver<LogEvent>,
}

/// Before the directory goes: a writer that still writes would make it again.
impl Drop for Lab {
    fn drop(&mut self) {
        self.logs.clone().stop(Duration::from_secs(1));
    }
}

impl Lab {
    fn new() -> Self {
        Self::with(Outputs::own())
    }

    fn with(outputs: Outputs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (say, events) = mpsc::channel();
        let settings = Settings {
            spool: None,
            log_dir: dir.path().join("logs"),
            on_event: Arc::new(move |event| drop(say.send(event))),
        };
        Self { logs: Logs::start_with(settings, outputs).unwrap(), dir, events }
    }

    /// Another daemon's, over the same files.
    fn successor(&self) -> Logs {
        let settings = Settings { log_dir: self.path(), spool: None, on_event: Arc::new(|_| ()) };
        Logs::start(settings).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("logs")
    }

    /// A defined service with both pipes attached.
    fn service(&self, id: u32, name: &str, spec: &LogSpec) -> (Sender, Sender) {
        self.logs.define(id, name, spec, 100);
        self.run(id, 1)
    }

    /// Pipes of a new run.
    fn run(&self, id: u32, generation: u64) -> (Sender, Sender) {
        let (out, out_end) = pipe();
        let (err, err_end) = pipe();
        self.logs.attach(id, generation, Some(out_end), Some(err_end));
        (out, err)
    }

    fn drain(&self, id: u32, generation: u64) -> Tails {
        let (done, tails) = mpsc::channel();
        self.logs.drain(id, generation, Box::new(move |found| done.send(found).unwrap()));
        tails.recv_timeout(BOUND).expect("a drain answers")
    }

    fn tail(&self, id: u32, lines: usize) -> Vec<LogLine> {
        let (done, tail) = mpsc::channel();
        self.logs.tail(id, lines, Box::new(move |found| done.send(found).unwrap()));
        tail.recv_timeout(BOUND).expect("a tail answers")
    }

    fn flush(&self) {
        let (done, flushed) = mpsc::channel();
        self.logs.flush(Box::new(move || done.send(()).unwrap()));
        flushed.recv_timeout(BOUND).expect("a flush answers");
    }

    /// Everything that is in the pipes of the first run is in the files.
    fn settle(&self, id: u32) {
        self.drain(id, 1);
        self.flush();
    }

    fn event(&self) -> LogEvent {
        self.events.recv_timeout(BOUND).expect("an event")
    }

    fn lines(&self, name: &str, format: LogFormat, last: Option<usize>) -> Vec<LogLine> {
        lines(&self.path(), name, format, last, None)
    }
}

fn lines(
    dir: &Path,
    name: &str,
    format: LogFormat,
    last: Option<usize>,
    since: Option<jiff::Timestamp>,
) -> Vec<LogLine> {
    let mut all = Vec::new();
    let count = read(dir, name, format, last, since, &mut |batch| {
        all.extend(batch);
        true
    });
    assert_eq!(count.unwrap(), all.len() as u64);
    all
}

/// A pipe whose writing end blocks, as a service's does.
fn pipe() -> (Sender, LogPipe) {
    let (sender, receiver) = mio::unix::pipe::new().unwrap();
    sender.set_nonblocking(false).unwrap();
    (sender, receiver)
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// What one stream said, put together again.
fn joined(lines: &[LogLine], stream: Stream) -> Vec<u8> {
    let mut all = Vec::new();
    for line in lines.iter().filter(|line| line.stream == Some(stream)) {
        all.extend(bytes(line));
        if !line.continues {
            all.push(b'\n');
        }
    }
    all
}

fn files(dir: &Path) -> Vec<String> {
    // Of a service that printed nothing there is not even the directory.
    let found = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = found.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asks again and again, for what happens in another thread and has no event of its own.
fn until(mut what: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed() < BOUND, "it never happened");
        std::thread::yield_now();
    }
}

/// The bytes of all files in the order of writing.
fn concatenated(dir: &Path, name: &str) -> Vec<u8> {
    let mut names = files(dir);
    names.retain(|n| n.starts_with(&format!("{name}.log")));
    // The current file has the shortest name and comes last.
    let current = usize::from(!names.is_empty());
    names.rotate_left(current);
    names.iter().flat_map(|n| std::fs::read(dir.join(n)).unwrap()).collect()
}

fn write_all(to: &mut Sender, data: &[u8]) {
    to.write_all(data).unwrap();
}

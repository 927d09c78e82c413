//! A daemon made of a script: it reads requests and answers what the test's closure says.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use interprocess::local_socket::{ListenerOptions, Stream, prelude::*};
use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::message::{Id, Notification, Request, Response};
use mcpd_proto::socket;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes on the slowest machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// What happens after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next one is read.
    GoOn,
    /// The connection is closed.
    Close,
}

/// One request, with the means to answer it.
pub(crate) struct Asked<'a> {
    /// As `service.status`.
    pub(crate) method: String,
    /// Its parameters.
    pub(crate) params: Value,
    id: Id,
    stream: &'a mut dyn Write,
}

impl Asked<'_> {
    /// Answers with a result.
    pub(crate) fn answer(&mut self, result: Value) -> Then {
        self.send(&serde_json::to_value(Response::ok(self.id.clone(), result)).unwrap())
    }

    /// Answers with an error of this kind and more in `data`.
    pub(crate) fn refuse(&mut self, kind: Kind, message: &str, data: Value) -> Then {
        let Value::Object(data) = data else { panic!("data is an object") };
        let error = ErrorObject::with(kind, message, data);
        self.send(&serde_json::to_value(Response::<Value>::err(self.id.clone(), error)).unwrap())
    }

    /// Sends an item of a stream.
    pub(crate) fn notify(&mut self, method: &str, params: Value) -> Then {
        self.send(&serde_json::to_value(Notification::new(method, &self.id, params)).unwrap())
    }

    /// Sends lines of output.
    pub(crate) fn lines(&mut self, lines: Value) -> Then {
        self.notify("log.lines", json!({ "lines": lines }))
    }

    fn send(&mut self, message: &Value) -> Then {
        let line = format!("{message}\n");
        // A client that has gone is what some tests are about.
        match self.stream.write_all(line.as_bytes()).and_then(|()| self.stream.flush()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    }
}

/// A running fake; its thread ends with the test process.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    asked: Receiver<(String, Value)>,
    _dir: TempDir,
}

impl Fake {
    /// Listens, and lets `script` answer every request.
    pub(crate) fn start(script: impl FnMut(&mut Asked<'_>) -> Then + Send + 'static) -> Self {
        let (dir, socket) = free_socket();
        let name = socket::name(&socket).unwrap();
        let listener = ListenerOptions::new().name(name).create_sync().unwrap();
        let (tell, asked) = channel();
        let script = Arc::new(Mutex::new(script));
        thread::spawn(move || {
            while let Ok(stream) = listener.accept() {
                let (script, tell) = (script.clone(), tell.clone());
                thread::spawn(move || {
                    let script = |asked: &mut Asked<'_>| (script.lock().expect("no script panics"))(asked);
                    let _ = serve(stream, script, |method, params| {
                        let _ = tell.send((method, params));
                    });
                });
            }
        });
        Self { socket, asked, _dir: dir }
    }

    /// Nothing else has been asked.
    pub(crate) fn has_no_more(&self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// The next request that came.
    pub(crate) fn asked(&self) -> (String, Value) {
        self.asked.recv_timeout(BOUND).expect("a request comes")
    }
}

fn serve(
    stream: Stream,
    script: impl Fn(&mut Asked<'_>) -> Then,
    tell: impl Fn(String, Value),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let request: Request = serde_json::from_str(&line).expect("mcpctl sends requests");
        tell(request.method.clone(), request.params.clone());
        let mut asked = Asked {
            method: request.method,
            params: request.params,
            id: request.id.expect("mcpctl wants answers"),
            stream: stream.get_mut(),
        };
        if script(&mut asked) == Then::Close {
            break;
        }
        line.clear();
    }
    Ok(())
}

/// A place for a socket where nothing listens.
pub(crate) fn free_socket() -> (TempDir, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = tempfile::tempdir().unwrap();
    let socket = if cfg!(windows) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        PathBuf::from(format!(r"\\.\pipe\mcpctl-test-{}-{count}", std::process::id()))
    } else {
        dir.path().join("control.sock")
    };
    (dir, socket)
}

/// A service's status document in this state.
pub(crate) fn service(name: &str, state: &str) -> Value {
    let pid = (state == "up").then_some(4711);
    json!({
        "schema": 1, "name": name, "state": state, "wanted": true, "health": "none", "pid": pid, "generation": 1,
        "uptime_seconds": pid.map(|_| 3720.0), "restarts": 2, "max_restarts": 10, "restarts_total": 2,
        "crash_count": 2, "started_at": null, "since": "2026-11-22T11:30:00Z", "command": ["/bin/web"],
        "reason": null, "next": null, "last_crash": null, "of_a_later_version": {"kept": true},
    })
}

/// The daemon's own part of a status document.
pub(crate) fn daemon() -> Value {
    json!({
        "schema": 1, "version": "0.1.0", "pid": 1, "started_at": "2026-11-22T11:00:00Z", "uptime_seconds": 5.0,
        "config": "/etc/mcpd/mcpd.toml", "state_dir": "/s", "log_dir": "/l", "state": "running", "summary": "all well",
    })
}

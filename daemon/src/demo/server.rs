//! How do the three servers behave?

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{http, mcp};

/// Connections handled at once; one more is hung up on.
const MAX_CONNECTIONS: usize = 64;

/// Between two lines of the log that tell that the server lives.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// How a server behaves after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays well.
    Well,
    /// It ends with a traceback after this time.
    Crash(Duration),
    /// From this time on it takes connections and answers none.
    Hang(Duration),
}

impl Fate {
    /// By the demo's name of the server: `healthy`, `crashy`, `hanging`.
    #[must_use]
    pub fn of(which: &str) -> Option<Self> {
        match which {
            "healthy" => Some(Self::Well),
            // Six to ten seconds, so that it does not look like a clock.
            "crashy" => Some(Self::Crash(Duration::from_millis(6000 + random() % 4000))),
            "hanging" => Some(Self::Hang(Duration::from_secs(10))),
            _ => None,
        }
    }
}

/// Runs the demo's server `which` (`healthy`, `crashy`, `hanging`) on a loopback port until it ends, and gives the
/// exit code: 1 after a crash or without its port, 2 for an unknown name.
pub fn serve(which: &str, port: u16) -> i32 {
    let stderr = io::stderr();
    let Some(fate) = Fate::of(which) else {
        let _ = writeln!(stderr.lock(), "there is no demo server {which:?}: healthy, crashy or hanging");
        return 2;
    };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => {
            // Never stopped but by a signal: the sender lives as long as the server.
            let (_keep, stop) = mpsc::channel();
            run(listener, fate, &stop, &mut io::stdout(), &mut io::stderr())
        }
        Err(error) => {
            let _ = writeln!(stderr.lock(), "ERROR:    cannot listen on 127.0.0.1:{port}: {error}");
            1
        }
    }
}

/// What the connections share.
struct Shared {
    start: Instant,
    fate: Fate,
    requests: AtomicU64,
    open: AtomicUsize,
}

/// Serves `listener` until the fate is fulfilled, or until `stop` gets a message or its sender is gone; gives the exit
/// code.
pub fn run(
    listener: TcpListener,
    fate: Fate,
    stop: &mpsc::Receiver<()>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> i32 {
    let requests = AtomicU64::new(0);
    let shared = Arc::new(Shared { start: Instant::now(), fate, requests, open: AtomicUsize::new(0) });
    let address = listener.local_addr().map_or_else(|_| "loopback".to_owned(), |address| address.to_string());
    let _ = writeln!(stdout, "INFO:     listening on http://{address} (pid {})", std::process::id());
    let accepting = Arc::clone(&shared);
    // Ends with the process; nobody waits for it.
    let accept =
        thread::Builder::new().name("accept".to_owned()).spawn(move || accept(&listener, &accepting));
    if let Err(error) = accept {
        let _ = writeln!(stderr, "ERROR:    cannot start a thread: {error}");
        return 1;
    }
    loop {
        let uptime = shared.start.elapsed();
        let left = match fate {
            Fate::Crash(after) => after.saturating_sub(uptime),
            Fate::Well | Fate::Hang(_) => LOG_EVERY,
        };
        if left.is_zero() {
            let _ = stderr.write_all(traceback(shared.requests.load(Ordering::Relaxed)).as_bytes());
            return 1;
        }
        let wait = left.min(LOG_EVERY);
        match stop.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return 0,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // A hung program does not say so.
        if !shared.hangs() && wait == LOG_EVERY {
            let served = shared.requests.load(Ordering::Relaxed);
            let _ = writeln!(
                stdout,
                "INFO:     up for {} s, {served} requests",
                shared.start.elapsed().as_secs()
            );
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    // What a hung server accepted stays open: its clients wait, as they would for a real one. When the limit is
    // reached, the system's queue holds the rest.
    let mut held = Vec::new();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if shared.hangs() {
            if held.len() >= MAX_CONNECTIONS {
                held.remove(0);
            }
            held.push(stream);
            continue;
        }
        if shared.open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let connection = Arc::clone(shared);
        let handler = thread::Builder::new().spawn(move || {
            // A client that goes away is its own business.
            let _ = handle(stream, &connection);
            connection.open.fetch_sub(1, Ordering::Relaxed);
        });
        if handler.is_err() {
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn handle(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let request = http::read(&mut stream)?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    // A page of some other host must not speak to a server on loopback through its reader's browser.
    if request.origin.as_deref().is_some_and(|origin| !is_loopback(origin)) {
        return http::answer(&mut stream, 403, None);
    }
    let (status, document) = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/health") => {
            let uptime = (shared.start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
            (200, Some(json!({ "status": "healthy", "uptime_seconds": uptime })))
        }
        ("POST", "/mcp") => mcp::answer(&request.body),
        (_, "/mcp" | "/api/health") => (405, None),
        _ => (404, Some(json!({ "error": "GET /api/health or POST /mcp" }))),
    };
    http::answer(&mut stream, status, document.as_ref())
}

impl Shared {
    fn hangs(&self) -> bool {
        match self.fate {
            Fate::Hang(after) => self.start.elapsed() >= after,
            Fate::Well | Fate::Crash(_) => false,
        }
    }
}

fn is_loopback(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    let host = host.strip_suffix('/').unwrap_or(host);
    let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    ["localhost", "127.0.0.1", "[::1]"].contains(&bare.map_or(host, |(bare, _)| bare))
}

/// The last words of a program as many people know them.
fn traceback(requests: u64) -> String {
    let key = ["'session'", "'user_id'", "'cursor'"][usize::try_from(random() % 3).unwrap_or_default()];
    format!(
        "ERROR:    unhandled exception in the request loop after {requests} requests\n\
         Traceback (most recent call last):\n\
         \x20 File \"/srv/demo/server.py\", line 87, in <module>\n\
         \x20   main()\n\
         \x20 File \"/srv/demo/server.py\", line 81, in main\n\
         \x20   loop.run_until_complete(serve())\n\
         \x20 File \"/srv/demo/server.py\", line 64, in serve\n\
         \x20   state = store[{key}]\n\
         \x20           ~~~~~{marks}\n\
         KeyError: {key}\n",
        marks = "^".repeat(key.len() + 2),
    )
}

/// A number that differs from call to call; good enough for a demo's timing.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:1",
            "http://[::1]:8080",
            "http://[::1]",
        ] {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in
            ["http://evil.example", "http://localhost.evil.example:80", "null", "http://127.0.0.1.evil:1"]
        {
            assert!(!is_loopback(origin), "{origin}");
        }
    }

    #[test]
    fn fates_have_names() {
        assert_eq!(Fate::of("healthy"), Some(Fate::Well));
        assert_eq!(Fate::of("x"), None);
        for _ in 0..100 {
            let Some(Fate::Crash(after)) = Fate::of("crashy") else { panic!("crashy crashes") };
            assert!((6000..10_000).contains(&after.as_millis()), "{after:?}");
        }
        assert_eq!(serve("x", 0), 2);
    }
}

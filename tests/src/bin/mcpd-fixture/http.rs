//! Servers: one that answers health checks, healthy or not, and one that never answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::{life, sys, wrong};

/// How the server answers.
struct Answers {
    started: Instant,
    healthy_after: Duration,
    status: u16,
    body: String,
    delay: Duration,
    hang_on: Option<PathBuf>,
    unhealthy_on: Option<PathBuf>,
    count_file: Option<PathBuf>,
}

/// `http`
pub(crate) fn http(mut args: Args) -> ! {
    let answers = Arc::new(Answers {
        started: Instant::now(),
        healthy_after: args.millis("--healthy-after").unwrap_or_default(),
        status: args.option("--status").unwrap_or(200),
        body: args.text("--body").unwrap_or_else(|| r#"{"status":"healthy"}"#.into()),
        delay: args.millis("--delay").unwrap_or_default(),
        hang_on: args.file("--hang-on"),
        unhealthy_on: args.file("--unhealthy-on"),
        count_file: args.file("--count-file"),
    });
    let crash_on = args.file("--crash-on");
    let signals = sys::Signals::block();
    let listener = listen(args);
    if let Some(file) = crash_on {
        spawn(move || {
            life::wait_for(&file);
            let _ = std::fs::remove_file(&file);
            life::crash(1)
        });
    }
    spawn(move || {
        for connection in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // A client that goes away early ends its own thread only.
            spawn(move || answers.serve(connection));
        }
    });
    life::ready();
    signals.stay(&sys::Stay::default())
}

/// `hang-listen`
pub(crate) fn hang_listen(args: Args) -> ! {
    let signals = sys::Signals::block();
    let listener = listen(args);
    spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming().flatten() {
            held.push(connection);
        }
    });
    life::ready();
    signals.stay(&sys::Stay::default())
}

/// Takes `--port-file` and the address, listens, tells the port.
fn listen(mut args: Args) -> TcpListener {
    let port_file = args.file("--port-file");
    let address = args.word("ADDRESS");
    args.done();
    let address = if address.contains(':') { address } else { format!("127.0.0.1:{address}") };
    let listener = TcpListener::bind(&address)
        .unwrap_or_else(|error| wrong(&format!("cannot listen on {address}: {error}")));
    if let Some(file) = port_file {
        let port = listener.local_addr().map(|address| address.port()).unwrap_or(0);
        publish(&file, &port.to_string());
    }
    listener
}

/// Writes a file so that a reader sees all of it or nothing.
pub(crate) fn publish(file: &Path, text: &str) {
    let part = file.with_extension("part");
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, file))
        .unwrap_or_else(|error| wrong(&format!("cannot write {}: {error}", file.display())));
}

impl Answers {
    fn serve(&self, connection: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(connection.try_clone().ok()?).lines();
        let mut saw_request = false;
        // The request ends at the first empty line; GET has no body.
        while let Some(Ok(line)) = lines.next() {
            if line.is_empty() {
                break;
            }
            saw_request = true;
        }
        if !saw_request {
            return None;
        }
        if let Some(file) = &self.count_file {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).ok()?;
            file.write_all(b".").ok()?;
        }
        let there = |file: &Option<PathBuf>| file.as_ref().is_some_and(|file| file.exists());
        while there(&self.hang_on) {
            sleep(Duration::from_millis(20));
        }
        sleep(self.delay);
        let sick = self.started.elapsed() < self.healthy_after || there(&self.unhealthy_on);
        let (status, body) =
            if sick { (503, r#"{"status":"sick"}"#) } else { (self.status, self.body.as_str()) };
        let mut connection = connection;
        write!(
            connection,
            "HTTP/1.1 {status} Fixture\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        )
        .ok()
    }
}

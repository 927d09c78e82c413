//! The demo's servers do what the demo says that they do.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mcpd::crash::reason;
use mcpd::demo::server::{Fate, run};
use mcpd::probe::{HttpCheck, Verdict};
use mcpd_config::spec::HttpProbe;
use mcpd_core::Finding;
use mcpd_proto::crash::CrashKind;
use mcpd_proto::log::{LogLine, Stream};
use serde_json::{Value, json};

/// Long enough for any answer on a loaded machine; no test waits for it.
const AMPLE: Duration = Duration::from_secs(30);

fn block_on<T>(probe: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(probe)
}

/// What a server left when it ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

struct Server {
    port: u16,
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<Ended>,
}

impl Server {
    fn start(fate: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let code = run(listener, fate, &stopped, &mut stdout, &mut stderr);
            let text = |bytes| String::from_utf8(bytes).unwrap();
            Ended { code, stdout: text(stdout), stderr: text(stderr) }
        });
        Self { port, stop, thread }
    }

    fn health(&self, timeout: Duration) -> Verdict {
        let spec = HttpProbe {
            url: format!("http://127.0.0.1:{}/api/health", self.port),
            expect_status: Vec::new(),
            expect_json: vec![("status".to_owned(), json!("healthy"))],
            expect_body: Some(r#""uptime_seconds":\d"#.to_owned()),
            headers: Vec::new(),
        };
        let check = Arc::new(HttpCheck::new(&spec, timeout).unwrap());
        block_on(check.run())
    }

    /// Sends bytes, gives the whole answer.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(AMPLE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(&self, body: &Value) -> (String, Value) {
        let body = body.to_string();
        let length = body.len();
        let answer =
            self.raw(&format!("POST /mcp HTTP/1.1\r\nHost: x\r\ncontent-length: {length}\r\n\r\n{body}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn stop(self) -> Ended {
        let _ = self.stop.send(());
        self.thread.join().unwrap()
    }
}

#[test]
fn the_healthy_one_is_healthy_and_speaks_mcp() {
    let server = Server::start(Fate::Well);
    let verdict = server.health(AMPLE);
    assert!(verdict.is_good(), "{verdict:?}");

    let (status, answer) =
        server.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}));
    assert_eq!((status.as_str(), &answer["result"]["serverInfo"]["name"]), ("200", &json!("mcpd-demo")));
    let (status, _) = server.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(status, "202");
    let (_, answer) = server.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert_eq!(answer["result"]["tools"][0]["name"], "echo");

    for (request, status) in [
        ("GET /api/health?verbose=1 HTTP/1.0\r\n\r\n", "200"),
        ("GET /mcp HTTP/1.1\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /api/health HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n", "403"),
        ("GET /api/health HTTP/1.1\r\nOrigin: http://localhost:5173\r\n\r\n", "200"),
    ] {
        let answer = server.raw(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    // Nonsense is hung up on, and the server goes on.
    assert_eq!(server.raw("POST /mcp HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), "");
    assert_eq!(server.raw("POST /mcp HTTP/1.1\r\nContent-Length: x\r\n\r\n"), "");
    assert!(server.health(AMPLE).is_good());

    let ended = server.stop();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout.starts_with("INFO:     listening on http://127.0.0.1:"), "{}", ended.stdout);
}

#[test]
fn the_crashing_one_leaves_a_traceback_that_a_report_understands() {
    let server = Server::start(Fate::Crash(Duration::from_millis(50)));
    let ended = server.thread.join().unwrap();
    assert_eq!(ended.code, 1);
    let line = |text: &str| LogLine {
        time: None,
        stream: Some(Stream::Err),
        text: text.to_owned(),
        base64: None,
        continues: false,
    };
    let lines: Vec<LogLine> = ended.stderr.lines().map(line).collect();
    assert!(ended.stderr.contains("\nTraceback (most recent call last):\n"), "{}", ended.stderr);
    let (kind, uptime) = (CrashKind::Exit, Duration::from_secs(8));
    let end =
        reason::End { kind, command: &[], exit_code: Some(1), signal: None, core_dumped: false, uptime };
    let reason = reason::exit(&end, &lines, &[]).text;
    assert!(reason.starts_with("exited with code 1 after 8 s: KeyError: '"), "{reason}");
}

#[test]
fn the_crashing_one_is_well_before() {
    let server = Server::start(Fate::Crash(Duration::from_secs(3600)));
    assert!(server.health(AMPLE).is_good());
    assert_eq!(server.stop().code, 0);
}

#[test]
fn the_hanging_one_takes_connections_and_never_answers() {
    let well = Server::start(Fate::Hang(Duration::from_secs(3600)));
    assert!(well.health(AMPLE).is_good());
    well.stop();

    let hung = Server::start(Fate::Hang(Duration::ZERO));
    let verdict = hung.health(Duration::from_millis(200));
    assert_eq!(verdict, Verdict { finding: Finding::Bad, detail: "timed out after 200 ms".to_owned() });
    let connected = block_on(mcpd::probe::tcp(&format!("127.0.0.1:{}", hung.port), AMPLE));
    assert!(connected.is_good(), "it still accepts");
    assert_eq!(hung.stop().code, 0);
}

#[test]
fn a_taken_port_is_said_and_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(mcpd::demo::serve("healthy", listener.local_addr().unwrap().port()), 1);
}

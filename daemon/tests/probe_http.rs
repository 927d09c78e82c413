//! The HTTP probe against servers that say every kind of thing, on loopback.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mcpd::probe::{HttpCheck, Verdict};
use mcpd_config::spec::HttpProbe;
use mcpd_core::Finding;
use serde_json::json;

/// Long enough for any answer on a loaded machine; no test waits for it.
const AMPLE: Duration = Duration::from_secs(30);

/// A server that handles one connection with `script`, once the request's head has been read. Its join gives the head.
struct Server {
    port: u16,
    thread: JoinHandle<String>,
}

impl Server {
    fn new(script: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        Self::on("127.0.0.1:0", script).expect("loopback is there")
    }

    fn on(address: &str, script: impl FnOnce(&mut TcpStream) + Send + 'static) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte) {
                    Ok(1) => head.push(byte[0]),
                    _ => break,
                }
            }
            script(&mut stream);
            String::from_utf8(head).unwrap()
        });
        Some(Self { port, thread })
    }

    fn answering(answer: &'static str) -> Self {
        Self::new(move |stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/health?x=1", self.port)
    }

    fn head(self) -> String {
        self.thread.join().unwrap()
    }
}

fn probe(url: String) -> HttpProbe {
    HttpProbe {
        url,
        expect_status: Vec::new(),
        expect_json: Vec::new(),
        expect_body: None,
        headers: Vec::new(),
    }
}

fn run(spec: &HttpProbe, timeout: Duration) -> Verdict {
    ask(&Arc::new(HttpCheck::new(spec, timeout).unwrap()))
}

/// As the daemon does: everything on one thread.
fn ask(check: &Arc<HttpCheck>) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check.run())
}

/// `200 after 4 ms: x` without its time.
fn timeless(detail: &str) -> String {
    match detail.split_once(" after ") {
        Some((before, rest)) if !before.starts_with("timed out") => {
            let after = rest.find([':', '(']).map_or("", |at| &rest[at..]);
            format!("{before}{after}")
        }
        _ => detail.to_owned(),
    }
}

#[test]
fn every_answer_has_its_verdict() {
    type Change = fn(&mut HttpProbe);
    let plain: Change = |_| {};
    let healthy: Change = |spec| spec.expect_json = vec![("status".to_owned(), json!("healthy"))];
    let pattern: Change = |spec| spec.expect_body = Some("^all (good|fine)$".to_owned());
    let exactly_200: Change = |spec| spec.expect_status = vec![200];
    let found: Change = |spec| spec.expect_status = vec![302];
    for (name, answer, change, ok, detail) in [
        ("200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", plain, true, "200"),
        ("1.0", "HTTP/1.0 200 OK\r\n\r\nuntil the end", plain, true, "200"),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nall good\r\n0\r\n\r\n",
            pattern,
            true,
            "200",
        ),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n", plain, true, "204"),
        ("204, 200 wanted", "HTTP/1.1 204 No Content\r\n\r\n", exactly_200, false, "204: expected 200"),
        ("503", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", plain, false, "503: expected 2xx"),
        (
            "503, 200 wanted",
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            exactly_200,
            false,
            "503: expected 200",
        ),
        (
            "redirect",
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            plain,
            false,
            "302: expected 2xx, and redirects are not followed (/login)",
        ),
        (
            "redirect wanted",
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            found,
            true,
            "302",
        ),
        (
            "healthy",
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}",
            healthy,
            true,
            "200",
        ),
        (
            "degraded",
            "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"status\":\"degraded\"}",
            healthy,
            false,
            "200: /status is \"degraded\", expected \"healthy\"",
        ),
        (
            "not JSON",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            healthy,
            false,
            "200: body is not JSON: \"ok\"",
        ),
        ("no body", "HTTP/1.1 204 No Content\r\n\r\n", healthy, false, "204: body is not JSON: it is empty"),
        (
            "no match",
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall bad!",
            pattern,
            false,
            "200: body does not match /^all (good|fine)$/",
        ),
        ("cut off", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", plain, false, "200: body is cut off"),
        ("nothing", "", plain, false, "connection closed without an answer"),
        ("half a head", "HTTP/1.1 200 OK\r\nConte", plain, false, "connection closed without an answer"),
        ("garbage", "\0\u{1}\u{2}garbage\r\n\r\n", plain, false, "answer is not HTTP: invalid HTTP version"),
        ("ssh", "SSH-2.0-OpenSSH_9.6\r\n", plain, false, "answer is not HTTP: invalid HTTP version"),
        (
            "100 first",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            plain,
            true,
            "200",
        ),
    ] {
        let server = Server::answering(answer);
        let mut spec = probe(server.url());
        change(&mut spec);
        let verdict = run(&spec, AMPLE);
        assert_eq!(
            (verdict.is_good(), timeless(&verdict.detail).as_str()),
            (ok, detail),
            "{name}: {verdict:?}"
        );
        server.head();
    }
}

#[test]
fn the_request_is_a_plain_one() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut spec = probe(server.url());
    spec.headers = vec![("X-Key".to_owned(), "value".to_owned())];
    assert!(run(&spec, AMPLE).is_good());
    let head = server.head().to_ascii_lowercase();
    assert!(head.starts_with("get /health?x=1 http/1.1\r\n"), "{head}");
    for line in ["x-key: value", "connection: close", concat!("user-agent: mcpd/", env!("CARGO_PKG_VERSION"))]
    {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {head}");
    }
}

#[test]
fn each_probe_is_a_new_connection_that_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(AMPLE)).unwrap();
            // The server would keep the connection; the probe hangs up, which is what ends this read.
            let mut answered = false;
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).unwrap_or(0) > 0 {
                if !answered {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                    answered = true;
                }
            }
        }
    });
    let check = Arc::new(HttpCheck::new(&probe(url), AMPLE).unwrap());
    for _ in 0..3 {
        assert!(ask(&check).is_good());
    }
    server.join().unwrap();
}

/// Runs a probe with a short timeout against a script that never comes to an end by itself.
fn times_out(spec: &HttpProbe, expected: &str) {
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let verdict = run(spec, timeout);
    let took = start.elapsed();
    assert!(!verdict.is_good());
    assert_eq!(verdict.detail, expected);
    assert!(took >= timeout && took < timeout + Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_hung_server_times_out_on_time() {
    let server = Server::new(|stream| assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0));
    times_out(&probe(server.url()), "timed out after 300 ms");
    server.head();
}

#[test]
fn a_server_that_does_not_even_accept_times_out_on_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    times_out(&probe(url), "timed out after 300 ms");
}

#[test]
fn a_silent_tls_server_times_out_on_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    times_out(&probe(url), "timed out after 300 ms");
}

#[test]
fn a_slow_drip_hits_the_overall_timeout() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Slow: "] {
        let (_stop, stopped) = mpsc::channel::<()>();
        let server = Server::new(move |stream| {
            let mut next = head.as_bytes();
            // Every byte comes well within the timeout; it is their sum that does not.
            while stream.write_all(next).is_ok() {
                next = b"x";
                let _ = stopped.recv_timeout(Duration::from_millis(20));
            }
        });
        let in_body = head.ends_with("\r\n\r\n");
        let expected = if in_body { "timed out after 300 ms (status 200)" } else { "timed out after 300 ms" };
        times_out(&probe(server.url()), expected);
        server.head();
    }
}

#[test]
fn a_huge_body_is_not_swallowed() {
    for (pattern, ok, detail) in
        [(None, true, "200(body over 1 MiB not read)"), (Some("x"), false, "200: body is larger than 1 MiB")]
    {
        let server = Server::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let chunk = vec![b'x'; 64 * 1024];
            while stream.write_all(&chunk).is_ok() {}
        });
        let mut spec = probe(server.url());
        spec.expect_body = pattern.map(str::to_owned);
        let verdict = run(&spec, AMPLE);
        assert_eq!((verdict.is_good(), timeless(&verdict.detail).as_str()), (ok, detail));
        server.head();
    }
}

/// Judged on another thread than small ones; the verdict is the same.
#[test]
fn a_large_body_is_judged() {
    for (status, ok, detail) in
        [("healthy", true, "200"), ("degraded", false, "200: /status is \"degraded\", expected \"healthy\"")]
    {
        let server = Server::new(move |stream| {
            let body = json!({ "filler": "x".repeat(300_000), "status": status }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        });
        let mut spec = probe(server.url());
        spec.expect_json = vec![("status".to_owned(), json!("healthy"))];
        let verdict = run(&spec, AMPLE);
        assert_eq!((verdict.is_good(), timeless(&verdict.detail).as_str()), (ok, detail));
        server.head();
    }
}

/// Interim answers count as head: a server that sends nothing else is not listened to for ever.
#[test]
fn endless_interim_answers_are_not_swallowed() {
    let server = Server::new(|stream| {
        while stream.write_all(b"HTTP/1.1 102 Processing\r\nX-Filler: xxxxxxxxxxxxxxxxxxxxxx\r\n\r\n").is_ok()
        {
        }
    });
    let verdict = run(&probe(server.url()), AMPLE);
    assert_eq!(
        verdict,
        Verdict { finding: Finding::Bad, detail: "answer's headers are larger than 16 KiB".into() }
    );
    server.head();
}

#[test]
fn a_huge_head_is_not_swallowed() {
    let server = Server::new(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        while stream
            .write_all(b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
            .is_ok()
        {}
    });
    let verdict = run(&probe(server.url()), AMPLE);
    assert!(!verdict.is_good());
    assert!(
        verdict.detail.contains("headers are larger than") || verdict.detail.contains("too many headers"),
        "{verdict:?}"
    );
    server.head();
}

#[test]
fn an_event_stream_counts_by_its_status() {
    let server = Server::new(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n").unwrap();
        let _ = stream.read(&mut [0]);
    });
    let verdict = run(&probe(server.url()), AMPLE);
    assert!(verdict.is_good(), "{verdict:?}");
    server.head();
}

#[test]
fn a_closed_port_refuses() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        let verdict = run(&probe(format!("http://{host}:{port}/")), AMPLE);
        assert!(!verdict.is_good());
        assert!(
            ["connection refused", "address not available"].contains(&verdict.detail.as_str()),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_name_that_does_not_exist_is_named() {
    let verdict = run(&probe("http://no-such-host.invalid:1/".to_owned()), AMPLE);
    assert!(!verdict.is_good());
    assert!(verdict.detail.starts_with("cannot resolve no-such-host.invalid: "), "{verdict:?}");
}

#[test]
fn ipv6_works_where_there_is_any() {
    let answer = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    };
    for host in ["[::1]", "localhost"] {
        let Some(server) = Server::on("[::1]:0", answer) else { return };
        let verdict = run(&probe(format!("http://{host}:{}/", server.port)), AMPLE);
        assert!(verdict.is_good(), "{host}: {verdict:?}");
        server.head();
    }
}

#[test]
fn tls_against_a_plain_server_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let verdict = run(&probe(url), AMPLE);
    assert!(!verdict.is_good());
    assert!(verdict.detail.starts_with("TLS: "), "{verdict:?}");
    server.join().unwrap();
}

#[test]
fn a_probe_that_cannot_be_asked_is_refused_early() {
    for (url, why) in [
        ("ftp://host/", "does not start with http:// or https://"),
        ("/health", "does not start with http:// or https://"),
        ("http://ho st/", "is no URL"),
    ] {
        let error = HttpCheck::new(&probe(url.to_owned()), AMPLE).unwrap_err();
        assert!(error.contains(why), "{url}: {error}");
    }
    let mut spec = probe("http://h/".to_owned());
    spec.headers = vec![("X-Token".to_owned(), "hidden\nvalue".to_owned())];
    let error = HttpCheck::new(&spec, AMPLE).unwrap_err();
    assert_eq!(error, "the value of X-Token is no header value");
}

#[test]
fn credentials_of_the_url_are_sent() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let url = format!("http://me:secret@127.0.0.1:{}/", server.port);
    assert!(run(&probe(url), AMPLE).is_good());
    assert!(server.head().contains("Basic bWU6c2VjcmV0"));
}

//! One scenario on both systems: start, crash, backoff, restart, stop, over the Unix socket here and the named pipe
//! there.
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::io::{Read, Write};
use std::net::TcpStream;

use mcpd_tests::Sandbox;
use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::{Health, State};

/// "one scenario supervises a fixture through start, crash, backoff, restart and stop over the named pipe".
/// Trap 16 of docs/traps.md.
#[test]
fn start_crash_backoff_restart_stop() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    sandbox.configure(&format!(
        r#"
        [service.web]
        exec = ["@fixture", "record", "@dir/starts", "http", "{address}", "--crash-on", "@dir/crash"]
        stop_timeout = "2s"
        restart = {{ delay = "300ms", jitter = 0, max_restarts = 3 }}
        health = {{ http = "http://{address}/api/health", expect_json = {{ status = "healthy" }}, interval = "50ms", timeout = "5s", start_period = "15s" }}
        [service.env]
        exec = ["@fixture", "env", "@dir/env.json"]
        environment = {{ COLOUR = "blue" }}
        "#
    ));
    let mut daemon = sandbox.start();

    // Start.
    let first = daemon.wait_status("web", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((first.state, first.generation), (State::Up, 1));
    let get = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert!(get().ends_with("{\"status\":\"healthy\"}"));
    let env: serde_json::Value =
        serde_json::from_str(&mcpd_tests::wait::wait_for_file(&sandbox.path("env.json"))).unwrap();
    assert_eq!(env["env"]["COLOUR"], "blue");

    // Crash, backoff, restart.
    sandbox.touch("crash");
    let report = daemon.wait_crashes("web", 1).remove(0);
    assert_eq!((report.kind, report.exit_code, report.pid), (CrashKind::Exit, Some(1), first.pid));
    assert_eq!(report.stderr_tail.last().unwrap().text, "RuntimeError: crashed on demand");
    assert!((report.restart.delay_seconds.unwrap() - 0.3).abs() < 0.001, "{:#?}", report.restart);
    daemon.wait_event("backoff", |event| event.event == "backoff");
    let second = daemon
        .wait_status("web", "healthy again", |now| now.health == Health::Healthy && now.generation == 2);
    assert_ne!(second.pid, first.pid);
    let starts = sandbox.starts("starts");
    assert!(starts.len() == 2 && starts[1].1 - starts[0].1 >= 300, "{starts:?}");

    // What mcpctl makes of it.
    let shown = daemon.ctl(&["crashes", "--last", "5", "--json"]).expect(0).json();
    assert_eq!(shown["crashes"][0]["exit_code"], 1);
    let log = daemon.ctl(&["logs", "web", "-n", "all", "--raw"]).expect(0).stdout;
    assert!(log.contains("Traceback"), "{log}");
    let _ = daemon.ctl(&["restart", "web"]).expect(0);
    assert_eq!(daemon.status("web").generation, 3);

    // Stop.
    let _ = daemon.ctl(&["stop", "web"]).expect(0);
    let _ = daemon.ctl(&["status", "web"]).expect(3);
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
    assert_eq!(daemon.crashes("web").len(), 1, "a stop is no crash");
    let _ = daemon.ctl(&["daemon", "shutdown"]).expect(0);
    assert!(daemon.wait_end().success());
    let _ = daemon.ctl(&["status"]).expect(10);
}

//! Real MCP servers under mcpd: one made with the official Python SDK, and the reference server from npm.
//!
//! `MCPD_TEST_PYTHON` names a Python that has the packages `mcp` and `uvicorn`, `MCPD_TEST_EVERYTHING` the program
//! `dist/index.js` of `@modelcontextprotocol/server-everything`. Without them these scenarios say aloud that they were
//! skipped; `.ci/run` installs both.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use mcpd_tests::proto::crash::{CrashKind, CrashReport};
use mcpd_tests::proto::status::{Health, ServiceStatus};
use mcpd_tests::wait::{stretched, wait_until};
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;

/// Python and Node take seconds to start while everything else runs beside them.
const START: Duration = Duration::from_secs(60);

fn tool(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        // Past the capture of a test's output: a skipped test passes, and that has to be seen.
        let line = format!("SKIPPED: {variable} is not set: no real server of that kind is tested\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

fn healthy(daemon: &Daemon<'_>, generation: u64) -> ServiceStatus {
    wait_until(stretched(START), "a healthy server", || {
        let now = daemon.status("studio");
        let good = now.health == Health::Healthy && now.generation >= generation;
        if good { Ok(now) } else { Err(Box::new(now)) }
    })
}

fn crash(daemon: &Daemon<'_>, count: usize) -> CrashReport {
    wait_until(stretched(START), "a crash report", || {
        let mut reports = daemon.reports("studio");
        if reports.len() >= count { Ok(reports.swap_remove(count - 1)) } else { Err(reports.len()) }
    })
}

/// Killed: the report says by what, and the server answers again.
fn kill(daemon: &Daemon<'_>) {
    let before = healthy(daemon, 1);
    processes::signal(before.pid.unwrap(), Signal::KILL);
    let report = crash(daemon, 1);
    assert_eq!((report.kind, report.signal.as_deref()), (CrashKind::Signal, Some("SIGKILL")));
    assert_eq!(report.pid, before.pid);
    assert!(report.reason.contains("SIGKILL"), "{}", report.reason);
    healthy(daemon, before.generation + 1);
}

/// Stopped, which is a hang: the health check finds it, nothing of it is left, and the server answers again.
fn hang(daemon: &Daemon<'_>) {
    let before = healthy(daemon, 2);
    let pid = before.pid.unwrap();
    processes::signal(pid, Signal::STOP);
    let report = crash(daemon, 2);
    assert_eq!((report.kind, report.pid), (CrashKind::Health, before.pid));
    assert!(report.reason.contains("timed out"), "{}", report.reason);
    assert!(report.health.iter().any(|verdict| !verdict.ok), "{report:#?}");
    healthy(daemon, before.generation + 1);
    assert!(!processes::lives(pid), "the hung process is still there");
}

fn python(extra: &str) -> Option<Sandbox> {
    let python = tool("MCPD_TEST_PYTHON")?;
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    let (host, port) = (address.ip(), address.port());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("real/studio.py");
    sandbox.configure(&format!(
        r#"
        [service.studio]
        exec = ["{}", "{}", "{host}", "{port}"{extra}]
        stop_timeout = "2s"
        restart = {{ delay = "50ms", max_restarts = 5, max_delay = "100ms" }}
        log = {{ max_size = "1M", max_files = 100 }}
        [service.studio.health]
        http = "http://{address}/api/health"
        expect_json = {{ status = "healthy" }}
        interval = "200ms"
        timeout = "1s"
        retries = 2
        start_period = "60s"
        "#,
        python.display(),
        script.display(),
    ));
    Some(sandbox)
}

/// "killed with SIGKILL, stopped with SIGSTOP (hang), made to print 10 MB to stdout ...; each time the report names the
/// cause and the server answers again"
#[test]
fn a_python_sdk_server_is_killed_hangs_and_floods() {
    let Some(sandbox) = python("") else { return };
    let daemon = sandbox.start();
    kill(&daemon);
    hang(&daemon);
    let before = healthy(&daemon, 3);
    processes::signal(before.pid.unwrap(), Signal::USR1);
    // What it says of the checks that go on comes after it.
    let over = || {
        let out = daemon.ctl(&["logs", "studio", "-n", "1000", "--raw"]).expect(0);
        if out.stdout.contains("flood over") { Ok(()) } else { Err(out.stdout) }
    };
    wait_until(stretched(START), "the end of the flood", over);
    let all = daemon.ctl(&["logs", "studio", "--raw", "-n", "1000000"]).expect(0);
    let numbers: Vec<&str> =
        all.stdout.lines().filter_map(|line| line.strip_prefix("flood 0")?.split(' ').next()).collect();
    assert_eq!(numbers.len(), 10 * 1024 * 1024 / 64, "every line is there");
    assert!(numbers.is_sorted(), "in order");
    let after = healthy(&daemon, 3);
    assert_eq!(after.pid, before.pid, "a server that prints is no server that failed");
    assert_eq!(daemon.reports("studio").len(), 2);
}

/// "made to fail at import with a traceback"
#[test]
fn a_python_server_that_cannot_import_is_reported_with_the_module() {
    let Some(sandbox) = python(r#", "--needs", "no_such_module""#) else { return };
    let daemon = sandbox.start();
    let report = crash(&daemon, 1);
    assert_eq!((report.kind, report.exit_code), (CrashKind::Exit, Some(1)));
    assert!(
        report.reason.contains("ModuleNotFoundError: No module named 'no_such_module'"),
        "the reason names the cause: {}",
        report.reason
    );
    assert!(report.stderr_tail.iter().any(|line| line.text.starts_with("Traceback")), "{report:#?}");
    let failed = daemon.ctl(&["restart", "studio"]).expect(1);
    assert!(failed.all().contains("ModuleNotFoundError"), "{}", failed.all());
}

/// "the reference server from npm ..., both supervised by mcpd with their health checks"
#[test]
fn the_reference_server_is_killed_and_hangs() {
    let Some(everything) = tool("MCPD_TEST_EVERYTHING") else { return };
    let sandbox = Sandbox::new("");
    let port = sandbox.port_everywhere();
    sandbox.configure(&format!(
        r#"
        [service.studio]
        exec = ["node", "{}", "streamableHttp"]
        environment = {{ PORT = "{port}" }}
        stop_timeout = "2s"
        restart = {{ delay = "50ms" }}
        [service.studio.health]
        # It has no health page; a GET without a session is refused with 400, by the server itself.
        http = "http://127.0.0.1:{port}/mcp"
        expect_status = [400]
        interval = "200ms"
        timeout = "1s"
        retries = 2
        start_period = "60s"
        "#,
        everything.display(),
    ));
    let daemon = sandbox.start();
    kill(&daemon);
    hang(&daemon);
}

/// A port that is taken: Node's error is the reason, with the port.
#[test]
fn the_reference_server_without_its_port_says_which() {
    let Some(everything) = tool("MCPD_TEST_EVERYTHING") else { return };
    let sandbox = Sandbox::new("");
    let taken = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    sandbox.configure(&format!(
        r#"
        [service.studio]
        exec = ["node", "{}", "streamableHttp"]
        environment = {{ PORT = "{port}" }}
        restart = {{ when = "never" }}
        "#,
        everything.display(),
    ));
    let daemon = sandbox.start();
    let report = crash(&daemon, 1);
    assert!(
        report.reason.contains("in use") || report.reason.contains("EADDRINUSE"),
        "the reason names the cause: {}",
        report.reason
    );
}

/// "`config/examples/mcp-studio.toml` honours every environment variable of the design with its default and
/// gives the same service (uvicorn, `/api/health` answering `status == "healthy"`, reports, restarts)": the shipped file
/// itself, with a small application in the place of MCP Studio.
#[test]
fn the_shipped_example_runs_uvicorn_as_the_script_did() {
    let Some(python) = tool("MCPD_TEST_PYTHON") else { return };
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/examples/mcp-studio.toml");
    let example = std::fs::read_to_string(example).unwrap();
    let moved = example
        .replace("/opt/mcp-studio/venv/bin/python", python.to_str().unwrap())
        .replace("\"/opt/mcp-studio\"", "\"@dir\"")
        .replace("http://127.0.0.1:", "http://${MCP_STUDIO_HOST:-127.0.0.1}:");
    let sandbox = Sandbox::new(&moved.replace("[service.mcp-studio", "[service.studio"));
    std::fs::create_dir(sandbox.path("mcp_studio")).unwrap();
    sandbox.write("mcp_studio/__init__.py", "");
    sandbox.write(
        "mcp_studio/main.py",
        r#"
import json, os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def health(request):
    return JSONResponse({"status": "healthy"})

names = [name for name in os.environ if name.startswith(("MCP_STUDIO_", "WATCHFILES_"))]
with open("seen.json", "w") as file:
    json.dump({name: os.environ[name] for name in names}, file)
app = Starlette(routes=[Route("/api/health", health)])
"#,
    );
    let address = sandbox.address();
    let daemon = sandbox.start_with(|command| {
        command
            .env("MCP_STUDIO_HOST", address.ip().to_string())
            .env("MCP_STUDIO_PORT", address.port().to_string())
            .env("WATCHFILES_MAX_RESTARTS", "3")
            .env("WATCHFILES_RESTART_DELAY", "0.2")
            .env("WATCHFILES_BACKOFF_MULTIPLIER", "2");
    });
    let first = healthy(&daemon, 1);
    assert_eq!(first.max_restarts, 3);
    let seen: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.path("seen.json")).unwrap()).unwrap();
    for (name, value) in [
        ("MCP_STUDIO_DEBUG", "true"),
        ("MCP_STUDIO_WORKERS", "1"),
        ("MCP_STUDIO_LOG_LEVEL", "INFO"),
        ("WATCHFILES_NOTIFY_ON_CRASH", "true"),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    for (count, delay) in [(1, 0.2), (2, 0.4)] {
        let before = healthy(&daemon, count as u64);
        processes::signal(before.pid.unwrap(), Signal::KILL);
        let report = crash(&daemon, count);
        let waited = report.restart.delay_seconds.unwrap();
        assert!((delay..delay * 1.11).contains(&waited), "restart {count} after {waited} s");
        assert_eq!((report.restart.attempt, report.restart.max), (u32::try_from(count).unwrap(), 3));
    }
    let after = healthy(&daemon, 3);
    assert_eq!((after.restarts, after.crash_count), (2, 2));
}

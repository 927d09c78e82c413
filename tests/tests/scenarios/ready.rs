//! Readiness: when does a service count as up, and what does not being ready lead to?

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use mcpd_tests::Sandbox;
use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::{Health, State};

/// A sandbox whose configuration knows an address: `@address`.
fn at_address(services: &str) -> Sandbox {
    let sandbox = Sandbox::new("");
    sandbox.configure(&services.replace("@address", &sandbox.address().to_string()));
    sandbox
}

fn seen(file: &std::path::Path) -> usize {
    std::fs::metadata(file).map_or(0, |found| usize::try_from(found.len()).unwrap())
}

/// The design: "when does `type = "simple"` count as up"; `start` waits for it.
#[test]
fn a_server_is_up_when_it_is_ready() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "http", "@address", "--unhealthy-on", "@dir/sick"]
        enabled = false
        ready = { http = "http://@address/", expect_status = [200], expect_json = { status = "healthy" } }
        "#,
    );
    sandbox.touch("sick");
    let daemon = sandbox.start();
    let mut start = daemon.ctl_command(&["start", "a"]).spawn().unwrap();
    let sick = |detail: &String| detail.starts_with("503 after");
    let now = daemon.wait_status("a", "a verdict", |now| now.ready_detail.as_ref().is_some_and(sick));
    assert_eq!(now.state, State::Starting);
    let reason = now.reason.unwrap();
    assert!(reason.starts_with("waits for a good answer from http://"), "{reason}");
    let shown = daemon.ctl(&["status", "a"]).expect(0).stdout;
    assert!(shown.contains("waits for a good answer from"), "{shown}");
    assert!(start.try_wait().unwrap().is_none(), "start waits until it is ready");
    sandbox.remove("sick");
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.generation, up.restarts, up.crash_count), (1, 0, 0));
    assert!(start.wait().unwrap().success());
    daemon
        .wait_event("up: ready", |event| event.event == "up" && event.message.starts_with("up: ready after"));
}

/// "polled fast (50 ms growing to 1 s)": a server that needs 300 ms is seen within moments of that. Trap 4 of
/// docs/traps.md.
#[test]
fn readiness_is_noticed_soon() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "slow-start", "300", "http", "@address"]
        ready.tcp = "@address"
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    let event = daemon.wait_event("up", |event| event.event == "up");
    let after: u64 = event.message.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!((300..2000).contains(&after), "{}: {up:#?}", event.message);
}

/// Trap 6 of docs/traps.md, health that is checked before the service is ready. The check would fail at once.
#[test]
fn health_is_armed_only_once_ready() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "http", "@address", "--count-file", "@dir/asked"]
        restart = { delay = "20ms" }
        ready.exec = ["@fixture", "exists", "@dir/ready"]
        health = { http = "http://@address/", interval = "20ms", timeout = "2s", retries = 1, start_period = 0 }
        "#,
    );
    let daemon = sandbox.start();
    let now = daemon.wait_status("a", "a verdict", |now| now.ready_detail.is_some());
    assert_eq!((now.state, now.health, now.health_detail), (State::Starting, Health::Starting, None));
    assert_eq!(now.next.unwrap().what, "start_timeout");
    let detail = now.ready_detail.unwrap();
    assert!(detail.starts_with("exited with 1") && detail.ends_with("is not there"), "{detail}");
    assert_eq!(seen(&sandbox.path("asked")), 0, "nobody asks for its health");
    sandbox.touch("ready");
    let up = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((up.state, up.generation), (State::Up, 1));
    assert!(seen(&sandbox.path("asked")) > 0);
}

/// Trap 10 of docs/traps.md: not being ready is no crash until `start_timeout`; then it is one of its own kind.
#[test]
fn only_the_start_timeout_ends_a_start() {
    let sandbox = at_address(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        start_timeout = "700ms"
        restart = { delay = "10ms", max_restarts = 1 }
        ready = { tcp = "@address", timeout = "1s" }
        "#,
    );
    let daemon = sandbox.start();
    let parked = daemon.wait_state("a", State::Parked);
    assert_eq!(parked.generation, 2, "{parked:#?}");
    for report in daemon.reports("a") {
        assert_eq!(report.kind, CrashKind::StartTimeout);
        assert!(report.uptime_seconds >= 0.7, "{report:#?}");
        assert!(report.ready.len() >= 2 && report.ready.iter().all(|verdict| !verdict.ok), "{report:#?}");
        let reason = "not ready within 700 ms, waiting for a connection to ";
        assert!(report.reason.starts_with(reason), "{}", report.reason);
        assert!(report.reason.ends_with(": connection refused"), "{}", report.reason);
    }
    let told = daemon.ctl(&["crashes", "show", &daemon.crashes("a")[0].id]).expect(0).stdout;
    assert!(told.contains("Readiness checks, the last one at the end:"), "{told}");
}

/// `log = "regex"`: a line of stdout or stderr says it, whatever the log's format and target are.
#[test]
fn a_line_of_output_says_that_it_is_ready() {
    let sandbox = Sandbox::new(
        r#"
        [service.out]
        exec = ["@fixture", "slow-start", "200", "run"]
        ready.log = "^ready [0-9]+$"
        [service.err]
        exec = ["@fixture", "exit", "0", "--stderr", "INFO: Application startup complete.", "--after", "600000"]
        stop_signal = "SIGKILL"
        ready.log = '(?i)startup complete\.$'
        log.format = "raw"
        [service.silent]
        exec = ["@fixture", "run"]
        ready.log = "^ready"
        log.target = "none"
        crash.tail_lines = 0
        [service.never]
        exec = ["@fixture", "run"]
        ready.log = "^something else"
        start_timeout = "300ms"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    for name in ["out", "err", "silent"] {
        let up = daemon.wait_state(name, State::Up);
        assert!(up.ready_detail.unwrap().starts_with("a line matched"), "{name}");
    }
    let report = daemon.wait_crashes("never", 1).remove(0);
    assert_eq!(report.kind, CrashKind::StartTimeout);
    let reason = "not ready within 300 ms, waiting for a line of output that matches \"^something else\"";
    assert_eq!(report.reason, reason);
}

/// A restart waits for its own run's line, not for one of the run before: trap 5 of docs/traps.md.
#[test]
fn each_run_becomes_ready_by_itself() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-first", "2", "@dir/count", "slow-start", "100", "run"]
        restart = { delay = "10ms" }
        ready.log = "^ready"
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.generation, up.crash_count), (3, 2));
    let pid = up.pid;
    assert_eq!(daemon.ctl(&["restart", "a"]).expect(0).code, 0);
    let again = daemon.status("a");
    assert!(again.state == State::Up && again.pid != pid, "{again:#?}");
    // Events come on a connection of their own.
    daemon.wait_event("the second up", |event| event.event == "up" && event.data["generation"] == 4);
    assert_eq!(daemon.events().iter().filter(|event| event.event == "up").count(), 2);
}

/// Trap 5 of docs/traps.md, an answer for the wrong one: what was asked for one run says nothing of the next, however
/// late it comes and however good it is.
#[test]
fn an_answer_counts_for_the_run_that_it_was_asked_for() {
    let sandbox = Sandbox::new("");
    // Whoever answers outlives every run of the service.
    let server = std::net::TcpListener::bind(sandbox.address()).unwrap();
    sandbox.configure(&format!(
        "[service.a]\nexec = [\"@fixture\", \"run\"]\nready = {{ http = \"http://{}/\", timeout = \"1m\" }}\n",
        server.local_addr().unwrap()
    ));
    let daemon = sandbox.start();
    let asked = |generation| {
        let (connection, _) = server.accept().unwrap();
        daemon.wait_status("a", "asked", |now| now.generation == generation && now.state == State::Starting);
        connection
    };
    let answer = |mut connection: std::net::TcpStream| {
        let mut request = [0; 1024];
        assert!(connection.read(&mut request).unwrap() > 0);
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        // Nobody may be there to hear it any more, which is as good.
        let _ = connection.write_all(good);
        let _ = connection.read(&mut request);
    };
    let first = asked(1);
    let mut restart = daemon.ctl_command(&["restart", "a"]).spawn().unwrap();
    let second = asked(2);
    answer(first);
    // What was answered has come to the daemon by the time that it answers this.
    for _ in 0..3 {
        let now = daemon.status("a");
        assert_eq!((now.state, now.generation), (State::Starting, 2), "{now:#?}");
    }
    answer(second);
    daemon.wait_state("a", State::Up);
    assert!(restart.wait().unwrap().success());
    let up = daemon.wait_event("up", |event| event.event == "up");
    assert_eq!(up.data["generation"], 2, "{up:#?}");
}

/// A reload changes what a start waits for, without touching the process.
#[test]
fn a_reload_changes_what_is_waited_for() {
    let service =
        |ready: &str| format!("[service.a]\nexec = [\"@fixture\", \"run\"]\nstart_timeout = \"1h\"\n{ready}");
    let sandbox = Sandbox::new(&service("ready.log = 'never'"));
    let daemon = sandbox.start();
    let first = daemon.wait_state("a", State::Starting);
    sandbox.configure(&service("ready.exec = [\"@fixture\", \"exists\", \"@dir/ready\"]"));
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    daemon.wait_status("a", "a verdict", |now| now.ready_detail.is_some());
    sandbox.touch("ready");
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.pid, up.generation), (first.pid, 1));
}

/// A start that waits counts from its beginning: it does not hold up the daemon, nor another service.
#[test]
fn what_is_not_ready_can_be_stopped_at_once() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        ready.log = "never"
        [service.b]
        exec = ["@fixture", "run"]
        ready.log = "^ready"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("b", State::Up);
    daemon.wait_state("a", State::Starting);
    let begun = Instant::now();
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    assert!(begun.elapsed() < mcpd_tests::wait::stretched(Duration::from_secs(5)));
    let down = daemon.status("a");
    assert_eq!((down.state, down.crash_count), (State::Down, 0));
}

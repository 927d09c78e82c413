//! The script that mcpd replaces: what its own five tests showed, and the three things that it got wrong.

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::{Health, State};
use mcpd_tests::wait::wait_for_file;
use mcpd_tests::{Sandbox, processes};
use rustix::process::Signal;

/// A web server as the script ran it, with the script's policy scaled down.
fn studio(extra: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new("");
    let address = sandbox.address().to_string();
    sandbox.configure(&format!(
        "[service.mcp-studio]\n\
         exec = [\"@fixture\", \"record\", \"@dir/starts\", \"http\", \"{address}\", \"--hang-on\", \"@dir/hang\", \"--crash-on\", \"@dir/crash\"]\n\
         stop_timeout = \"500ms\"\n\
         restart = {{ delay = \"40ms\", multiplier = 1.5, jitter = 0, max_restarts = 10 }}\n\
         [service.mcp-studio.health]\nhttp = \"http://{address}/api/health\"\nexpect_json = {{ status = \"healthy\" }}\n\
         interval = \"30ms\"\ntimeout = \"150ms\"\nretries = 3\nstart_period = \"10s\"\n{extra}"
    ));
    (sandbox, address)
}

/// First test of the script: it starts the server and the server runs.
#[test]
fn it_runs() {
    let (sandbox, _) = studio("");
    let daemon = sandbox.start();
    let now = daemon.wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((now.state, now.generation, now.restarts), (State::Up, 1, 0));
    assert_eq!(sandbox.starts("starts")[0].0, now.pid.unwrap());
    assert!(daemon.stop().success());
}

/// Second test: "crash recovery with two crashes and two restarts".
#[test]
fn it_recovers_from_two_crashes_with_two_restarts() {
    let (sandbox, _) = studio("");
    let daemon = sandbox.start();
    for generation in 1..=2 {
        daemon.wait_status("mcp-studio", "healthy", |now| {
            now.health == Health::Healthy && now.generation == generation
        });
        sandbox.touch("crash");
        daemon.wait_crashes("mcp-studio", usize::try_from(generation).unwrap());
    }
    let now = daemon
        .wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy && now.generation == 3);
    assert_eq!((now.crash_count, now.restarts, now.restarts_total), (2, 2, 2));
    let reports = daemon.reports("mcp-studio");
    assert_eq!(reports.len(), 2);
    for (report, delay) in reports.iter().zip([0.040, 0.060]) {
        assert_eq!((report.kind, report.exit_code), (CrashKind::Exit, Some(1)));
        assert!((report.restart.delay_seconds.unwrap() - delay).abs() < 0.0015);
        assert!(report.stderr_tail.iter().any(|line| line.text.starts_with("Traceback")), "{report:#?}");
    }
    assert_eq!(sandbox.starts("starts").len(), 3);
}

/// Third test: the health check finds a server that hangs, and it is restarted.
#[test]
fn its_health_check_finds_a_hang() {
    let (sandbox, _) = studio("");
    let daemon = sandbox.start();
    daemon.wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy);
    sandbox.touch("hang");
    let report = daemon.wait_crashes("mcp-studio", 1).remove(0);
    sandbox.remove("hang");
    assert_eq!(report.kind, CrashKind::Health);
    assert!(report.health.iter().rev().take(3).all(|verdict| verdict.detail.starts_with("timed out after")));
    daemon.wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy && now.generation >= 2);
}

/// Fourth test: signals. SIGTERM ends the script and its server, orderly.
#[test]
fn it_obeys_signals() {
    for signal in [Signal::TERM, Signal::INT] {
        let (sandbox, _) = studio("");
        let mut daemon = sandbox.start();
        let now = daemon.wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy);
        daemon.signal(signal);
        assert!(daemon.wait_end().success());
        assert!(!processes::exists(now.pid.unwrap()));
    }
}

/// Fifth test: statistics: how often it crashed and was restarted, how long it has been running, and why it died.
#[test]
fn it_keeps_statistics() {
    let (sandbox, _) = studio("");
    let daemon = sandbox.start();
    daemon.wait_status("mcp-studio", "healthy", |now| now.health == Health::Healthy);
    sandbox.touch("crash");
    daemon.wait_status("mcp-studio", "healthy again", |now| {
        now.health == Health::Healthy && now.generation == 2
    });
    let one = daemon.ctl(&["status", "mcp-studio", "--json"]).expect(0).json();
    assert_eq!(
        (&one["crash_count"], &one["restarts"], &one["max_restarts"]),
        (&1.into(), &1.into(), &10.into())
    );
    assert!(one["uptime_seconds"].as_f64().unwrap() < 30.0);
    assert_eq!(one["last_crash"]["exit_code"], 1);
    assert!(one["started_at"].as_str().unwrap().ends_with('Z'));
}

/// First defect: "1 MB on stdout with no reader no longer blocks". Trap 1 of docs/traps.md.
#[test]
fn a_megabyte_on_stdout_does_not_block_it() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "1048576", "--done-file", "@dir/done"]
        "#,
    );
    let daemon = sandbox.start();
    assert_eq!(wait_for_file(&sandbox.path("done")), "done");
    assert_eq!(daemon.status("a").state, State::Up);
}

/// Second defect: "a server that needs 20 s to start is not restarted by its first health check" (1 s here, with a
/// first check after 30 ms and three failures allowed).
#[test]
fn a_slow_starter_is_left_alone() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    sandbox.configure(&format!(
        "[service.a]\nexec = [\"@fixture\", \"http\", \"{address}\", \"--healthy-after\", \"1000\"]\n\
         health = {{ http = \"http://{address}/api/health\", interval = \"30ms\", retries = 3, start_period = \"15s\" }}\n"
    ));
    let daemon = sandbox.start();
    let failing = daemon.wait_status("a", "a failed probe", |now| now.health_detail.is_some());
    assert!(failing.health_detail.unwrap().contains("503") || failing.health == Health::Starting);
    let now = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((now.generation, now.restarts_total, now.crash_count), (1, 0, 0));
}

/// Third defect: "the counters start again after a stable run": more crashes than `max_restarts`, and no end to it.
/// Trap 18 of docs/traps.md.
#[test]
fn the_counters_start_again_after_a_stable_run() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        restart = { delay = "10ms", jitter = 0, max_restarts = 2, reset_after = "60ms" }
        "#,
    );
    let daemon = sandbox.start();
    for generation in 1..=5_u64 {
        daemon.wait_status("a", "a stable run", |now| {
            now.generation == generation && now.restarts == 0 && now.uptime_seconds > Some(0.06)
        });
        sandbox.touch("crash");
        daemon.wait_crashes("a", usize::try_from(generation).unwrap());
    }
    let now = daemon.wait_status("a", "up", |now| now.state == State::Up && now.generation == 6);
    assert_eq!(now.restarts_total, 5);
    assert!(daemon.reports("a").iter().all(|report| report.restart.attempt == 1));
}

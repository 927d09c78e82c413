//! Commands around a service's own: what runs before it, and what becomes of the service when that fails.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use mcpd_tests::Sandbox;
use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;

/// `exec_start_pre`: in order, each over before the next, all of them before `exec`; a dash forgives.
#[test]
fn what_comes_before_comes_before() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec_start_pre = [
            ["@fixture", "record", "@dir/order", "slow-start", "100", "exit", "0", "--stdout", "made ready"],
            ["-@fixture", "record", "@dir/order", "exit", "9"],
            "@fixture record @dir/order exit 0",
        ]
        exec = ["@fixture", "record", "@dir/order", "run"]
        restart.delay = "10ms"
        ready.log = "^ready"
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    assert_eq!((up.restarts, up.crash_count), (0, 0));
    let order = sandbox.starts("order");
    assert_eq!(order.len(), 4);
    assert_eq!(order.last().map(|(pid, _)| *pid), up.pid);
    // Its output is the service's.
    let log = daemon.ctl(&["logs", "a"]).expect(0).stdout;
    assert!(log.contains("made ready"), "{log}");
    // A restart runs them again, by itself and when asked.
    mcpd_tests::processes::signal(up.pid.unwrap(), rustix::process::Signal::KILL);
    daemon.wait_status("a", "up again", |now| now.state == State::Up && now.restarts == 1);
    assert_eq!(sandbox.starts("order").len(), 8);
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    assert_eq!(sandbox.starts("order").len(), 12);
}

/// One that fails is a failure of the service: the report names it and has its output; `exec` does not run.
#[test]
fn what_fails_before_is_reported_with_its_own_output() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec_start_pre = [["@fixture", "exit", "0"], ["@fixture", "exit", "4", "--stderr", "disk is read-only"]]
        exec = ["@fixture", "record", "@dir/never", "run"]
        restart.when = "never"
        [service.hangs]
        exec_start_pre = [["@fixture", "ignore-term", "--children", "2"]]
        exec = ["@fixture", "record", "@dir/never", "run"]
        start_timeout = "300ms"
        stop_timeout = "100ms"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let report = daemon.wait_crashes("a", 1).remove(0);
    assert_eq!((report.kind, report.exit_code), (CrashKind::Exit, Some(4)));
    assert_eq!(report.phase.as_deref(), Some("exec_start_pre"));
    assert!(report.command.contains(&"4".to_owned()), "{:?}", report.command);
    assert_eq!(report.stderr_tail.last().unwrap().text, "disk is read-only");
    assert!(report.reason.starts_with("exec_start_pre: exited with code 4"), "{}", report.reason);
    let started = daemon.ctl(&["start", "a"]).expect(1);
    assert!(started.all().contains("disk is read-only"), "{started:#?}");
    // One that hangs is killed as a tree.
    let report = daemon.wait_crashes("hangs", 1).remove(0);
    assert_eq!((report.kind, report.phase.as_deref()), (CrashKind::StartTimeout, Some("exec_start_pre")));
    daemon.wait_state("hangs", State::Down);
    assert!(!sandbox.path("never").exists());
}

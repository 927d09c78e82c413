//! Commands around a service's own: what runs before it and beside it, and what becomes of the service when that fails.

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

/// `exec_reload`: `mcpctl reload` runs it with the main process's pid, and says how it went; the process stays.
#[test]
fn a_reload_runs_beside_the_process() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        ready.log = "^ready"
        exec_reload = [["-/no/such/program"], ["/bin/kill", "-HUP", "$MAINPID"]]
        [service.fails]
        exec = ["@fixture", "run"]
        exec_reload = [["@fixture", "exit", "1", "--stderr", "syntax error in line 7"], ["@fixture", "record", "@dir/never", "exit", "0"]]
        [service.hangs]
        exec = ["@fixture", "run"]
        exec_reload = [["@fixture", "record", "@dir/hung", "ignore-term", "--children", "2"]]
        start_timeout = "300ms"
        [service.none]
        exec = ["@fixture", "run"]
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    daemon.wait_state("fails", State::Up);
    daemon.wait_state("hangs", State::Up);
    daemon.wait_state("none", State::Up);
    let said = daemon.ctl(&["reload", "a"]).expect(0).stdout;
    assert!(said.starts_with("a: reloaded"), "{said}");
    let log = daemon.wait("the signal", || {
        let log = daemon.ctl(&["logs", "a"]).expect(0).stdout;
        if log.contains("signal SIGHUP") { Ok(log) } else { Err(log) }
    });
    assert!(log.contains("signal SIGHUP"), "{log}");
    assert_eq!(daemon.status("a").pid, up.pid);

    let failed = daemon.ctl(&["reload", "fails"]).expect(1).all();
    assert!(
        failed.contains("exec_reload failed: exited with 1") && failed.contains("syntax error in line 7"),
        "{failed}"
    );
    assert!(!sandbox.path("never").exists());
    // One that hangs is ended at start_timeout, as a tree; the service runs on.
    let failed = daemon.ctl(&["reload", "hangs"]).expect(1).all();
    assert!(failed.contains("timed out after 300 ms"), "{failed}");
    let (pid, _) = sandbox.starts("hung")[0];
    mcpd_tests::wait::wait_for("the command to be gone", || !mcpd_tests::processes::exists(pid));
    for name in ["fails", "hangs"] {
        let now = daemon.status(name);
        assert_eq!((now.state, now.generation, now.crash_count), (State::Up, 1, 0));
    }
    let refused = daemon.ctl(&["reload", "none"]).expect(1).all();
    assert!(refused.contains("it has no exec_reload"), "{refused}");
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    let _ = daemon.ctl(&["reload", "a"]).expect(7);
    daemon.wait_event("the failure", |event| event.event == "reload_failed");
}

/// A stop ends what runs beside the service, and says so to whoever waits for it.
#[test]
fn a_stop_ends_a_reload() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        exec_reload = [["@fixture", "record", "@dir/hung", "run"]]
        start_timeout = "1h"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let reload = daemon.ctl_command(&["reload", "a"]).spawn().unwrap();
    mcpd_tests::wait::wait_for("the command to run", || !sandbox.starts("hung").is_empty());
    assert_eq!(daemon.status("a").reason.as_deref(), Some("it reloads its configuration"));
    let (pid, _) = sandbox.starts("hung")[0];
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    assert_eq!(reload.wait_with_output().unwrap().status.code(), Some(7));
    mcpd_tests::wait::wait_for("the command to be gone", || !mcpd_tests::processes::exists(pid));
}

//! Services that do something and are done: `type = "oneshot"`, and commands before a service, `exec_start_pre`.

use mcpd_tests::Sandbox;
use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;

fn lines(sandbox: &Sandbox, name: &str) -> usize {
    std::fs::read_to_string(sandbox.path(name)).unwrap_or_default().lines().count()
}

/// One command: up when it has ended well; `start` waits for that, whatever it takes, and does it again when asked.
#[test]
fn a_oneshot_is_done_when_it_has_ended_well() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        exec = ["@fixture", "record", "@dir/runs", "slow-start", "300", "exit", "0"]
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    for run in 1..=2 {
        let said = daemon.ctl(&["start", "a"]).expect(0).stdout;
        assert!(said.contains("done: all its commands have ended well"), "{said}");
        let down = daemon.status("a");
        assert_eq!((down.state, down.wanted, down.pid, down.crash_count), (State::Down, false, None, 0));
        assert_eq!(down.reason.as_deref(), Some("done: all its commands have ended well"));
        assert_eq!(lines(&sandbox, "runs"), run);
    }
}

/// Several: one after the other, each over before the next; the failure of one with a dash is ignored.
#[test]
fn several_commands_run_in_a_row() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        remain_after_exit = true
        exec = [
            ["@fixture", "record", "@dir/runs", "exit", "0"],
            ["-@fixture", "record", "@dir/runs", "exit", "7"],
            ["-/no/such/program"],
            ["@fixture", "record", "@dir/runs", "exit", "0", "--after", "100"],
        ]
        [service.b]
        type = "oneshot"
        exec = [["@fixture", "exit", "3", "--stderr", "no such table"], ["@fixture", "record", "@dir/never", "exit", "0"]]
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_status("a", "up", |now| now.state == State::Up);
    assert_eq!((up.pid, up.wanted, up.crash_count, up.restarts), (None, true, 0, 0));
    assert_eq!(up.reason.as_deref(), Some("its commands have ended well; it stays up until it is stopped"));
    let starts = sandbox.starts("runs");
    assert_eq!(starts.len(), 3);
    assert!(starts.windows(2).all(|two| two[0].0 != two[1].0 && two[0].1 <= two[1].1), "{starts:?}");
    // Up, as far as anybody who asks is concerned.
    assert_eq!(daemon.ctl(&["status", "a"]).expect(0).code, 0);
    let said = daemon.ctl(&["start", "a"]).expect(0).stdout;
    assert!(said.contains("was already up"), "{said}");
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    assert_eq!(sandbox.starts("runs").len(), 6);
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    assert_eq!(daemon.status("a").state, State::Down);

    // The first that fails ends it, with a report; nothing runs a second time by itself (`restart.when` is `never`).
    let report = daemon.wait_crashes("b", 1).remove(0);
    assert_eq!((report.kind, report.exit_code, report.phase), (CrashKind::Exit, Some(3), None));
    assert!(report.reason.ends_with("no such table"), "{}", report.reason);
    daemon.wait_state("b", State::Down);
    assert_eq!(lines(&sandbox, "never"), 0);
    let failed = daemon.ctl(&["start", "b"]).expect(1);
    assert!(failed.all().contains("no such table"), "{failed:#?}");
}

/// What a command leaves running ends with it, before the next one starts; one that hangs ends by `start_timeout`.
#[test]
fn nothing_of_a_command_is_left() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        exec = [["@fixture", "fork-away", "--pid-file", "@dir/pid", "--leader-exit", "0"], ["@fixture", "exit", "0"]]
        [service.b]
        type = "oneshot"
        exec = ["@fixture", "run"]
        start_timeout = "200ms"
        restart = { when = "on-failure", delay = "10ms", max_restarts = 1 }
        "#,
    );
    let daemon = sandbox.start();
    let down = daemon.wait_state("a", State::Down);
    assert_eq!((down.generation, down.crash_count), (2, 0));
    let pid = std::fs::read_to_string(sandbox.path("pid")).unwrap().trim().parse().unwrap();
    assert!(!mcpd_tests::processes::exists(pid));
    let parked = daemon.wait_state("b", State::Parked);
    assert_eq!(parked.crash_count, 2);
    let report = daemon.reports("b").remove(0);
    assert_eq!(report.kind, CrashKind::StartTimeout);
    assert_eq!(report.reason, "not ready within 200 ms, waiting for the end of this command");
}

/// A stop between or during commands is a stop; the rest does not run.
#[test]
fn a_stop_ends_the_row() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        exec = [["@fixture", "run"], ["@fixture", "record", "@dir/never", "exit", "0"]]
        "#,
    );
    let daemon = sandbox.start();
    let now = daemon.wait_state("a", State::Starting);
    assert!(now.reason.unwrap().starts_with("runs exec, 1 of 2: "));
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    let down = daemon.status("a");
    assert_eq!((down.state, down.crash_count), (State::Down, 0));
    assert_eq!(lines(&sandbox, "never"), 0);
}

/// The daemon is ready when its oneshots are done.
#[test]
fn the_daemon_waits_for_its_oneshots() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        exec = ["@fixture", "slow-start", "300", "exit", "0"]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_event("ready", |event| event.event == "ready");
    let events = daemon.events();
    let place = |name: &str| events.iter().position(|event| event.event == name).unwrap();
    assert!(place("exited") < place("ready"), "{events:#?}");
}

/// A reload leaves what is under way alone: a start that is several commands ends as it began, and a oneshot that is up
/// does not do its work again. Both take the new definition with their next start; `--restart` brings that.
#[test]
fn a_reload_does_not_run_a_oneshot_again() {
    let before = r#"
        [service.done]
        type = "oneshot"
        remain_after_exit = true
        exec = ["@fixture", "record", "@dir/done", "exit", "0"]
        [service.row]
        type = "oneshot"
        remain_after_exit = true
        exec = [["@fixture", "record", "@dir/old", "notify", "await=@dir/go", "exit=0"], ["@fixture", "record", "@dir/old", "exit", "0"]]
        "#;
    let after = r#"
        [service.done]
        type = "oneshot"
        remain_after_exit = true
        exec = ["@fixture", "record", "@dir/new-done", "exit", "0"]
        [service.row]
        type = "oneshot"
        remain_after_exit = true
        exec = [["@fixture", "record", "@dir/new", "exit", "0"]]
        "#;
    let sandbox = Sandbox::new(before);
    let daemon = sandbox.start();
    daemon.wait_state("done", State::Up);
    daemon.wait_state("row", State::Starting);
    sandbox.configure(after);
    let plan = daemon.ctl(&["config", "plan"]).expect(0).stdout;
    assert!(plan.contains("it has done its work, and what it runs changes with its next start"), "{plan}");
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    assert_eq!(daemon.status("done").pending, ["exec"]);
    std::fs::write(sandbox.path("go"), "").unwrap();
    let up = daemon.wait_state("row", State::Up);
    assert_eq!((up.generation, up.pending), (2, vec!["exec".to_owned()]));
    assert_eq!((lines(&sandbox, "done"), lines(&sandbox, "old")), (1, 2));
    let _ = daemon.ctl(&["daemon", "reload", "--restart"]).expect(0);
    for (name, file) in [("done", "new-done"), ("row", "new")] {
        daemon.wait_status(name, "up again", |now| now.state == State::Up && now.pending.is_empty());
        assert_eq!(lines(&sandbox, file), 1);
    }
    assert_eq!((lines(&sandbox, "done"), lines(&sandbox, "old")), (1, 2));
}

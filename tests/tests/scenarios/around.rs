//! Commands around a service: once it is ready, when it is to stop, and after every end. With systemd's meanings.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;

fn lines(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(sandbox.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn events(daemon: &Daemon<'_>, service: &str, name: &str) -> Vec<Event> {
    let all = daemon.events().into_iter();
    all.filter(|event| event.event == name && event.service.as_deref() == Some(service)).collect()
}

/// What a shell's `env` wrote, of what mcpd says of a run.
fn told(sandbox: &Sandbox, name: &str) -> BTreeMap<String, String> {
    wait_for_file(&sandbox.path(name));
    let keys = ["SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS", "MAINPID"];
    let pairs = lines(sandbox, name);
    let pairs = pairs.iter().filter_map(|line| line.split_once('='));
    pairs
        .filter(|(key, _)| keys.contains(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn as_told(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A program that is there while the configuration is read.
fn program(sandbox: &Sandbox) {
    let path = sandbox.write("program", "#!/bin/sh\nexec @fixture run\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `exec_start_post` runs once the service is ready, and it counts as up once these have ended well: `start` waits.
#[test]
fn it_is_up_when_start_post_has_ended() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/order", "slow-start", "200", "run"]
        ready.log = "^ready"
        exec_start_post = [
            ["-/bin/sh", "-c", "echo first $$MAINPID $MAINPID >> @dir/post; exit 3"],
            ["@fixture", "record", "@dir/order", "notify", "await=@dir/go", "exit=0"],
        ]
        enabled = false
        [service.plain]
        exec = ["@fixture", "run"]
        exec_start_post = [["/bin/sh", "-c", "kill -0 $MAINPID"]]
        "#,
    );
    let daemon = sandbox.start();
    let start = daemon.ctl_command(&["start", "a"]).spawn().unwrap();
    wait_for("the second command", || sandbox.starts("order").len() == 2);
    let now = daemon.status("a");
    assert_eq!(now.state, State::Starting);
    let reason = now.reason.unwrap();
    assert!(reason.starts_with("runs exec_start_post, 2 of 2: ") && reason.contains("await="), "{reason}");
    assert_eq!(now.next.unwrap().what, "run_timeout");
    sandbox.touch("go");
    assert_eq!(start.wait_with_output().unwrap().status.code(), Some(0));
    let up = daemon.status("a");
    assert_eq!((up.state, up.crash_count, up.generation), (State::Up, 0, 1));
    let pid = up.pid.unwrap();
    // In the words as in the environment, where a shell sees it.
    assert_eq!(lines(&sandbox, "post"), [format!("first {pid} {pid}")]);
    let order = sandbox.starts("order");
    assert!(order[0].0 == pid && order[0].1 + 200 <= order[1].1, "{order:?}");
    let ran: Vec<String> = events(&daemon, "a", "command").into_iter().map(|event| event.message).collect();
    assert_eq!(ran.len(), 2);
    assert!(ran[1].starts_with("runs exec_start_post, 2 of 2: "), "{ran:?}");
    // Without anything to wait for they run as soon as it is there.
    daemon.wait_state("plain", State::Up);
}

/// One that fails, or takes longer than `start_timeout`, ends the start; the report has its name, its code, its last words.
#[test]
fn a_start_post_that_fails_ends_the_start() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        exec_start_post = [["@fixture", "exit", "4", "--stderr", "cannot announce it"], ["@fixture", "record", "@dir/never", "exit", "0"]]
        exec_stop = [["@fixture", "record", "@dir/never", "exit", "0"]]
        restart = { when = "on-failure", delay = "10ms", max_restarts = 1 }
        [service.hangs]
        exec = ["@fixture", "run"]
        exec_start_post = [["@fixture", "ignore-term", "--children", "2"]]
        start_timeout = "300ms"
        restart.when = "never"
        [service.none]
        exec = ["@fixture", "run"]
        exec_start_post = [["/no/such/program"]]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    let report = daemon.wait_crashes("a", 2).remove(0);
    assert_eq!((report.kind, report.exit_code), (CrashKind::Exit, Some(4)));
    assert_eq!(report.phase.as_deref(), Some("exec_start_post"));
    assert_eq!(report.stderr_tail.last().unwrap().text, "cannot announce it");
    assert!(report.command.contains(&"4".to_owned()), "{:?}", report.command);
    assert!(report.reason.starts_with("exec_start_post: exited with code 4"), "{}", report.reason);
    assert!(report.reason.ends_with("cannot announce it"), "{}", report.reason);
    let started = daemon.ctl(&["start", "a"]).expect(1);
    assert!(started.all().contains("cannot announce it"), "{started:#?}");
    let failed = &events(&daemon, "a", "command_failed")[0];
    assert!(
        failed.message.starts_with("exec_start_post, 1 of 2 failed: exited with 4"),
        "{}",
        failed.message
    );
    assert!(!sandbox.path("never").exists(), "the next one, or exec_stop of a service that was never up");

    let report = daemon.wait_crashes("hangs", 1).remove(0);
    assert_eq!((report.kind, report.phase.as_deref()), (CrashKind::StartTimeout, Some("exec_start_post")));
    daemon.wait_state("hangs", State::Down);
    let report = daemon.wait_crashes("none", 1).remove(0);
    assert_eq!((report.kind, report.phase.as_deref()), (CrashKind::Spawn, Some("exec_start_post")));
    assert!(report.reason.contains("/no/such/program"), "{}", report.reason);
}

/// `exec_stop` runs while the process lives and before the stop signal; a process that it ends gets none.
#[test]
fn a_stop_begins_with_exec_stop() {
    let sandbox = Sandbox::new(
        r#"
        [service.asks]
        exec = ["@fixture", "run"]
        ready.log = "^ready"
        exec_stop = [["/bin/kill", "-USR1", "$MAINPID"], ["/bin/sh", "-c", "kill -0 $MAINPID && env > @dir/asks; sleep 0.2"]]
        [service.ends]
        exec = ["@fixture", "run", "--exit-code", "0"]
        ready.log = "^ready"
        exec_stop = [["/bin/kill", "-KILL", "$MAINPID"], ["/bin/sh", "-c", "while kill -0 $MAINPID; do sleep 0.02; done; env > @dir/ends"]]
        stop_signal = "SIGUSR2"
        [service.starting]
        exec = ["@fixture", "run"]
        ready.log = "never"
        exec_stop = [["@fixture", "record", "@dir/never", "exit", "0"]]
        [service.crashes]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        exec_stop = [["@fixture", "record", "@dir/never", "exit", "0"]]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let pid = daemon.wait_state("asks", State::Up).pid.unwrap();
    let _ = daemon.ctl(&["stop", "asks"]).expect(0);
    assert_eq!(daemon.status("asks").crash_count, 0);
    let pid = pid.to_string();
    assert_eq!(told(&sandbox, "asks"), as_told(&[("SERVICE_RESULT", "success"), ("MAINPID", &pid)]));
    let log = daemon.ctl(&["logs", "asks"]).expect(0).stdout;
    assert!(log.contains("signal SIGUSR1"), "{log}");

    daemon.wait_state("ends", State::Up);
    let restarted = daemon.ctl(&["restart", "ends"]).expect(0).stdout;
    assert!(restarted.contains("running"), "{restarted}");
    let log = daemon.ctl(&["logs", "ends"]).expect(0).stdout;
    assert!(!log.contains("SIGUSR2"), "{log}");
    wait_for_file(&sandbox.path("ends"));
    assert_eq!(daemon.status("ends").generation, 2);

    // Not for one that was never up, nor for one that ended by itself.
    daemon.wait_state("starting", State::Starting);
    let _ = daemon.ctl(&["stop", "starting"]).expect(0);
    daemon.wait_state("crashes", State::Up);
    sandbox.touch("crash");
    daemon.wait_state("crashes", State::Down);
    assert!(!sandbox.path("never").exists());
}

/// One that fails or hangs does not keep the service: it is reported, and the signals come.
#[test]
fn an_exec_stop_that_fails_is_reported_and_the_stop_goes_on() {
    let sandbox = Sandbox::new(
        r#"
        [service.fails]
        exec = ["@fixture", "run"]
        exec_stop = [["-/no/such/program"], ["@fixture", "exit", "5", "--stderr", "no answer"], ["@fixture", "record", "@dir/never", "exit", "0"]]
        [service.hangs]
        exec = ["@fixture", "ignore-term"]
        exec_stop = [["@fixture", "ignore-term", "--children", "2"]]
        stop_timeout = "200ms"
        "#,
    );
    let daemon = sandbox.start();
    for name in ["fails", "hangs"] {
        daemon.wait_state(name, State::Up);
        let _ = daemon.ctl(&["stop", name]).expect(0);
        let down = daemon.status(name);
        assert_eq!((down.state, down.wanted, down.restarts), (State::Down, false, 0));
    }
    let report = daemon.reports("fails").remove(0);
    assert_eq!(
        (report.kind, report.exit_code, report.phase.as_deref()),
        (CrashKind::Exit, Some(5), Some("exec_stop"))
    );
    assert_eq!(report.stderr_tail.last().unwrap().text, "no answer");
    assert_eq!(report.restart.decision, "stopping");
    assert!(!sandbox.path("never").exists());
    let report = daemon.reports("hangs").remove(0);
    assert_eq!((report.kind, report.phase.as_deref()), (CrashKind::StopTimeout, Some("exec_stop")));
    assert_eq!(report.reason, "exec_stop: did not end within 200 ms and was killed");
    // First the command, then the service had its own time.
    let killing = &events(&daemon, "hangs", "killing")[0];
    let failed = &events(&daemon, "hangs", "command_failed")[0];
    assert!(failed.id < killing.id && failed.message.contains("timed out after 200 ms"), "{failed:#?}");
}

/// `exec_stop_post` runs after every end, knows how it was, and is over before the next start.
#[test]
fn after_every_end_comes_stop_post() {
    let after = r#"exec_stop_post = [["/bin/sh", "-c", "env > @dir/NAME.new; mv @dir/NAME.new @dir/NAME"]]"#;
    let service =
        |name: &str, text: &str| format!("[service.{name}]\n{text}\n{}\n", after.replace("NAME", name));
    let sandbox = Sandbox::new(
        &[
            service("exits", "exec = ['@fixture', 'exit', '3']\nrestart.when = 'never'"),
            service("ends", "exec = ['@fixture', 'exit', '0']"),
            service("killed", "exec = ['@fixture', 'signal-self', 'KILL']\nrestart.when = 'never'"),
            service("stopped", "exec = ['/bin/sleep', '1000']"),
            service("deaf", "exec = ['@fixture', 'ignore-term']\nstop_timeout = '1s'"),
            service("slow", "exec = ['@fixture', 'run']\nready.log = 'never'\nstart_timeout = '200ms'\nrestart.when = 'never'"),
            service("none", "exec = ['@dir/program']\nenabled = false"),
            service("before", "exec = ['@fixture', 'run']\nexec_start_pre = [['@fixture', 'exit', '7']]\nrestart.when = 'never'"),
        ]
        .concat(),
    );
    program(&sandbox);
    let daemon = sandbox.start();
    sandbox.remove("program");
    let _ = daemon.ctl(&["start", "none"]).expect(1);
    for name in ["stopped", "deaf"] {
        daemon.wait_state(name, State::Up);
        let _ = daemon.ctl(&["stop", name]).expect(0);
    }
    let said = |result, code, status| {
        as_told(&[("SERVICE_RESULT", result), ("EXIT_CODE", code), ("EXIT_STATUS", status)])
    };
    assert_eq!(told(&sandbox, "exits"), said("exit-code", "exited", "3"));
    assert_eq!(told(&sandbox, "ends"), said("success", "exited", "0"));
    assert_eq!(told(&sandbox, "killed"), said("signal", "killed", "KILL"));
    assert_eq!(told(&sandbox, "stopped"), said("success", "killed", "TERM"));
    assert_eq!(told(&sandbox, "deaf"), said("timeout", "killed", "KILL"));
    let slow = told(&sandbox, "slow");
    assert_eq!((slow["SERVICE_RESULT"].as_str(), slow["EXIT_CODE"].as_str()), ("timeout", "exited"));
    assert_eq!(told(&sandbox, "none"), as_told(&[("SERVICE_RESULT", "resources")]));
    assert_eq!(told(&sandbox, "before"), said("exit-code", "exited", "7"));
    daemon.wait_state("none", State::Parked);
    for name in ["exits", "ends", "killed", "slow", "before"] {
        assert_eq!(daemon.wait_state(name, State::Down).pid, None);
    }
}

/// It is over before the next start, whatever brings that; a stop and a restart wait for it.
#[test]
fn the_next_start_waits_for_stop_post() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "echo start >> @dir/order; exec @fixture crash-on @dir/crash"]
        exec_stop_post = [["/bin/sh", "-c", "echo cleaning >> @dir/order; sleep 0.3; echo clean >> @dir/order"]]
        restart = { delay = "0s" }
        [service.holds]
        exec = ["@fixture", "exit", "1"]
        exec_stop_post = [["@fixture", "notify", "await=@dir/go", "exit=0"]]
        stop_timeout = "1h"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");
    daemon.wait_status("a", "up again", |now| now.state == State::Up && now.restarts == 1);
    // It is up before it has come to anything.
    let begun = |times| {
        let begun = || lines(&sandbox, "order").iter().filter(|line| *line == "start").count() == times;
        wait_for("the service's first word", begun);
    };
    begun(2);
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    begun(3);
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    let row = ["start", "cleaning", "clean"];
    assert_eq!(lines(&sandbox, "order"), [row, row, row].concat());

    let now = daemon.wait_status("holds", "its command", |now| {
        now.reason.as_ref().is_some_and(|reason| reason.contains("runs exec_stop_post"))
    });
    assert_eq!(now.state, State::Stopping);
    assert!(now.reason.unwrap().starts_with("exited with code 1; runs exec_stop_post: "));
    let stop = daemon.ctl_command(&["stop", "holds"]).spawn().unwrap();
    daemon
        .wait_event("the stop", |event| event.event == "asked" && event.service.as_deref() == Some("holds"));
    assert_eq!(daemon.status("holds").state, State::Stopping);
    sandbox.touch("go");
    assert_eq!(stop.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(daemon.status("holds").state, State::Down);
}

/// One that fails is reported if nothing else has failed, and then is a failure like any other; else it is told.
#[test]
fn a_stop_post_that_fails_is_a_failure_if_nothing_else_was() {
    let sandbox = Sandbox::new(
        r#"
        [service.clean]
        exec = ["@fixture", "exit", "0"]
        exec_stop_post = [["@fixture", "exit", "6", "--stderr", "cannot clean up"]]
        restart = { delay = "10ms", max_restarts = 1 }
        [service.crash]
        exec = ["@fixture", "exit", "3", "--stderr", "the cause"]
        exec_stop_post = [["@fixture", "exit", "6", "--stderr", "cannot clean up"]]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let parked = daemon.wait_state("clean", State::Parked);
    assert_eq!(parked.crash_count, 2);
    let report = daemon.reports("clean").remove(0);
    assert_eq!((report.exit_code, report.phase.as_deref()), (Some(6), Some("exec_stop_post")));
    assert_eq!(report.stderr_tail.last().unwrap().text, "cannot clean up");

    let down = daemon.wait_state("crash", State::Down);
    assert_eq!(down.crash_count, 1);
    let report = daemon.reports("crash").remove(0);
    assert_eq!((report.exit_code, report.phase), (Some(3), None));
    let told = &events(&daemon, "crash", "command_failed")[0];
    assert!(told.message.starts_with("exec_stop_post failed: exited with 6"), "{}", told.message);
    assert!(told.message.ends_with("cannot clean up"), "{}", told.message);
}

/// What these commands leave running belongs to the run: it goes with it, and is named.
fn what_they_leave_is_of_the_run(start: for<'s> fn(&'s Sandbox) -> Option<Daemon<'s>>) {
    let sandbox = Sandbox::new(
        r#"
        [service.post]
        exec = ["@fixture", "run"]
        exec_start_post = [["@fixture", "fork-away", "--pid-file", "@dir/post", "--leader-exit", "0"]]
        [service.stop]
        exec = ["@fixture", "run"]
        exec_stop = [["/bin/sh", "-c", "@fixture run & @fixture fork-away --pid-file @dir/stop --leader-exit 0"]]
        [service.after]
        exec = ["@fixture", "exit", "1"]
        exec_stop_post = [["@fixture", "fork-away", "--pid-file", "@dir/after", "--leader-exit", "0", "--deaf"]]
        stop_timeout = "300ms"
        restart = { delay = "0s", max_restarts = 1 }
        [service.nothing]
        exec = ["@dir/program"]
        enabled = false
        exec_stop_post = [["@fixture", "fork-away", "--pid-file", "@dir/nothing", "--leader-exit", "0"]]
        "#,
    );
    program(&sandbox);
    let Some(daemon) = start(&sandbox) else { return };
    sandbox.remove("program");
    let _ = daemon.ctl(&["start", "nothing"]).expect(1);
    let pid = |name: &str| -> u32 { wait_for_file(&sandbox.path(name)).trim().parse().unwrap() };
    let named = |name: &str, pid: u32| {
        let told = events(&daemon, name, "leftovers");
        let told =
            told.iter().any(|event| event.data["processes"].to_string().contains(&format!("\"pid\":{pid}")));
        assert!(told, "{name}, {pid}: {:#?}", events(&daemon, name, "leftovers"));
    };
    // It lives as long as the service does.
    daemon.wait_state("post", State::Up);
    daemon.wait_state("stop", State::Up);
    let post = pid("post");
    assert!(processes::lives(post));
    let _ = daemon.ctl(&["stop", "post", "stop"]).expect(0);
    assert!(!processes::exists(post));
    named("post", post);
    let stop = pid("stop");
    assert!(!processes::exists(stop));
    named("stop", stop);

    // What has to be killed for it is gone before the next start.
    daemon.wait_state("after", State::Parked);
    let after = pid("after");
    assert!(!processes::exists(after));
    named("after", after);
    let killed = events(&daemon, "after", "killed");
    assert!(killed.iter().any(|event| event.message.contains(&format!("({after})"))), "{killed:#?}");
    // Where nothing was started, what comes after it is all that there is of the run.
    daemon.wait_state("nothing", State::Parked);
    let nothing = pid("nothing");
    assert!(!processes::exists(nothing));
    named("nothing", nothing);
    wait_for("everything to be gone", || {
        processes::marked(sandbox.mark()).iter().all(|process| daemon.own_pids().contains(&process.pid))
    });
}

#[test]
fn what_commands_leave_goes_with_the_run() {
    what_they_leave_is_of_the_run(|sandbox| Some(sandbox.start()));
}

#[cfg(target_os = "linux")]
#[test]
fn what_commands_leave_goes_with_the_run_without_cgroups_either() {
    what_they_leave_is_of_the_run(|sandbox| Daemon::without_cgroups(sandbox));
}

/// A oneshot that remains: its commands, then `exec_start_post`; when it comes down `exec_stop` and `exec_stop_post`.
#[test]
fn a_oneshot_that_remains_is_taken_down_by_commands() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        type = "oneshot"
        remain_after_exit = true
        exec = ["/bin/sh", "-c", "echo up >> @dir/order"]
        exec_start_post = [["/bin/sh", "-c", "echo posted >> @dir/order"]]
        exec_stop = [["/bin/sh", "-c", "echo down $SERVICE_RESULT $MAINPID >> @dir/order; @fixture fork-away --pid-file @dir/away --leader-exit 0"]]
        exec_stop_post = [["/bin/sh", "-c", "echo clean >> @dir/order"]]
        [service.b]
        type = "oneshot"
        exec = ["@fixture", "exit", "0"]
        exec_stop_post = [["/bin/sh", "-c", "echo clean >> @dir/b"]]
        [service.c]
        type = "oneshot"
        remain_after_exit = true
        exec = ["@fixture", "exit", "0"]
        exec_start_post = [["@fixture", "exit", "2", "--stderr", "no"]]
        exec_stop_post = [["/bin/sh", "-c", "echo clean $SERVICE_RESULT >> @dir/c"]]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    let row = ["up", "posted", "down success", "clean"];
    assert_eq!(lines(&sandbox, "order"), [row, row].concat());
    let away: u32 = wait_for_file(&sandbox.path("away")).trim().parse().unwrap();
    assert!(!processes::exists(away));
    assert_eq!(daemon.status("a").crash_count, 0);

    let down = daemon.wait_state("b", State::Down);
    assert_eq!(down.reason.as_deref(), Some("done: all its commands have ended well"));
    assert_eq!(lines(&sandbox, "b"), ["clean"]);

    daemon.wait_state("c", State::Down);
    let report = daemon.wait_crashes("c", 1).remove(0);
    assert_eq!((report.exit_code, report.phase.as_deref()), (Some(2), Some("exec_start_post")));
    wait_for("what comes after", || lines(&sandbox, "c") == ["clean exit-code"]);
}

/// mcpd's own end takes services down like any other stop; asked for twice, it waits for no command.
#[test]
fn the_end_of_mcpd_runs_them_and_a_second_request_does_not_wait() {
    let services = r#"
        [service.a]
        exec = ["@fixture", "run"]
        exec_stop = [["/bin/sh", "-c", "echo stop >> @dir/order"]]
        exec_stop_post = [["/bin/sh", "-c", "echo after >> @dir/order"]]
        [service.hangs]
        exec = ["@fixture", "run"]
        exec_stop = [["@fixture", "record", "@dir/hung", "ignore-term"]]
        exec_stop_post = [["@fixture", "record", "@dir/never", "run"]]
        stop_timeout = "1h"
        "#;
    let sandbox = Sandbox::new(services);
    let mut daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_state("hangs", State::Up);
    daemon.signal(Signal::TERM);
    wait_for("both", || lines(&sandbox, "order") == ["stop", "after"] && !sandbox.starts("hung").is_empty());
    daemon.signal(Signal::TERM);
    let _ = daemon.wait_end();
    assert!(!sandbox.path("never").exists());
    assert!(processes::marked(sandbox.mark()).is_empty());
}

/// mcpd is killed while such a command runs: the next life ends it before it starts anything.
#[cfg(target_os = "linux")]
#[test]
fn a_command_of_an_earlier_life_is_ended() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        exec_stop_post = [["@fixture", "record", "@dir/after", "ignore-term", "--children", "1"]]
        stop_timeout = "1h"
        [service.none]
        exec = ["@dir/program"]
        exec_stop_post = [["@fixture", "record", "@dir/none", "run"]]
        stop_timeout = "1h"
        enabled = false
        "#,
    );
    program(&sandbox);
    let first = sandbox.start();
    sandbox.remove("program");
    let _ = first.ctl(&["start", "none", "--no-wait"]).expect(0);
    first.wait_state("a", State::Up);
    sandbox.touch("crash");
    wait_for("both commands", || !sandbox.starts("after").is_empty() && !sandbox.starts("none").is_empty());
    let (after, none) = (sandbox.starts("after")[0].0, sandbox.starts("none")[0].0);
    first.kill_alone();
    assert!(processes::lives(after) && processes::lives(none));
    program(&sandbox);
    let text = std::fs::read_to_string(sandbox.config()).unwrap();
    let text = text.replace("\"1h\"", "\"200ms\"").replace("enabled = false", "");
    std::fs::write(sandbox.config(), text).unwrap();
    let second = sandbox.start();
    second.wait_state("a", State::Up);
    second.wait_state("none", State::Up);
    assert!(!processes::lives(after) && !processes::lives(none));
    assert_eq!(sandbox.starts("after").len(), 1, "how that run fared nobody knows any more");
}

/// A reload: the next stop takes the new commands, unless something else waits for the next start.
#[test]
fn a_reload_concerns_the_next_stop() {
    let service = |exec: &str, mark: &str| {
        format!(
            "[service.a]\nexec = ['@fixture', 'run', '--exit-code', '{exec}']\nsuccess_exit_status = [0, 1]\n\
             exec_stop = [['/bin/sh', '-c', 'echo stop {mark} >> @dir/order']]\n\
             exec_stop_post = [['/bin/sh', '-c', 'echo after {mark} >> @dir/order']]\n"
        )
    };
    let sandbox = Sandbox::new(&service("0", "old"));
    let daemon = sandbox.start();
    let pid = daemon.wait_state("a", State::Up).pid;
    sandbox.configure(&service("0", "new"));
    let reloaded = daemon.ctl(&["daemon", "reload"]).expect(0).stdout;
    assert!(reloaded.contains("updated"), "{reloaded}");
    let now = daemon.status("a");
    assert_eq!((now.pid, now.pending), (pid, vec![]));
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    assert_eq!(lines(&sandbox, "order"), ["stop new", "after new"]);

    // These are for the new program, and what runs is the old one.
    sandbox.configure(&service("1", "newer"));
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    assert_eq!(daemon.status("a").pending, ["exec", "exec_stop", "exec_stop_post"]);
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    let order = lines(&sandbox, "order");
    assert_eq!(order[2..], ["stop new", "after new", "stop newer", "after newer"]);
    // While it is down nothing has to wait.
    assert_eq!(daemon.status("a").pending, Vec::<String>::new());
    assert!(daemon.status("a").uptime_seconds.is_none_or(|up| Duration::from_secs_f64(up).is_zero()));
}

/// What a dash ignores is no error in the events, and a command's failure is not told as one of the service's own.
#[test]
fn events_say_which_command_it_was() {
    let sandbox = Sandbox::new(
        r#"
        [service.ignored]
        exec_start_pre = [["-@dir/gone"], ["-@fixture", "exit", "9"]]
        exec = ["@fixture", "run"]
        [service.post]
        exec = ["@fixture", "run"]
        exec_start_post = [["@fixture", "exit", "8"]]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("ignored", State::Up);
    let failed = events(&daemon, "ignored", "spawn_failed").pop().unwrap();
    assert!(failed.message.starts_with("exec_start_pre, 1 of 2: could not be started: "), "{failed:#?}");
    assert!(failed.message.ends_with("gone does not exist, which is ignored"), "{failed:#?}");
    let exited = events(&daemon, "ignored", "exited").pop().unwrap();
    assert_eq!(exited.message, "exec_start_pre, 2 of 2: exited with code 9, which is ignored");
    let said = daemon.stderr();
    let said: Vec<&str> = said.lines().filter(|line| line.contains("which is ignored")).collect();
    assert!(said.len() == 2 && said.iter().all(|line| line.contains(" INFO ")), "{said:#?}");

    let down = daemon.wait_status("post", "down", |now| now.crash_count == 1 && now.state == State::Down);
    let reason = down.reason.unwrap();
    assert!(reason.starts_with("exec_start_post: exited with code 8 after "), "{reason}");
    assert!(reason.ends_with("; restart.when does not restart it then"), "{reason}");
    let stopping = events(&daemon, "post", "stopping").pop().unwrap();
    assert_eq!(stopping.message, "stopping: exec_start_post has failed");
}

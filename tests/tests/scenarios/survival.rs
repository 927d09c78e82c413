//! mcpd dies, and what does not: its socket, its locks, its services' supervision.

use mcpd_tests::proto::client::Client;
use mcpd_tests::proto::status::{Health, ServiceStatus, State};
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;
use serde_json::json;

/// The daemon that answers now.
fn daemon_pid(daemon: &Daemon<'_>) -> u32 {
    u32::try_from(daemon.call("daemon.status", json!({}))["pid"].as_u64().unwrap()).unwrap()
}

const ONE: &str = "[service.a]\nexec = ['@fixture', 'run']\n";

/// "the control socket path never disappears (connections queue)"
#[test]
fn a_killed_daemon_has_a_successor_on_the_same_socket() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let identity = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(sandbox.socket()).unwrap());
    let (socket, mut last) = (identity(), daemon.pid());
    assert_ne!(daemon.main_pid(), last, "the keeper is another process");
    for time in 0..5 {
        // Not one connection is refused, whoever takes it in.
        last = kill(&daemon, last);
        assert_eq!(identity(), socket, "{time}");
        daemon.wait_state("a", State::Up);
    }
    let told = daemon.call("event.list", json!({ "events": ["began"], "last": 100 }));
    let last_one = told["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last_one["data"]["keeper"]["lives"], 6, "{last_one}");
    let words = last_one["message"].as_str().unwrap();
    assert!(words.contains("was ended by signal 9"), "{words}");
    assert!(daemon.stop().success());
    assert!(!sandbox.socket().exists(), "an orderly end takes the socket with it");
}

fn daemon_pid_after(daemon: &Daemon<'_>, last: u32) -> u32 {
    daemon.wait("another daemon", || {
        // A connection may still reach the one that is being killed.
        let answer = daemon.try_call("daemon.status", json!({})).map_err(|error| format!("{error:?}"))?;
        let pid = u32::try_from(answer["pid"].as_u64().unwrap()).unwrap();
        if pid == last { Err("the same one".to_owned()) } else { Ok(pid) }
    })
}

/// "SIGSTOP or deadlock of the daemon: the keeper notices and replaces it."
#[test]
fn a_stopped_daemon_is_replaced() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    let first = daemon.pid();
    processes::signal(first, Signal::STOP);
    wait_for("its end", || !processes::exists(first));
    assert_ne!(daemon_pid(&daemon), first);
    daemon.wait_state("a", State::Up);
    assert!(daemon.stderr().contains("was stopped (SIGSTOP) for 2 s and killed"), "{}", daemon.stderr());
}

/// The keeper does not wait for it to become a program: stopped before that, it would stop its keeper with it.
#[test]
fn one_that_is_stopped_as_soon_as_it_is_there_is_replaced() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let (keeper, mut last, service) = (daemon.main_pid(), daemon.pid(), daemon.pid_of("a"));
    let deadline = std::time::Instant::now() + mcpd_tests::patience();
    processes::signal(last, Signal::KILL);
    // As fast as can be: it is something else for a millisecond at most.
    let newborn = loop {
        let child =
            processes::children(keeper).into_iter().find(|child| child.pid != last && child.name == "mcpd");
        if let Some(child) = child {
            break child.pid;
        }
        assert!(std::time::Instant::now() < deadline, "nobody comes");
    };
    processes::signal(newborn, Signal::STOP);
    wait_for("its end", || !processes::exists(newborn));
    last = daemon_pid_after(&daemon, last);
    assert_ne!(last, newborn);
    assert_eq!(daemon.wait_state("a", State::Up).pid, Some(service));
}

/// "SIGSTOP or deadlock of the daemon": one that is frozen runs on as far as anybody can see, and does nothing.
#[test]
fn a_daemon_that_hangs_is_replaced() {
    let sandbox = Sandbox::new(ONE);
    // As systemd says it: the shorter its patience, the shorter the keeper's.
    let daemon = Daemon::start(&sandbox, |command| {
        command.env("WATCHDOG_USEC", "20000000");
    });
    daemon.wait_state("a", State::Up);
    let service = daemon.pid_of("a");
    let status = daemon.call("daemon.status", json!({}));
    let Some(cgroup) = status["cgroup"].as_str() else {
        let line = b"SKIPPED: no cgroups: a daemon that hangs is not tested\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        return;
    };
    let frozen = std::path::Path::new(cgroup).join("frozen");
    std::fs::create_dir(&frozen).unwrap();
    let first = daemon.pid();
    std::fs::write(frozen.join("cgroup.procs"), first.to_string()).unwrap();
    std::fs::write(frozen.join("cgroup.freeze"), "1").unwrap();
    wait_for("its end", || !processes::exists(first));
    wait_for("an empty cgroup", || std::fs::remove_dir(&frozen).is_ok());
    daemon_pid_after(&daemon, first);
    assert_eq!(daemon.wait_state("a", State::Up).pid, Some(service));
    assert!(daemon.stderr().contains("did not answer for 5.0 s and was killed"), "{}", daemon.stderr());
}

/// Nobody would start the next one: what runs is stopped in order.
#[test]
fn without_its_keeper_a_daemon_stops_everything() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let (own, service) = (daemon.pid(), daemon.pid_of("a"));
    processes::signal(daemon.main_pid(), Signal::KILL);
    wait_for("the end of all", || !processes::lives(own) && !processes::lives(service));
    let said = daemon.stderr();
    assert!(said.contains("the keeper of mcpd is gone") && said.contains("everything is down"), "{said}");
    // The next one finds nothing in its way.
    daemon.forget();
    let next = sandbox.start();
    next.wait_state("a", State::Up);
    assert!(!next.stderr().contains("left by an earlier life"), "{}", next.stderr());
}

/// Kills the daemon and waits for the next one.
fn kill_daemon(daemon: &Daemon<'_>) {
    kill(daemon, daemon_pid(daemon));
}

/// The same of one that may not be able to say its number.
fn kill(daemon: &Daemon<'_>, pid: u32) -> u32 {
    processes::signal(pid, Signal::KILL);
    daemon_pid_after(daemon, pid)
}

/// "every service keeps its pid, ... counters, health state, crash lineage and watch resume"
#[test]
fn services_do_not_notice() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
        restart = { delay = "10ms", jitter = 0 }
        [service.sick]
        exec = ["@fixture", "run"]
        health = { exec = ["@fixture", "exists", "@dir/well"], interval = "50ms", retries = 2, action = "report", start_period = "0s" }
        [service.watched]
        exec = ["@fixture", "run"]
        watch = { paths = ["@dir/source"], debounce = "10ms" }
        [service.later]
        exec = ["@fixture", "run"]
        after = ["a"]
        enabled = false
        [service.tree]
        exec = ["@fixture", "tree", "2", "--pid-file", "@dir/tree", "--deaf"]
        stop_timeout = "200ms"
        "#,
    );
    std::fs::create_dir(sandbox.path("source")).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");
    daemon.wait_crashes("a", 1);
    daemon.wait_state("a", State::Up);
    daemon.wait_status("sick", "unhealthy", |now| now.health == Health::Unhealthy);
    wait_for("the tree", || {
        std::fs::read_to_string(sandbox.path("tree")).is_ok_and(|text| text.lines().count() == 5)
    });
    let names = ["a", "sick", "watched", "tree"];
    let before = names.map(|name| daemon.status(name));
    for _ in 0..3 {
        kill_daemon(&daemon);
    }
    let after = names.map(|name| daemon.status(name));
    for (before, after) in before.iter().zip(&after) {
        let known = |status: &ServiceStatus| {
            (status.pid, status.state, status.restarts, status.restarts_total, status.health)
        };
        assert_eq!(known(before), known(after), "{}", before.name);
        assert!(before.uptime_seconds < after.uptime_seconds, "{}", before.name);
    }
    assert_eq!(after[0].restarts_total, 1);
    // The next crash knows the one before it.
    sandbox.touch("crash");
    let reports = daemon.wait_crashes("a", 2);
    assert_eq!(reports[1].lineage.len(), 1, "{:#?}", reports[1]);
    assert_eq!(reports[1].previous.as_ref(), Some(&reports[0].id));
    assert_eq!(reports[1].pid, after[0].pid);
    // What is watched is still watched, what is well by now is asked.
    sandbox.write("source/file", "");
    daemon.wait_status("watched", "another process", |now| now.pid.is_some() && now.pid != after[2].pid);
    sandbox.touch("well");
    daemon.wait_status("sick", "healthy", |now| now.health == Health::Healthy);
    // What was started by a dead daemon is ended to the last process.
    let tree: Vec<u32> = std::fs::read_to_string(sandbox.path("tree"))
        .unwrap()
        .lines()
        .map(|pid| pid.parse().unwrap())
        .collect();
    daemon.call("service.stop", json!({ "names": ["tree"] }));
    assert!(tree.iter().all(|&pid| !processes::lives(pid)), "{tree:?}");
    daemon.call("service.start", json!({ "names": ["later"] }));
    assert!(daemon.stop().success());
}

/// "a service that exited while nobody watched is reported with its exact exit code or signal and restarted by policy"
#[test]
fn what_ends_while_nobody_watches_is_told_as_it_was() {
    let sandbox = Sandbox::new(
        r#"
        [service.code]
        exec = ["@fixture", "crash-on", "@dir/go", "--keep", "--code", "7"]
        restart = { delay = "10s", jitter = 0 }
        [service.signal]
        exec = ["@fixture", "run"]
        restart = { delay = "10s", jitter = 0 }
        [service.done]
        exec = ["@fixture", "slow-start", "1", "crash-on", "@dir/go", "--keep", "--code", "0"]
        restart.when = "on-failure"
        "#,
    );
    let daemon = sandbox.start();
    for name in ["code", "signal", "done"] {
        daemon.wait_state(name, State::Up);
    }
    let pids = ["code", "signal", "done"].map(|name| daemon.pid_of(name));
    processes::signal(daemon.pid(), Signal::STOP);
    sandbox.touch("go");
    processes::signal(pids[1], Signal::KILL);
    wait_for("their ends", || pids.iter().all(|&pid| !processes::lives(pid)));
    kill(&daemon, daemon.pid());
    let code = daemon.wait_crashes("code", 1).remove(0);
    assert_eq!((code.exit_code, code.signal.as_deref(), code.pid), (Some(7), None, Some(pids[0])));
    assert!(code.stderr_tail.iter().any(|line| line.text.contains("Traceback")), "{code:#?}");
    let signal = daemon.wait_crashes("signal", 1).remove(0);
    assert_eq!((signal.exit_code, signal.signal.as_deref()), (None, Some("SIGKILL")));
    daemon.wait_state("done", State::Down);
    let exited = daemon.call("event.list", json!({ "events": ["exited"], "last": 100 }));
    assert_eq!(exited["events"].as_array().unwrap().len(), 3, "{exited:#}");
    // The delay goes on where it was, also over another death.
    daemon.wait_state("code", State::Backoff);
    let left = daemon.status("code").next.unwrap().in_seconds;
    kill_daemon(&daemon);
    let status = daemon.status("code");
    assert_eq!(status.state, State::Backoff);
    assert!(status.next.unwrap().in_seconds < left);
    assert_eq!(daemon.crashes("code").len(), 1);
}

/// What was printed last is in the memory of a daemon that is dead, and in the file.
#[test]
fn a_report_has_what_was_said_before_the_daemon_died() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "echo before >&2; until [ -e @dir/go ]; do sleep 0.02; done; echo after >&2; exit 3"]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let said = |status: &ServiceStatus| status.log_tail.iter().any(|line| line.text == "before");
    daemon.wait_status("a", "its first line", said);
    kill_daemon(&daemon);
    daemon.wait_status("a", "its first line again", said);
    kill_daemon(&daemon);
    sandbox.touch("go");
    let report = daemon.wait_crashes("a", 1).remove(0);
    let lines: Vec<&str> = report.stderr_tail.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["before", "after"], "{report:#?}");
}

/// Nobody has asked for a new configuration: what was in force goes on, whatever the file says by now.
#[test]
fn the_configuration_in_force_outlives_the_daemon() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    let good = std::fs::read_to_string(sandbox.config()).unwrap();
    std::fs::write(sandbox.config(), "[service.a]\nexec = 1\n").unwrap();
    kill_daemon(&daemon);
    assert_eq!(daemon.pid_of("a"), pid);
    assert!(daemon.ctl(&["daemon", "reload"]).code > 0);
    std::fs::write(
        sandbox.config(),
        good + "[service.b]\nexec = ['@fixture', 'run']\n".replace("@fixture", "/bin/cat").as_str(),
    )
    .unwrap();
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    kill_daemon(&daemon);
    assert_eq!(daemon.pid_of("a"), pid);
    assert_eq!(daemon.list().services.len(), 2);
}

/// "clients reconnect by themselves (`mcpctl events -f`, `logs -f` carry on without a gap)"
#[test]
fn who_follows_goes_on() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "flood", "lines", "300", "--numbered", "--pause-us", "20000", "--exit", "0"]
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let follow = |words: &[&str], file: &str| {
        let out = std::fs::File::create(sandbox.path(file)).unwrap();
        daemon.ctl_command(words).stdout(out).stderr(std::process::Stdio::inherit()).spawn().unwrap()
    };
    let mut followers =
        [follow(&["logs", "a", "-f", "-n", "all"], "lines"), follow(&["events", "-f"], "events")];
    let read = |file: &str| std::fs::read_to_string(sandbox.path(file)).unwrap();
    for part in 1..=3 {
        wait_for("some lines", || read("lines").lines().count() >= part * 60);
        kill_daemon(&daemon);
    }
    wait_for("the last line", || read("lines").contains("line 00000300"));
    wait_for("the last event", || read("events").contains("does not restart"));
    for follower in &mut followers {
        assert!(follower.try_wait().unwrap().is_none(), "it follows still");
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
    // Nothing is shown twice, and what is on disk is shown.
    let on_disk = std::fs::read_to_string(sandbox.log_dir().join("a.log")).unwrap();
    assert_eq!(read("lines"), on_disk);
    let listed = daemon.call("event.list", json!({ "last": 1000 }));
    let listed = listed["events"].as_array().unwrap().len();
    assert_eq!(read("events").lines().count(), listed);
}

/// "A daemon that crashes on start again and again is retried with backoff while the services stay up, and the reason is in
/// the journal and in `mcpctl daemon status`."
#[test]
fn a_daemon_that_cannot_start_is_tried_again() {
    let sandbox = Sandbox::new(ONE);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    // Something stands where the socket was.
    std::fs::remove_file(sandbox.socket()).unwrap();
    std::fs::create_dir(sandbox.socket()).unwrap();
    processes::signal(daemon.pid(), Signal::KILL);
    wait_for("three that fail", || daemon.stderr().matches("ended with exit code 1").count() == 3);
    assert!(processes::lives(pid));
    assert!(daemon.stderr().contains("exists and is no socket"), "{}", daemon.stderr());
    std::fs::remove_dir(sandbox.socket()).unwrap();
    wait_for("the one that starts", || Client::connect(&sandbox.socket()).is_ok());
    assert_eq!(daemon.pid_of("a"), pid);
    let status = daemon.ctl(&["daemon", "status"]).expect(0).stdout;
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("daemon 5 of its own") && status.contains("ended with exit code 1"), "{status}");
    let told = daemon.call("event.list", json!({ "events": ["began"], "last": 1 }));
    assert!(told["events"][0]["message"].as_str().unwrap().contains("ended with exit code 1"), "{told}");
}

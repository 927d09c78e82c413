//! Supervision: start, watch, restart, stop, whatever the program does.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use rustix::process::Signal;
use serde_json::json;

/// Asks for something without waiting until it is done.
fn ask(daemon: &Daemon<'_>, verb: &str, name: &str) {
    daemon.call(&format!("service.{verb}"), json!({ "names": [name], "wait": false }));
}

/// Asks for something and waits; how long it took.
fn done(daemon: &Daemon<'_>, verb: &str, names: &[&str]) -> Duration {
    let asked = Instant::now();
    let outcomes = daemon.call(&format!("service.{verb}"), json!({ "names": names }));
    for outcome in outcomes["outcomes"].as_array().unwrap() {
        assert_eq!(outcome["ok"], true, "{verb}: {outcome:#}");
    }
    asked.elapsed()
}

/// The pids that `tree --pid-file` wrote, once there are `count`.
fn tree_pids(sandbox: &Sandbox, file: &str, count: usize) -> Vec<u32> {
    let read = || -> Vec<u32> {
        let text = std::fs::read_to_string(sandbox.path(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    wait_for("the tree", || read().len() >= count);
    read()
}

/// "restart with backoff (1 s, 1.5 s, 2.25 s, ... up to `max_delay`, jitter, ...)", 25 times faster.
#[test]
fn delays_grow_up_to_the_maximum_and_then_it_is_parked() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "exit", "3"]
        restart = { delay = "40ms", multiplier = 1.5, max_delay = "100ms", jitter = 0, max_restarts = 4 }
        "#,
    );
    let daemon = sandbox.start();
    let parked = daemon.wait_state("a", State::Parked);
    let reports = daemon.reports("a");
    let delays: Vec<_> = reports.iter().map(|report| report.restart.delay_seconds).collect();
    assert_eq!(delays.len(), 5, "{reports:#?}");
    for (delay, wanted) in delays.iter().zip([0.040, 0.060, 0.090, 0.100]) {
        assert!((delay.unwrap() - wanted).abs() < 0.0015, "{delays:?}");
    }
    assert_eq!(delays[4], None);
    let attempts: Vec<_> = reports.iter().map(|report| report.restart.attempt).collect();
    assert_eq!(attempts[..4], [1, 2, 3, 4]);
    let decisions: Vec<_> = reports.iter().map(|report| report.restart.decision.as_str()).collect();
    assert_eq!(decisions, ["restart", "restart", "restart", "restart", "park"]);
    assert!(reports.iter().all(|report| report.restart.max == 4 && report.exit_code == Some(3)));

    // The clock agrees with the reports: no start comes before its delay is over.
    let starts = sandbox.starts("starts");
    assert_eq!(starts.len(), 5);
    for (pair, delay) in starts.windows(2).zip([40, 60, 90, 100]) {
        assert!(pair[1].1 - pair[0].1 >= delay, "{starts:?}");
    }
    // "max_restarts then parked with a reason"
    assert!(parked.reason.as_deref().is_some_and(|reason| reason.contains('4')), "{parked:#?}");
    assert_eq!((parked.pid, parked.restarts, parked.max_restarts, parked.crash_count), (None, 4, 4, 5));
    assert!(parked.next.is_none());
}

/// "... jitter ...": up to the share is added, never taken away, and it is not always the same.
#[test]
fn jitter_only_adds() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "1"]
        restart = { delay = "20ms", multiplier = 1, jitter = 0.5, max_restarts = 12 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    let delays: Vec<f64> =
        daemon.reports("a").iter().filter_map(|report| report.restart.delay_seconds).collect();
    assert_eq!(delays.len(), 12);
    assert!(delays.iter().all(|delay| (0.0199..=0.0301).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| (delay - delays[0]).abs() > 1e-6), "{delays:?}");
}

/// "... reset after a stable run ...": trap 18 of docs/traps.md.
#[test]
fn a_stable_run_starts_the_counters_again() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        restart = { delay = "20ms", jitter = 0, max_restarts = 1, reset_after = "150ms" }
        "#,
    );
    let daemon = sandbox.start();
    for round in 1..=4 {
        daemon.wait_status("a", "up and stable", |now| {
            now.state == State::Up && now.generation == round && now.restarts == 0
        });
        daemon.wait_status("a", "up for longer than reset_after", |now| now.uptime_seconds > Some(0.15));
        sandbox.touch("crash");
        daemon.wait_crashes("a", usize::try_from(round).unwrap());
    }
    let end = daemon.wait_status("a", "up again", |now| now.generation == 5 && now.state == State::Up);
    assert_eq!(end.restarts_total, 4);
    assert!(daemon.reports("a").iter().all(|report| report.restart.attempt == 1));
}

/// However many crashes there are: each condition opens once and closes once, and a crash loop is a state of its own.
#[test]
fn conditions_open_and_close_once() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3"]
        restart = { delay = "100ms", multiplier = 1, jitter = 0, max_restarts = 0 }
        "#,
    );
    let daemon = sandbox.start();
    let status = daemon.wait_status("a", "flapping", |now| {
        now.flapping.as_ref().is_some_and(|flapping| flapping.failures > 7) && now.state == State::Backoff
    });
    let flapping = status.flapping.expect("it was there");
    assert!(flapping.reason.contains("the last time: exited with code 3"), "{flapping:?}");
    let (table, document) = (daemon.ctl(&["status"]).stdout, daemon.ctl(&["status", "a", "--json"]).stdout);
    assert!(table.contains("flapping") && !document.contains(r#""state":"flapping""#), "{table}{document}");

    daemon.ctl(&["stop", "a"]);
    let stopped = daemon.wait_state("a", State::Down);
    assert!(stopped.flapping.is_none() && stopped.crash_count > 7, "{stopped:#?}");
    let told: Vec<_> = daemon
        .events()
        .into_iter()
        .filter(|event| event.event.starts_with("condition_"))
        .map(|event| (event.event, event.data["condition"].clone(), event.cause))
        .collect();
    let names: Vec<_> =
        told.iter().map(|(event, condition, _)| (event.as_str(), condition.as_str().unwrap())).collect();
    let wanted = [
        ("condition_opened", "failing"),
        ("condition_opened", "flapping"),
        ("condition_closed", "flapping"),
        ("condition_closed", "failing"),
    ];
    assert_eq!(names, wanted);
    let causes = |at: usize| daemon.events().into_iter().find(|event| Some(event.id) == told[at].2);
    assert_eq!(
        [0, 2].map(|at| causes(at).map(|event| event.event)),
        [Some("failed".into()), Some("asked".into())]
    );
}

/// "... or retried at `max_delay`"
#[test]
fn on_limit_retry_goes_on_at_the_maximum() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "1"]
        restart = { delay = "10ms", multiplier = 1.5, max_delay = "60ms", jitter = 0, max_restarts = 2, on_limit = "retry" }
        "#,
    );
    let daemon = sandbox.start();
    let reports = daemon.wait_crashes("a", 6);
    for (report, wanted) in reports.iter().zip([0.010, 0.015, 0.060, 0.060, 0.060, 0.060]) {
        let delay = report.restart.delay_seconds.unwrap();
        assert!((delay - wanted).abs() < 0.0015, "{:#?}", report.restart);
        assert_eq!(report.restart.decision, "restart");
    }
}

/// The design: "stay down with a reason until asked": start, restart and reset are askings.
#[test]
fn a_parked_service_starts_when_asked() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-first", "2", "@dir/count", "run"]
        restart = { delay = "10ms", max_restarts = 1 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    done(&daemon, "reset", &["a"]);
    let reset = daemon.wait_status("a", "reset", |now| now.restarts == 0);
    assert_ne!(reset.state, State::Parked, "{reset:#?}");
    done(&daemon, "start", &["a"]);
    daemon.wait_state("a", State::Up);
}

/// "spawn failure (ENOENT, EACCES, ...)", after the load found the program: no number of restarts brings it back, so it
/// is parked at once with the reason.
#[test]
fn a_program_that_vanishes_parks_until_it_is_back_and_somebody_asks() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@dir/program", "crash-on", "@dir/crash"]
        restart = { delay = "20ms", multiplier = 1, max_restarts = 0 }
        "#,
    );
    let program = sandbox.path("program");
    symlink(binaries::fixture(), &program).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);

    std::fs::remove_file(&program).unwrap();
    sandbox.touch("crash");
    let parked = daemon.wait_state("a", State::Parked);
    let reason = parked.reason.unwrap();
    assert!(reason.contains(program.to_str().unwrap()) && reason.contains("does not exist"), "{reason}");
    assert!(reason.contains("once that is mended"), "{reason}");
    let missing = daemon.reports("a").pop().unwrap();
    assert_eq!(missing.kind, CrashKind::Spawn);
    assert_eq!((missing.pid, missing.exit_code, missing.signal.as_deref()), (None, None, None));
    assert!(missing.reason.contains("does not exist"), "{}", missing.reason);
    assert_eq!((missing.restart.decision.as_str(), missing.restart.delay_seconds), ("park", None));
    assert_eq!(daemon.crashes("a").len(), 2, "the crash, and one try to start it again");

    // There, but not to be executed, not even by root. Any reload tries again.
    std::fs::write(&program, "no program").unwrap();
    let reloaded = daemon.call("daemon.reload", json!({}));
    assert_eq!(reloaded["restarted"], json!(["a"]));
    let denied = daemon.wait_crashes("a", 3).pop().unwrap();
    assert_eq!(denied.kind, CrashKind::Spawn);
    assert!(denied.reason.contains("not executable"), "{}", denied.reason);
    daemon.wait_state("a", State::Parked);

    // Who asks is told.
    let said = daemon.ctl(&["start", "a"]).expect(1);
    assert!(said.stderr.contains("not executable") && said.stderr.contains("parked"), "{said:?}");

    std::fs::remove_file(&program).unwrap();
    symlink(binaries::fixture(), &program).unwrap();
    daemon.call("daemon.reload", json!({}));
    daemon.wait_state("a", State::Up);
}

/// A definition that a reload brings with a program that is not there parks the service as well, without restarts.
#[test]
fn a_reload_to_a_missing_program_parks_at_once() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\nrestart.delay = \"10ms\"\n");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.configure("[service.a]\nexec = [\"no-such-program\"]\nrestart.delay = \"10ms\"\n");
    let plan = daemon.call("config.plan", json!({}));
    let why = plan["steps"][0]["why"].as_str().unwrap();
    assert!(why.contains("goes on") && why.contains("no-such-program"), "{plan:#}");
    daemon.call("daemon.reload", json!({ "restart": true }));
    let parked = daemon.wait_state("a", State::Parked);
    assert!(parked.reason.as_deref().unwrap().contains("no-such-program"), "{parked:#?}");
    assert_eq!((parked.generation, parked.restarts, parked.crash_count), (2, 0, 1), "{parked:#?}");
}

/// "exit within microseconds of the start": no end is missed, none is counted twice.
#[test]
fn ends_within_microseconds_are_all_seen() {
    const SERVICES: usize = 10;
    const RESTARTS: usize = 10;
    let mut services = String::new();
    for number in 0..SERVICES {
        services += &format!(
            "[service.s{number}]\nexec = [\"@fixture\", \"exit\", \"{number}\"]\nsuccess_exit_status = []\n\
             restart = {{ delay = \"1ms\", multiplier = 1, jitter = 0, max_restarts = {RESTARTS} }}\n"
        );
    }
    let sandbox = Sandbox::new(&services);
    let daemon = sandbox.start();
    for number in 0..SERVICES {
        let name = format!("s{number}");
        let parked = daemon.wait_state(&name, State::Parked);
        assert_eq!(parked.generation, RESTARTS as u64 + 1);
        let crashes = daemon.crashes(&name);
        assert_eq!(crashes.len(), RESTARTS + 1);
        assert!(crashes.iter().all(|crash| crash.exit_code == i32::try_from(number).ok()), "{crashes:#?}");
    }
}

/// "a service that ignores SIGTERM (whole process group gets SIGKILL after `stop_timeout`)"
#[test]
fn a_deaf_service_and_its_children_are_killed_after_the_timeout() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "tree", "3", "--pid-file", "@dir/pids", "--deaf"]
        stop_timeout = "200ms"
        "#,
    );
    let daemon = sandbox.start();
    let pids = tree_pids(&sandbox, "pids", 7);
    let took = done(&daemon, "stop", &["a"]);
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    assert!(pids.iter().all(|&pid| !processes::exists(pid)), "{pids:?} are not all gone");
    assert_eq!(daemon.status("a").state, State::Down);
    assert!(daemon.crashes("a").is_empty(), "a stop that was asked for is no crash");
}

/// "a double fork that keeps the pipe open after the leader died (bounded drain, nothing blocks)": trap 13 of
/// docs/traps.md.
#[test]
fn a_double_fork_that_keeps_the_pipe_blocks_nothing() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "fork-away", "--pid-file", "@dir/away", "--leader-exit", "5"]
        stop_timeout = "300ms"
        restart = { delay = "20ms", max_restarts = 2 }
        [service.b]
        exec = ["@fixture", "fork-away", "--pid-file", "@dir/deaf", "--leader-exit", "0", "--deaf"]
        stop_timeout = "200ms"
        "#,
    );
    let asked = Instant::now();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    daemon.wait_state("b", State::Down);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(sandbox.starts("starts").len(), 3);
    assert!(daemon.reports("a").iter().all(|report| report.exit_code == Some(5)));
    // "orphans of its services are reaped and killed when their service stops"
    for file in ["away", "deaf"] {
        let pid: u32 = wait_for_file(&sandbox.path(file)).parse().unwrap();
        assert!(!processes::exists(pid), "{file} {pid} is still there");
    }
}

/// "A stop or restart asked for at any moment wins over a pending restart." Trap 9 of docs/traps.md.
#[test]
fn a_stop_wins_over_a_pending_restart() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "exit", "1"]
        restart = { delay = "300ms", jitter = 0 }
        "#,
    );
    let daemon = sandbox.start();
    let waiting = daemon.wait_state("a", State::Backoff);
    assert_eq!(waiting.next.as_ref().map(|next| next.what.as_str()), Some("start"), "{waiting:#?}");
    done(&daemon, "stop", &["a"]);
    let stopped = daemon.status("a");
    assert_eq!((stopped.state, stopped.wanted, stopped.next), (State::Down, false, None));
    // Longer than the delay that was pending; another service's life is the clock.
    let started = sandbox.starts("starts").len();
    let until = Instant::now() + Duration::from_millis(500);
    wait_for("the delay to pass", || Instant::now() > until);
    assert_eq!(sandbox.starts("starts").len(), started);
}

/// "A stop or restart asked for at any moment wins over a pending restart.": both start and restart go at once.
#[test]
fn a_restart_during_backoff_goes_at_once() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-first", "1", "@dir/a", "run"]
        restart = { delay = "1h", max_delay = "2h" }
        [service.b]
        exec = ["@fixture", "crash-first", "1", "@dir/b", "run"]
        restart = { delay = "1h", max_delay = "2h" }
        "#,
    );
    let daemon = sandbox.start();
    for (name, verb) in [("a", "restart"), ("b", "start")] {
        daemon.wait_state(name, State::Backoff);
        done(&daemon, verb, &[name]);
        let up = daemon.status(name);
        assert_eq!((up.state, up.generation), (State::Up, 2));
    }
}

/// "crash during the stop ladder": the stop is what counts, the crash is reported.
#[test]
fn a_crash_during_a_stop_does_not_bring_the_service_back() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "run", "--term-delay", "50", "--term-crash"]
        restart = { delay = "1ms", when = "always" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    wait_for("the fixture to run", || sandbox.starts("starts").len() == 1);
    // It blocks SIGTERM before it prints, and prints before it can be asked.
    daemon.wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    done(&daemon, "stop", &["a"]);
    assert_eq!(daemon.status("a").state, State::Down);
    let reports = daemon.reports("a");
    assert_eq!(reports.len(), 1);
    assert_eq!(
        (reports[0].signal.as_deref(), reports[0].restart.decision.as_str()),
        (Some("SIGABRT"), "stopping")
    );
    assert_eq!(sandbox.starts("starts").len(), 1);

    // A restart brings it back, once.
    ask(&daemon, "start", "a");
    daemon.wait_status("a", "ready", |now| {
        now.generation == 2 && now.log_tail.iter().filter(|line| line.text.starts_with("ready")).count() == 2
    });
    done(&daemon, "restart", &["a"]);
    let again = daemon.status("a");
    assert_eq!((again.state, again.generation), (State::Up, 3));
}

/// "Stopping 500 services is parallel.": one after the other would take 100 s.
#[test]
fn five_hundred_services_stop_in_parallel() {
    let mut services = String::new();
    for number in 0..500 {
        services += &format!(
            "[service.s{number}]\nexec = [\"@fixture\", \"run\", \"--term-delay\", \"200\"]\nlog = {{ target = \"none\" }}\n"
        );
    }
    let sandbox = Sandbox::new(&services);
    let mut daemon = sandbox.start();
    daemon.wait("500 up", || {
        let up = daemon.list().services.iter().filter(|service| service.state == State::Up).count();
        if up == 500 { Ok(()) } else { Err(format!("{up} up")) }
    });
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end().success());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(processes::marked(sandbox.mark()).is_empty());
}

/// "mcpd is a child subreaper: orphans of its services are reaped and killed when their service stops."
#[test]
fn orphans_become_mcpds_and_end_with_their_service() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "fork-away", "--pid-file", "@dir/a", "--quiet"]
        stop_timeout = "200ms"
        [service.b]
        exec = ["@fixture", "fork-away", "--pid-file", "@dir/b", "--quiet"]
        "#,
    );
    let daemon = sandbox.start();
    let [a, b] = ["a", "b"].map(|name| wait_for_file(&sandbox.path(name)).parse::<u32>().unwrap());
    for (name, orphan) in [("a", a), ("b", b)] {
        // Its process may have got as far as this before mcpd hears that it runs.
        daemon.wait_state(name, State::Up);
        wait_for("mcpd to adopt it", || {
            processes::process(orphan).is_some_and(|one| one.parent == daemon.pid())
        });
    }
    // Stopping one service ends its orphan and no other's.
    done(&daemon, "stop", &["a"]);
    assert!(!processes::exists(a) && processes::lives(b));
    // One that dies by itself is reaped; its service lives on.
    processes::signal(b, Signal::KILL);
    wait_for("the orphan to be reaped", || !processes::exists(b));
    assert_eq!(daemon.status("b").state, State::Up);
}

/// "orphans of its services are reaped": no zombie stays, whoever of a tree dies first.
#[test]
fn no_zombies() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "tree", "4", "--pid-file", "@dir/pids", "--deaf"]
        stop_timeout = "100ms"
        restart = { delay = "20ms" }
        "#,
    );
    let daemon = sandbox.start();
    let pids = tree_pids(&sandbox, "pids", 9);
    let leader = daemon.wait_state("a", State::Up).pid.unwrap();
    processes::signal(leader, Signal::KILL);
    daemon.wait_status("a", "up again", |now| now.generation == 2 && now.state == State::Up);
    // What the dead leader left behind was gone before the next start.
    assert!(pids.iter().all(|&pid| !processes::lives(pid)), "{pids:?}");
    wait_for("no zombies", || processes::children(daemon.pid()).iter().all(|child| child.state != 'Z'));
}

/// `[restart] when`, `success_exit_status` and `prevent_exit_status`, in one table.
#[test]
fn the_end_decides_what_follows() {
    // name, what it does, settings, restarted?, the state it comes to rest in
    let table = [
        ("success", "exit 0", "", 0, State::Down),
        ("failure-never", "exit 1", "restart = { when = \"never\" }", 0, State::Down),
        (
            "success-always",
            "exit 0",
            "restart = { when = \"always\", delay = \"1ms\", max_restarts = 2 }",
            2,
            State::Parked,
        ),
        (
            "on-success",
            "exit 0",
            "restart = { when = \"on-success\", delay = \"1ms\", max_restarts = 2 }",
            2,
            State::Parked,
        ),
        (
            "on-success-fails",
            "exit 1",
            "restart = { when = \"on-success\", delay = \"1ms\" }",
            0,
            State::Down,
        ),
        ("abnormal-code", "exit 1", "restart = { when = \"on-abnormal\", delay = \"1ms\" }", 0, State::Down),
        (
            "abnormal-signal",
            "signal-self SEGV",
            "restart = { when = \"on-abnormal\", delay = \"1ms\", max_restarts = 2 }",
            2,
            State::Parked,
        ),
        ("listed", "exit 7", "success_exit_status = [0, 7]\nrestart = { delay = \"1ms\" }", 0, State::Down),
        (
            "listed-signal",
            "signal-self TERM",
            "success_exit_status = [0, \"SIGTERM\"]\nrestart = { delay = \"1ms\" }",
            0,
            State::Down,
        ),
        (
            "prevented",
            "exit 78",
            "restart = { delay = \"1ms\", prevent_exit_status = [78] }",
            0,
            State::Parked,
        ),
    ];
    let mut services = String::new();
    for (name, does, settings, ..) in table {
        let words: Vec<String> = does.split(' ').map(|word| format!("\"{word}\"")).collect();
        services += &format!("[service.{name}]\nexec = [\"@fixture\", {}]\n{settings}\n", words.join(", "));
    }
    let sandbox = Sandbox::new(&services);
    let daemon = sandbox.start();
    for (name, _, _, restarts, state) in table {
        let end =
            daemon.wait_status(name, "at rest", |now| now.state == state && now.generation == restarts + 1);
        assert_eq!(end.restarts_total, restarts, "{end:#?}");
        assert!(end.reason.is_some() || end.state == State::Down, "{end:#?}");
    }
    let prevented = daemon.status("prevented").reason.unwrap();
    assert!(prevented.contains("78"), "{prevented}");
}

/// "`description`, `working_directory`, `environment`, `environment_files`, `enabled`": what the program finds.
#[test]
fn the_program_gets_what_the_configuration_says_and_nothing_else() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "env", "@dir/env.json"]
        working_directory = "@dir/work"
        environment = { COLOUR = "blue", SHAPE = "round", PORT = "${MCPD_TEST_PORT:-7787}" }
        environment_files = ["@dir/env", "-@dir/absent"]
        [service.idle]
        exec = ["@fixture", "run"]
        enabled = false
        "#,
    );
    sandbox.write("work/.keep", "");
    sandbox.write("env", "# a comment\nSHAPE=square\nQUOTED=\"with space\"\n");
    let daemon = sandbox.start_with(|command| {
        command.env("FROM_DAEMON", "yes");
    });
    let found: serde_json::Value = serde_json::from_str(&wait_for_file(&sandbox.path("env.json"))).unwrap();
    assert_eq!(found["cwd"], sandbox.path("work").to_str().unwrap());
    let env = &found["env"];
    assert_eq!(env["COLOUR"], "blue");
    assert_eq!(env["SHAPE"], "square", "files win over environment");
    assert_eq!(env["QUOTED"], "with space");
    assert_eq!(env["PORT"], "7787");
    assert_eq!(env["FROM_DAEMON"], "yes");
    // A program inherits three descriptors and no blocked signals.
    assert_eq!(found["system"]["fds"], json!([0, 1, 2]));
    assert_eq!(found["system"]["blocked"], "0000000000000000");
    // It may have written this before mcpd had heard of its birth.
    daemon.wait_state("a", State::Up);
    assert_eq!(found["pid"], daemon.pid_of("a"));
    let leader = processes::process(daemon.pid_of("a")).unwrap();
    assert_eq!(leader.group, leader.pid, "a service leads a process group of its own");

    let idle = daemon.status("idle");
    assert_eq!((idle.state, idle.wanted, idle.generation), (State::Down, false, 0));
    done(&daemon, "start", &["idle"]);
    assert_eq!(daemon.status("idle").state, State::Up);
}

/// "`stop_signal`": what is sent first.
#[test]
fn the_stop_signal_is_the_configured_one() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        stop_signal = "SIGUSR1"
        stop_timeout = "150ms"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    done(&daemon, "stop", &["a"]);
    let log = daemon.ctl(&["logs", "a", "--raw"]).expect(0).stdout;
    assert!(log.contains("signal SIGUSR1"), "{log}");
}

/// "start, watch": a process that somebody else kills is reported with the signal and replaced.
#[test]
fn a_killed_service_comes_back() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        restart = { delay = "20ms" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let first = daemon.pid_of("a");
    processes::signal(first, Signal::KILL);
    let second = daemon.wait_status("a", "up again", |now| now.state == State::Up && now.generation == 2);
    assert_ne!(second.pid, Some(first));
    let crash = second.last_crash.unwrap();
    assert_eq!(
        (crash.kind, crash.signal.as_deref(), crash.pid),
        (CrashKind::Signal, Some("SIGKILL"), Some(first))
    );
}

/// "A stop or restart asked for at any moment": many at once, from many clients, end in one process or none. Trap 9 of
/// docs/traps.md.
#[test]
fn commands_from_all_sides_leave_one_process() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "run"]
        restart = { delay = "1ms" }
        "#,
    );
    let daemon = sandbox.start();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut connection = daemon.client();
                for step in 0..20 {
                    let verb = ["start", "stop", "restart"][(client + step) % 3];
                    let params = json!({ "names": ["a"], "wait": false });
                    connection.call(&format!("service.{verb}"), params).unwrap();
                }
            });
        }
    });
    ask(&daemon, "start", "a");
    daemon.wait_state("a", State::Up);
    daemon.wait("exactly one process besides mcpd", || {
        let marked = processes::marked(sandbox.mark());
        let services = marked.iter().filter(|process| !daemon.own_pids().contains(&process.pid));
        if services.count() == 1 { Ok(()) } else { Err(format!("{marked:#?}")) }
    });
    assert!(daemon.crashes("a").is_empty(), "{:#?}", daemon.crashes("a"));
    done(&daemon, "stop", &["a"]);
    wait_for("mcpd alone", || processes::marked(sandbox.mark()).len() == 2);
}

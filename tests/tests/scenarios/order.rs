//! Order: who starts after whom, who stops with whom, with systemd's meanings, gated on readiness.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::State;
use mcpd_tests::{CtlOutput, Daemon, Sandbox, binaries};
use rustix::process::Signal;
use serde_json::json;

/// Where in the story this service's event stands for the first time.
#[track_caller]
fn at(events: &[Event], service: &str, event: &str) -> usize {
    let is = |one: &Event| one.service.as_deref() == Some(service) && one.event == event;
    events.iter().position(is).unwrap_or_else(|| panic!("no {event} of {service}: {events:#?}"))
}

/// The services in the order of their events of this name.
fn order(events: &[Event], event: &str) -> Vec<String> {
    events.iter().filter(|one| one.event == event).filter_map(|one| one.service.clone()).collect()
}

fn all_up(daemon: &Daemon<'_>, names: &[&str]) {
    for name in names {
        daemon.wait_state(name, State::Up);
    }
}

/// Runs a verb of `mcpctl` that succeeds.
#[track_caller]
fn done(daemon: &Daemon<'_>, verb: &str, name: &str) {
    let _ = daemon.ctl(&[verb, name]).expect(0);
}

/// `database`, healthy after so many milliseconds, and `app` that requires it.
fn database_and_app(sandbox: &Sandbox, healthy_after: u32, app: &str) -> String {
    let address = sandbox.address();
    format!(
        "[service.database]\nexec = [\"@fixture\", \"http\", \"{address}\", \"--healthy-after\", \"{healthy_after}\"]\n\
         health = {{ http = \"http://{address}/\", interval = \"50ms\", start_period = \"30s\" }}\n\
         [service.app]\nexec = [\"@fixture\", \"run\"]\nrestart = {{ delay = \"20ms\", max_restarts = 1 }}\n{app}\n"
    )
}

/// Trap 11: a database that takes twenty seconds exhausts the budget. Waiting costs nothing of it: one
/// restart is all that `app` has, and the database takes far longer than that.
#[test]
fn a_start_waits_until_what_it_requires_is_ready() {
    let sandbox = Sandbox::new("");
    sandbox.configure(&database_and_app(&sandbox, 700, "requires = \"database\""));
    let daemon = sandbox.start();
    let waiting = daemon.wait_state("app", State::Waiting);
    assert_eq!(waiting.waiting_on.as_deref(), Some("database"), "{waiting:#?}");
    let reason = waiting.reason.unwrap_or_default();
    assert!(reason.starts_with("waiting for database (s"), "{reason}");
    assert_eq!((waiting.pid, waiting.generation, waiting.wanted), (None, 0, true));
    let shown = daemon.ctl(&["status", "app"]).expect(3).stdout;
    assert!(shown.contains("waiting for database") && shown.contains("requires: database"), "{shown}");
    let shown = daemon.ctl(&["status", "database"]).stdout;
    assert!(shown.contains("needed by: app"), "{shown}");

    all_up(&daemon, &["database", "app"]);
    let events = daemon.events();
    assert!(at(&events, "database", "up") < at(&events, "app", "started"), "{events:#?}");
    let app = daemon.status("app");
    assert_eq!((app.restarts, app.crash_count, app.generation, app.waiting_on), (0, 0, 1, None));
}

/// `wants` alone is no order, `after` alone starts nothing.
#[test]
fn wanting_is_not_waiting_and_after_is_not_wanting() {
    let sandbox = Sandbox::new("");
    let text = database_and_app(&sandbox, 60_000, "wants = [\"database\", \"other\"]\nafter = \"off\"");
    sandbox.configure(&format!(
        "{text}[service.other]\nexec = [\"@fixture\", \"run\"]\nenabled = false\n\
         [service.off]\nexec = [\"@fixture\", \"run\"]\nenabled = false\n"
    ));
    let daemon = sandbox.start();
    // Not enabled, but wanted by one that is.
    all_up(&daemon, &["app", "other"]);
    daemon.wait_event("the database runs", |event| {
        event.event == "started" && event.service.as_deref() == Some("database")
    });
    assert_eq!(daemon.status("database").state, State::Starting);
    assert_eq!(daemon.status("off").state, State::Down);
    let wanted = daemon.wait_event("other is wanted", |event| event.event == "wanted");
    assert_eq!((wanted.service.as_deref(), &wanted.data["by"]), (Some("other"), &json!("app")));
}

/// Five services, each of which requires the one before it, slow to end.
fn chain() -> Sandbox {
    let mut text = String::new();
    for number in 1..=5 {
        let _ =
            writeln!(text, "[service.s{number}]\nexec = [\"@fixture\", \"run\", \"--term-delay\", \"60\"]");
        if number > 1 {
            let _ = writeln!(text, "requires = [\"s{}\"]", number - 1);
        }
    }
    Sandbox::new(&text)
}

const CHAIN: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];
const BACK: [&str; 5] = ["s5", "s4", "s3", "s2", "s1"];

/// Ends mcpd as a service manager does; everything that it told.
fn end(mut daemon: Daemon<'_>) -> Vec<Event> {
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end().success());
    // What it said last may still be on its way to this test.
    daemon.wait_event("the last word", |event| event.service.is_none() && event.event == "down");
    daemon.events()
}

/// "reverse order at stop": each is gone before the next one is asked to go.
#[track_caller]
fn assert_reverse(events: &[Event]) {
    assert_eq!(order(events, "exited"), BACK);
    for pair in BACK.windows(2) {
        assert!(at(events, pair[0], "down") < at(events, pair[1], "stopping"), "{pair:?}: {events:#?}");
    }
}

#[test]
fn a_chain_stops_in_reverse_and_starts_again_in_order() {
    let sandbox = chain();
    let daemon = sandbox.start();
    all_up(&daemon, &CHAIN);
    assert_eq!(order(&daemon.events(), "started"), CHAIN);

    // A stop takes along what cannot be without it, and says so.
    done(&daemon, "stop", "s1");
    assert_reverse(&daemon.events());
    for (one, with) in [("s2", "s1"), ("s3", "s2"), ("s4", "s3"), ("s5", "s4")] {
        let status = daemon.status(one);
        assert_eq!(status.reason, Some(format!("stopped with {with}")), "{status:#?}");
        assert!(!status.wanted && status.state == State::Down, "{status:#?}");
    }

    // A start brings up what is required, and only that.
    let before = daemon.events().len();
    done(&daemon, "start", "s3");
    assert_eq!(order(&daemon.events()[before..], "started"), CHAIN[..3]);
    assert_eq!(daemon.status("s4").state, State::Down);
    assert!(daemon.list().services.iter().all(|service| service.crash_count == 0));
}

#[test]
fn the_end_of_mcpd_is_in_reverse_too() {
    let sandbox = chain();
    let daemon = sandbox.start();
    all_up(&daemon, &CHAIN);
    assert_reverse(&end(daemon));
}

/// A layer that does not end costs its own `stop_timeout`, and a second SIGTERM nobody's.
#[test]
fn who_asks_twice_for_the_end_does_not_wait_for_the_order() {
    let sandbox = Sandbox::new(
        r#"
        [service.below]
        exec = ["@fixture", "run"]
        stop_timeout = "60s"
        [service.above]
        exec = ["@fixture", "ignore-term"]
        stop_timeout = "60s"
        requires = ["below"]
        "#,
    );
    let mut daemon = sandbox.start();
    all_up(&daemon, &["below", "above"]);
    daemon.signal(Signal::TERM);
    let below = daemon.wait_state("below", State::Stopping);
    assert_eq!(below.waiting_on.as_deref(), Some("above"), "{below:#?}");
    assert!(below.pid.is_some());
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end().success());
}

/// "A dependency that is parked gives its dependants a state that says so", and they go on when it is up.
#[test]
fn a_parked_dependency_is_named_and_waited_for() {
    let sandbox = Sandbox::new(
        r#"
        [service.database]
        exec = ["@dir/program", "run"]
        restart.max_restarts = 0
        restart.delay = "10m"
        [service.app]
        exec = ["@fixture", "run"]
        requires = ["database"]
        [service.front]
        exec = ["@fixture", "run"]
        requires = ["app"]
        after = ["loose"]
        [service.loose]
        exec = ["@fixture", "run"]
        wants = ["database"]
        after = ["database"]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("database", State::Parked);
    let app = daemon.wait_status("app", "waiting for what is parked", |now| {
        now.reason.as_deref().is_some_and(|reason| reason.contains("database (parked: "))
    });
    assert_eq!((app.state, app.waiting_on.as_deref()), (State::Waiting, Some("database")));
    let front = daemon.wait_state("front", State::Waiting);
    assert_eq!(
        front.reason.as_deref(),
        Some("waiting for app (waiting for database, which is parked)"),
        "{front:#?}"
    );
    // Who only comes after it has waited long enough.
    daemon.wait_state("loose", State::Up);
    // mcpd is ready: everything has shown what becomes of it.
    daemon.wait_event("ready", |event| event.event == "ready");

    // A person's start tries again what is parked; it fails again, and the answer says why `app` is not up.
    let failed = daemon.ctl(&["start", "app"]).expect(1);
    assert!(failed.stderr.contains("waiting for database (parked:"), "{}", failed.stderr);
    assert_eq!(daemon.crashes("database").len(), 1);

    symlink(binaries::fixture(), sandbox.path("program")).unwrap();
    done(&daemon, "start", "database");
    all_up(&daemon, &["app", "front"]);
    for name in ["app", "front"] {
        let status = daemon.status(name);
        assert_eq!((status.restarts, status.generation, status.crash_count), (0, 1, 0), "{status:#?}");
    }
}

/// A crash is not a stop: who requires it stays, who is bound to it goes, and comes back with it.
#[test]
fn a_crash_takes_along_only_what_is_bound() {
    let sandbox = Sandbox::new(
        r#"
        [service.base]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        restart = { delay = "300ms", jitter = 0 }
        [service.bound]
        exec = ["@fixture", "run"]
        binds_to = ["base"]
        [service.requiring]
        exec = ["@fixture", "run"]
        requires = ["base"]
        "#,
    );
    let daemon = sandbox.start();
    all_up(&daemon, &["base", "bound", "requiring"]);
    let pid = daemon.pid_of("requiring");
    sandbox.touch("crash");
    let bound = daemon.wait_state("bound", State::Waiting);
    assert!(bound.wanted && bound.pid.is_none(), "{bound:#?}");
    let stopping = daemon.wait_event("bound stops", |event| event.event == "stopping");
    assert_eq!(stopping.message, "stopping: base, to which it is bound, is not up");
    daemon.wait_status("base", "up again", |now| now.state == State::Up && now.generation == 2);
    let bound = daemon.wait_status("bound", "up again", |now| now.state == State::Up && now.generation == 2);
    assert_eq!((bound.restarts, bound.restarts_total, bound.crash_count), (0, 0, 0), "{bound:#?}");
    assert_eq!(daemon.pid_of("requiring"), pid);
    // An explicit stop takes both.
    done(&daemon, "stop", "base");
    for name in ["bound", "requiring"] {
        assert_eq!(daemon.status(name).reason.as_deref(), Some("stopped with base"));
    }
}

/// systemd.unit(5): "When systemd stops or restarts the units listed here, the action is propagated to this unit."
#[test]
fn what_is_part_of_another_is_stopped_and_restarted_with_it() {
    let sandbox = Sandbox::new(
        r#"
        [service.whole]
        exec = ["@fixture", "run"]
        [service.part]
        exec = ["@fixture", "run"]
        part_of = ["whole"]
        [service.idle]
        exec = ["@fixture", "run"]
        part_of = ["whole"]
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    all_up(&daemon, &["whole", "part"]);
    // It goes one way only.
    done(&daemon, "restart", "part");
    assert_eq!(daemon.status("whole").generation, 1);
    done(&daemon, "restart", "whole");
    let part = daemon.wait_status("part", "restarted", |now| now.state == State::Up && now.generation == 3);
    assert_eq!(part.restarts_total, 0);
    done(&daemon, "stop", "whole");
    daemon.wait_state("part", State::Down);
    done(&daemon, "start", "whole");
    assert_eq!((daemon.status("part").state, daemon.status("idle").generation), (State::Down, 0));
}

/// A restart of what others require is a stop in reverse and a start in order.
#[test]
fn a_restart_takes_along_what_requires_it() {
    let sandbox = chain();
    let daemon = sandbox.start();
    all_up(&daemon, &CHAIN);
    let before = daemon.events().len();
    done(&daemon, "restart", "s3");
    daemon.wait_status("s5", "restarted", |now| now.state == State::Up && now.generation == 2);
    let events = daemon.events().split_off(before);
    assert_eq!(order(&events, "exited"), ["s5", "s4", "s3"]);
    assert_eq!(order(&events, "started"), ["s3", "s4", "s5"]);
    assert_eq!(daemon.status("s2").generation, 1);
}

/// "starting one stops the other, and the stop comes before the start"
#[test]
fn what_conflicts_never_runs_at_the_same_time() {
    let sandbox = Sandbox::new(
        r#"
        [service.blue]
        exec = ["@fixture", "run", "--term-delay", "200"]
        [service.green]
        exec = ["@fixture", "run"]
        conflicts = ["blue"]
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    all_up(&daemon, &["blue"]);
    done(&daemon, "start", "green");
    let blue = daemon.status("blue");
    assert_eq!(blue.reason.as_deref(), Some("stopped because it conflicts with green"), "{blue:#?}");
    // It works both ways, although only one of them says it.
    done(&daemon, "start", "blue");
    assert_eq!(daemon.status("green").state, State::Down);
    let events = daemon.events();
    let story: Vec<(String, String)> = events
        .iter()
        .filter(|event| event.event == "started" || event.event == "exited")
        .map(|event| (event.service.clone().unwrap_or_default(), event.event.clone()))
        .collect();
    let story: Vec<(&str, &str)> =
        story.iter().map(|(name, event)| (name.as_str(), event.as_str())).collect();
    assert_eq!(
        story,
        [
            ("blue", "started"),
            ("blue", "exited"),
            ("green", "started"),
            ("green", "exited"),
            ("blue", "started")
        ]
    );
}

/// "cycles are a configuration error that names the cycle", and a reload that makes one changes nothing.
#[test]
fn a_circle_is_refused_by_name() {
    let circle = "[service.a]\nexec = [\"@fixture\", \"run\"]\nrequires = [\"b\"]\n\
                  [service.b]\nexec = [\"@fixture\", \"run\"]\nafter = [\"c\"]\n\
                  [service.c]\nexec = [\"@fixture\", \"run\"]\nbinds_to = [\"a\"]\n";
    let sandbox = Sandbox::new(circle);
    let mut command = sandbox.command(&binaries::mcpd());
    command.arg("--check").arg("--config").arg(sandbox.config());
    let said = CtlOutput::of(command);
    assert_ne!(said.code, 0);
    let text = said.all();
    assert!(text.contains("wait for each other in a circle: a -> b -> c -> a"), "{text}");
    for step in ["`a` requires `b` (", "`b` is after `c` (", "`c` is bound to `a` ("] {
        assert!(text.contains(step), "{text}");
    }

    sandbox.configure(&circle.replace("after = [\"c\"]\n", ""));
    let daemon = sandbox.start();
    all_up(&daemon, &["a", "b", "c"]);
    let pids: Vec<u32> = ["a", "b", "c"].map(|name| daemon.pid_of(name)).into();
    sandbox.configure(circle);
    let refused = daemon.ctl(&["daemon", "reload"]).expect(6);
    assert!(refused.stderr.contains("a -> b -> c -> a"), "{}", refused.stderr);
    assert_eq!(pids, ["a", "b", "c"].map(|name| daemon.pid_of(name)));
}

/// A reload brings the new and what they need in order, changes relations without touching a process, and removes what
/// nobody needs any more.
#[test]
fn a_reload_keeps_the_order() {
    let sandbox = Sandbox::new("[service.app]\nexec = [\"@fixture\", \"run\"]\n");
    let daemon = sandbox.start();
    all_up(&daemon, &["app"]);
    let pid = daemon.pid_of("app");
    let address = sandbox.address();
    sandbox.configure(&format!(
        "[service.app]\nexec = [\"@fixture\", \"run\"]\nrequires = [\"zz-database\"]\n\
         [service.aa-worker]\nexec = [\"@fixture\", \"run\"]\nrequires = [\"zz-database\"]\n\
         [service.zz-database]\nexec = [\"@fixture\", \"http\", \"{address}\", \"--healthy-after\", \"300\"]\n\
         enabled = false\nhealth = {{ http = \"http://{address}/\" }}\n"
    ));
    done(&daemon, "daemon", "reload");
    // Not enabled, but required by what runs and by what is new.
    all_up(&daemon, &["aa-worker", "zz-database"]);
    let events = daemon.events();
    assert!(at(&events, "zz-database", "up") < at(&events, "aa-worker", "started"), "{events:#?}");
    assert_eq!(daemon.pid_of("app"), pid);
    sandbox.configure("[service.app]\nexec = [\"@fixture\", \"run\"]\n");
    done(&daemon, "daemon", "reload");
    daemon.wait("two are gone", || match daemon.list().services.len() {
        1 => Ok(()),
        many => Err(many.to_string()),
    });
    assert_eq!(daemon.pid_of("app"), pid);
}

/// "bounded by `[daemon] max_parallel_starts`": 50 services that take a moment to be healthy, four at a time.
#[test]
fn so_many_and_no_more_start_at_the_same_time() {
    const ALL: usize = 50;
    let mut text = String::from("max_parallel_starts = 4\n");
    let sandbox = Sandbox::new("");
    for number in 0..ALL {
        let address = sandbox.address();
        let _ = writeln!(
            text,
            "[service.s{number}]\nexec = [\"@fixture\", \"http\", \"{address}\", \"--healthy-after\", \"40\"]\n\
             health = {{ http = \"http://{address}/\", start_period = \"60s\" }}"
        );
    }
    sandbox.configure(&text);
    let daemon = sandbox.start();
    daemon.wait("all up", || {
        let up = daemon.list().services.iter().filter(|service| service.state == State::Up).count();
        if up == ALL { Ok(()) } else { Err(up.to_string()) }
    });
    let mut starting: BTreeSet<String> = BTreeSet::new();
    let mut most = 0;
    for event in daemon.events() {
        let Some(name) = event.service else { continue };
        match event.event.as_str() {
            "spawning" => drop(starting.insert(name)),
            "up" => drop(starting.remove(&name)),
            _ => {}
        }
        most = most.max(starting.len());
    }
    assert_eq!(most, 4);
}

/// "parallel start as wide as the graph allows": 500 services, all of which need one.
#[test]
fn a_wide_graph_starts_at_once_and_stops_in_reverse() {
    const LEAVES: usize = 499;
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    let mut text = format!(
        "[service.root]\nexec = [\"@fixture\", \"http\", \"{address}\", \"--healthy-after\", \"200\"]\n\
         health = {{ http = \"http://{address}/\" }}\n"
    );
    for number in 0..LEAVES {
        let _ = writeln!(text, "[service.leaf{number}]\nexec = [\"@fixture\", \"run\"]\nrequires = \"root\"");
    }
    sandbox.configure(&text);
    let mut daemon = sandbox.start();
    daemon.wait("all up", || {
        let up = daemon.list().services.iter().filter(|service| service.state == State::Up).count();
        if up == LEAVES + 1 { Ok(()) } else { Err(up.to_string()) }
    });
    let events = daemon.events();
    let root = at(&events, "root", "up");
    let first =
        events.iter().position(|one| one.event == "started" && one.service.as_deref() != Some("root"));
    assert!(first.is_some_and(|first| first > root), "{:#?}", &events[..=root]);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end().success());
    // Its own log has every word, also those that came faster than a subscriber takes them.
    let said = daemon.stderr();
    // Whoever has not come to its first line on a busy machine is ended by the signal itself.
    let ended: Vec<&str> = said.lines().filter(|line| line.contains(", as it was asked to")).collect();
    assert_eq!(ended.len(), LEAVES + 1);
    assert!(ended.last().is_some_and(|last| last.contains(" root: ")), "{ended:?}");
}

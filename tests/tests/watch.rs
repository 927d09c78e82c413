//! `[service.NAME.watch]`: what follows when files change.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::fs;
use std::path::Path;

use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::{ServiceStatus, State};
use mcpd_tests::{Daemon, Sandbox};
use serde_json::json;

/// A service that watches `src`, with more lines of `[watch]`, and what is there from the start.
fn sandbox(more: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.a.watch]
        paths = ["src"]
        debounce = "100ms"
        {more}
        "#
    ));
    fs::create_dir(sandbox.path("src")).unwrap();
    sandbox.write("src/app.py", "1");
    sandbox
}

fn wait_up<'s>(sandbox: &'s Sandbox) -> Daemon<'s> {
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_event("a watches", |event| event.event == "watching");
    daemon
}

fn named<'e>(events: &'e [Event], name: &str) -> Vec<&'e Event> {
    events.iter().filter(|event| event.event == name).collect()
}

/// Waits until the service is up in this generation.
fn wait_generation(daemon: &Daemon<'_>, generation: u64) -> ServiceStatus {
    daemon.wait_status("a", &format!("up, generation {generation}"), |status| {
        status.state == State::Up && status.generation == generation
    })
}

/// Changes the file `canary` until its restart shows that every change before it has been told; how many starts there
/// were before that.
fn starts_before_canary(daemon: &Daemon<'_>, canary: &Path) -> u64 {
    let told = |event: &Event| event.event == "files_changed" && event.message.contains("canary");
    fs::write(canary, "1").unwrap();
    daemon.wait_event("the canary's change", told);
    daemon.status("a").generation
}

#[test]
fn an_edit_restarts_without_a_crash_or_a_restart_in_the_count() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    let before = daemon.pid_of("a");
    sandbox.write("src/app.py", "2");
    let after = wait_generation(&daemon, 2);
    assert_ne!(after.pid, Some(before));
    assert_eq!((after.restarts, after.restarts_total, after.crash_count), (0, 0, 0), "{after:#?}");
    let events = daemon.events();
    let changed = named(&events, "files_changed");
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].message, "restarting: src/app.py changed");
    // The stop has the change for its cause.
    let stopping = named(&events, "stopping");
    assert_eq!(
        (stopping[0].cause, stopping[0].message.as_str()),
        (Some(changed[0].id), "stopping: files that it watches changed")
    );
    assert_eq!(after.watch.unwrap().state, "watching");
}

/// Editors write another file and rename it over the old one.
#[test]
fn a_rename_over_a_file_is_one_change() {
    let sandbox = sandbox("include = [\"**/*.py\"]");
    let daemon = wait_up(&sandbox);
    for generation in [2, 3] {
        sandbox.write("src/.app.py.tmp", "new");
        fs::rename(sandbox.path("src/.app.py.tmp"), sandbox.path("src/app.py")).unwrap();
        wait_generation(&daemon, generation);
    }
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words, ["restarting: src/app.py changed"; 2]);
}

#[test]
fn new_directories_are_watched_and_what_is_in_them_already_counts() {
    let sandbox = sandbox("include = [\"**/*.py\"]");
    let daemon = wait_up(&sandbox);
    fs::create_dir_all(sandbox.path("src/new/deep")).unwrap();
    sandbox.write("src/new/deep/a.py", "1");
    wait_generation(&daemon, 2);
    sandbox.write("src/new/deep/a.py", "2");
    wait_generation(&daemon, 3);
    let events = daemon.events();
    assert!(named(&events, "files_changed").iter().all(|event| event.message.contains("src/new/deep/a.py")));
}

#[test]
fn what_is_ignored_does_not_restart() {
    let sandbox = sandbox("ignore = [\"**/tests/**\"]");
    fs::create_dir_all(sandbox.path("src/node_modules/x")).unwrap();
    fs::create_dir_all(sandbox.path("src/tests")).unwrap();
    let daemon = wait_up(&sandbox);
    for file in ["src/tests/t.py", "src/node_modules/x/y.js", "src/.app.py.swp", "src/app.py~", "src/4913"] {
        sandbox.write(file, "1");
    }
    fs::create_dir(sandbox.path("src/__pycache__")).unwrap();
    sandbox.write("src/__pycache__/app.cpython-312.pyc", "1");
    fs::read(sandbox.path("src/app.py")).unwrap();
    let starts = starts_before_canary(&daemon, &sandbox.path("src/canary"));
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words, ["restarting: src/canary changed"]);
    assert!(starts <= 2, "{starts}");
}

/// "a burst of 10,000 changes is one restart"
#[test]
fn ten_thousand_changes_are_one_restart() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    // Longer than its pauses, on a busy machine as well.
    sandbox.configure(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.a.watch]
        paths = ["src"]
        debounce = "2s"
        "#,
    );
    daemon.call("daemon.reload", json!({}));
    for number in 0..10_000 {
        fs::write(sandbox.path(&format!("src/{number}")), "").unwrap();
    }
    wait_generation(&daemon, 2);
    // Nothing of the burst is left over: the next change is one of its own.
    starts_before_canary(&daemon, &sandbox.path("src/canary"));
    let events = daemon.events();
    let words: Vec<_> = named(&events, "files_changed").iter().map(|event| event.message.clone()).collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].ends_with("changed (and more than 999 others)"), "{words:?}");
}

/// peers.md 8.12: "Watching a directory you write to = loop: detect and suspend the watch".
#[test]
fn a_service_that_writes_into_what_it_watches_is_suspended() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/src/starts", "run"]
        [service.a.watch]
        paths = ["src"]
        debounce = "50ms"
        "#,
    );
    fs::create_dir(sandbox.path("src")).unwrap();
    let daemon = sandbox.start();
    let suspended = daemon.wait_status("a", "its watch is suspended", |status| {
        status.watch.as_ref().is_some_and(|watch| watch.state == "suspended")
    });
    assert_eq!((suspended.state, suspended.restarts, suspended.crash_count), (State::Up, 0, 0));
    let starts = sandbox.starts("src/starts").len();
    assert!((5..=6).contains(&starts), "{starts}");
    let reason = suspended.watch.unwrap().reason.unwrap();
    assert!(reason.contains("it seems to write into what it watches"), "{reason}");
    let said = daemon.wait_event("why", |event| event.event == "watch_suspended");
    assert!(said.message.contains("src/starts changed"), "{said:#?}");
    let shown = daemon.ctl(&["status", "a"]);
    assert!(shown.stdout.contains("watch suspended"), "{}", shown.stdout);
    // A person's word lifts it, and the same happens again.
    daemon.call("service.reset", json!({ "names": ["a"] }));
    assert_eq!(daemon.status("a").watch.unwrap().state, "watching");
    sandbox.write("src/file", "1");
    let before = suspended.generation;
    daemon.wait_status("a", "suspended again", |status| {
        status.generation > before && status.watch.as_ref().is_some_and(|watch| watch.state == "suspended")
    });
    // So does a reload that changes what is watched.
    sandbox.configure(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/src/starts", "run"]
        [service.a.watch]
        paths = ["src"]
        ignore = ["starts"]
        debounce = "50ms"
        "#,
    );
    daemon.call("daemon.reload", json!({}));
    let reloaded = daemon.status("a");
    assert_eq!(reloaded.watch.unwrap().state, "watching");
    daemon.wait("the new watch is in force", || {
        sandbox.write("src/file", "2");
        let status = daemon.status("a");
        if status.generation > reloaded.generation { Ok(()) } else { Err(format!("{status:#?}")) }
    });
}

#[test]
fn a_signal_instead_of_a_restart() {
    let sandbox = sandbox("action = \"signal:SIGHUP\"");
    let daemon = wait_up(&sandbox);
    let pid = daemon.pid_of("a");
    sandbox.write("src/app.py", "2");
    let told = daemon.wait_event("the signal", |event| event.event == "files_changed");
    assert_eq!(told.message, "sending SIGHUP: src/app.py changed");
    daemon.wait("the process has had it", || {
        let log = fs::read_to_string(sandbox.log_dir().join("a.log")).unwrap_or_default();
        if log.contains("signal SIGHUP") { Ok(()) } else { Err(log) }
    });
    assert_eq!(daemon.pid_of("a"), pid);
}

#[test]
fn a_directory_that_is_deleted_and_made_again() {
    let sandbox = sandbox("");
    let daemon = wait_up(&sandbox);
    fs::remove_dir_all(sandbox.path("src")).unwrap();
    wait_generation(&daemon, 2);
    fs::create_dir(sandbox.path("src")).unwrap();
    sandbox.write("src/app.py", "2");
    wait_generation(&daemon, 3);
    sandbox.write("src/app.py", "3");
    wait_generation(&daemon, 4);
}

/// The human fixed it: no waiting for the backoff, no staying parked.
#[test]
fn a_change_starts_what_waits_or_was_given_up() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exists", "@dir/src/fixed"]
        success_exit_status = [1]
        restart = { when = "always", delay = "10m", max_delay = "10m", max_restarts = 5 }
        watch = { paths = ["src"], debounce = "50ms" }
        [service.p]
        exec = ["@fixture", "exit", "78"]
        restart = { prevent_exit_status = [78] }
        watch = { paths = ["src"], debounce = "50ms" }
        "#,
    );
    fs::create_dir(sandbox.path("src")).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Backoff);
    daemon.wait_state("p", State::Parked);
    for service in ["a", "p"] {
        daemon.wait_event("it watches", |event| {
            event.event == "watching" && event.service.as_deref() == Some(service)
        });
    }
    sandbox.write("src/fixed", "1");
    for service in ["a", "p"] {
        daemon.wait_event("it starts", |event| {
            event.service.as_deref() == Some(service) && event.message == "starting: src/fixed changed"
        });
        daemon.wait_status(service, "a second start", |status| status.generation >= 2);
    }
    daemon.wait_state("p", State::Parked);
    // A stop is a stop.
    daemon.call("service.stop", json!({ "names": ["p", "a"] }));
    sandbox.write("src/fixed", "2");
    sandbox.write("src/fixed", "3");
    assert_eq!(daemon.status("p").state, State::Down);
}

//! `mcpctl why`: with real services in every state that a person asks about.

use mcpd_tests::proto::status::State;
use mcpd_tests::{Daemon, Sandbox};
use serde_json::Value;

fn why(daemon: &Daemon<'_>, name: &str) -> Value {
    daemon.ctl(&["why", name, "--json"]).expect(0).json()
}

/// The events that led there, oldest first.
fn chain(why: &Value) -> Vec<&str> {
    why["chain"].as_array().unwrap().iter().map(|link| link["event"].as_str().unwrap()).collect()
}

fn commands(why: &Value) -> Vec<&str> {
    why["advice"].as_array().unwrap().iter().filter_map(|advice| advice["command"].as_str()).collect()
}

#[track_caller]
fn is(daemon: &Daemon<'_>, name: &str, condition: &str) -> Value {
    let why = why(daemon, name);
    assert_eq!(why["condition"], condition, "{why:#}");
    // What a person sees has the same sentence and every command.
    let text = daemon.ctl(&["why", name]).expect(0).all();
    assert!(text.starts_with('●') && text.contains("What mcpd does next:"), "{text}");
    for command in commands(&why) {
        assert!(text.contains(command), "{command}: {text}");
    }
    why
}

/// "the chain of causes that led there (crash -> backoff -> failed start -> parked), what mcpd will do next and when, and what the
/// person can do, with the exact command"
#[test]
fn a_parked_one_is_told_from_its_first_failure_on() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "echo 'KeyError: 7' >&2; exit 1"]
        restart = { delay = "10ms", jitter = 0, max_restarts = 2 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    let why = is(&daemon, "a", "parked");
    let chain = chain(&why);
    assert_eq!(chain.last(), Some(&"parked"), "{why:#}");
    assert_eq!(chain.iter().filter(|event| **event == "crash").count(), 3, "{why:#}");
    assert_eq!(chain.iter().filter(|event| **event == "backoff").count(), 2, "{why:#}");
    let last = why["chain"].as_array().unwrap().iter().rev().nth(1).unwrap();
    assert!(last["message"].as_str().unwrap().contains("KeyError: 7"), "{why:#}");
    assert_eq!(why["group"]["count"], 3, "{why:#}");
    let show = format!("mcpctl crashes show {}", daemon.crashes("a")[0].id);
    assert_eq!(commands(&why), [show.as_str(), "mcpctl start a"]);
    // The commands do what they say.
    let shown = daemon.ctl(&["crashes", "show", &daemon.crashes("a")[0].id]).expect(0).all();
    assert!(shown.contains("KeyError: 7"), "{shown}");
}

/// "It works for every state, including waiting for a dependency, unhealthy, flapping, parked, stale, disabled, never started, and
/// \"all is well\"."
#[test]
fn every_state_has_its_words() {
    let sandbox = Sandbox::new(
        r#"
        [service.well]
        exec = ["@fixture", "run"]
        [service.plain]
        exec = ["@fixture", "run"]
        [service.idle]
        exec = ["@fixture", "run"]
        enabled = false
        [service.missing]
        exec = ["/no/such/program"]
        [service.waits]
        exec = ["@fixture", "run"]
        requires = ["between"]
        after = ["between"]
        [service.between]
        exec = ["@fixture", "run"]
        requires = ["missing"]
        after = ["missing"]
        [service.sick]
        exec = ["@fixture", "run"]
        health = { exec = ["/bin/false"], interval = "50ms", start_period = "0s", retries = 2, action = "report" }
        [service.backoff]
        exec = ["/bin/sh", "-c", "exit 3"]
        restart = { delay = "1h", max_delay = "1h", jitter = 0 }
        [service.done]
        exec = ["/bin/true"]
        restart = { when = "on-failure" }
        [service.failed]
        exec = ["/bin/sh", "-c", "exit 3"]
        restart = { when = "never" }
        [service.slow]
        exec = ["@fixture", "run"]
        ready = { tcp = "127.0.0.1:1" }
        start_timeout = "1h"
        [service.loop]
        exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
        restart = { delay = "10ms", jitter = 0, max_restarts = 0 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("well", State::Up);
    daemon.wait_state("plain", State::Up);
    let well = is(&daemon, "well", "well");
    assert_eq!(commands(&well), Vec::<&str>::new());
    assert_eq!(chain(&well).last(), Some(&"started"), "{well:#}");

    let idle = is(&daemon, "idle", "disabled");
    assert_eq!(commands(&idle), ["mcpctl start idle", "mcpctl daemon reload"]);

    is(&daemon, "missing", "parked");
    daemon.wait_state("waits", State::Waiting);
    let waits = is(&daemon, "waits", "waiting");
    let names: Vec<&str> = waits["waits_for"]
        .as_array()
        .unwrap()
        .iter()
        .map(|other| other["service"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["between", "missing"]);
    assert_eq!(commands(&waits)[0], "mcpctl why missing");

    daemon.wait_event("sick", |event| event.event == "unhealthy");
    is(&daemon, "sick", "unhealthy");
    daemon.wait_state("backoff", State::Backoff);
    let backoff = is(&daemon, "backoff", "failing");
    assert_eq!(backoff["next"]["what"], "start", "{backoff:#}");
    assert!(commands(&backoff).contains(&"mcpctl restart backoff"));
    daemon.wait_status("done", "it has ended", |status| status.reason_code.as_deref() == Some("finished"));
    is(&daemon, "done", "finished");
    daemon.wait_status("failed", "it has failed", |status| status.reason_code.as_deref() == Some("failed"));
    is(&daemon, "failed", "failed");
    daemon.wait_state("slow", State::Starting);
    is(&daemon, "slow", "starting");

    for crash in 1..=5 {
        daemon.wait_state("loop", State::Up);
        sandbox.touch("crash");
        daemon.wait_crashes("loop", crash);
    }
    daemon.wait_status("loop", "it flaps", |status| status.flapping.is_some());
    let flapping = is(&daemon, "loop", "flapping");
    assert_eq!(commands(&flapping)[0], "mcpctl crashes loop --groups");

    let _ = daemon.ctl(&["stop", "well"]).expect(0);
    let stopped = is(&daemon, "well", "stopped");
    assert_eq!(chain(&stopped)[0], "asked", "{stopped:#}");
    // A key that waits for the next start.
    sandbox.configure("[service.plain]\nexec = [\"@fixture\", \"run\"]\nenvironment = { A = \"1\" }");
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    let stale = is(&daemon, "plain", "stale");
    assert_eq!(commands(&stale), ["mcpctl restart plain"]);
    let _ = daemon.ctl(&["why", "well"]).expect(5);
}

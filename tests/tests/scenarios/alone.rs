//! A daemon that goes on without its keeper, and the mcpd that takes over from it.

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

const SERVICES: &str = r#"
    [service.a]
    exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
    restart = { delay = "20ms", jitter = 0 }
    [service.counts]
    exec = ["sh", "-c", "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.002; done"]
    [service.quiet]
    exec = ["@fixture", "crash-on", "@dir/end", "--code", "5"]
    restart.when = "never"
"#;

fn sandbox(key: &str) -> Sandbox {
    Sandbox::new(&format!("{key}\n{SERVICES}"))
}

fn status(daemon: &Daemon<'_>) -> Value {
    daemon.call("daemon.status", json!({}))
}

fn pids(daemon: &Daemon<'_>) -> [Option<u32>; 3] {
    ["a", "counts", "quiet"].map(|name| daemon.wait_state(name, State::Up).pid)
}

/// Every line of `counts` is there once, in order.
fn audit(sandbox: &Sandbox) {
    let text = std::fs::read_to_string(sandbox.log_dir().join("counts.log")).unwrap();
    assert!(text.lines().count() > 10);
    for (number, line) in (1..).zip(text.lines()) {
        assert!(line.ends_with(&format!(" out {number}")), "{number}: {line}");
    }
}

/// What the daemon that has lost its keeper does, and the next mcpd; it has the same services in the end.
fn goes_on_and_is_taken_over_from(sandbox: &Sandbox, first: Daemon<'_>, own: u32, before: [Option<u32>; 3]) {
    wait_for("a daemon alone", || status(&first)["keeper"].is_null());
    assert_eq!(status(&first)["pid"], own);
    assert_eq!(pids(&first), before);
    // It supervises as ever.
    sandbox.touch("crash");
    first.wait_crashes("a", 1);
    let now = first.wait_state("a", State::Up);
    assert_eq!(now.restarts_total, 1);
    let before = pids(&first);
    first.forget();

    let next = sandbox.start();
    // Until that has taken over the other one answers.
    wait_for("the next mcpd", || {
        let asked = next.try_call("daemon.status", json!({}));
        asked.is_ok_and(|status| status["keeper"]["pid"] == next.main_pid())
    });
    assert!(!processes::lives(own), "it has made way");
    assert_eq!(pids(&next), before);
    assert_eq!(next.status("a").restarts_total, 1);
    let own = u32::try_from(status(&next)["pid"].as_u64().unwrap()).unwrap();
    assert!(!next.stderr().contains("left by an earlier life"), "{}", next.stderr());
    let told = next.call("event.list", json!({ "events": ["upgrading"], "last": 10 }));
    assert_eq!(told["events"].as_array().unwrap().len(), 1, "{told}");
    // Of their ends is heard, although they are nobody's children here; how they ended only a kernel tells that remembers.
    sandbox.touch("end");
    next.wait_status("quiet", "its end", |now| now.state != State::Up);
    let told = next.call("event.list", json!({ "events": ["exited"], "last": 100 }));
    let ended = told["events"].as_array().unwrap().iter().find(|event| event["service"] == "quiet").unwrap();
    let code = &ended["data"]["exit_code"];
    assert!(*code == 5 || code.is_null(), "{ended}");
    sandbox.touch("crash");
    next.wait_crashes("a", 2);
    next.wait_status("a", "another process", |now| now.state == State::Up && now.pid != before[0]);
    // A daemon that dies now is replaced as ever, and its services are its keeper's again.
    processes::signal(own, Signal::KILL);
    wait_for("the next one", || {
        next.try_call("daemon.status", json!({})).is_ok_and(|status| status["pid"] != own)
    });
    assert_eq!(next.wait_state("counts", State::Up).pid, before[1]);
    next.call("service.stop", json!({ "names": ["counts"] }));
    audit(sandbox);
    next.call("daemon.shutdown", json!({}));
    next.forget();
}

/// "kill -9 of the keeper itself: services get what `[daemon] on_keeper_death = "stop" | "leave"` says; on "leave", the next mcpd
/// adopts them by pid, start time and boot id."
#[test]
fn a_daemon_whose_keeper_is_killed_may_go_on() {
    let sandbox = sandbox("on_keeper_death = \"leave\"");
    let daemon = sandbox.start();
    let (own, before) = (daemon.pid(), pids(&daemon));
    processes::signal(daemon.main_pid(), Signal::KILL);
    goes_on_and_is_taken_over_from(&sandbox, daemon, own, before);
}

/// "`systemctl restart mcpd` keeps or stops services as `[daemon] on_stop` says".
#[test]
fn a_signal_that_ends_mcpd_may_keep_its_services() {
    let sandbox = sandbox("on_stop = \"keep\"");
    let daemon = sandbox.start();
    let (own, before) = (daemon.pid(), pids(&daemon));
    processes::signal(daemon.main_pid(), Signal::TERM);
    goes_on_and_is_taken_over_from(&sandbox, daemon, own, before);
}

/// One that is alone and is told to end ends everything: there is nobody to leave it to.
#[test]
fn a_daemon_alone_that_is_told_to_end_stops_everything() {
    let sandbox = sandbox("on_stop = \"keep\"");
    let daemon = sandbox.start();
    let (own, before) = (daemon.pid(), pids(&daemon));
    processes::signal(daemon.main_pid(), Signal::TERM);
    wait_for("a daemon alone", || status(&daemon)["keeper"].is_null());
    processes::signal(own, Signal::TERM);
    wait_for("the end of all", || !processes::lives(own));
    assert!(before.iter().flatten().all(|&pid| !processes::lives(pid)), "{before:?}");
    assert!(daemon.stderr().contains("everything is down"), "{}", daemon.stderr());
    daemon.forget();
}

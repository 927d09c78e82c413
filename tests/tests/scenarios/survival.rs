//! mcpd dies, and what does not: its socket, its locks, its services' supervision.

use mcpd_tests::proto::status::State;
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
        processes::signal(last, Signal::KILL);
        // Not one of them is refused, whoever takes it in.
        let now = daemon_pid_after(&daemon, last);
        assert_eq!(identity(), socket, "{time}");
        last = now;
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

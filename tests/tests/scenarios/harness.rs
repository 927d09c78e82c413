//! The harness notices what it promises to notice. No daemon here.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::time::Duration;

use mcpd_tests::wait::{wait_for, wait_until};
use mcpd_tests::{CtlOutput, Sandbox, binaries, processes};

#[test]
fn what_is_left_behind_is_found_and_killed() {
    let sandbox = Sandbox::new("");
    let other = Sandbox::new("");
    let mut command = sandbox.command(&binaries::fixture());
    command.args(["tree", "2", "--deaf"]).stdout(Stdio::piped());
    let mut leader = command.spawn().unwrap();
    wait_for("the whole tree", || processes::marked(sandbox.mark()).len() == 5);
    assert!(processes::marked(other.mark()).is_empty());
    assert!(processes::children(leader.id()).len() == 2 && processes::lives(leader.id()));
    assert_eq!(processes::kill_marked(sandbox.mark()).len(), 5);
    // Dead and not waited for: there, but not alive.
    wait_for("a zombie", || processes::process(leader.id()).is_some_and(|process| process.state == 'Z'));
    assert!(!processes::lives(leader.id()) && processes::exists(leader.id()));
    leader.wait().unwrap();
    assert!(!processes::exists(leader.id()));
    // The last of them closed the pipe.
    leader.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_wait_ends_and_tells_what_it_saw() {
    let waited = catch_unwind(AssertUnwindSafe(|| {
        wait_until(Duration::from_millis(30), "the impossible", || Err::<(), _>("still 7"));
    }));
    let said = *waited.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("the impossible") && said.contains("still 7"), "{said}");
}

#[test]
fn addresses_are_never_given_twice() {
    let (one, other) = (Sandbox::new(""), Sandbox::new(""));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        assert!(seen.insert(one.address()) && seen.insert(other.address()));
    }
    assert!(seen.iter().all(|address| address.ip().is_loopback()));
    assert!(one.socket().as_os_str().len() < 100, "a Unix socket's path ends at 107 bytes");
}

#[test]
fn a_command_with_much_to_say_is_heard_to_the_end() {
    let sandbox = Sandbox::new("");
    let mut command = sandbox.command(&binaries::fixture());
    command.args(["flood", "3000000", "--exit", "3"]);
    let said = CtlOutput::of(command).expect(3);
    assert!(said.raw.len() >= 3_000_000);
}

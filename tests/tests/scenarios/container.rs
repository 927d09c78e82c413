//! mcpd as process 1 of a container: a pid namespace of its own, with its own `/proc`.

use std::process::{Command, Stdio};

use mcpd_tests::proto::client::Client;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use rustix::process::Signal;
use serde_json::json;

const NAMESPACE: [&str; 4] = ["--pid", "--mount-proc", "--fork", "--kill-child"];

/// Whether this user may make one; if not, that is said.
fn may() -> bool {
    let tried = Command::new("unshare").args(NAMESPACE).arg("true").stderr(Stdio::null()).status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        // Past the capture of a test's output: a skipped test passes, and that has to be seen.
        let line = b"SKIPPED: no pid namespace for this user: mcpd as process 1 is not tested\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
    }
    may
}

/// `mcpd run` in a namespace of its own: what stands for the container's runtime, and process 1 as seen from outside.
fn start<'s>(sandbox: &'s Sandbox) -> (Daemon<'s>, u32) {
    let daemon = Daemon::start(sandbox, |command| {
        let mut own = sandbox.command("unshare".as_ref());
        own.args(NAMESPACE).arg(binaries::mcpd()).arg("run").args(command.get_args());
        let append =
            |name| std::fs::File::options().append(true).create(true).open(sandbox.path(name)).unwrap();
        own.stdout(append("mcpd.out")).stderr(append("mcpd.err"));
        *command = own;
    });
    let first = processes::children(daemon.main_pid());
    assert_eq!(first.len(), 1, "{first:?}");
    let pid = first[0].pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    assert_eq!(own.split_whitespace().next_back(), Some("1"), "{status}");
    (daemon, pid)
}

/// Everything below a process, itself included: name, pid, whether it is a zombie.
fn tree(root: u32) -> Vec<(String, u32, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{root}/stat")).unwrap_or_default();
    let Some((name, rest)) = stat.rsplit_once(')') else { return Vec::new() };
    let mut all = vec![(name.to_owned(), root, rest.trim_start().starts_with('Z'))];
    for child in processes::children(root) {
        all.extend(tree(child.pid));
    }
    all
}

/// "As pid 1 of a container (`mcpd run`): reaps zombies, forwards signals, exits with the right code."
#[test]
fn the_first_process_of_a_container() {
    if !may() {
        return;
    }
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.orphans]
        # Each leaves a process behind that ends later, in a session of its own: it falls to whoever is next above.
        exec = ["sh", "-c", "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.2; exit 4' &); done; echo left; exec sleep 1000"]
        "#,
    );
    let (mut daemon, first) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    daemon.wait_status("orphans", "its children", |now| now.log_tail.iter().any(|line| line.text == "left"));
    let zombies = || tree(first).into_iter().filter(|(_, _, zombie)| *zombie).count();
    let gone = || !tree(first).iter().any(|(name, ..)| name.ends_with("setsid") || name.ends_with("(sh"));
    wait_for("the orphans' ends", || gone() && zombies() == 0);

    // Somebody enters the container (docker exec) and leaves a process: that falls to process 1 itself.
    let enter = |what: &str| {
        let pid = first.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--pid", "--mount", "sh", "-c", what]).status().unwrap()
    };
    assert!(enter("setsid sh -c 'sleep 0.1; exit 3' >/dev/null 2>&1 &").success());
    wait_for("no zombie", || gone() && zombies() == 0);

    // The daemon dies; what runs goes on, and is not left to nobody.
    let before = daemon.status("a");
    let own = processes::children(first).into_iter().find(|child| child.name == "mcpd").unwrap();
    processes::signal(own.pid, Signal::KILL);
    wait_for("another daemon", || {
        Client::connect(&sandbox.socket()).is_ok()
            && processes::children(first).iter().any(|child| child.name == "mcpd" && child.pid != own.pid)
    });
    let after = daemon.wait_state("a", State::Up);
    assert_eq!((after.pid, after.restarts_total), (before.pid, 0));
    wait_for("no zombie", || zombies() == 0);

    // A signal that is no end reaches the daemon: SIGHUP reloads.
    sandbox.write(
        "mcpd.toml",
        &std::fs::read_to_string(sandbox.config()).unwrap().replace("sleep 1000", "sleep 1001"),
    );
    processes::signal(first, Signal::HUP);
    daemon.wait("a reload", || {
        let told = daemon.call("event.list", json!({ "events": ["reload"], "last": 1 }));
        if told["events"].as_array().is_some_and(|events| !events.is_empty()) {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });

    // What stops a container stops what runs in it, in order, and then itself.
    processes::signal(first, Signal::TERM);
    assert_eq!(daemon.wait_end().code(), Some(0), "{}", daemon.stderr());
    assert!(daemon.stderr().contains("everything is down: the end"), "{}", daemon.stderr());
}

/// Nothing outlives process 1: to keep services would be to have the kernel kill them.
#[test]
fn in_a_container_nothing_is_kept() {
    if !may() {
        return;
    }
    let sandbox = Sandbox::new("on_stop = \"keep\"\n[service.a]\nexec = ['@fixture', 'run']\n");
    let (mut daemon, first) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    processes::signal(first, Signal::TERM);
    assert_eq!(daemon.wait_end().code(), Some(0));
    assert!(
        daemon.stderr().contains("a: exited") && daemon.stderr().contains("everything is down"),
        "{}",
        daemon.stderr()
    );
}

#[test]
fn a_container_ends_with_the_code_of_its_mcpd() {
    if !may() {
        return;
    }
    let sandbox = Sandbox::new("[service.a]\nexec = ['@fixture', 'run']\nexce = 1\n");
    let mut command = sandbox.command("unshare".as_ref());
    command.args(NAMESPACE).arg(binaries::mcpd()).args(["run", "--config"]).arg(sandbox.config());
    // The configuration is invalid.
    assert_eq!(command.status().unwrap().code(), Some(6));
    // Killed is not ended in order, and what waits for the container sees that.
    let sandbox = Sandbox::new("[service.a]\nexec = ['@fixture', 'run']\n");
    let (mut daemon, first) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    assert_eq!(daemon.call("daemon.status", json!({}))["keeper"]["pid"], 1);
    processes::signal(first, Signal::KILL);
    assert_ne!(daemon.wait_end().code(), Some(0));
    // The namespace takes everything along.
    let _ = processes::kill_marked(sandbox.mark());
    daemon.forget();
}

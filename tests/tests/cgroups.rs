//! Where mcpd may have cgroups, each run has one, and nothing leaves it. Without them these scenarios say that they are
//! skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mcpd_tests::proto::status::{DaemonStatus, State, Tree};
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use serde_json::json;

/// The daemon's part of the tree; `None`, said aloud: it has none on this machine.
fn base(daemon: &Daemon<'_>) -> Option<PathBuf> {
    let status: DaemonStatus = serde_json::from_value(daemon.call("daemon.status", json!({}))).unwrap();
    let Some(path) = status.cgroup else {
        assert_eq!(status.tree, Tree::Session);
        // Past the capture of a test's output: a skipped test passes, and that has to be seen.
        let why = status.cgroup_missing.unwrap();
        let _ = std::io::stderr().write_all(format!("SKIPPED: no cgroups here: {why}\n").as_bytes());
        return None;
    };
    assert_eq!((status.tree, status.cgroup_missing), (Tree::Cgroup, None));
    Some(path.into())
}

fn cgroup(daemon: &Daemon<'_>, name: &str) -> PathBuf {
    let status = daemon.status(name);
    assert_eq!(status.tree, Some(Tree::Cgroup), "{status:#?}");
    status.cgroup.unwrap().into()
}

fn members(cgroup: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// The runs that have a cgroup below this.
fn runs(base: &Path) -> Vec<String> {
    let entries = base.read_dir().into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.contains('@')).collect()
}

fn done(daemon: &Daemon<'_>, verb: &str, name: &str) {
    let outcomes = daemon.call(&format!("service.{verb}"), json!({ "names": [name] }));
    assert_eq!(outcomes["outcomes"][0]["ok"], true, "{outcomes:#}");
}

/// A double fork with a session of its own and an environment without any mark: nothing but the cgroup knows it. Its
/// pid is in the file.
const ESCAPE: &str = r#"
    [service.escape]
    exec = ["/bin/sh", "-c", "( env -i setsid /bin/sh -c 'echo $$$$ > @dir/away; exec @fixture ignore-term' & ) ; exec @fixture run"]
    stop_timeout = "200ms"
"#;

fn escaped(sandbox: &Sandbox) -> u32 {
    wait_for_file(&sandbox.path("away")).trim().parse().unwrap()
}

/// "a cgroup v2 of its own where mcpd has a delegated subtree". Trap 8 of docs/traps.md: nothing of it starts outside.
#[test]
fn each_run_has_a_cgroup_of_its_own_and_none_is_left() {
    let sandbox = Sandbox::new(
        "[service.\"a.b@c:d\"]\nexec = [\"@fixture\", \"tree\", \"2\"]\n[service.two]\nexec = [\"@fixture\", \"run\"]\n",
    );
    let daemon = sandbox.start();
    let Some(base) = base(&daemon) else { return };
    let name = "a.b@c:d";
    daemon.wait_state(name, State::Up);
    daemon.wait_state("two", State::Up);
    let (one, two) = (cgroup(&daemon, name), cgroup(&daemon, "two"));
    wait_for("the whole tree", || members(&one).len() == 5);
    assert_eq!(members(&two), [daemon.pid_of("two")]);
    assert!(one.parent() == Some(&base) && one != two);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid())).unwrap();
    assert!(own.lines().any(|line| line.starts_with("0::") && line.ends_with("/daemon")), "{own}");

    done(&daemon, "restart", name);
    let next = cgroup(&daemon, name);
    assert!(next != one);
    // Removed off the loop.
    wait_for("the first run's cgroup to go", || !one.exists());
    done(&daemon, "stop", name);
    wait_for("the second run's cgroup to go", || !next.exists());
    assert_eq!(daemon.status(name).cgroup, None);
    assert_eq!(runs(&base).len(), 1);
    let text = daemon.ctl(&["daemon", "status"]).stdout;
    assert!(text.contains("a cgroup each"), "{text}");
    let text = daemon.ctl(&["status", "two"]).stdout;
    assert!(text.contains("cgroup"), "{text}");
    assert!(daemon.stop().success());
    assert!(!base.exists(), "{} is left", base.display());
}

/// What a stop leaves is not there any more, however it got away; `cgroup.kill` for what hears nothing.
#[test]
fn what_only_the_cgroup_knows_is_ended() {
    let sandbox = Sandbox::new(ESCAPE);
    let daemon = sandbox.start();
    let Some(base) = base(&daemon) else { return };
    let away = escaped(&sandbox);
    done(&daemon, "stop", "escape");
    assert!(!processes::lives(away));
    sandbox.remove("away");
    done(&daemon, "start", "escape");
    let away = escaped(&sandbox);
    assert!(daemon.stop().success());
    assert!(!processes::lives(away) && !base.exists());
}

/// Whose end brings mcpd no SIGCHLD is heard of by the cgroup's population: it was put there from outside.
#[test]
fn an_empty_cgroup_is_heard_of() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\nstop_timeout = \"1h\"\n");
    let daemon = sandbox.start();
    if base(&daemon).is_none() {
        return;
    }
    daemon.wait_state("a", State::Up);
    let mut guest = sandbox.command(&binaries::fixture()).arg("run").stdout(Stdio::piped()).spawn().unwrap();
    // It says when it is ready to be asked.
    let mut out = guest.stdout.take().unwrap();
    assert!(out.read(&mut [0; 64]).unwrap() > 0);
    std::fs::write(cgroup(&daemon, "a").join("cgroup.procs"), guest.id().to_string()).unwrap();
    let reaper = std::thread::spawn(move || guest.wait().unwrap());
    let asked = Instant::now();
    done(&daemon, "stop", "a");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(reaper.join().unwrap().success(), "asked by SIGTERM, as what is left is");
}

/// Forks faster than anybody reads a list: killed as a whole.
#[test]
fn one_that_forks_all_the_time_ends() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "trap '' TERM; while :; do /bin/sh -c 'trap \"\" TERM; sleep 0.05' & sleep 0.001; done"]
        stop_timeout = "100ms"
        "#,
    );
    let daemon = sandbox.start();
    if base(&daemon).is_none() {
        return;
    }
    daemon.wait_state("a", State::Up);
    let cgroup = cgroup(&daemon, "a");
    wait_for("a crowd", || members(&cgroup).len() > 5);
    done(&daemon, "stop", "a");
    assert!(members(&cgroup).is_empty());
}

/// What a killed mcpd leaves is found in its cgroups too, and these are removed.
#[test]
fn the_cgroups_of_an_earlier_life_are_emptied_and_removed() {
    let sandbox = Sandbox::new(ESCAPE);
    let first = sandbox.start();
    let Some(base) = base(&first) else { return };
    let away = escaped(&sandbox);
    let old = runs(&base);
    assert_eq!(old.len(), 1);
    first.kill_alone();
    // Not even a record is needed.
    std::fs::remove_file(sandbox.state_dir().join("runs.jsonl")).unwrap();
    sandbox.remove("away");

    let second = sandbox.start();
    second.wait_state("escape", State::Up);
    assert!(!processes::lives(away));
    second.wait_event("what was left", |event| event.event == "leftovers");
    let now = runs(&base);
    assert!(now.len() == 1 && now != old, "{now:?} after {old:?}");
    escaped(&sandbox);
    assert!(second.stop().success());
    assert!(!base.exists());
}

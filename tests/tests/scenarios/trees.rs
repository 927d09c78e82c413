//! Whatever a service starts ends with it, and what had to be killed for that is said. With cgroups, where mcpd may
//! have some, and without.

use std::collections::BTreeSet;

use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A shell with children of its own; `npm run`: a shell below a shell below which the program is; a parent that forks
/// its workers beforehand; one that leaves its session; one that becomes a daemon in the way of old.
const SERVICES: &str = r#"
    [service.shell]
    exec = ["/bin/sh", "-c", "@fixture run & @fixture run & wait"]
    [service.npm]
    exec = ["/bin/sh", "-c", "/bin/sh -c '@fixture run; true'; true"]
    [service.preforker]
    exec = ["@fixture", "tree", "4", "--depth", "1"]
    [service.setsid]
    exec = ["/bin/sh", "-c", "setsid @fixture run & exec @fixture run"]
    [service.daemon]
    exec = ["@fixture", "fork-away", "--pid-file", "@dir/away"]
"#;
/// With so many processes each.
const KINDS: [(&str, usize); 5] = [("shell", 3), ("npm", 3), ("preforker", 5), ("setsid", 2), ("daemon", 2)];

/// Who belongs to a service, by what is in the environment of all of them.
fn of(sandbox: &Sandbox, service: &str) -> BTreeSet<u32> {
    let wanted = format!("MCPD_SERVICE={service}");
    let belongs = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    processes::marked(sandbox.mark()).into_iter().map(|process| process.pid).filter(belongs).collect()
}

fn whole(
    sandbox: &Sandbox,
    daemon: &Daemon<'_>,
    service: &str,
    count: usize,
    generation: u64,
) -> BTreeSet<u32> {
    daemon.wait_status(service, "up", |now| now.state == State::Up && now.generation == generation);
    let of = || of(sandbox, service);
    wait_for(&format!("{count} processes of {service}, start {generation}"), || of().len() == count);
    // A program that is between fork and exec counts as two things: what is there now is there to stay.
    of()
}

fn done(daemon: &Daemon<'_>, verb: &str, names: &[&str]) {
    let outcomes = daemon.call(&format!("service.{verb}"), json!({ "names": names }));
    let ok = |outcome: &Value| outcome["ok"] == true;
    assert!(outcomes["outcomes"].as_array().unwrap().iter().all(ok), "{outcomes:#}");
}

fn none_lives(of: &BTreeSet<u32>, what: &str) {
    let left: Vec<_> = of.iter().filter(|&&pid| processes::lives(pid)).collect();
    assert!(left.is_empty(), "{what}: {left:?} of {of:?}");
}

/// "npx, uvx, sh -c, npm run, gunicorn-like preforkers, a daemonising double fork: each stops with zero processes left,
/// at stop, at restart, at mcpd's end", and when its main process dies.
fn nothing_is_left(sandbox: &Sandbox, mut daemon: Daemon<'_>) {
    let all_whole =
        |generation| KINDS.map(|(service, count)| whole(sandbox, &daemon, service, count, generation));
    let names = KINDS.map(|(service, _)| service);
    let first = all_whole(1);
    done(&daemon, "stop", &names);
    for (service, of_it) in names.iter().zip(&first) {
        none_lives(of_it, &format!("{service} after a stop"));
        assert!(of(sandbox, service).is_empty(), "{service}");
    }
    done(&daemon, "start", &names);
    let second = all_whole(2);
    done(&daemon, "restart", &names);
    for (service, of_it) in names.iter().zip(&second) {
        none_lives(of_it, &format!("{service} after a restart"));
    }
    let third = all_whole(3);
    for service in names {
        processes::signal(daemon.pid_of(service), Signal::KILL);
    }
    all_whole(4);
    for (service, of_it) in names.iter().zip(&third) {
        none_lives(of_it, &format!("{service} after its main process was killed"));
    }
    let all: usize = KINDS.iter().map(|(_, count)| count).sum();
    // One that is on its way out, or between fork and exec, counts for a moment.
    wait_for("nothing but these and mcpd", || processes::marked(sandbox.mark()).len() == all + 2);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end().success());
    assert!(processes::marked(sandbox.mark()).is_empty(), "{:?}", processes::marked(sandbox.mark()));
}

#[test]
fn nothing_is_left_at_stop_at_restart_at_a_crash_and_at_the_end() {
    let sandbox = Sandbox::new(SERVICES);
    let daemon = sandbox.start();
    nothing_is_left(&sandbox, daemon);
}

#[test]
fn without_cgroups_nothing_is_left_either() {
    let sandbox = Sandbox::new(SERVICES);
    let Some(daemon) = Daemon::without_cgroups(&sandbox) else { return };
    let status = daemon.call("daemon.status", json!({}));
    assert_eq!((&status["tree"], &status["cgroup"]), (&json!("session"), &Value::Null), "{status:#}");
    nothing_is_left(&sandbox, daemon);
}

/// What takes long to die is not there any more when the next start comes: neither it nor what it holds. Its
/// environment is gone long before.
#[test]
fn the_next_start_waits_for_what_dies_slowly() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", """
            read big < @dir/big && grep -qs 'State:.[^ZX]' /proc/$big/status && echo overlap >> @dir/overlap
            setsid dd if=/dev/zero of=/dev/null bs=500M &
            echo $! > @dir/big
            exec sleep 1000"""]
        restart = { delay = "1ms", jitter = 0 }
        "#,
    );
    let Some(daemon) = Daemon::without_cgroups(&sandbox) else { return };
    daemon.wait_state("a", State::Up);
    let big = || std::fs::read_to_string(sandbox.path("big")).unwrap_or_default().trim().parse::<u32>();
    for generation in 1..=3 {
        daemon.wait_status("a", "up", |now| now.state == State::Up && now.generation == generation);
        wait_for("dd to be large", || {
            let Ok(big) = big() else { return false };
            let statm = std::fs::read_to_string(format!("/proc/{big}/statm")).unwrap_or_default();
            let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
            pages * 4096 >= 500 << 20
        });
        processes::signal(big().unwrap(), Signal::KILL);
        processes::signal(daemon.pid_of("a"), Signal::KILL);
    }
    daemon.wait_status("a", "up", |now| now.state == State::Up && now.generation == 4);
    assert!(!sandbox.path("overlap").exists(), "a start found what the last one had left");
}

fn event(daemon: &Daemon<'_>, service: &str, name: &str) -> Event {
    daemon.wait_event(&format!("{service}: {name}"), |event| {
        event.event == name && event.service.as_deref() == Some(service)
    })
}

/// The pids that an event lists, each with the fixture's name.
fn listed(event: &Event) -> BTreeSet<u32> {
    let processes = event.data["processes"].as_array().unwrap();
    assert!(processes.iter().all(|process| process["name"] == "mcpd-fixture"), "{event:#?}");
    processes.iter().map(|process| u32::try_from(process["pid"].as_u64().unwrap()).unwrap()).collect()
}

/// "After every stop mcpd verifies that nothing is left and says what had to be killed."
fn what_had_to_be_killed_is_said(sandbox: &Sandbox, daemon: &Daemon<'_>) {
    let deaf = whole(sandbox, daemon, "deaf", 5, 1);
    done(daemon, "stop", &["deaf"]);
    assert_eq!(listed(&event(daemon, "deaf", "killing")), deaf);
    let killed = event(daemon, "deaf", "killed");
    assert_eq!(listed(&killed), deaf);
    let (first, last) = (deaf.first().unwrap(), deaf.last().unwrap());
    assert!(killed.message.contains(&format!("mcpd-fixture ({first})")), "{}", killed.message);
    assert!(killed.message.contains(&format!("mcpd-fixture ({last})")), "{}", killed.message);

    // Of a crash: who outlived the main process. Those hear, and need not be killed.
    let tree = whole(sandbox, daemon, "tree", 4, 1);
    let main = daemon.pid_of("tree");
    processes::signal(main, Signal::KILL);
    let report = daemon.wait_crashes("tree", 1).remove(0);
    let left: BTreeSet<u32> = report.left_behind.iter().map(|process| process.pid).collect();
    let expected: BTreeSet<u32> = tree.iter().copied().filter(|&pid| pid != main).collect();
    assert_eq!(left, expected);
    assert!(report.killed.is_empty(), "{:?}", report.killed);
    assert_eq!(listed(&event(daemon, "tree", "leftovers")), expected);
    let text = daemon.ctl(&["crashes", "show", &report.id]).stdout;
    assert!(text.contains("left:") && text.contains("mcpd-fixture ("), "{text}");
    whole(sandbox, daemon, "tree", 4, 2);
    let killed = |event: &Event| event.event == "killed" && event.service.as_deref() == Some("tree");
    assert!(!daemon.events().iter().any(killed));
}

const DEAF: &str = r#"
    [service.deaf]
    exec = ["@fixture", "tree", "2", "--deaf"]
    stop_timeout = "200ms"
    restart.delay = "10ms"
    [service.tree]
    exec = ["@fixture", "tree", "3", "--depth", "1"]
    restart.delay = "10ms"
"#;

#[test]
fn what_had_to_be_killed_is_said_by_name() {
    let sandbox = Sandbox::new(DEAF);
    let daemon = sandbox.start();
    what_had_to_be_killed_is_said(&sandbox, &daemon);
}

#[test]
fn without_cgroups_it_is_said_as_well() {
    let sandbox = Sandbox::new(DEAF);
    let Some(daemon) = Daemon::without_cgroups(&sandbox) else { return };
    what_had_to_be_killed_is_said(&sandbox, &daemon);
}

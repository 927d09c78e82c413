//! mcpd is killed with SIGKILL and started again: what it left is ended first, and nobody else is touched.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

/// One of each: a plain program, a shell with children, a double fork with a session of its own, one that hears
/// nothing, and one with a tree.
const EVERY_KIND: &str = r#"
    [service.plain]
    exec = ["@fixture", "record", "@dir/plain", "run"]
    [service.shell]
    exec = ["/bin/sh", "-c", "@fixture record @dir/shell run & @fixture run & wait"]
    [service.away]
    exec = ["@fixture", "record", "@dir/away", "fork-away", "--pid-file", "@dir/away-pid", "--quiet"]
    [service.deaf]
    exec = ["@fixture", "record", "@dir/deaf", "ignore-term", "--children", "2"]
    stop_timeout = "300ms"
    [service.tree]
    exec = ["@fixture", "record", "@dir/tree", "tree", "3"]
"#;
const NAMES: [&str; 5] = ["plain", "shell", "away", "deaf", "tree"];
/// Processes of all kinds together: 1 + 3 + 2 + 3 + 7.
const PROCESSES: usize = 16;

/// With cgroups, where mcpd may have some, or without.
type Start = for<'s> fn(&'s Sandbox) -> Option<Daemon<'s>>;

/// The processes of a sandbox but mcpd's own.
fn services(sandbox: &Sandbox, own: [u32; 2]) -> Vec<u32> {
    let marked = processes::marked(sandbox.mark()).into_iter();
    marked.map(|process| process.pid).filter(|pid| !own.contains(pid)).collect()
}

/// It has said so, which it does once nothing of its start is under way any more.
fn ready(daemon: &Daemon<'_>, name: &str) {
    daemon.wait_status(name, "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
}

fn all_there(sandbox: &Sandbox, daemon: &Daemon<'_>) -> Vec<u32> {
    for name in NAMES {
        ready(daemon, name);
    }
    wait_for("every process", || services(sandbox, daemon.own_pids()).len() == PROCESSES);
    services(sandbox, daemon.own_pids())
}

/// What is said of leftovers, once that is said of so many services.
fn leftovers(daemon: &Daemon<'_>, services: usize) -> Vec<Event> {
    daemon.wait("what was left", || {
        let events = daemon.events().into_iter();
        let told: Vec<Event> = events.filter(|event| event.event == "leftovers").collect();
        if told.len() >= services { Ok(told) } else { Err(format!("{told:#?}")) }
    })
}

/// The pids that such events name.
fn named(events: &[Event]) -> BTreeSet<u32> {
    let listed = |event: &Event| event.data["processes"].as_array().cloned().unwrap_or_default();
    let pid = |process: &Value| u32::try_from(process["pid"].as_u64().unwrap()).unwrap();
    events.iter().flat_map(|event| listed(event).iter().map(pid).collect::<Vec<_>>()).collect()
}

/// "each stops with zero processes left ... when mcpd itself is killed with SIGKILL and started again"; trap 3 of
/// docs/traps.md: whoever adopts the orphans.
fn nothing_runs_beside_the_next(start: Start) {
    let sandbox = Sandbox::new(EVERY_KIND);
    let Some(first) = start(&sandbox) else { return };
    let old = all_there(&sandbox, &first);
    let first_pid = first.pid();
    first.kill_alone();
    assert!(old.iter().all(|&pid| processes::lives(pid)), "mcpd alone was killed");

    let second = start(&sandbox).unwrap();
    for name in NAMES {
        second.wait_state(name, State::Up);
        assert_eq!(second.status(name).generation, 1);
    }
    assert!(old.iter().all(|&pid| !processes::lives(pid)), "{old:?} are not all gone");
    let new = all_there(&sandbox, &second);
    assert!(new.iter().all(|pid| !old.contains(pid)));

    // It says which, of which life, and each before the service's own start.
    let told = leftovers(&second, NAMES.len());
    assert_eq!(told.len(), NAMES.len(), "{told:#?}");
    assert_eq!(named(&told), old.iter().copied().collect());
    for event in &told {
        assert_eq!(event.data["earlier"][0]["mcpd_pid"], first_pid, "{event:#?}");
        assert!(event.message.contains("an earlier life of mcpd"), "{}", event.message);
        assert!(event.message.contains(&format!("pid {first_pid}, ")), "{}", event.message);
        let spawning = second
            .wait_event("its start", |other| other.event == "spawning" && other.service == event.service);
        assert!(spawning.id > event.id);
    }
    // What did not hear had to be killed, and that is said; what hears was given the time to end by itself.
    let gone = |name: &str| {
        second.wait_event(&format!("{name} is free"), |event| {
            event.event == "leftovers_gone" && event.service.as_deref() == Some(name)
        })
    };
    assert_eq!(gone("deaf").data["killed"].as_array().unwrap().len(), 3);
    assert_eq!(gone("plain").data["killed"], json!([]));
    assert!(second.events().iter().any(|event| event.event == "killing"));
    // No service has two starts in one life.
    for name in NAMES {
        assert_eq!(sandbox.starts(name).len(), 2, "{name}");
    }
}

#[test]
fn nothing_of_an_earlier_life_runs_beside_the_next() {
    nothing_runs_beside_the_next(|sandbox| Some(sandbox.start()));
}

#[test]
fn nothing_runs_beside_the_next_without_cgroups_either() {
    nothing_runs_beside_the_next(|sandbox| Daemon::without_cgroups(sandbox));
}

/// Services that are gone from the configuration or not to be started are no reason to leave their processes alone.
#[test]
fn what_is_not_configured_or_not_enabled_is_ended_as_well() {
    let sandbox = Sandbox::new(EVERY_KIND);
    let first = sandbox.start();
    let old = all_there(&sandbox, &first);
    first.kill_alone();

    sandbox.configure(
        "[service.plain]\nexec = [\"@fixture\", \"run\"]\nenabled = false\n\
         [service.tree]\nexec = [\"@fixture-is-gone\"]\n",
    );
    let second = sandbox.start();
    second.wait("the end of all", || {
        let left: Vec<_> = old.iter().filter(|&&pid| processes::lives(pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    second.wait_state("plain", State::Down);
    second.wait_state("tree", State::Parked);
    let told: BTreeSet<String> =
        leftovers(&second, NAMES.len()).into_iter().filter_map(|event| event.service).collect();
    assert_eq!(told, NAMES.map(str::to_owned).into());
    // They are no services.
    second.wait("the last of them", || {
        let gone = second.events().iter().filter(|event| event.event == "leftovers_gone").count();
        if gone == NAMES.len() { Ok(()) } else { Err(format!("{gone}")) }
    });
    assert_eq!(second.list().services.len(), 2);
    assert!(second.try_call("service.start", json!({ "names": ["deaf"] })).is_err());
    // One that comes back is one like any other.
    sandbox.configure("[service.deaf]\nexec = [\"@fixture\", \"run\"]\n");
    assert_eq!(second.ctl(&["daemon", "reload"]).code, 0);
    second.wait_state("deaf", State::Up);
}

/// Runs as mcpd's service would: with a variable that says so, or without.
fn bystander(sandbox: &Sandbox, run_id: Option<&str>) -> Child {
    let mut command = sandbox.command(&binaries::fixture());
    command.arg("run");
    if let Some(run_id) = run_id {
        command.env("MCPD_RUN_ID", run_id).env("MCPD_SERVICE", "x");
    }
    command.spawn().unwrap()
}

fn start_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(19).unwrap().parse().unwrap()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

/// "recognised by pid, start time and boot id, never by pid alone": trap 2 of docs/traps.md.
#[test]
fn a_number_that_means_somebody_else_now_is_left_alone() {
    let sandbox = Sandbox::new("[service.x]\nexec = [\"@fixture\", \"run\"]\n");
    let boot = boot_id();
    let mut lines = String::new();
    let mut record = |life: &str, boot: &str, pid: u32, ticks: u64| {
        let run = json!({ "service": "x", "run_id": format!("{life}-1"), "generation": 1, "pid": pid,
            "start_ticks": ticks, "stop_signal": 15, "stop_timeout_seconds": 5.0 });
        let line =
            json!({ "schema": 1, "boot_id": boot, "life": life, "mcpd_pid": 1, "time": "then", "run": run });
        lines += &format!("{line}\n");
    };
    let mut strangers = Vec::new();
    // Another process has the number now; its children are its own.
    let reused = bystander(&sandbox, None);
    record("aa-1", &boot, reused.id(), start_ticks(reused.id()) - 1);
    strangers.push(reused);
    // The machine has started again since.
    let rebooted = bystander(&sandbox, Some("bb-1-1"));
    record("bb-1", "another-boot", rebooted.id(), start_ticks(rebooted.id()));
    strangers.push(rebooted);
    // Of another mcpd, whose life is not written down here, though its name begins alike.
    strangers.push(bystander(&sandbox, Some("aa-12-1")));
    // This one is what was written down: the same text would not end it otherwise.
    let mut ours = bystander(&sandbox, None);
    record("cc-1", &boot, ours.id(), start_ticks(ours.id()));
    // And this one only says that it is one of them.
    let mut marked = bystander(&sandbox, Some("cc-1-7"));
    std::fs::create_dir_all(sandbox.state_dir()).unwrap();
    std::fs::write(sandbox.state_dir().join("runs.jsonl"), lines + "{\"schema\":1,\"boot_id\":\"to").unwrap();

    let daemon = sandbox.start();
    daemon.wait_state("x", State::Up);
    assert_eq!(named(&leftovers(&daemon, 1)), [ours.id(), marked.id()].into());
    assert!(ours.wait().unwrap().success() && marked.wait().unwrap().success(), "asked by SIGTERM");
    for stranger in &mut strangers {
        assert!(stranger.try_wait().unwrap().is_none(), "{stranger:?}");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

/// Two daemons with directories of their own do not know each other's.
#[test]
fn another_mcpds_services_are_left_alone() {
    let [one, other] = [(); 2].map(|()| Sandbox::new("[service.x]\nexec = [\"@fixture\", \"run\"]\n"));
    let neighbour = other.start();
    neighbour.wait_state("x", State::Up);
    let theirs = neighbour.pid_of("x");
    let first = one.start();
    first.wait_state("x", State::Up);
    let ours = first.pid_of("x");
    first.kill_alone();
    let second = one.start();
    second.wait_state("x", State::Up);
    assert!(!processes::lives(ours) && processes::lives(theirs));
    assert_eq!(neighbour.status("x").generation, 1);
}

/// What is being ended is seen, can be given up waiting for, and survives another SIGKILL of mcpd in the records.
#[test]
fn while_it_ends_it_can_be_asked_and_mcpd_can_be_killed_again() {
    let sandbox = Sandbox::new(
        r#"
        [service.deaf]
        exec = ["@fixture", "ignore-term", "--children", "1"]
        stop_timeout = "1h"
        [service.other]
        exec = ["@fixture", "run"]
        "#,
    );
    let first = sandbox.start();
    wait_for("all", || services(&sandbox, first.own_pids()).len() == 3);
    for name in ["deaf", "other"] {
        first.wait_state(name, State::Up);
    }
    let old = services(&sandbox, first.own_pids());
    let other = first.pid_of("other");
    first.kill_alone();

    let second = sandbox.start();
    let status = second.wait_state("deaf", State::Stopping);
    assert!(status.reason.as_deref().is_some_and(|why| why.contains("earlier life")), "{status:#?}");
    assert_eq!(status.next.as_ref().map(|next| next.what.as_str()), Some("kill"), "{status:#?}");
    assert_eq!((status.pid, status.generation), (None, 0));
    // One that takes its time does not hold the others up.
    second.wait_state("other", State::Up);
    second.kill_alone();

    let mut third = sandbox.start();
    third.wait_state("deaf", State::Stopping);
    third.wait_state("other", State::Up);
    assert!(!processes::lives(other));
    assert_eq!(old.iter().filter(|&&pid| processes::lives(pid)).count(), 2);
    assert_eq!(leftovers(&third, 2).len(), 2);
    // A shutdown waits for it; a second one does not.
    let asked = Instant::now();
    third.signal(Signal::TERM);
    third.wait_event("the shutdown", |event| event.event == "shutting_down");
    third.signal(Signal::TERM);
    assert!(third.wait_end().success());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(services(&sandbox, third.own_pids()).is_empty());
    assert!(!sandbox.state_dir().join("runs.jsonl").exists(), "an orderly end leaves nothing to look for");
}

/// The window between the start of a process and the line about it: its environment says whose it is.
fn known_without_its_line(start: Start) {
    let sandbox = Sandbox::new(
        "[service.x]\nexec = [\"@fixture\", \"fork-away\", \"--pid-file\", \"@dir/away\", \"--quiet\"]\n",
    );
    let Some(first) = start(&sandbox) else { return };
    ready(&first, "x");
    let old = services(&sandbox, first.own_pids());
    first.kill_alone();
    let path = sandbox.state_dir().join("runs.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let (life, _) = text.split_once('\n').unwrap();
    std::fs::write(&path, format!("{life}\n")).unwrap();
    let second = start(&sandbox).unwrap();
    second.wait_state("x", State::Up);
    assert_eq!(named(&leftovers(&second, 1)), old.into_iter().collect());
}

#[test]
fn without_its_line_a_process_is_known_by_its_environment() {
    known_without_its_line(|sandbox| Daemon::without_cgroups(sandbox));
}

#[test]
fn without_its_line_a_process_is_known_by_its_cgroup_too() {
    known_without_its_line(|sandbox| Some(sandbox.start()));
}

/// It forks a successor in a new session and ends, again and again: what an earlier life left is looked for until it is
/// caught, and only then anything is started.
#[test]
fn a_runaway_of_an_earlier_life_is_caught() {
    let sandbox = Sandbox::new("");
    let hop = "#!/bin/sh\n[ -e @dir/go ] || exit\necho >> @dir/hops\nsetsid \"$0\" &\n";
    let hop = sandbox.write("hop", hop);
    std::fs::set_permissions(&hop, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sandbox.touch("go");
    sandbox.configure(
        "[service.x]\nexec = [\"/bin/sh\", \"-c\", \"[ -e @dir/hops ] || setsid @dir/hop & exec sleep 1000\"]\n\
         stop_timeout = \"100ms\"\n",
    );
    let hops = || std::fs::metadata(sandbox.path("hops")).map_or(0, |hops| hops.len());
    let Some(first) = Daemon::without_cgroups(&sandbox) else { return };
    wait_for("it to run", || hops() > 10);
    first.kill_alone();
    let second = Daemon::without_cgroups(&sandbox).unwrap();
    second.wait_state("x", State::Up);
    let after = hops();
    // A program starts, asks and ends meanwhile: ten hops and more, if any is left.
    let _ = second.ctl(&["status"]).expect(0);
    assert_eq!(hops(), after, "it runs on");
    // In the middle of exec it has no mark.
    wait_for("the new process alone", || services(&sandbox, second.own_pids()) == [second.pid_of("x")]);
    sandbox.remove("go");
}

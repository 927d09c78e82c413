//! What the cgroup of a run may use, with the effects that it has: real kills, real throttling. That takes a cgroup v2
//! with its controllers; without them these scenarios say that they are skipped. What mcpd makes of a machine that has
//! none is shown everywhere.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use mcpd_tests::proto::crash::{CrashKind, CrashReport};
use mcpd_tests::proto::plan::{Plan, StepAction};
use mcpd_tests::proto::status::{DaemonStatus, State};
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

const M: u64 = 1 << 20;

/// Set where they have to be: a scenario that is skipped has failed there.
const THERE: &str = "MCPD_TEST_CGROUP_IS_THERE";

fn skipped(why: &str) {
    assert!(std::env::var_os(THERE).is_none(), "{THERE} is set, but {why}");
    // Past the capture of a test's output: a skipped test passes, and that has to be seen.
    let _ = std::io::stderr().write_all(format!("SKIPPED: no limits of cgroups here: {why}\n").as_bytes());
}

/// The cgroup that the daemon was started in; `None`, said aloud: it has no part of the tree.
fn home(daemon: &Daemon<'_>) -> Option<PathBuf> {
    let status: DaemonStatus = serde_json::from_value(daemon.call("daemon.status", json!({}))).unwrap();
    match status.cgroup {
        Some(base) => Some(Path::new(&base).parent().unwrap().to_path_buf()),
        None => {
            skipped(&status.cgroup_missing.unwrap());
            None
        }
    }
}

/// Whether the controllers are there; says so aloud if they are not.
fn has_controllers(daemon: &Daemon<'_>) -> bool {
    has(daemon, &["cpu", "io", "memory", "pids"])
}

fn has(daemon: &Daemon<'_>, controllers: &[&str]) -> bool {
    let Some(home) = home(daemon) else { return false };
    let there = read(&home, "cgroup.controllers");
    let missing = controllers.iter().find(|name| !there.split(' ').any(|one| one == **name));
    if let Some(missing) = missing {
        skipped(&format!("{} has no controller {missing}", home.display()));
    }
    missing.is_none()
}

fn cgroup(daemon: &Daemon<'_>, name: &str) -> PathBuf {
    let status = daemon.wait_status(name, "a run in a cgroup", |status| status.cgroup.is_some());
    status.cgroup.unwrap().into()
}

fn read(cgroup: &Path, file: &str) -> String {
    let text = fs::read_to_string(cgroup.join(file));
    text.unwrap_or_else(|error| panic!("{}/{file}: {error}", cgroup.display())).trim().to_owned()
}

/// A number from a file of lines `KEY NUMBER`; 0 when it is not there.
fn counter(cgroup: &Path, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or(0)
}

fn reload(daemon: &Daemon<'_>, services: &str) {
    daemon.sandbox().configure(services);
    daemon.call("daemon.reload", json!({}));
}

fn plan(daemon: &Daemon<'_>, services: &str) -> Plan {
    daemon.sandbox().configure(services);
    serde_json::from_value(daemon.call("config.plan", json!({}))).unwrap()
}

/// A cgroup for a daemon of a scenario's own, which is gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn set(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    /// As the daemon found it: nothing is handed down and nobody is below.
    #[track_caller]
    fn is_as_it_was(&self) {
        assert_eq!(read(&self.0, "cgroup.subtree_control"), "");
        let below = self.0.read_dir().unwrap().flatten().filter(|entry| entry.path().is_dir());
        assert_eq!(below.count(), 0, "something is left below {}", self.0.display());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

// ---- memory

fn oom(report: &CrashReport, limit: &str) {
    assert_eq!(report.kind, CrashKind::Oom, "{report:#?}");
    let sentence = format!("killed by the kernel for exceeding memory_max = {limit} (peak ");
    assert!(report.reason.starts_with(&sentence) && report.reason.contains("), after "), "{}", report.reason);
}

/// "OOM kills recognised from memory.events and reported as kind `oom` with limit and peak", and restarted by policy.
#[test]
fn over_its_memory_max_it_is_killed_reported_and_restarted() {
    let sandbox = Sandbox::new(
        r#"
        [service.leak]
        exec = ["@fixture", "leak", "400"]
        resources.memory_max = "40M"
        restart = { when = "on-abnormal", delay = "10ms", max_restarts = 1 }
        [service.hang]
        exec = ["@fixture", "leak", "400"]
        resources.memory_max = "40M"
        restart = { when = "on-watchdog", delay = "10ms" }
        [service.well]
        exec = ["@fixture", "run"]
        resources.memory_max = "infinity"
        "#,
    );
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    let parked = daemon.wait_state("leak", State::Parked);
    assert_eq!((parked.generation, parked.restarts_total, parked.crash_count), (2, 1, 2), "{parked:#?}");
    for (report, decision) in daemon.reports("leak").iter().zip(["restart", "park"]) {
        oom(report, "40M");
        assert_eq!((report.signal.as_deref(), report.restart.decision.as_str()), (Some("SIGKILL"), decision));
        let used = &report.resources;
        let peak = used.memory_peak.unwrap();
        assert!(peak > 30 * M && peak <= 40 * M, "{peak}");
        // A process that goes with its cgroup counts twice in some kernels.
        assert!(used.oom_kills.unwrap() >= 1 && used.cpu_seconds.unwrap() > 0.0, "{used:?}");
    }
    let shown = daemon.ctl(&["crashes", "leak", "--last", "1"]).expect(0);
    assert!(
        shown.stdout.contains("oom") && shown.stdout.contains("memory_max = 40M (peak 40.0M)"),
        "{shown:?}"
    );
    // As systemd's oom-kill: no hang.
    let down = daemon.wait_status("hang", "its end", |status| status.state == State::Down);
    let reason = down.reason.unwrap();
    assert!(reason.contains("for exceeding memory_max") && reason.contains("restart.when"), "{reason}");
    assert_eq!(daemon.status("well").crash_count, 0);
}

/// "with oom.group": the whole run goes, and that is one report.
#[test]
fn the_kernel_takes_the_whole_run() {
    let sandbox = Sandbox::new(
        r#"
        [service.tree]
        exec = ["/bin/sh", "-c", """
            @fixture tree 1 --pid-file @dir/pids --deaf &
            until [ -e @dir/go ]; do sleep 0.05; done
            @fixture leak 400; echo outlived; exec sleep 1000"""]
        resources.memory_max = "64M"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    daemon.wait_state("tree", State::Up);
    let cgroup = cgroup(&daemon, "tree");
    assert_eq!(read(&cgroup, "memory.oom.group"), "1");
    wait_for("three processes beside the shell", || {
        fs::read_to_string(sandbox.path("pids")).is_ok_and(|text| text.lines().count() == 3)
    });
    sandbox.touch("go");
    daemon.wait_status("tree", "its end", |status| status.state == State::Down);
    let reports = daemon.reports("tree");
    let [report] = reports.as_slice() else { panic!("{reports:#?}") };
    oom(report, "64M");
    // The shell, the three that were not asked for and the one that was.
    assert!(report.resources.oom_kills.unwrap() >= 4, "{:?}", report.resources);
    assert!(report.killed.is_empty(), "mcpd killed nothing: {:?}", report.killed);
    assert!(report.stdout_tail.iter().all(|line| line.text != "outlived"), "{:#?}", report.stdout_tail);
    let pids = fs::read_to_string(sandbox.path("pids")).unwrap();
    assert!(pids.lines().all(|pid| !processes::lives(pid.parse().unwrap())), "{pids}");
    wait_for("its cgroup to go", || !cgroup.exists());
}

/// A limit that was not the service's own is said to be so. What mcpd's own cgroup has is all that there is.
#[test]
fn a_limit_above_its_own_is_named() {
    let sandbox = Sandbox::new("");
    let first = sandbox.start();
    if !has_controllers(&first) {
        return;
    }
    let place = Place::new(home(&first).unwrap().join(format!("above-{}", sandbox.mark())));
    assert!(first.stop().success());
    place.set("memory.max", &(160 * M).to_string());
    sandbox.configure(
        r#"
        [service.leak]
        exec = ["@fixture", "leak", "400"]
        restart.when = "never"
        [service.well]
        exec = ["@fixture", "run"]
        "#,
    );
    let daemon = Daemon::in_cgroup(&sandbox, &place.0);
    let report = daemon.wait_crashes("leak", 1).remove(0);
    assert_eq!(report.kind, CrashKind::Oom, "{report:#?}");
    let above = format!(": the cgroup {} above it has a limit of 160.0M", place.0.display());
    assert!(
        report.reason.starts_with("killed by the kernel for want of memory (peak ")
            && report.reason.ends_with(&above),
        "{}",
        report.reason
    );
    assert_eq!(daemon.wait_state("well", State::Up).crash_count, 0);
    assert!(daemon.stop().success());
    place.is_as_it_was();
}

/// Too little to start with is a failed start that says so, and no other try follows.
#[test]
fn too_little_to_start_parks() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sleep", "1000"]
        resources = { memory_max = "64K", limit_core = 0 }
        "#,
    );
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    let parked = daemon.wait_state("a", State::Parked);
    assert_eq!((parked.generation, parked.crash_count), (1, 1), "{parked:#?}");
    let reason = parked.reason.unwrap();
    assert!(reason.contains("its memory_max is too small to start it"), "{reason}");
}

// ---- the others

/// A fork bomb stops where it is told to.
#[test]
fn tasks_max_stops_a_fork_bomb() {
    let sandbox = Sandbox::new(
        r#"
        [service.bomb]
        exec = ["@fixture", "crowd", "1000", "@dir/started"]
        resources.tasks_max = 12
        "#,
    );
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    assert_eq!(wait_for_file(&sandbox.path("started")), "11");
    let cgroup = cgroup(&daemon, "bomb");
    assert_eq!(read(&cgroup, "pids.max"), "12");
    assert!(counter(&cgroup, "pids.events", "max") > 0);
    let usage = daemon.status("bomb").usage.unwrap();
    assert_eq!((usage.tasks, usage.tasks_max), (Some(12), Some(12)));
    let shown = daemon.ctl(&["status", "bomb"]).stdout;
    assert!(shown.contains("tasks:    12 of 12"), "{shown}");
}

#[test]
fn cpu_quota_throttles() {
    let sandbox = Sandbox::new(
        r#"
        [service.busy]
        exec = ["/bin/sh", "-c", "while :; do :; done"]
        resources.cpu_quota = "20%"
        "#,
    );
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    daemon.wait_state("busy", State::Up);
    let cgroup = cgroup(&daemon, "busy");
    assert_eq!(read(&cgroup, "cpu.max"), "20000 100000");
    wait_for("to be throttled", || counter(&cgroup, "cpu.stat", "nr_throttled") > 2);
}

/// Written before the program's first instruction, which finds them in force; each as systemd would write it.
#[test]
fn limits_are_in_force_from_the_first_instruction_on() {
    let sandbox = Sandbox::new(
        r#"
        [service.all]
        exec = ["/bin/sh", "-c", """
            cd "$(sed -n 's,^0::,@root,p' /proc/self/cgroup)" &&
            cat memory.max memory.high memory.swap.max pids.max cpu.max cpu.weight > @dir/draft;
            mv @dir/draft @dir/seen; exec @fixture run"""]
        resources = { memory_max = "1G", memory_high = "96M", memory_swap_max = 0, tasks_max = 50, cpu_quota = "150%", cpu_weight = 37 }
        [service.shares]
        exec = ["@fixture", "run"]
        resources = { memory_max = "50%", memory_high = "infinity", tasks_max = "25%", cpu_quota = "0.5%" }
        [service.plain]
        exec = ["@fixture", "run"]
        "#,
    );
    let config = fs::read_to_string(sandbox.config()).unwrap();
    fs::write(sandbox.config(), config.replace("@root", "/sys/fs/cgroup")).unwrap();
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    assert_eq!(
        wait_for_file(&sandbox.path("seen")).lines().collect::<Vec<_>>(),
        ["1073741824", "100663296", "0", "50", "150000 100000", "37"]
    );
    let shares = cgroup(&daemon, "shares");
    let total = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    let half = total * 1024 / 2;
    // In whole pages.
    let found: u64 = read(&shares, "memory.max").parse().unwrap();
    assert!(half - found < 65_536, "{found} of {half}");
    let most = |name: &str| -> u64 {
        fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap().trim().parse().unwrap()
    };
    let tasks = most("pid_max").min(most("threads-max"));
    assert_eq!(read(&shares, "pids.max"), (tasks / 4).to_string());
    assert_eq!(
        (read(&shares, "memory.high"), read(&shares, "cpu.max")),
        ("max".into(), "1000 200000".into())
    );
    let plain = cgroup(&daemon, "plain");
    for (file, text) in
        [("memory.max", "max"), ("memory.swap.max", "max"), ("pids.max", "max"), ("memory.oom.group", "1")]
    {
        assert_eq!(read(&plain, file), text, "{file}");
    }
    let memory = daemon.ctl(&["status", "all"]).stdout;
    assert!(memory.contains(" of 1.0 GiB, "), "{memory}");
    assert!(daemon.ctl(&["status", "plain"]).stdout.contains("memory:   "), "{memory}");
}

/// What the two ways of sharing disks have been told, as far as the kernel has them.
fn weights_of_disks(cgroup: &Path) -> Vec<String> {
    let read = |file| fs::read_to_string(cgroup.join(file)).ok();
    let found = ["io.weight", "io.bfq.weight"].into_iter().filter_map(read);
    found.map(|text| text.trim().to_owned()).collect()
}

/// A weight of disks is in force, or the kernel has none and the service is not started without it.
#[test]
fn io_weight_is_in_force_or_refused() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\nresources.io_weight = 50\n");
    let daemon = sandbox.start();
    if !has(&daemon, &["io"]) {
        return;
    }
    let settled =
        daemon.wait_status("a", "up or parked", |status| matches!(status.state, State::Up | State::Parked));
    if settled.state == State::Up {
        let weights = weights_of_disks(&cgroup(&daemon, "a"));
        assert!(!weights.is_empty() && weights.iter().all(|weight| weight == "default 50"), "{weights:?}");
    } else {
        let reason = settled.reason.unwrap();
        assert!(
            reason.starts_with("io_weight cannot be set: this kernel has no weights for disks"),
            "{reason}"
        );
    }
}

// ---- a reload

const BEFORE: &str = r#"
    [service.a]
    exec = ["@fixture", "run"]
    resources = { memory_max = "64M", tasks_max = 20, cpu_weight = 300 }
"#;

const AFTER: &str = r#"
    [service.a]
    exec = ["@fixture", "run"]
    resources = { memory_max = "96M", memory_high = "80M", cpu_quota = "50%" }
"#;

/// "limits may be changed by a reload without touching the process", those that are taken out too.
#[test]
fn a_reload_changes_limits_of_a_living_process() {
    let sandbox = Sandbox::new(BEFORE);
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    daemon.wait_state("a", State::Up);
    let (pid, cgroup) = (daemon.pid_of("a"), cgroup(&daemon, "a"));
    assert_eq!(
        (read(&cgroup, "memory.max"), read(&cgroup, "cpu.weight")),
        ((64 * M).to_string(), "300".into())
    );
    let plan = plan(&daemon, AFTER);
    let [step] = plan.steps.as_slice() else { panic!("{plan:#?}") };
    assert_eq!(step.action, StepAction::Change);
    assert!(step.keys.len() == 5 && step.keys.iter().all(|key| !key.needs_restart), "{step:#?}");
    let shown = daemon.ctl(&["config", "plan"]).expect(0).stdout;
    assert!(shown.contains("1 to change live") && shown.contains("memory_max"), "{shown}");

    daemon.call("daemon.reload", json!({ "plan": plan.id }));
    let event = daemon.wait_event("limits changed", |event| event.event == "limits_changed");
    assert_eq!(
        event.data["keys"],
        json!(["tasks_max", "cpu_weight", "memory_max", "memory_high", "cpu_quota"]),
        "{event:#?}"
    );
    for (file, text) in [
        ("memory.max", (96 * M).to_string()),
        ("memory.high", (80 * M).to_string()),
        ("pids.max", "max".into()),
        ("cpu.weight", "100".into()),
        ("cpu.max", "50000 100000".into()),
    ] {
        assert_eq!(read(&cgroup, file), text, "{file}");
    }
    let status = daemon.status("a");
    assert_eq!((status.pid, status.generation, status.pending), (Some(pid), 1, vec![]));
    assert_eq!(daemon.call("config.plan", json!({}))["steps"], json!([]));

    // A controller that comes only now; what is not there to be written is said, and nothing else happens.
    reload(&daemon, &AFTER.replace("cpu_quota = \"50%\"", "cpu_quota = \"60%\", io_weight = 50"));
    wait_for("the other one", || read(&cgroup, "cpu.max") == "60000 100000");
    let failed = || daemon.events().into_iter().find(|event| event.event == "limits_failed");
    wait_for("a weight, or why there is none", || {
        weights_of_disks(&cgroup).iter().any(|weight| weight == "default 50") || failed().is_some()
    });
    if let Some(event) = failed() {
        assert!(event.message.starts_with("io_weight cannot be set: this kernel has no"), "{event:#?}");
    }
    assert_eq!(daemon.status("a").pid, Some(pid));
}

/// A limit under which it cannot live is one under which it does not.
#[test]
fn a_lower_limit_may_be_the_end_of_it() {
    let services = |limit: &str| {
        format!(
            "[service.a]\nexec = [\"@fixture\", \"leak\", \"1000\", \"--max\", \"60\"]\nresources = {{ memory_max = \"{limit}\", memory_swap_max = 0 }}\n\
             restart.when = \"never\"\n"
        )
    };
    let sandbox = Sandbox::new(&services("200M"));
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    daemon.wait_status("a", "60 MB", |status| {
        status.cgroup.as_ref().is_some_and(|cgroup| {
            fs::read_to_string(Path::new(cgroup).join("memory.current"))
                .is_ok_and(|text| text.trim().parse::<u64>().unwrap() > 60 * M)
        })
    });
    reload(&daemon, &services("30M"));
    let report = daemon.wait_crashes("a", 1).remove(0);
    oom(&report, "30M");
    assert!(report.resources.memory_peak.unwrap() > 60 * M, "{:?}", report.resources);
}

/// What waits for its restart, or is parked, is what a change of its limits is for.
#[test]
fn a_higher_limit_starts_what_the_lower_one_has_ended() {
    let services = |limit: &str| {
        format!(
            "[service.a]\nexec = [\"@fixture\", \"leak\", \"1000\", \"--max\", \"60\"]\nresources = {{ memory_max = \"{limit}\", memory_swap_max = 0 }}\n\
             restart = {{ delay = \"1h\", max_delay = \"1h\" }}\n"
        )
    };
    let sandbox = Sandbox::new(&services("30M"));
    let daemon = sandbox.start();
    if !has_controllers(&daemon) {
        return;
    }
    daemon.wait_state("a", State::Backoff);
    let plan = plan(&daemon, &services("200M"));
    assert_eq!(plan.steps[0].action, StepAction::Start, "{plan:#?}");
    daemon.call("daemon.reload", json!({ "plan": plan.id }));
    daemon.wait_state("a", State::Up);
    assert_eq!(daemon.status("a").generation, 2);
}

// ---- where there is nothing to limit with

const LIMITED: &str = r#"
    [service.limited]
    exec = ["@fixture", "run"]
    resources = { memory_max = "64M", tasks_max = 9 }
    [service.free]
    exec = ["@fixture", "run"]
"#;

/// It is parked with the reason, the others run; without the key it runs too.
#[track_caller]
fn refused(daemon: &Daemon<'_>, reason_begins: &str, holds: &[&str]) {
    daemon.wait_state("free", State::Up);
    let parked = daemon.wait_state("limited", State::Parked);
    assert_eq!((parked.generation, parked.crash_count), (1, 1), "{parked:#?}");
    let reason = parked.reason.unwrap();
    assert!(reason.starts_with(reason_begins), "{reason}");
    for word in holds {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    let report = daemon.reports("limited").remove(0);
    assert_eq!((report.kind, report.restart.decision.as_str()), (CrashKind::Spawn, "park"));
    assert!(
        report.reason.starts_with(&format!("could not be started: {reason_begins}")),
        "{}",
        report.reason
    );
    let said = daemon.ctl(&["start", "limited"]).expect(1);
    assert!(said.stderr.contains(reason_begins), "{said:?}");
}

/// "refused with a clear error where the controller is not delegated, never silently ignored"
#[test]
fn without_cgroups_a_limit_is_refused() {
    let sandbox = Sandbox::new(LIMITED);
    let Some(daemon) = Daemon::without_cgroups(&sandbox) else { return };
    let needs = "memory_max needs the cgroup controller memory, and mcpd has no cgroups: ";
    refused(&daemon, needs, &["Delegate=yes", "take the key out", "once that is mended"]);

    // One that runs without cannot get one either: that waits for its next start, and is said to.
    let free = "[service.free]\nexec = [\"@fixture\", \"run\"]\n";
    let pid = daemon.pid_of("free");
    let plan = plan(&daemon, &format!("{free}resources.tasks_max = 5\n"));
    let step = plan.steps.iter().find(|step| step.service == "free").unwrap();
    assert_eq!((step.action, step.keys[0].needs_restart), (StepAction::Pending, true), "{step:#?}");
    daemon.call("daemon.reload", json!({ "plan": plan.id }));
    let status = daemon.status("free");
    assert_eq!((status.pid, status.pending), (Some(pid), vec!["resources.tasks_max".to_owned()]));

    reload(&daemon, &LIMITED.replace("resources = {", "# {"));
    daemon.wait_state("limited", State::Up);
    assert_eq!((daemon.pid_of("free"), daemon.status("free").pending), (pid, vec![]));
}

/// A daemon in a cgroup below the one that `scenario` is in: nobody has handed any controller down to it.
#[test]
fn without_the_controller_a_limit_is_refused() {
    let sandbox = Sandbox::new("");
    let first = sandbox.start();
    let Some(home) = home(&first) else { return };
    assert!(first.stop().success());
    let above = Place::new(home.join(format!("bare-{}", sandbox.mark())));
    let place = Place::new(above.0.join("own"));
    sandbox.configure(LIMITED);
    let daemon = Daemon::in_cgroup(&sandbox, &place.0);
    refused(&daemon, "memory_max needs the cgroup controller memory, and ", &["take the key out"]);
    assert!(daemon.status("free").cgroup.unwrap().starts_with(place.0.to_str().unwrap()));
    let plan = plan(&daemon, &LIMITED.replace("[service.free]", "[service.free]\nresources.cpu_weight = 5"));
    let step = plan.steps.iter().find(|step| step.service == "free").unwrap();
    assert_eq!((step.action, step.keys[0].needs_restart), (StepAction::Pending, true), "{step:#?}");
    assert!(daemon.stop().success());
    place.is_as_it_was();
    drop(place);
}

/// Who shares mcpd's own cgroup keeps the controllers from being handed down: it is named.
#[test]
fn what_is_in_the_way_is_named() {
    let sandbox = Sandbox::new("");
    let first = sandbox.start();
    if !has_controllers(&first) {
        return;
    }
    let place = Place::new(home(&first).unwrap().join(format!("shared-{}", sandbox.mark())));
    assert!(first.stop().success());
    let mut guest = sandbox.command(&binaries::fixture()).arg("run").spawn().unwrap();
    place.set("cgroup.procs", &guest.id().to_string());
    sandbox.configure(LIMITED);
    let daemon = Daemon::in_cgroup(&sandbox, &place.0);
    let name = format!("mcpd-fixture ({})", guest.id());
    let file = place.0.join("cgroup.subtree_control");
    let file = file.to_str().unwrap();
    refused(
        &daemon,
        "memory_max needs the cgroup controller memory, and writing \"+memory\" to ",
        &[file, "Device or resource busy", "other processes live there", &name],
    );
    // Once it is gone there is nothing in the way.
    processes::signal(guest.id(), rustix::process::Signal::TERM);
    assert!(guest.wait().unwrap().success());
    let _ = daemon.ctl(&["start", "limited"]).expect(0);
    assert_eq!(read(&cgroup(&daemon, "limited"), "pids.max"), "9");
    assert!(daemon.stop().success());
    place.is_as_it_was();
}

/// Below systemd's `DelegateSubgroup=` a killed life's processes do not keep the next one from being started: it has its
/// controllers all the same, and leaves nothing behind.
#[test]
fn the_next_life_limits_too() {
    let sandbox = Sandbox::new("");
    let first = sandbox.start();
    if !has_controllers(&first) {
        return;
    }
    let place = Place::new(home(&first).unwrap().join(format!("killed-{}", sandbox.mark())));
    assert!(first.stop().success());
    // As systemd marks what it has given away, above the cgroup that it starts the daemon in.
    setxattr(&place.0, "user.delegate", b"1", XattrFlags::empty()).unwrap();
    let subgroup = Place::new(place.0.join("supervisor"));
    sandbox.configure(LIMITED);
    let killed = Daemon::in_cgroup(&sandbox, &subgroup.0);
    killed.wait_state("limited", State::Up);
    assert_eq!(home(&killed).unwrap(), place.0);
    let left = [killed.pid_of("limited"), killed.pid_of("free")];
    killed.kill_alone();
    assert!(left.into_iter().all(processes::lives));
    let next = Daemon::in_cgroup(&sandbox, &subgroup.0);
    next.wait_state("limited", State::Up);
    next.wait_event("what was left", |event| event.event == "leftovers");
    assert_eq!(read(&cgroup(&next, "limited"), "memory.max"), (64 * M).to_string());
    assert!(next.stop().success());
    subgroup.is_as_it_was();
    drop(subgroup);
    // An earlier life has asked for these, and it is not known that nobody else had.
    assert_eq!(read(&place.0, "cgroup.subtree_control"), "memory pids");
    assert!(place.0.read_dir().unwrap().flatten().all(|entry| !entry.path().is_dir()));
}

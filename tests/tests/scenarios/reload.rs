//! A reload: planned, and carried out exactly so; what is live, what waits, what starts.

use mcpd_tests::proto::client::CallError;
use mcpd_tests::proto::error::Kind;
use mcpd_tests::proto::plan::{KeyChange, Plan, Step, StepAction};
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Daemon, Sandbox};
use rustix::process::Signal;
use serde_json::{Value, json};

fn plan(daemon: &Daemon<'_>, params: Value) -> Plan {
    serde_json::from_value(daemon.call("config.plan", params)).unwrap()
}

fn step<'p>(plan: &'p Plan, name: &str) -> &'p Step {
    let found = plan.steps.iter().find(|step| step.service == name);
    found.unwrap_or_else(|| panic!("{name}: {plan:#?}"))
}

fn key<'s>(step: &'s Step, name: &str) -> &'s KeyChange {
    step.keys.iter().find(|change| change.key == name).unwrap_or_else(|| panic!("{name}: {step:#?}"))
}

const BEFORE: &str = r#"
    [service.same]
    exec = ["@fixture", "run"]
    [service.changed]
    exec = ["@fixture", "run"]
    environment = { A = "1", API_TOKEN = "old-secret-token" }
    [service.tuned]
    exec = ["@fixture", "run"]
    [service.gone]
    exec = ["@fixture", "run"]
    [service.off]
    exec = ["@fixture", "run"]
    enabled = false
    [service.waits]
    exec = ["@fixture", "exit", "3"]
    restart = { delay = "1h", max_delay = "1h" }
    [service.parked]
    exec = ["@fixture", "exit", "78"]
    restart.prevent_exit_status = [78]
"#;

const AFTER: &str = r#"
    [service.same]
    exec = ["@fixture", "run"]
    [service.changed]
    exec = ["@fixture", "run"]
    environment = { A = "2", API_TOKEN = "new-secret-token" }
    stop_timeout = "3s"
    [service.tuned]
    exec = ["@fixture", "run"]
    restart.delay = "7s"
    [service.off]
    exec = ["@fixture", "exit", "0"]
    enabled = false
    [service.waits]
    exec = ["@fixture", "run"]
    [service.parked]
    exec = ["@fixture", "run"]
    [service.new]
    exec = ["@fixture", "run"]
    [service.later]
    exec = ["@fixture", "run"]
    enabled = false
"#;

fn start(sandbox: &Sandbox) -> Daemon<'_> {
    let daemon = sandbox.start();
    for name in ["same", "changed", "tuned", "gone"] {
        daemon.wait_state(name, State::Up);
    }
    daemon.wait_state("waits", State::Backoff);
    daemon.wait_state("parked", State::Parked);
    daemon
}

/// "`mcpctl config plan` shows what would start, stop, restart, change live, and why, per key; `mcpctl daemon reload`
/// applies exactly that plan"
#[test]
fn a_reload_does_what_the_plan_says() {
    let sandbox = Sandbox::new(BEFORE);
    let daemon = start(&sandbox);
    let pids = ["same", "changed", "tuned", "gone"].map(|name| daemon.pid_of(name));
    sandbox.configure(AFTER);
    let planned = plan(&daemon, json!({}));
    let steps: Vec<_> = planned.steps.iter().map(|step| (step.service.as_str(), step.action)).collect();
    assert_eq!(
        steps,
        [
            ("changed", StepAction::Pending),
            ("gone", StepAction::Stop),
            ("later", StepAction::Add),
            ("new", StepAction::Start),
            ("off", StepAction::Change),
            ("parked", StepAction::Start),
            ("tuned", StepAction::Change),
            ("waits", StepAction::Start),
        ],
        "{planned:#?}"
    );
    assert_eq!(planned.unchanged, 1);
    let changed = step(&planned, "changed");
    let variable = key(changed, "environment.A");
    assert_eq!((&variable.old, &variable.new, variable.needs_restart), (&json!("1"), &json!("2"), true));
    assert!(variable.origin.as_ref().unwrap().contains("mcpd.toml:"), "{variable:?}");
    let timeout = key(changed, "stop_timeout");
    assert_eq!((&timeout.old, &timeout.new, timeout.needs_restart), (&json!("10s"), &json!("3s"), false));
    let secret = key(changed, "environment.API_TOKEN");
    assert_eq!((&secret.old, &secret.new), (&json!("[redacted]"), &json!("[redacted]")));
    let shown = daemon.ctl(&["config", "plan"]).expect(0);
    assert!(shown.stdout.contains("environment.A: \"1\" -> \"2\""), "{shown:?}");
    assert!(!shown.all().contains("secret-token"), "{shown:?}");
    let dry = daemon.ctl(&["daemon", "reload", "--dry-run"]).expect(0);
    assert_eq!(dry.stdout, shown.stdout);
    assert_eq!(daemon.pid_of("gone"), pids[3], "a plan touches nothing");

    // What a restart would add to it.
    let restarting = plan(&daemon, json!({ "restart": true }));
    assert_eq!(step(&restarting, "changed").action, StepAction::Restart);
    assert_ne!(restarting.id, planned.id);

    let reloaded = daemon.call("daemon.reload", json!({ "plan": planned.id }));
    assert_eq!(reloaded["added"], json!(["later", "new"]), "{reloaded:#}");
    assert_eq!(reloaded["removed"], json!(["gone"]));
    assert_eq!(reloaded["restarted"], json!(["parked", "waits"]));
    assert_eq!(reloaded["updated"], json!(["off", "tuned"]));
    assert_eq!(reloaded["pending"], json!(["changed"]));
    assert_eq!(reloaded["unchanged"], 1);
    for name in ["new", "parked", "waits"] {
        daemon.wait_state(name, State::Up);
    }
    assert_eq!(["same", "changed", "tuned"].map(|name| daemon.pid_of(name)), [pids[0], pids[1], pids[2]]);
    for name in ["off", "later"] {
        assert_eq!(daemon.status(name).state, State::Down);
    }
    wait_for("gone to be gone", || daemon.list().services.iter().all(|one| one.name != "gone"));

    // It is still so for the next plan, and for nobody else.
    let again = plan(&daemon, json!({}));
    assert_eq!((again.steps.len(), step(&again, "changed").action), (1, StepAction::Pending));
    let keys: Vec<&str> = step(&again, "changed").keys.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["environment.A", "environment.API_TOKEN"]);
}

/// mcpd's own settings that are in force at once are in the plan, too.
#[test]
fn a_plan_tells_what_changes_for_mcpd_itself() {
    let service = "[service.a]\nexec = [\"@fixture\", \"run\"]\n";
    let sandbox = Sandbox::new(service);
    let daemon = sandbox.start();
    // It follows `[daemon]`.
    sandbox.configure(&format!("max_parallel_starts = 2\n{service}"));
    let shown = daemon.ctl(&["config", "plan"]).expect(0).stdout;
    assert!(shown.contains("max_parallel_starts: 0 -> 2  # "), "{shown}");
    assert!(shown.contains("no service changes: 1 service unchanged"), "{shown}");
    let planned = plan(&daemon, json!({}));
    let _ = daemon.ctl(&["daemon", "reload", "--plan", &planned.id]).expect(0);
    assert!(plan(&daemon, json!({})).daemon.is_empty());
}

/// "applies exactly that plan or nothing". Trap 24 of docs/traps.md.
#[test]
fn a_plan_that_is_out_of_date_is_not_carried_out() {
    let sandbox = Sandbox::new(BEFORE);
    let daemon = start(&sandbox);
    sandbox.configure(AFTER);
    let planned = plan(&daemon, json!({}));
    sandbox.configure(&AFTER.replace("A = \"2\"", "A = \"3\""));
    let refused = daemon.try_call("daemon.reload", json!({ "plan": planned.id })).unwrap_err();
    let CallError::Refused(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), Some(Kind::PlanChanged), "{error}");
    assert!(daemon.list().services.iter().any(|one| one.name == "gone"), "nothing was touched");
    // The file is the same again, but what it would do is not.
    sandbox.configure(AFTER);
    daemon.call("service.stop", json!({ "names": ["changed"] }));
    let _ = daemon.ctl(&["daemon", "reload", "--plan", &planned.id]).expect(1);
    daemon.call("service.start", json!({ "names": ["changed"] }));
    let planned = plan(&daemon, json!({}));
    let _ = daemon.ctl(&["daemon", "reload", "--plan", &planned.id]).expect(0);
    // A file with errors has no plan.
    sandbox.configure("[service.x]\nexce = 1\n");
    let refused = daemon.ctl(&["config", "plan"]).expect(6);
    assert!(refused.stderr.contains("exce"), "{refused:?}");
}

/// A service that writes the value of `V` that it was started with.
fn writes(value: &str, more: &str) -> String {
    format!(
        "[service.a]\nexec = [\"/bin/sh\", \"-c\", \"echo $V > @dir/value; exec sleep 86400\"]\n\
         environment = {{ V = \"{value}\" }}\nrestart = {{ delay = \"10ms\", jitter = 0 }}\n{more}\n"
    )
}

/// "a change that needs a restart shows as pending until it happens (`reload --restart` does it)": or whatever else
/// brings the next start, a crash too.
#[test]
fn what_is_pending_comes_with_the_next_start() {
    let sandbox = Sandbox::new(&writes("one", ""));
    let daemon = sandbox.start();
    let pid = daemon.wait_state("a", State::Up).pid.unwrap();
    let value = || wait_for_file(&sandbox.path("value")).trim().to_owned();
    wait_for("the first value", || value() == "one");

    // By a signal: a plain reload.
    sandbox.configure(&writes("two", "log.format = \"json\""));
    daemon.signal(Signal::HUP);
    let pending = daemon.wait_status("a", "pending", |now| !now.pending.is_empty());
    assert_eq!(pending.pending, ["environment.V", "log.format"]);
    assert_eq!((pending.pid, pending.state), (Some(pid), State::Up));
    let shown = daemon.ctl(&["status"]).expect(0);
    assert!(shown.stdout.contains("up, pending"), "{shown:?}");
    let shown = daemon.ctl(&["status", "a"]).expect(0);
    assert!(shown.stdout.contains("environment.V, log.format changed"), "{shown:?}");

    // A crash.
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, Signal::KILL).unwrap();
    let now = daemon.wait_status("a", "up again", |now| now.generation == 2 && now.state == State::Up);
    assert!(now.pending.is_empty(), "{now:#?}");
    wait_for("the second value", || value() == "two");

    // Back and forth: nothing is pending then.
    sandbox.configure(&writes("three", "log.format = \"json\""));
    daemon.call("daemon.reload", json!({}));
    assert_eq!(daemon.status("a").pending, ["environment.V"]);
    sandbox.configure(&writes("two", "log.format = \"json\"\nstop_timeout = 4"));
    let reloaded = daemon.call("daemon.reload", json!({}));
    assert_eq!((&reloaded["updated"], &reloaded["pending"]), (&json!(["a"]), &json!([])), "{reloaded:#}");
    assert!(daemon.status("a").pending.is_empty());

    // A person's restart; and a reload that restarts what an earlier one left.
    for (value_then, restart) in [("four", "restart"), ("five", "reload")] {
        sandbox.configure(&writes(value_then, ""));
        daemon.call("daemon.reload", json!({}));
        assert!(daemon.status("a").pending.contains(&"environment.V".to_owned()));
        if restart == "restart" {
            let _ = daemon.ctl(&["restart", "a"]).expect(0);
        } else {
            let shown = daemon.ctl(&["daemon", "reload", "--restart"]).expect(0);
            assert!(shown.stdout.contains("1 restarted (a)"), "{shown:?}");
        }
        wait_for(value_then, || value() == value_then);
        let now = daemon.wait_status("a", "up", |now| now.state == State::Up);
        assert!(now.pending.is_empty(), "{now:#?}");
    }
    assert_eq!(daemon.crashes("a").len(), 1, "only the crash was one");
}

/// "settings that can change live (health intervals, ...) do so without touching the process"
#[test]
fn a_health_check_waits_for_the_program_that_it_is_for() {
    let probes = |file: &str, interval: &str, value: &str| {
        writes(
            value,
            &format!(
                "health = {{ exec = [\"@fixture\", \"exists\", \"@dir/{file}\"], interval = \"{interval}\", \
                 retries = 1, start_period = \"1s\" }}"
            ),
        )
    };
    let sandbox = Sandbox::new("");
    sandbox.write("old", "");
    sandbox.configure(&probes("old", "1h", "one"));
    let daemon = sandbox.start();
    let pid = daemon.wait_state("a", State::Up).pid;
    // Only the check: it is live. The new one looks at once.
    sandbox.write("other", "");
    sandbox.configure(&probes("other", "20ms", "one"));
    let reloaded = daemon.call("daemon.reload", json!({}));
    assert_eq!(reloaded["updated"], json!(["a"]));
    // With a new program: its question waits, the old one goes on and stays good.
    sandbox.configure(&probes("new", "30ms", "two"));
    daemon.call("daemon.reload", json!({}));
    let now = daemon.status("a");
    assert_eq!(now.pending, ["environment.V", "health.exec"]);
    daemon.wait_status("a", "healthy by the old check", |now| {
        now.health == mcpd_tests::proto::status::Health::Healthy
    });
    std::fs::remove_file(sandbox.path("old")).unwrap();
    assert_eq!(daemon.status("a").pid, pid);
    // Its interval is live: the old question is asked again soon, and fails.
    std::fs::remove_file(sandbox.path("other")).unwrap();
    sandbox.write("new", "");
    let now = daemon.wait_status("a", "restarted", |now| now.generation == 2 && now.state == State::Up);
    assert!(now.pending.is_empty());
    wait_for("the new program", || wait_for_file(&sandbox.path("value")).trim() == "two");
}

/// "Reload during start, stop and backoff is covered": trap 24 of docs/traps.md.
#[test]
fn reloads_during_start_stop_and_backoff() {
    let service = |name: &str, value: &str, more: &str| {
        format!(
            "[service.{name}]\nexec = [\"/bin/sh\", \"-c\", \"{more}\"]\nenvironment = {{ V = \"{value}\" }}\n\
             stop_timeout = \"60s\"\nrestart = {{ delay = \"1h\", max_delay = \"1h\" }}\n\
             health = {{ exec = [\"@fixture\", \"exists\", \"@dir/{name}-well\"], interval = \"10ms\", start_period = \"1h\" }}\n\
             start_timeout = \"2h\"\n"
        )
    };
    let all = |value: &str| {
        let says = |name: &str| format!("echo $V > @dir/{name}; exec sleep 86400");
        // It does not end before it may.
        let ends = "trap '' TERM; echo $V > @dir/ends; while [ ! -e @dir/may-end ]; do sleep 0.02; done";
        service("starts", value, &says("starts")) + &service("ends", value, ends)
    };
    let backoff = |value: &str| {
        format!(
            "[service.fails]\nexec = [\"/bin/sh\", \"-c\", \"echo $V > @dir/fails; test $V = two && exec sleep 86400; exit 3\"]\n\
             environment = {{ V = \"{value}\" }}\nrestart = {{ delay = \"1h\", max_delay = \"1h\" }}\n"
        )
    };
    let sandbox = Sandbox::new(&(all("one") + &backoff("one")));
    let daemon = sandbox.start();
    for name in ["starts", "ends"] {
        daemon.wait_state(name, State::Starting);
        wait_for(name, || wait_for_file(&sandbox.path(name)).trim() == "one");
    }
    daemon.wait_state("fails", State::Backoff);
    daemon.call("service.restart", json!({ "names": ["ends"], "wait": false }));
    daemon.wait_state("ends", State::Stopping);
    let starting = daemon.pid_of("starts");

    sandbox.configure(&(all("two") + &backoff("two")));
    let planned = plan(&daemon, json!({}));
    assert_eq!(step(&planned, "starts").action, StepAction::Pending);
    assert_eq!(step(&planned, "ends").action, StepAction::Start);
    assert_eq!(step(&planned, "fails").action, StepAction::Start);
    daemon.call("daemon.reload", json!({ "plan": planned.id }));
    // In backoff: at once. While it starts: left alone. While it ends: with the start that comes.
    daemon.wait_state("fails", State::Up);
    assert_eq!(daemon.pid_of("starts"), starting);
    assert_eq!(daemon.status("starts").state, State::Starting);
    sandbox.write("starts-well", "");
    let up = daemon.wait_state("starts", State::Up);
    assert_eq!((up.pid, up.pending), (Some(starting), vec!["environment.V".to_owned()]));
    sandbox.write("may-end", "");
    wait_for("the new one after the old one's end", || wait_for_file(&sandbox.path("ends")).trim() == "two");
}

/// "`mcpctl config plan` shows what would start, stop, restart, change live, and why": also of services whose own
/// configuration stays, because of others.
#[test]
fn a_plan_knows_what_a_change_brings_upon_others() {
    let sandbox = Sandbox::new(
        r#"
        [service.base]
        exec = ["@fixture", "run"]
        [service.with]
        exec = ["@fixture", "run"]
        part_of = "base"
        [service.rival]
        exec = ["@fixture", "run"]
        enabled = false
        [service.helper]
        exec = ["@fixture", "run"]
        enabled = false
        [service.tuned]
        exec = ["@fixture", "run"]
        [service.slow]
        exec = ["@fixture", "run"]
        ready.log = "never"
        [service.waits]
        exec = ["@fixture", "run"]
        requires = "slow"
        after = "slow"
        "#,
    );
    let daemon = sandbox.start();
    daemon.call("service.start", json!({ "names": ["rival"] }));
    for name in ["base", "with", "rival", "tuned"] {
        daemon.wait_state(name, State::Up);
    }
    sandbox.configure(
        r#"
        [service.base]
        exec = ["@fixture", "run"]
        environment = { A = "1" }
        [service.with]
        exec = ["@fixture", "run"]
        part_of = "base"
        restart.delay = "7s"
        [service.rival]
        exec = ["@fixture", "run"]
        enabled = false
        [service.helper]
        exec = ["@fixture", "run"]
        enabled = false
        [service.tuned]
        exec = ["@fixture", "run"]
        wants = "helper"
        [service.slow]
        exec = ["@fixture", "run"]
        ready.log = "never"
        [service.waits]
        exec = ["@fixture", "run"]
        [service.new]
        exec = ["@fixture", "run"]
        conflicts = "rival"
        "#,
    );
    let planned = plan(&daemon, json!({ "restart": true }));
    let told = |name: &str| (step(&planned, name).action, step(&planned, name).why.as_str());
    assert_eq!(told("base").0, StepAction::Restart);
    assert_eq!(told("with"), (StepAction::Restart, "base is restarted"));
    assert_eq!(told("rival"), (StepAction::Stop, "new is started, with which it conflicts"));
    assert_eq!(told("helper"), (StepAction::Start, "tuned needs or wants it"));
    assert_eq!((told("tuned").0, told("new").0), (StepAction::Change, StepAction::Start));
    assert_eq!(told("waits"), (StepAction::Start, "nothing is left that it waits for"));
    assert_eq!((planned.steps.len(), planned.unchanged), (7, 1), "{planned:#?}");
    // Its own changes are told all the same.
    assert!(!key(step(&planned, "with"), "restart.delay").needs_restart);
    // Without a restart of what is pending nothing else is restarted either.
    let without = plan(&daemon, json!({}));
    assert_eq!(step(&without, "with").action, StepAction::Change);
    let before = ["base", "with", "tuned"].map(|name| daemon.status(name).pid);
    let done = daemon.call("daemon.reload", json!({ "restart": true, "plan": planned.id }));
    assert_eq!((&done["stopped"], &done["added"]), (&json!(["rival"]), &json!(["new"])), "{done}");
    assert_eq!(done["restarted"], json!(["base", "helper", "waits", "with"]), "{done}");
    daemon
        .wait_status("with", "a new process", |status| status.state == State::Up && status.pid != before[1]);
    daemon.wait_state("rival", State::Down);
    for name in ["base", "helper", "new", "waits"] {
        daemon.wait_state(name, State::Up);
    }
    assert_ne!(daemon.status("base").pid, before[0]);
    assert_eq!(daemon.status("tuned").pid, before[2]);
    let again = plan(&daemon, json!({ "restart": true }));
    assert!(again.steps.is_empty(), "{again:#?}");
}

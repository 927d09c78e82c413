//! Templates and their instances, drop-ins, and patterns in verbs.

use mcpd_tests::Sandbox;
use mcpd_tests::proto::error::Kind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use serde_json::{Value, json};

const POOL: &str = r#"
    [service."worker@"]
    exec = ["@fixture", "crash-on", "@dir/crash-%i", "--code", "3"]
    instances = ["a", "b", "c"]
    description = "%n of %p"
    environment = { WHO = "%i" }
    restart = { delay = "1h", max_delay = "1h" }
    [service."worker@c"]
    enabled = false
    [service.other]
    exec = ["@fixture", "run"]
"#;

/// The names in a document's `services`, `outcomes` or `crashes`.
fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

/// "`[service."worker@"]`, `instances = ["a", "b"]`, `%i` and `%n` in values; globs in verbs"
#[test]
fn verbs_reach_all_instances_at_once() {
    let sandbox = Sandbox::new(POOL);
    let daemon = sandbox.start();
    for name in ["worker@a", "worker@b", "other"] {
        daemon.wait_state(name, State::Up);
    }
    let b = daemon.status("worker@b");
    assert_eq!(b.description.as_deref(), Some("worker@b of worker"));
    assert!(b.command[2].ends_with("/crash-b"), "{:?}", b.command);
    assert_eq!(daemon.status("worker@c").state, State::Down);

    let pids = ["worker@a", "worker@b", "other"].map(|name| daemon.pid_of(name));
    let done = daemon.call("service.restart", json!({ "names": ["worker@[ab]", "worker@a"] }));
    assert_eq!(names(&done["outcomes"], "name"), ["worker@a", "worker@b"], "each once: {done:#}");
    assert_ne!(daemon.pid_of("worker@a"), pids[0]);
    assert_ne!(daemon.pid_of("worker@b"), pids[1]);
    assert_eq!(daemon.pid_of("other"), pids[2]);

    let shown = daemon.ctl(&["status", "worker@*"]).expect(3);
    assert!(shown.stdout.contains("worker@a") && !shown.stdout.contains("other"), "{shown:?}");
    let _ = daemon.ctl(&["status", "worker@[ab]"]).expect(0);
    let listed = daemon.ctl(&["status", "worker@?", "other", "--json"]).expect(3).json();
    assert_eq!(names(&listed["services"], "name"), ["worker@a", "worker@b", "worker@c", "other"]);

    let _ = daemon.ctl(&["start", "worker@*"]).expect(0);
    assert_eq!(daemon.status("worker@c").state, State::Up);
    let _ = daemon.ctl(&["signal", "{worker@b,oth*}", "SIGCONT"]).expect(0);

    for name in ["a", "b"] {
        sandbox.write(&format!("crash-{name}"), "");
        daemon.wait_crashes(&format!("worker@{name}"), 1);
    }
    let crashes = daemon.ctl(&["crashes", "worker@*", "--json"]).expect(0).json();
    let mut of = names(&crashes["crashes"], "service");
    of.sort();
    assert_eq!(of, ["worker@a", "worker@b"]);
    let last = daemon.ctl(&["crashes", "worker@*", "--last", "1", "--json"]).expect(0).json();
    assert_eq!(names(&last["crashes"], "service").len(), 1);
    let events = daemon.ctl(&["events", "worker@[bc]", "--json"]).expect(0).json_lines();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event["service"] == "worker@b" || event["service"] == "worker@c"));

    let _ = daemon.ctl(&["reset", "worker@*"]).expect(0);
    let _ = daemon.ctl(&["stop", "*"]).expect(0);
    assert!(daemon.list().services.iter().all(|service| service.state == State::Down));
}

/// "a glob that matches nothing: exit code 5 with a sentence"
#[test]
fn a_pattern_that_nothing_fits_touches_nothing() {
    let sandbox = Sandbox::new(POOL);
    let daemon = sandbox.start();
    daemon.wait_state("worker@a", State::Up);
    let pid = daemon.pid_of("worker@a");
    for verb in ["start", "stop", "restart", "reset", "crashes", "events"] {
        let refused = daemon.ctl(&[verb, "walker@*"]).expect(5);
        assert!(refused.stderr.contains("no service fits \"walker@*\""), "{refused:?}");
    }
    let _ = daemon.ctl(&["signal", "walker@*", "SIGTERM"]).expect(5);
    let refused = daemon.ctl(&["status", "walker@*"]).expect(4);
    assert!(refused.stderr.contains("no service fits \"walker@*\""), "{refused:?}");
    let _ = daemon.ctl(&["stop", "worker@*", "walker@*"]).expect(5);
    // What fits, where it cannot be meant: the sentence says why.
    let refused = daemon.ctl(&["logs", "worker@*"]).expect(5);
    assert!(
        refused.stderr.contains("\"worker@*\" is a pattern, and this is about one service"),
        "{refused:?}"
    );
    let refused = daemon.ctl(&["restart", "worker@"]).expect(5);
    assert!(refused.stderr.contains("\"worker@*\" fits its instances"), "{refused:?}");
    let error = daemon.try_call("service.stop", json!({ "names": ["[a"] })).unwrap_err();
    let mcpd_tests::proto::client::CallError::Refused(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), Some(Kind::InvalidParams), "{error}");
    assert_eq!(daemon.pid_of("worker@a"), pid);
}

#[test]
fn a_reload_adds_and_removes_instances_and_follows_drop_ins() {
    let pool = |instances: &str| {
        format!("[service.\"worker@\"]\nexec = [\"@fixture\", \"run\"]\ninstances = {instances}\n")
    };
    let sandbox = Sandbox::new(&pool("2"));
    let daemon = sandbox.start();
    let first = daemon.wait_state("worker@1", State::Up).pid;
    sandbox.configure(&pool("3"));
    assert_eq!(daemon.call("daemon.reload", json!({}))["added"], json!(["worker@3"]));
    sandbox.configure(&pool("[\"1\", \"x\"]"));
    let reloaded = daemon.call("daemon.reload", json!({}));
    assert_eq!(
        (&reloaded["added"], &reloaded["removed"]),
        (&json!(["worker@x"]), &json!(["worker@2", "worker@3"]))
    );
    std::fs::create_dir(sandbox.path("worker@x.d")).unwrap();
    sandbox.write("worker@x.d/10.toml", "[service.\"worker@x\"]\ndescription = \"from a drop-in\"\n");
    assert_eq!(daemon.call("daemon.reload", json!({}))["updated"], json!(["worker@x"]));
    assert_eq!(daemon.status("worker@x").description.as_deref(), Some("from a drop-in"));
    assert_eq!(daemon.status("worker@1").pid, first);
    wait_for("the removed ones to be gone", || daemon.list().services.len() == 2);

    sandbox.write("worker@x.d/20.toml", "[service.\"worker@x\"]\ndescriptoin = \"%q\"\n");
    let refused = daemon.ctl(&["daemon", "reload"]).expect(6);
    assert!(refused.stderr.contains("20.toml:2:1") && refused.stderr.contains("description"), "{refused:?}");
}

//! What crashes come to: groups of those that are alike, availability, times between failures. Also after an end of mcpd.

use mcpd_tests::Sandbox;
use mcpd_tests::proto::status::State;
use serde_json::Value;

/// Fails once for each file, with another traceback for each kind of file.
const TWO_WAYS: &str = r#"
[service.a]
exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
restart = { delay = "10ms", jitter = 0, max_restarts = 0 }
[service.b]
exec = ["/bin/sh", "-c", "echo \"KeyError: $RANDOM\" >&2; exit 4"]
restart = { when = "never" }
[service.idle]
exec = ["@fixture", "run"]
enabled = false
"#;

fn crash(daemon: &mcpd_tests::Daemon<'_>, sandbox: &Sandbox, count: usize) {
    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");
    daemon.wait_crashes("a", count);
    daemon.wait_state("a", State::Up);
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// "`mcpctl crashes --groups` shows them with count, first and last seen, trend and the newest example" and "`mcpctl crashes
/// stats [NAME]`: mean time between failures, availability over 1 h, 24 h, 7 d, restarts, time to recover, by cause"
#[test]
fn alike_crashes_are_counted_over_the_lives_of_mcpd() {
    let sandbox = Sandbox::new(TWO_WAYS);
    let daemon = sandbox.start();
    crash(&daemon, &sandbox, 1);
    crash(&daemon, &sandbox, 2);
    daemon.wait_state("b", State::Down);
    daemon.stop();
    let daemon = sandbox.start();
    crash(&daemon, &sandbox, 3);
    daemon.wait_crashes("b", 2);
    let newest = daemon.crashes("a")[0].clone();
    assert_eq!(newest.group_count, Some(3), "{newest:?}");

    let groups = daemon.ctl(&["crashes", "--groups", "--json"]).expect(0).json();
    let groups = groups["groups"].as_array().unwrap().clone();
    let of = |service: &str| -> Vec<&Value> {
        groups.iter().filter(|group| group["service"] == service).collect()
    };
    let [group] = of("a")[..] else { panic!("{groups:?}") };
    assert_eq!((&group["count"], &group["trend"], &group["last_day"]), (&3.into(), &"new".into(), &3.into()));
    assert_eq!(group["newest"], newest.id);
    assert_eq!(group["cause"], "RuntimeError: crashed on demand");
    assert!(group["first_seen"].as_str() < group["last_seen"].as_str(), "{group:#}");
    // Another number each time, and the same trouble.
    assert_eq!(of("b").len(), 1, "{groups:?}");

    let text = daemon.ctl(&["crashes", "a", "--groups"]).expect(0).all();
    assert!(text.contains("RuntimeError: crashed on demand") && !text.contains("KeyError"), "{text}");
    let stats = daemon.ctl(&["crashes", "stats", "a", "--json"]).expect(0).json();
    let stats = &stats["services"][0];
    assert_eq!((&stats["crashes"], &stats["restarts"], &stats["now"]), (&3.into(), &3.into(), &"up".into()));
    assert!(number(&stats["mtbf_seconds"]) > 0.0 && number(&stats["mttr_seconds"]) > 0.0, "{stats:#}");
    let share = number(&stats["availability"]["last_week"]);
    assert!(0.0 < share && share < 1.0, "{stats:#}");
    assert_eq!(stats["causes"][0]["crashes"], 3);
    let all = daemon.ctl(&["crashes", "stats"]).expect(0).all();
    assert!(all.lines().any(|line| line.starts_with("a ")), "{all}");
    assert!(
        daemon.ctl(&["crashes", "stats", "idle"]).expect(0).all().contains("Nothing is on record of idle")
    );
    let _ = daemon.ctl(&["crashes", "stats", "nobody"]).expect(5);
    let _ = daemon.ctl(&["crashes", "nobody", "--groups"]).expect(5);
    let _ = daemon.ctl(&["crashes", "show", "--groups"]).expect(2);
}

/// "`mcpctl status NAME --json` gives process_running, pid, restart count, max restarts, total uptime, crash count, start
/// time, command; and availability"
#[test]
fn status_has_the_statistics_of_the_script() {
    let sandbox = Sandbox::new(TWO_WAYS);
    let daemon = sandbox.start();
    crash(&daemon, &sandbox, 1);
    let status = daemon.ctl(&["status", "a", "--json"]).expect(0).json();
    assert_eq!(status["process_running"], true);
    assert_eq!((&status["restarts"], &status["max_restarts"]), (&1.into(), &0.into()));
    assert_eq!(status["crash_count"], 1);
    assert!(status["pid"].is_u64() && status["started_at"].is_string() && status["command"].is_array());
    // Of all runs; the present one began some moments before it was up.
    let total = number(&status["total_uptime_seconds"]);
    assert!(total > 0.0, "{status:#}");
    assert!(number(&status["availability"]["last_hour"]) > 0.0, "{status:#}");
    crash(&daemon, &sandbox, 2);
    let status = daemon.ctl(&["status", "a", "--json"]).expect(0).json();
    assert!(number(&status["total_uptime_seconds"]) > total, "{total}: {status:#}");
    let status = daemon.ctl(&["status", "idle", "--json"]).expect(3).json();
    assert_eq!((&status["process_running"], &status["enabled"]), (&false.into(), &false.into()));
    assert_eq!((&status["reason_code"], &status["pid"]), (&"never_started".into(), &Value::Null));
}

/// "0-byte and truncated files on load: said once, service supervision unaffected"
#[test]
fn a_history_that_is_garbage_or_cannot_be_written_costs_nothing_else() {
    let sandbox = Sandbox::new(TWO_WAYS);
    let path = sandbox.state_dir().join("history.jsonl");
    std::fs::create_dir_all(sandbox.state_dir()).unwrap();
    for garbage in
        [&b""[..], b"{\"at\":1,\"of\":\"a\",\"is\":\"up", b"\xff\xfe\0\n[]\n{}\n", b"{\"at\":-9e99}"]
    {
        std::fs::write(&path, garbage).unwrap();
        let daemon = sandbox.start();
        daemon.wait_state("a", State::Up);
        let _ = daemon.ctl(&["crashes", "stats"]).expect(0);
        daemon.stop();
        std::fs::remove_file(&path).unwrap();
    }
    // A directory in its place can be neither read nor written.
    std::fs::create_dir(&path).unwrap();
    let daemon = sandbox.start();
    crash(&daemon, &sandbox, 1);
    daemon.wait_event("that it cannot be written", |event| event.event == "history_failing");
    crash(&daemon, &sandbox, 2);
    let said = daemon.events().iter().filter(|event| event.event == "history_failing").count();
    assert_eq!(said, 1);
    let _ = daemon.ctl(&["crashes", "stats"]).expect(1);
    assert_eq!(daemon.ctl(&["status", "a", "--json"]).expect(0).json()["availability"], Value::Null);
    let _ = daemon.ctl(&["crashes", "--last", "5"]).expect(0);
}

//! Crash reports: what they say, and how they are shown.

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Sandbox, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The report files of a service, oldest first.
pub(super) fn files(sandbox: &Sandbox, name: &str) -> Vec<std::path::PathBuf> {
    let directory = sandbox.state_dir().join("crashes").join(name);
    let entries = directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}

/// A year that is not the epoch's, UTC.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("20") && text.ends_with('Z') && text.contains('T'))
}

/// "the core fields of a report"
#[test]
fn a_report_has_every_field() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
        working_directory = "@dir"
        restart = { delay = "50ms", jitter = 0, max_restarts = 7 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    sandbox.touch("crash");
    daemon.wait_crashes("a", 1);
    sandbox.touch("crash");
    daemon.wait_crashes("a", 2);

    let files = files(&sandbox, "a");
    let [first, second] = [0, 1]
        .map(|index| -> Value { serde_json::from_slice(&std::fs::read(&files[index]).unwrap()).unwrap() });
    // `state_dir/crashes/NAME/TIMESTAMP-ID.json`
    let name = files[0].file_stem().unwrap().to_string_lossy().into_owned();
    let id = first["id"].as_str().unwrap();
    assert!(name.ends_with(id) || id == name, "{name} and {id}");
    assert!(name.starts_with("20"), "{name}");

    assert_eq!(first["schema"], 1);
    assert_eq!(first["service"], "a");
    assert_eq!(first["generation"], 1);
    assert!(is_time(&first["time"]) && is_time(&first["started_at"]), "{first:#}");
    assert_eq!(first["kind"], "exit");
    assert_eq!(first["exit_code"], 3);
    assert_eq!(first["signal"], Value::Null);
    assert_eq!(first["core_dumped"], false);
    assert!(first["reason"].as_str().unwrap().contains("code 3"), "{first:#}");
    assert_eq!(first["pid"], pid);
    assert!(first["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert!(first["command"][0].as_str().unwrap().ends_with("mcpd-fixture"));
    assert_eq!(first["command"][1], "crash-on");
    assert_eq!(first["working_directory"], sandbox.dir().to_str().unwrap());
    let restart = &first["restart"];
    assert_eq!(
        (&restart["attempt"], &restart["max"], &restart["decision"]),
        (&json!(1), &json!(7), &json!("restart"))
    );
    assert!(
        (restart["delay_seconds"].as_f64().unwrap() - 0.05).abs() < 0.001 && is_time(&restart["next_at"]),
        "{restart:#}"
    );
    let tail = first["stderr_tail"].as_array().unwrap();
    assert_eq!(tail.last().unwrap()["text"], "RuntimeError: crashed on demand");
    assert!(tail.iter().all(|line| is_time(&line["time"]) && line["stream"] == "err"), "{tail:?}");
    assert_eq!(first["stdout_tail"][0]["text"], format!("ready {pid}"));
    assert_eq!(first["health"], json!([]));
    assert!(first["resources"]["cpu_seconds"].as_f64().is_some(), "{first:#}");
    for field in ["max_rss_bytes", "memory_peak", "oom_kills", "fds", "threads"] {
        assert!(first["resources"].get(field).is_some(), "resources.{field}");
    }
    assert!(first["changed"].is_array() && first.get("fingerprint").is_some());
    assert_eq!(first["previous"], Value::Null);
    assert_eq!(second["previous"], first["id"]);
    for field in ["name", "os", "mcpd"] {
        assert!(!first["host"][field].as_str().unwrap().is_empty(), "host.{field}");
    }
    // No half-written file is left beside them.
    assert_eq!(sandbox.state_dir().join("crashes/a").read_dir().unwrap().count(), 2);
}

/// "`kind`, `exit_code`, `signal`, `core_dumped`, `reason` (one sentence a person understands)"
#[test]
fn each_kind_of_end_has_its_words() {
    let sandbox = Sandbox::new(
        r#"
        [service.segv]
        exec = ["@fixture", "signal-self", "SEGV"]
        restart = { when = "never" }
        [service.kill]
        exec = ["@fixture", "signal-self", "KILL"]
        restart = { when = "never" }
        [service.code]
        exec = ["@fixture", "exit", "200"]
        restart = { when = "never" }
        "#,
    );
    let daemon = sandbox.start();
    for (name, kind, code, signal) in [
        ("segv", CrashKind::Signal, None, Some("SIGSEGV")),
        ("kill", CrashKind::Signal, None, Some("SIGKILL")),
        ("code", CrashKind::Exit, Some(200), None),
    ] {
        let report = daemon.wait_crashes(name, 1).remove(0);
        assert_eq!((report.kind, report.exit_code, report.signal.as_deref()), (kind, code, signal));
        let word = signal.unwrap_or("200");
        assert!(report.reason.contains(word) && !report.reason.contains('\n'), "{}", report.reason);
        assert_eq!(report.restart.decision, "stay_down");
    }
}

/// "`resources` {max_rss_bytes, cpu_seconds, ...}": a program that leaks shows it.
#[test]
fn a_leak_shows_in_the_report() {
    const MIB: u64 = 1024 * 1024;
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "leak", "2000", "--max", "210"]
        restart = { when = "never" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    // The kernel counts per processor and adds up now and then: its last word falls short of what it says here by less
    // than a MiB, and the report goes by that.
    wait_for("205 MiB to be there", || {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * 4096 >= 205 * MIB
    });
    processes::signal(pid, Signal::KILL);
    let report = daemon.wait_crashes("a", 1).remove(0);
    assert!((200 * MIB..300 * MIB).contains(&report.resources.max_rss_bytes.unwrap()), "{report:#?}");
    assert!(report.resources.cpu_seconds.unwrap() > 0.0, "{report:#?}");
}

/// "`mcpctl crashes --last 5`, `mcpctl crashes NAME`, `mcpctl crashes show ID`, each with `--json`"
#[test]
fn mcpctl_lists_and_shows() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3", "--stderr", "what a mess"]
        restart = { delay = "1ms", multiplier = 1, max_restarts = 3 }
        [service.b]
        exec = ["@fixture", "signal-self", "ABRT"]
        restart = { delay = "1ms", multiplier = 1, max_restarts = 3 }
        [service.good]
        exec = ["@fixture", "run"]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    daemon.wait_state("b", State::Parked);

    let five = daemon.ctl(&["crashes", "--last", "5", "--json"]).expect(0).json();
    assert_eq!(five["schema"], 1);
    let crashes = five["crashes"].as_array().unwrap();
    assert_eq!(crashes.len(), 5);
    for crash in crashes {
        for key in ["id", "service", "time", "kind", "exit_code", "signal", "reason", "pid", "uptime_seconds"]
        {
            assert!(crash.get(key).is_some(), "{key} in {crash:#}");
        }
    }
    let times: Vec<&str> = crashes.iter().map(|crash| crash["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "newest first: {times:?}");

    let of_a = daemon.ctl(&["crashes", "a", "--json"]).expect(0).json();
    let of_a = of_a["crashes"].as_array().unwrap();
    assert!(of_a.len() == 4 && of_a.iter().all(|crash| crash["service"] == "a"), "{of_a:#?}");
    let id = of_a[0]["id"].as_str().unwrap();
    let whole = daemon.ctl(&["crashes", "show", id, "--json"]).expect(0).json();
    assert_eq!((&whole["id"], &whole["restart"]["decision"]), (&json!(id), &json!("park")));

    // For people: everything that is needed.
    let table = daemon.ctl(&["crashes", "--last", "5"]).expect(0).stdout;
    assert!(table.contains(id) || table.contains(&id[id.len() - 6..]), "{table}");
    let page = daemon.ctl(&["crashes", "show", id]).expect(0).stdout;
    assert!(page.contains("what a mess") && page.contains("code 3"), "{page}");
    let none = daemon.ctl(&["crashes", "good"]).expect(0);
    assert!(!none.all().trim().is_empty(), "no crash is worth a sentence");

    let _ = daemon.ctl(&["crashes", "nobody"]).expect(5);
    let unknown = daemon.ctl(&["crashes", "show", "19700101"]).expect(1);
    assert!(unknown.stderr.contains("19700101"), "{}", unknown.stderr);
}

/// "What changed since the last good run", what came before, and what the process held.
#[cfg(target_os = "linux")]
#[test]
fn a_report_says_what_changed_and_what_came_before() {
    let services = |more: &str| {
        format!(
            r#"
        [service.a]
        exec = ["sh", "@dir/main.sh"]
        working_directory = "@dir"
        restart = {{ delay = "10ms", jitter = 0, max_restarts = 2, reset_after = "300ms" }}
        {more}
        health = {{ exec = ["true"], interval = "50ms" }}
        "#
        )
    };
    let sandbox = Sandbox::new(&services(""));
    let waits = "while [ ! -e @dir/go ]; do sleep 0.02; done; exit 1";
    sandbox.write("main.sh", &sandbox.fill(waits));
    let daemon = sandbox.start();
    let lived = |status: &mcpd_proto::status::ServiceStatus| status.uptime_seconds.is_some_and(|up| up > 0.5);
    daemon.wait_status("a", "a good run", lived);
    sandbox.write("main.sh", "exit 7");
    sandbox.write("uv.lock", "");
    sandbox.configure(&services("environment = { MODE = \"new\" }"));
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    sandbox.touch("go");
    let crashes = daemon.wait_crashes("a", 2);
    let report = |code: i32| crashes.iter().find(|crash| crash.exit_code == Some(code)).unwrap();
    let (first, second) = (report(1), report(7));
    let at = |name: &str| sandbox.path(name).display().to_string();
    let files = [format!("argument: {}", at("main.sh")), format!("packages: {}", at("uv.lock"))];
    assert_eq!(first.changed, files);
    assert_eq!(second.changed, [&["configuration: environment.MODE".to_owned()][..], &files[..]].concat());
    assert!(first.lineage.is_empty());
    let before: Vec<&str> = second.lineage.iter().map(|ancestor| ancestor.id.as_str()).collect();
    assert_eq!((before, second.previous.as_deref()), (vec![first.id.as_str()], Some(first.id.as_str())));
    assert_ne!(first.fingerprint, second.fingerprint);
    let held = &first.resources;
    assert!(held.fds.is_some_and(|count| count >= 3) && held.threads == Some(1), "{held:?}");
    assert!(held.sampled_at.is_some() && held.minor_faults.is_some_and(|count| count > 0), "{held:?}");
    assert!(held.voluntary_switches.is_some() && held.involuntary_switches.is_some(), "{held:?}");
    let host = &first.host;
    assert!(host.memory_total_bytes > host.memory_available_bytes && host.load.is_some(), "{host:?}");
    let shown = daemon.ctl(&["crashes", "show", &second.id]).expect(0).stdout;
    assert!(shown.contains("1 crash before it since the last stable run"), "{shown}");
}

/// "Core dumped" with the core's path, where the kernel writes one.
#[cfg(target_os = "linux")]
#[test]
fn a_core_is_named() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "kill -SEGV $$$$"]
        working_directory = "@dir"
        resources.limit_core = "infinity"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    let report = daemon.wait_crashes("a", 1).remove(0);
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if !report.core_dumped || pattern.starts_with(['|', '/']) {
        println!("SKIPPED: cores go elsewhere here: {}, {pattern}", report.core_dumped);
        return;
    }
    assert!(report.reason.contains("core dumped"), "{}", report.reason);
    let core = report.core.and_then(|core| core.path).expect("a core");
    assert!(
        std::path::Path::new(&core).starts_with(sandbox.dir()) && std::fs::metadata(&core).is_ok(),
        "{core}"
    );
    let shown = daemon.ctl(&["crashes", "show", &report.id]).expect(0).stdout;
    assert!(shown.contains("core:"), "{shown}");
}

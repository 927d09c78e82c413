//! Crash reports: what they say, when they are there, how long they stay.

use std::time::Duration;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Sandbox, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The report files of a service, oldest first.
fn files(sandbox: &Sandbox, name: &str) -> Vec<std::path::PathBuf> {
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

/// "on disk before the restart is decided": each start finds the reports of all earlier ends.
#[test]
fn a_report_is_on_disk_before_the_next_start() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "ls @dir/state/crashes/a 2>/dev/null | grep -c 'json$' >> @dir/seen; exit 1"]
        restart = { delay = "1ms", multiplier = 1, jitter = 0, max_restarts = 10 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    let seen = std::fs::read_to_string(sandbox.path("seen")).unwrap();
    let seen: Vec<usize> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(seen, (0..=10).collect::<Vec<_>>());
}

/// Trap 15 of docs/traps.md, a report that a power failure takes back: its content is synced, then it gets its name,
/// then the folder is synced that has the name. Shown by strace; where there is none, or it may not, that is said.
#[cfg(target_os = "linux")]
#[test]
fn a_report_is_synced_before_and_after_it_gets_its_name() {
    let skip = |why: &str| {
        let line = format!("SKIPPED: {why}: whether reports are synced is not tested\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    };
    let sandbox = Sandbox::new(
        "[service.a]\nexec = [\"@fixture\", \"exit\", \"1\"]\nenabled = false\nrestart.when = \"never\"\n",
    );
    let daemon = sandbox.start();
    let calls = sandbox.path("calls");
    let strace = std::process::Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o"])
        .arg(&calls)
        .args(["-p", &daemon.pid().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else { return skip("strace is not installed") };
    let tracer = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        Some(!status.contains("TracerPid:\t0\n"))
    };
    let attached = || {
        let mut tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        tasks.all(|task| tracer(task) == Some(true))
    };
    let mut refused = false;
    wait_for("strace to be attached", || {
        refused = strace.try_wait().unwrap().is_some();
        refused || attached()
    });
    if refused {
        return skip("strace may not attach to mcpd");
    }
    let _ = daemon.ctl(&["start", "a"]);
    let id = daemon.wait_crashes("a", 1)[0].id.clone();
    processes::signal(strace.id(), Signal::TERM);
    strace.wait().unwrap();
    let text = std::fs::read_to_string(calls).unwrap();
    let at = |what: &str, is: &dyn Fn(&str) -> bool| {
        text.lines().position(is).unwrap_or_else(|| panic!("no {what} in\n{text}"))
    };
    let folder = sandbox.state_dir().join("crashes/a").display().to_string();
    let renamed = at("rename", &|call| call.contains("rename") && call.contains(&format!("{id}.json\"")));
    let content =
        at("sync of the content", &|call| call.contains("fsync(") && call.contains(&format!("<{folder}/")));
    let name =
        at("sync of the folder", &|call| call.contains("fsync(") && call.contains(&format!("<{folder}>")));
    assert!(content < renamed && renamed < name, "{text}");
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

/// "kept across restarts of the daemon; bounded by `keep`", orderly ends and kill -9.
#[test]
fn reports_outlive_the_daemon_and_are_bounded() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "1"]
        restart = { delay = "1ms", multiplier = 1, max_restarts = 7 }
        crash = { keep = 5 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    let before = daemon.crashes("a");
    assert_eq!(before.len(), 5, "the newest five of eight");
    assert_eq!(daemon.report(&before[0].id).restart.decision, "park");
    assert_eq!(files(&sandbox, "a").len(), 5);
    drop(daemon);

    // The same ones, whether or not its service runs again.
    let config = std::fs::read_to_string(sandbox.config()).unwrap();
    std::fs::write(sandbox.config(), config.replace("exec =", "enabled = false\nexec =")).unwrap();
    let daemon = sandbox.start();
    assert_eq!(daemon.crashes("a"), before);
    // The store is read while services start.
    let known = daemon.wait_status("a", "its last crash", |status| status.last_crash.is_some());
    assert_eq!(known.last_crash.unwrap().id, before[0].id);
    daemon.kill();
    let daemon = sandbox.start();
    assert_eq!(daemon.crashes("a"), before);
    // The next one is linked to the last one of the former life.
    daemon.call("service.start", json!({ "names": ["a"], "wait": false }));
    daemon.wait("a new crash", || {
        let newest = daemon.crashes("a").remove(0);
        if newest.id == before[0].id { Err(newest.id) } else { Ok(()) }
    });
    daemon.wait_state("a", State::Parked);
    assert_eq!(daemon.crashes("a").len(), 5);
}

/// A file among the reports that is none, or a cut one, hides no other.
#[test]
fn a_damaged_report_hurts_nobody() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "1"]
        restart = { when = "never" }
        "#,
    );
    sandbox.write("state/crashes/a/20260101T000000.000000Z-0000.json", "{\"schema\":1,\"id\":");
    sandbox.write("state/crashes/a/README", "not a report");
    let daemon = sandbox.start();
    let reports = daemon.wait("the good report", || {
        let good: Vec<_> =
            daemon.crashes("a").into_iter().filter(|crash| crash.exit_code == Some(1)).collect();
        if good.len() == 1 { Ok(good) } else { Err(format!("{good:?}")) }
    });
    assert_eq!(reports[0].service, "a");
    // One that was good is cut: it is said where it lies and what is wrong, and the list goes on without it.
    let folder = sandbox.state_dir().join("crashes/a");
    let whole = std::fs::read(folder.join(format!("{}.json", reports[0].id))).unwrap();
    let cut = folder.join("20260101T000000.000000Z-0000aa.json");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let said = daemon.ctl(&["crashes", "show", "20260101T000000.000000Z-0000aa"]).expect(1);
    for part in ["damaged", cut.to_str().unwrap(), "EOF while parsing"] {
        assert!(said.stderr.replace("\n  ", " ").contains(part), "{part} in {said:?}");
    }
    let said = daemon.ctl(&["crashes", "a"]).expect(0);
    assert!(said.stdout.contains(&reports[0].id), "{said:?}");
    assert!(said.stdout.ends_with(&format!("1 damaged report: {}\n", cut.display())), "{said:?}");
    let all = daemon.call("crash.list", serde_json::json!({}));
    assert_eq!((all["damaged"].as_u64(), all["damaged_files"][0].as_str()), (Some(1), cut.to_str()));
}

/// The design: "Secrets are redacted by key name and by known value", wherever the service had them from.
#[test]
fn secrets_of_the_environment_stay_out_of_reports() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "echo using $OWN_TOKEN; echo login with $FILE_PASSWORD failed, $INHERITED_API_KEY too >&2; exit 1"]
        environment = { OWN_TOKEN = "own-0123456789" }
        environment_files = ["secrets.env"]
        restart = { when = "never" }
        "#,
    );
    sandbox.write("secrets.env", "FILE_PASSWORD=file-0123456789\n");
    let daemon = sandbox.start_with(|command| {
        command.env("INHERITED_API_KEY", "inherited-0123456789");
    });
    let report = daemon.wait_crashes("a", 1).remove(0);
    let id = report.id.clone();
    let file = sandbox.state_dir().join("crashes/a").join(format!("{id}.json"));
    let on_disk = std::fs::read_to_string(file).unwrap();
    let shown = daemon.ctl(&["crashes", "show", &id]).expect(0).all() + &daemon.ctl(&["status", "a"]).stdout;
    let failed = daemon.ctl(&["restart", "a"]).expect(1).all();
    assert!(report.reason.contains("login with [redacted] failed, [redacted] too"), "{}", report.reason);
    for secret in ["own-0123456789", "file-0123456789", "inherited-0123456789"] {
        assert!(!on_disk.contains(secret), "{on_disk}");
        assert!(!failed.contains(secret), "{failed}");
        // The log is what the service printed; everything that mcpd says itself is not.
        let said = shown.split("Last output").next().unwrap();
        assert!(!said.contains(secret), "{said}");
        assert!(!daemon.stderr().contains(secret));
    }
}

/// Wherever mcpd says something itself: reports, status, events, plans, `config show`, its own log.
#[test]
fn no_secret_is_told_to_anybody() {
    const SECRETS: [&str; 5] =
        ["marked-0123456789", "header-0123456789", "option-0123456789", "url-0123456789", "own-0123456789"];
    let text = |delay: &str| {
        format!(
            r#"
        [service.a]
        exec = ["sh", "-c", "echo plain is $PLAIN >&2; sleep 0.2; echo plain was $PLAIN; exit 1", "x", "--token", "option-0123456789"]
        environment = {{ OWN_TOKEN = "own-0123456789", DB = "postgres://me:url-0123456789@db/x" }}
        secret_environment_files = ["secrets.env"]
        restart = {{ delay = "{delay}" }}
        exec_stop_post = [["sh", "-c", "echo $PLAIN; exit 3"]]

        [service.a.health]
        exec = ["sh", "-c", "echo not well: $PLAIN; exit 1"]
        interval = "50ms"
        "#
        )
    };
    let more = "[service.b]\nexec = ['sleep', '1000']\n\
        health = { http = 'http://127.0.0.1:9/', headers = { X-Api-Key = 'header-0123456789' } }\n";
    let sandbox = Sandbox::new(&(text("1h") + more));
    sandbox.write("secrets.env", "PLAIN=marked-0123456789\n");
    let daemon = sandbox.start();
    let id = daemon.wait_crashes("a", 1).remove(0).id;
    let file = sandbox.state_dir().join("crashes/a").join(format!("{id}.json"));
    sandbox.configure(&(text("2h") + more).replace("-0123456789\"", "-0123456789-new\""));
    let said = [
        std::fs::read_to_string(file).unwrap(),
        daemon.ctl(&["crashes", "show", &id]).all(),
        daemon.ctl(&["crashes", "--json"]).all(),
        daemon.ctl(&["status", "--json"]).all(),
        daemon.ctl(&["status", "a", "--json"]).all(),
        daemon.ctl(&["config", "plan", "--json"]).all(),
        daemon.ctl(&["config", "plan"]).all(),
        daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap()]).all(),
        daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap(), "--json"]).all(),
        daemon.ctl(&["start", "a", "--timeout", "20s"]).all(),
        daemon.ctl(&["events", "--json"]).all(),
        daemon.stderr(),
    ];
    assert!(said[0].contains("plain is [redacted]"), "{}", said[0]);
    for text in &said {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let whole = daemon.ctl(&["config", "show", sandbox.config().to_str().unwrap(), "--secrets"]).expect(0);
    assert!(whole.stdout.contains("own-0123456789"), "{whole:?}");
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

/// "A storm of 1,000 crashes a second costs bounded disk and memory, and says what it coalesced."
#[test]
fn a_storm_of_crashes_alike_gets_few_reports() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["sh", "-c", "echo job $$$$ failed >&2; exit 3"]
        restart = { delay = "0s", jitter = 0, max_restarts = 0 }
        crash.keep = 1000
        "#,
    );
    let daemon = sandbox.start();
    let coalesced = daemon.wait_event("a crash without a report", |event| {
        event.event == "crash" && event.data["coalesced"] == true
    });
    assert!(coalesced.data.get("crash_id").is_none() && coalesced.message.contains("job "), "{coalesced:?}");
    let last = daemon.status("a").last_crash.unwrap();
    assert_eq!(daemon.report(&last.id).service, "a", "whoever is sent to a report finds it");
    let told = daemon.wait("a report that says how many had none", || {
        let summed: Vec<_> = daemon.crashes("a").into_iter().filter(|crash| crash.coalesced > 0).collect();
        summed.first().cloned().ok_or("none yet".to_owned())
    });
    let counted = daemon.status("a").crash_count;
    // Twenty in each window of ten seconds, and there have been two or three.
    let written = files(&sandbox, "a").len();
    assert!(written <= 60, "{written} reports of {counted} crashes");
    let shown = daemon.ctl(&["crashes", "show", &told.id]).expect(0).stdout;
    assert!(shown.contains("before it had no report of their own"), "{shown}");
    let prints: std::collections::BTreeSet<_> =
        daemon.crashes("a").into_iter().map(|crash| crash.fingerprint).collect();
    assert_eq!(prints.len(), 1, "{prints:?}");
}

/// "Kill -9 of mcpd in the middle of writing a report, 200 times, loses no report that was decided upon and corrupts none."
#[cfg(target_os = "linux")]
#[test]
fn killed_while_it_writes_reports() {
    const TIMES: usize = 200;
    // Words of their own, or they would be too many alike.
    let services: String = ('a'..='h')
        .map(|name| {
            format!(
                "[service.{name}]\nexec = ['sh', '-c', 'read -r id < /proc/sys/kernel/random/uuid; echo $id | tr 0-9 k-t >&2; exit 1']\n\
                 restart = {{ delay = '0s', jitter = 0, max_restarts = 0 }}\ncrash.keep = 1000000\n"
            )
        })
        .collect();
    let sandbox = Sandbox::new(&services);
    let root = sandbox.state_dir().join("crashes");
    let reports = || {
        let folders = root.read_dir().into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| folder.path().read_dir().into_iter().flatten().flatten());
        let names = files.map(|file| file.path());
        names
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut known = std::collections::BTreeSet::new();
    for time in 0..TIMES {
        let daemon = sandbox.start_with(|command| {
            command.env("MCPD_LOG", "error");
        });
        let before = known.len();
        daemon.wait("another report", || {
            known = reports();
            if known.len() > before { Ok(()) } else { Err(format!("{before} reports")) }
        });
        // Somewhere else in the work each time.
        let until =
            std::time::Instant::now() + Duration::from_micros(u64::try_from(time * 137 % 9000).unwrap());
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let seen = reports();
        daemon.kill();
        let left = reports();
        assert!(
            left.is_superset(&seen),
            "{time}: reports are gone: {:?}",
            seen.difference(&left).collect::<Vec<_>>()
        );
        known = left;
    }
    assert!(known.len() >= TIMES, "{}", known.len());
    for path in &known {
        let bytes = std::fs::read(path).unwrap();
        let report: Result<mcpd_proto::crash::CrashReport, _> = serde_json::from_slice(&bytes);
        assert!(
            report.is_ok_and(|report| path.ends_with(format!("{}.json", report.id))),
            "{}",
            path.display()
        );
    }
    // What was half written is swept up by the next life, and says nothing.
    let daemon = sandbox.start();
    let listed = daemon.call("crash.list", json!({ "last": 1_000_000 }));
    assert_eq!(listed["damaged"], 0);
    let temporary = || {
        let folders = root.read_dir().unwrap().flatten();
        let files = folders.flat_map(|folder| folder.path().read_dir().unwrap().flatten());
        files.filter(|file| file.path().extension().is_none_or(|end| end != "json")).count()
    };
    for name in 'a'..='h' {
        let _ = daemon.ctl(&["stop", &name.to_string()]).expect(0);
    }
    assert_eq!(temporary(), 0);
}

/// A file system of a few kilobytes at `path`, or none, aloud.
#[cfg(target_os = "linux")]
struct Mounted(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Mounted {
    fn at(path: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=16k,mode=0750", "none"]).arg(&path).output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        println!("SKIPPED: no file system can be mounted here");
        None
    }

    fn again(&self, options: &str) {
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-o", &format!("remount,{options}")]).arg(&self.0).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// "Disk full, read-only state directory: said once, service supervision unaffected."
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_no_reports_is_said_once() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
        restart = { delay = "10ms", jitter = 0, max_restarts = 0 }
        "#,
    );
    let Some(disk) = Mounted::at(sandbox.state_dir().join("crashes")) else { return };
    let daemon = sandbox.start();
    let crash = || {
        let before = daemon.wait_state("a", State::Up).crash_count;
        sandbox.touch("crash");
        daemon.wait_status("a", "another crash", |status| status.crash_count > before);
        daemon.wait_state("a", State::Up);
    };
    let said = |name: &str| daemon.events().iter().filter(|event| event.event == name).count();
    crash();
    assert_eq!((files(&sandbox, "a").len(), said("record_failed")), (1, 0));
    for (full, time) in [(true, 1), (false, 2)] {
        let ballast = disk.0.join("ballast");
        if full {
            assert!(std::fs::write(&ballast, vec![b'x'; 64 * 1024]).is_err());
        } else {
            disk.again("ro");
        }
        let kept = files(&sandbox, "a").len();
        for _ in 0..3 {
            crash();
        }
        assert_eq!((files(&sandbox, "a").len(), said("record_failed")), (kept, time));
        let leftovers = sandbox.state_dir().join("crashes/a").read_dir().unwrap().count();
        assert_eq!(leftovers, kept, "nothing half written is left");
        if full {
            std::fs::remove_file(&ballast).unwrap();
        } else {
            disk.again("rw");
        }
        crash();
        assert_eq!((files(&sandbox, "a").len(), said("record_recovered")), (kept + 1, time));
    }
    let recovered = daemon.wait_event("the recovery", |event| event.event == "record_recovered");
    assert_eq!(recovered.data["lost"], 3);
    drop(daemon);
}

/// The same from the start on: mcpd starts where it can keep nothing, and so do its services.
#[cfg(target_os = "linux")]
#[test]
fn a_state_directory_that_takes_nothing_stops_nobody() {
    for options in ["ro", "full"] {
        let sandbox = Sandbox::new(
            r#"
            [service.a]
            exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
            restart = { delay = "10ms", jitter = 0, max_restarts = 0 }
            "#,
        );
        let Some(disk) = Mounted::at(sandbox.state_dir()) else { return };
        if options == "ro" {
            disk.again("ro");
        } else {
            assert!(std::fs::write(disk.0.join("ballast"), vec![b'x'; 64 * 1024]).is_err());
        }
        let daemon = sandbox.start();
        for count in 1..=3 {
            daemon.wait_state("a", State::Up);
            sandbox.touch("crash");
            daemon.wait_status("a", "another crash", |status| status.crash_count >= count);
        }
        daemon.wait_state("a", State::Up);
        let said = daemon.events().iter().filter(|event| event.event == "record_failed").count();
        assert_eq!(said, 1, "{options}");
        assert!(daemon.ctl(&["crashes"]).expect(0).stdout.contains("No crashes") || options == "full");
    }
}

/// Nobody's secret is shown because its definition changed after somebody had looked.
#[test]
fn a_command_that_changes_is_looked_through_again() {
    let sandbox = Sandbox::new("[service.a]\nexec = ['sleep', '1000']\nenabled = false\n");
    let daemon = sandbox.start();
    assert_eq!(daemon.status("a").command.len(), 2);
    sandbox.configure("[service.a]\nexec = ['srv', '--token', 'hunter2hunter2']\nenabled = false\n");
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    assert_eq!(daemon.status("a").command[1..], ["--token", "[redacted]"]);
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

//! Crash reports on disk: when they are there, how long they stay, and what happens where the disk takes none.

use std::time::Duration;

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Sandbox, processes};
use rustix::process::Signal;
use serde_json::json;

use super::crashes::files;

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
    // What a life had decided, and not come to write, a later one has written from the journal.
    let events = || -> Vec<mcpd_proto::event::Event> {
        let listed =
            daemon.call("event.list", json!({ "events": ["failed", "crash", "began"], "last": 1_000_000 }));
        serde_json::from_value(listed["events"].clone()).unwrap()
    };
    let last_life = events().iter().rfind(|event| event.event == "began").unwrap().id;
    daemon.wait("every failure told of as a crash", || {
        let events = events();
        let told: std::collections::BTreeSet<u64> =
            events.iter().filter(|event| event.event == "crash").filter_map(|event| event.cause).collect();
        let owed = events.iter().filter(|event| event.event == "failed" && event.id < last_life);
        let owed: Vec<_> = owed.filter(|event| !told.contains(&event.id)).collect();
        if owed.is_empty() { Ok(()) } else { Err(format!("{owed:#?}")) }
    });
    assert_eq!(temporary(), 0);
    let told: Vec<String> = events()
        .iter()
        .filter(|event| event.event == "crash")
        .filter_map(|event| Some(event.data.get("crash_id")?.as_str()?.to_owned()))
        .collect();
    let distinct: std::collections::BTreeSet<&String> = told.iter().collect();
    assert_eq!(distinct.len(), told.len(), "a report stands for two crashes");
    let late = daemon.crashes("a").into_iter().chain(daemon.crashes("b"));
    let late = late.filter(|crash| crash.decision == "unknown").count();
    assert!(late > 0, "in {TIMES} lives none was killed between a failure and its report");
}

/// What the journal says of a crash and no report does: the next life makes one, and gives no secret away by it.
#[cfg(target_os = "linux")]
#[test]
fn a_report_that_was_not_written_is_made_from_the_journal() {
    let text = |enabled: bool| {
        format!(
            "[service.a]\nexec = ['sh', '-c', 'echo out; echo \"Error: no $PLAIN\" >&2; exit 3']\n\
             secret_environment_files = ['secrets.env']\nrestart.when = 'never'\nenabled = {enabled}\n\
             [service.post]\nexec = ['true']\nexec_stop_post = [['sh', '-c', 'exit 4']]\nrestart.when = 'never'\n\
             [service.none]\nexec = ['true']\nuser = 'no-such-user-here'\nrestart.when = 'never'\n"
        )
    };
    let sandbox = Sandbox::new(&text(true));
    sandbox.write("secrets.env", "PLAIN=marked-0123456789\n");
    let names = ["a", "post", "none"];
    let daemon = sandbox.start();
    let first = names.map(|name| daemon.wait_crashes(name, 1).remove(0));
    // Events and lines are told before they are on disk, and only what is on disk outlives a daemon.
    daemon.wait("its lines on disk", || {
        let log =
            std::fs::read_to_string(sandbox.log_dir().join("a.log")).map_err(|error| error.to_string())?;
        if log.contains("out") && log.contains("Error: no") { Ok(()) } else { Err(log) }
    });
    daemon.wait("all of it on disk", || {
        let files = sandbox.state_dir().join("events").read_dir().map_err(|error| error.to_string())?;
        let texts = files.map(|file| file.and_then(|file| std::fs::read_to_string(file.path())));
        let text: String = texts.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let told =
            |id: &str| text.lines().any(|line| line.contains("\"event\":\"crash\"") && line.contains(id));
        if first.iter().all(|report| told(&report.id)) { Ok(()) } else { Err(text) }
    });
    daemon.kill();
    // As if it had been killed before any of it was on disk.
    for (name, report) in names.iter().zip(&first) {
        std::fs::remove_file(sandbox.state_dir().join(format!("crashes/{name}/{}.json", report.id))).unwrap();
    }
    for file in sandbox.state_dir().join("events").read_dir().unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("\"event\":\"crash\"")).collect();
        std::fs::write(&path, kept.join("\n") + "\n").unwrap();
    }
    sandbox.configure(&text(false));
    let daemon = sandbox.start();
    for (name, was) in names.iter().zip(&first) {
        let made = daemon.wait(&format!("a late report of {name}"), || {
            let late = daemon.reports(name).into_iter().find(|report| report.restart.decision == "unknown");
            late.ok_or_else(|| format!("{:#?}", daemon.crashes(name)))
        });
        assert_eq!((made.kind, made.generation, made.pid), (was.kind, was.generation, was.pid), "{made:#?}");
        assert_eq!((made.exit_code, &made.signal), (was.exit_code.filter(|_| *name == "a"), &was.signal));
        assert!(made.restart.why.contains("mcpd was killed"), "{made:#?}");
        let text = format!("{made:?}");
        assert!(!text.contains("marked-0123456789"), "{text}");
        match *name {
            "a" => {
                assert_eq!(made.cause.as_deref(), Some("Error: no [redacted]"));
                assert_eq!((made.stdout_tail.len(), made.stderr_tail.len()), (1, 1), "{made:#?}");
            }
            "post" => assert!(made.reason.contains("exec_stop_post failed"), "{}", made.reason),
            _ => assert!(made.reason.contains("no-such-user-here"), "{}", made.reason),
        }
    }
    // It has not run in this life: what its files hold is read for this.
    let logs = daemon.ctl(&["logs", "a"]).all();
    assert!(logs.contains("no [redacted]") && !logs.contains("marked-0123456789"), "{logs}");
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

//! Another mcpd takes over from one that runs, because somebody says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::wait_for;
use mcpd_tests::{Daemon, Sandbox, binaries, processes};
use serde_json::{Value, json};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of a program that is the same but for its number.
const OTHER: &str = "0.1.9";

const TWO: &str = r#"
    [service.a]
    exec = ["@fixture", "run"]
    [service.counts]
    exec = ["sh", "-c", "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.002; done"]
    log = { max_size = "4K", max_files = 10000 }
"#;

/// mcpd of this number, as a file of its own.
fn put(path: &Path, version: &str) {
    let mut program = std::fs::read(binaries::mcpd()).unwrap();
    if version != VERSION {
        assert_eq!(version.len(), VERSION.len());
        let places: Vec<usize> = memchr::memmem::find_iter(&program, VERSION.as_bytes()).collect();
        assert!(!places.is_empty());
        for place in places {
            program[place..place + version.len()].copy_from_slice(version.as_bytes());
        }
    }
    install(path, &program);
}

/// A program, put there as a package manager does it: one that runs keeps its file. By another process: whatever a test beside
/// this one starts meanwhile would have it open for writing until it is a program itself, and such a file is not executed.
fn install(path: &Path, program: &[u8]) {
    let [data, new] = ["data", "new"].map(|extension| path.with_extension(extension));
    std::fs::write(&data, program).unwrap();
    let installed = Command::new("install").args(["-m", "755"]).args([&data, &new]).status().unwrap();
    assert!(installed.success());
    std::fs::rename(&new, path).unwrap();
}

/// One that was started from a file that can be replaced.
fn start<'s>(sandbox: &'s Sandbox) -> (Daemon<'s>, PathBuf) {
    let path = sandbox.path("mcpd");
    put(&path, VERSION);
    let daemon = Daemon::start(sandbox, |command| {
        let mut own = sandbox.command(&path);
        own.args(command.get_args());
        let append =
            |name| std::fs::File::options().append(true).create(true).open(sandbox.path(name)).unwrap();
        own.stdout(append("mcpd.out")).stderr(append("mcpd.err"));
        *command = own;
    });
    (daemon, path)
}

fn status(daemon: &Daemon<'_>) -> Value {
    daemon.call("daemon.status", json!({}))
}

/// Both versions, the keeper's first.
fn versions(status: &Value) -> [&str; 2] {
    [status["keeper"]["version"].as_str().unwrap(), status["version"].as_str().unwrap()]
}

/// "`mcpctl daemon upgrade`: to the binary now on disk, keeper included, without touching a service; `daemon status` shows both
/// versions."
#[test]
fn an_upgrade_touches_no_service() {
    let sandbox = Sandbox::new(TWO);
    let (daemon, path) = start(&sandbox);
    let names = ["a", "counts"];
    for name in names {
        daemon.wait_state(name, State::Up);
    }
    let pids = names.map(|name| daemon.pid_of(name));
    for (version, before) in [(OTHER, VERSION), (VERSION, OTHER), (VERSION, VERSION)] {
        put(&path, version);
        let first = status(&daemon);
        assert_eq!(versions(&first), [before, before]);
        let would = daemon.ctl(&["daemon", "upgrade", "--dry-run"]).expect(0).stdout;
        let sentence = format!("is mcpd {version} and would take over from {before} with 2 services");
        assert!(would.contains(&sentence), "{would}");
        assert_eq!(status(&daemon)["pid"], first["pid"], "a rehearsal changes nothing");

        let said = daemon.ctl(&["daemon", "upgrade"]).expect(0).stdout;
        assert!(said.starts_with(&format!("mcpd {version} took over from {before}: keeper pid ")), "{said}");
        let now = status(&daemon);
        assert_eq!(versions(&now), [version, version]);
        assert_eq!(now["keeper"]["pid"], first["keeper"]["pid"], "whoever started mcpd knows it by this");
        assert_ne!(now["pid"], first["pid"]);
        let runs = std::fs::read_link(format!("/proc/{}/exe", daemon.main_pid())).unwrap();
        assert_eq!(runs, path);
        for (name, pid) in names.iter().zip(pids) {
            let status = daemon.status(name);
            assert_eq!(
                (status.pid, status.state, status.restarts_total),
                (Some(pid), State::Up, 0),
                "{name}"
            );
        }
    }
    let told = daemon.call("event.list", json!({ "events": ["upgrading", "began"], "last": 100 }));
    let told: Vec<&str> =
        told["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 7, "{told:#?}");
    assert!(told[1].contains(&format!("making way for mcpd {OTHER} ({})", path.display())), "{told:#?}");
    assert!(told[2].contains("made way for an upgrade"), "{told:#?}");

    // Not one line is missing, twice or torn.
    daemon.call("service.stop", json!({ "names": ["counts"] }));
    let mut lines = String::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(sandbox.log_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("counts.log"));
    files.sort();
    files.rotate_left(1);
    files.iter().for_each(|file| lines += &std::fs::read_to_string(file).unwrap());
    for (number, line) in (1..).zip(lines.lines()) {
        assert!(line.ends_with(&format!(" out {number}")), "{number}: {line}");
    }
    assert!(daemon.stop().success());
}

/// "Rehearse adoption before an upgrade commits; any refusal means that the old one keeps running."
#[test]
fn a_program_that_would_not_take_over_changes_nothing() {
    let sandbox = Sandbox::new(TWO);
    let (daemon, _) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    let first = status(&daemon);
    let later = b"#!/bin/sh\necho '{\"version\":\"9.0.0\",\"keeper\":99,\"services\":2}'\n";
    install(&sandbox.path("later"), later);
    install(&sandbox.path("damaged"), b"#!/bin/sh\necho 'mcpd: it has format 7' >&2\nexit 1\n");
    sandbox.write("text", "what is this\n");
    let refusals = [
        ("later", "what a keeper hands over has format 99 there, and 1 here"),
        ("damaged", "would not take over: it has format 7"),
        ("text", "cannot be executed: Permission denied"),
        ("nowhere", "cannot be executed: No such file"),
        ("/bin/true", "would not take over: it is no mcpd that can take over"),
    ];
    for (program, why) in refusals {
        let refused = daemon.ctl(&["daemon", "upgrade", "--program", program]).expect(1).stderr;
        let words = refused.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(why) && words.contains("nothing was changed"), "{program}: {refused}");
    }
    let relative = daemon.try_call("daemon.upgrade", json!({ "program": "mcpd" })).unwrap_err();
    assert!(format!("{relative:?}").contains("no absolute path"), "{relative:?}");
    let now = status(&daemon);
    assert_eq!((&now["pid"], &now["keeper"]), (&first["pid"], &first["keeper"]));
}

/// One that has said that it would, and then fails, is taken back.
#[test]
fn a_program_that_fails_is_taken_back() {
    let sandbox = Sandbox::new(TWO);
    let (daemon, path) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    put(&path, OTHER);
    // Only whoever starts opens it.
    let crashes = sandbox.state_dir().join("crashes");
    std::fs::remove_dir_all(&crashes).unwrap();
    std::fs::write(&crashes, "").unwrap();
    let asked = daemon.ctl_command(&["daemon", "upgrade"]);
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| mcpd_tests::CtlOutput::of(asked));
        let back = format!("mcpd {OTHER} was taken back: its daemon ended with exit code 1");
        wait_for("it is taken back", || daemon.stderr().contains(&back));
        std::fs::remove_file(&crashes).unwrap();
        asked.join().unwrap()
    });
    let words = refused.expect(1).stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("not upgraded: mcpd 0.1.9 was taken back"), "{words}");
    assert!(words.contains(&format!("mcpd {VERSION} goes on")), "{words}");
    let now = status(&daemon);
    assert_eq!(versions(&now), [VERSION, VERSION]);
    assert_eq!(daemon.pid_of("a"), pid);
    assert!(processes::lives(daemon.main_pid()));
    let shown = daemon.ctl(&["daemon", "status"]).expect(0).stdout;
    assert!(shown.split_whitespace().collect::<Vec<_>>().join(" ").contains("was taken back"), "{shown}");
    // What was wrong with it is mended: asked again, it takes over.
    let _ = daemon.ctl(&["daemon", "upgrade"]).expect(0);
    let now = status(&daemon);
    assert_eq!(versions(&now), [OTHER, OTHER]);
    assert_eq!(now["keeper"]["not_upgraded"], Value::Null);
    assert_eq!(daemon.pid_of("a"), pid);
}

/// A daemon that dies in the middle of it has made no upgrade, and nobody says that it has.
#[test]
fn a_daemon_that_dies_before_it_has_asked_is_no_upgrade() {
    let sandbox = Sandbox::new(TWO);
    let (daemon, _) = start(&sandbox);
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    install(&sandbox.path("slow"), b"#!/bin/sh\necho > asked\nexec sleep 1000\n");
    let asked = daemon.ctl_command(&["daemon", "upgrade", "--program", "slow"]);
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| mcpd_tests::CtlOutput::of(asked));
        wait_for("it is asked", || sandbox.path("asked").exists());
        processes::signal(daemon.pid(), rustix::process::Signal::KILL);
        asked.join().unwrap()
    });
    let said = refused.expect(10).stderr;
    assert!(said.contains("nothing was changed. Try again."), "{said}");
    assert_eq!(versions(&status(&daemon)), [VERSION, VERSION]);
    assert_eq!(daemon.pid_of("a"), pid);
}

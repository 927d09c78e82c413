//! The fixture keeps the promises that scenarios rely on. No daemon here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{Sandbox, binaries, processes};
use rustix::process::Signal;

fn fixture(sandbox: &Sandbox, args: &str) -> Command {
    let mut command = sandbox.command(&binaries::fixture());
    command.args(sandbox.fill(args).split(' '));
    command
}

/// Started, with its line `ready PID` read.
fn ready(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, format!("ready {}\n", child.id()));
    // Kept open: a closed pipe would end whoever prints more.
    child.stdout = Some(out.into_inner());
    child
}

#[test]
fn exits_as_told() {
    let sandbox = Sandbox::new("");
    let out = fixture(&sandbox, "exit 7 --stdout one --stderr two")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(
        (out.status.code(), &out.stdout[..], &out.stderr[..]),
        (Some(7), &b"one\n"[..], &b"two\n"[..])
    );
    assert_eq!(fixture(&sandbox, "exit 7 --nonsense").status().unwrap().code(), Some(2));
    assert_eq!(fixture(&sandbox, "signal-self SEGV").status().unwrap().signal(), Some(11));
    assert_eq!(fixture(&sandbox, "exists @dir/mcpd.toml").status().unwrap().code(), Some(0));
}

#[test]
fn crashes_when_asked_and_counts_its_starts() {
    let sandbox = Sandbox::new("");
    let mut child = ready(fixture(&sandbox, "record @dir/starts crash-on @dir/now"));
    sandbox.touch("now");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!sandbox.path("now").exists());
    assert_eq!(sandbox.starts("starts").len(), 1);
    let first = || fixture(&sandbox, "crash-first 2 @dir/count exit 0").status().unwrap().code().unwrap();
    assert_eq!([first(), first(), first()], [1, 1, 0]);
}

#[test]
fn obeys_or_ignores_sigterm() {
    let sandbox = Sandbox::new("");
    let mut polite = ready(fixture(&sandbox, "run --exit-code 4"));
    processes::signal(polite.id(), Signal::TERM);
    assert_eq!(polite.wait().unwrap().code(), Some(4));

    let mut deaf = ready(fixture(&sandbox, "ignore-term"));
    processes::signal(deaf.id(), Signal::TERM);
    processes::signal(deaf.id(), Signal::INT);
    processes::signal(deaf.id(), Signal::KILL);
    assert_eq!(deaf.wait().unwrap().signal(), Some(9));
}

#[test]
fn forks_away_and_keeps_the_pipe() {
    let sandbox = Sandbox::new("");
    let mut leader = fixture(&sandbox, "fork-away --pid-file @dir/pid --leader-exit 3")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(leader.wait().unwrap().code(), Some(3));
    let away: u32 = wait_for_file(&sandbox.path("pid")).parse().unwrap();
    let process = processes::process(away).unwrap();
    assert!(process.group != leader.id() && process.parent != leader.id());
    processes::signal(away, Signal::KILL);
    // Only its death closes the pipe.
    let mut rest = String::new();
    leader.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, format!("ready {}\n", leader.id()));
}

#[test]
fn grows_a_tree_in_one_group() {
    let sandbox = Sandbox::new("");
    let mut leader = ready(fixture(&sandbox, "tree 2 --pid-file @dir/pids --deaf"));
    let pids = || -> Vec<u32> {
        let text = std::fs::read_to_string(sandbox.path("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    wait_for("five processes", || pids().len() == 5);
    for pid in pids() {
        assert_eq!(processes::process(pid).unwrap().group, processes::process(leader.id()).unwrap().group);
    }
    for pid in pids() {
        processes::signal(pid, Signal::KILL);
    }
    leader.wait().unwrap();
}

#[test]
fn prints_as_much_as_it_says() {
    let sandbox = Sandbox::new("");
    let mut flood = fixture(&sandbox, "flood lines 5000 --line-len 40 --numbered --exit 0");
    let out = flood.stdout(Stdio::piped()).output().unwrap().stdout;
    assert_eq!(out.len(), 5000 * 41);
    assert!(out.starts_with(b"line 00000001 xxx") && out.ends_with(b"x\n"));

    let mut garbage = fixture(&sandbox, "garbage --copy @dir/copy --exit 0");
    let out = garbage.stdout(Stdio::piped()).output().unwrap().stdout;
    assert!(out == std::fs::read(sandbox.path("copy")).unwrap(), "the copy differs");
    assert!(out.len() > 10_000_000 && out.last() != Some(&b'\n') && out.contains(&0));
    assert!(std::str::from_utf8(&out).is_err());
    assert!(out.split(|&byte| byte == b'\n').any(|line| line.len() >= 10_000_000));
}

#[test]
fn answers_health_checks() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    let mut server = ready(fixture(
        &sandbox,
        &format!("http {address} --port-file @dir/port --unhealthy-on @dir/sick --count-file @dir/count"),
    ));
    assert_eq!(wait_for_file(&sandbox.path("port")), address.port().to_string());
    let get = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let answer = get();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"status\":\"healthy\"}"), "{answer}");
    sandbox.touch("sick");
    assert!(get().starts_with("HTTP/1.1 503 "));
    assert_eq!(wait_for_file(&sandbox.path("count")), "..");
    processes::signal(server.id(), Signal::TERM);
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn shows_its_surroundings() {
    let sandbox = Sandbox::new("");
    let mut command = fixture(&sandbox, "env @dir/env.json");
    let mut child = ready({
        command.env("GREETING", "a \"b\"\n");
        command
    });
    let json: serde_json::Value = serde_json::from_str(&wait_for_file(&sandbox.path("env.json"))).unwrap();
    assert_eq!(json["env"]["GREETING"], "a \"b\"\n");
    assert_eq!(json["cwd"], sandbox.dir().to_str().unwrap());
    assert_eq!(json["pid"], child.id());
    child.kill().unwrap();
    child.wait().unwrap();
}

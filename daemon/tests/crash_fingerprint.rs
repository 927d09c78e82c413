//! Which crashes are the same one again: mutated copies of a failure are one group, another failure is another.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::time::Duration;

use mcpd::crash::fingerprint::{Death, normalised, of};
use mcpd::crash::reason;
use mcpd_proto::crash::CrashKind;
use mcpd_proto::log::{LogLine, Stream};
use proptest::prelude::*;

/// Of a program that nobody knows.
fn ended(
    kind: CrashKind,
    exit_code: Option<i32>,
    signal: Option<i32>,
    core_dumped: bool,
    uptime: Duration,
    stderr: &[LogLine],
    stdout: &[LogLine],
) -> reason::Reason {
    let end = reason::End { kind, command: &[], exit_code, signal, core_dumped, uptime };
    reason::exit(&end, stderr, stdout)
}

fn lines(text: &str) -> Vec<LogLine> {
    let line = |text: &str| LogLine {
        time: None,
        stream: Some(Stream::Err),
        text: text.to_owned(),
        base64: None,
        continues: false,
    };
    text.lines().map(line).collect()
}

/// Of a run that ended with code 1 and these last words.
fn print(stderr: &str) -> String {
    let reason = ended(CrashKind::Exit, Some(1), None, false, Duration::from_secs(1), &lines(stderr), &[]);
    of(&Death {
        service: "web",
        kind: CrashKind::Exit,
        phase: None,
        exit_code: Some(1),
        signal: None,
        cause: reason.cause.as_deref(),
        frames: &reason.frames,
    })
}

#[test]
fn what_differs_from_time_to_time_goes() {
    for (text, left) in [
        ("", ""),
        ("KeyError: 'DATABASE_URL'", "KeyError: 'DATABASE_URL'"),
        ("connect ECONNREFUSED 127.0.0.1:5432", "connect ECONNREFUSED #"),
        ("connect ECONNREFUSED 10.2.30.4:80", "connect ECONNREFUSED #"),
        (
            "listen EADDRINUSE: address already in use :::8123",
            "listen EADDRINUSE: address already in use :::#",
        ),
        ("address ('0.0.0.0', '7787') in use", "address ('#', '#') in use"),
        ("panic: boom (src/main.rs:10:5)", "panic: boom (main.rs:#)"),
        ("no such file: '/var/lib/app/42/data.db'", "no such file: 'data.db'"),
        (r"no such file: 'C:\Users\me\data.db'", "no such file: 'data.db'"),
        ("cannot read /tmp/tmpqz81ab_x", "cannot read #"),
        ("<Task at 0x7f3a5c0d1e80>", "<Task at #>"),
        ("order 3f2b8c9e-1d4a-4f6b-8e7a-0c1d2e3f4a5b is gone", "order # is gone"),
        ("commit da39a3ee5e6b4b0d3255bfef95601890afd80709", "commit #"),
        ("job 9k2jx81q failed", "job # failed"),
        ("2026-11-22T11:27:00.123456Z disk full", "# disk full"),
        ("2026/11/22 11:30:00 listen tcp :8080: bind", "# listen tcp :#: bind"),
        ("Thu Nov 26 12:46:24 2026: bad", "#: bad"),
        ("[2026-11-22 11:30:00 +0000] [41] [ERROR] x", "[#] [#] [ERROR] x"),
        ("timed out after 5 s", "timed out after #"),
        ("timed out after 300 ms", "timed out after #"),
        ("took 1 min 30 s", "took #"),
        ("503 after 4 ms: expected 200", "# after #: expected #"),
        ("need 1.5 GiB, have 312 MB", "need #, have #"),
        ("missing ids 1, 2 and 3", "missing ids # and #"),
        ("missing [4, 5, 6]", "missing [#]"),
        ("worker-12 worker3 died", "worker-# worker# died"),
        ("Base64Error, utf8, IPv6", "Base64Error, utf#, IPv#"),
        ("GET http://api:8080/users/12?x=1 failed", "GET http api # failed"),
        ("GET https://u:p@api/v1/users failed", "GET https api users failed"),
        ("either/or", "or"),
        ("a \t b", "a b"),
    ] {
        assert_eq!(normalised(text), left, "{text:?}");
    }
}

const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"/opt/app/main.py\", line 12, in <module>\n    run()\n  \
    File \"/opt/app/db.py\", line 40, in run\n    connect()\nConnectionError: db 10.0.0.7:5432 refused session 9f8e7d6c5b4a\n";

#[test]
fn the_same_failure_again_is_the_same_group() {
    let again = TRACEBACK
        .replace("/opt/app", "/srv/releases/20261122/app")
        .replace("line 12", "line 13")
        .replace("line 40", "line 417")
        .replace("10.0.0.7:5432", "10.0.12.34:6432")
        .replace("9f8e7d6c5b4a", "0a1b2c3d4e5f");
    assert_eq!(print(TRACEBACK), print(&again));
    let node = |line: u32, port: u32, dir: &str| {
        format!(
            "Error: listen EADDRINUSE: address already in use :::{port}\n    at Server.listen (node:net:19{line}:16)\n    \
             at start ({dir}/server.js:{line}:9) {{\n  code: 'EADDRINUSE',\n  port: {port}\n}}\n\nNode.js v20.{line}.2\n"
        )
    };
    assert_eq!(print(&node(20, 3000, "/app")), print(&node(31, 8443, "/home/me/other")));
    let go = |index: u32, line: u32| {
        format!(
            "panic: runtime error: index out of range [{index}] with length 3\n\ngoroutine {line} [running]:\n\
             panic({{0x{line}a, 0xc000{line}}})\n\t/usr/go/src/runtime/panic.go:7{line} +0x132\nmain.work(0xc0000{line}0)\n\
             \t/app/main.go:{line} +0x1d\nmain.main()\n\t/app/main.go:8 +0x1d\n"
        )
    };
    assert_eq!(print(&go(5, 12)), print(&go(77, 8)));
    let rust = |line: u32, pid: u32| {
        format!(
            "\nthread 'main' ({pid}) panicked at src/main.rs:{line}:5:\nindex out of bounds: the len is {pid}\n"
        )
    };
    assert_eq!(print(&rust(10, 4242)), print(&rust(211, 17)));
}

#[test]
fn another_failure_is_another_group() {
    let all = [
        TRACEBACK.to_owned(),
        TRACEBACK.replace("ConnectionError", "TimeoutError"),
        TRACEBACK.replace("refused", "reset"),
        // The same words from another place.
        TRACEBACK.replace("in run", "in migrate"),
        TRACEBACK.replace("db.py", "cache.py"),
        "KeyError: 'a'\n".to_owned(),
        "disk full\n".to_owned(),
        String::new(),
    ];
    let prints: Vec<String> = all.iter().map(|text| print(text)).collect();
    for (at, print) in prints.iter().enumerate() {
        assert!(print.len() == 16 && print.bytes().all(|byte| byte.is_ascii_hexdigit()), "{print}");
        assert!(!prints[..at].contains(print), "{:?} is in the group of another", all[at]);
    }
}

#[test]
fn what_else_a_crash_is_told_by() {
    let exit = Death {
        service: "web",
        kind: CrashKind::Exit,
        phase: None,
        exit_code: Some(1),
        signal: None,
        cause: None,
        frames: &[],
    };
    let signal = Death { kind: CrashKind::Signal, exit_code: None, signal: Some("SIGSEGV"), ..exit };
    let different = [
        exit,
        Death { service: "web2", ..exit },
        Death { exit_code: Some(2), ..exit },
        Death { phase: Some("exec_stop"), ..exit },
        Death { cause: Some("x"), ..exit },
        signal,
        Death { signal: Some("SIGBUS"), ..signal },
        Death { kind: CrashKind::Health, ..exit },
    ];
    for (at, one) in different.iter().enumerate() {
        assert!(different[..at].iter().all(|other| of(other) != of(one)), "{one:?}");
    }
    // With a cause, and where mcpd ended it, the number at the end says nothing.
    let known = Death { cause: Some("x"), ..exit };
    assert_eq!(of(&known), of(&Death { exit_code: Some(3), ..known }));
    let health = Death { kind: CrashKind::Health, cause: Some("timed out after 5 s"), ..exit };
    assert_eq!(of(&health), of(&Death { exit_code: None, signal: Some("SIGKILL"), ..health }));
    // Old reports stay in their groups.
    assert_eq!(of(&exit), "998631be4bdd92ff");
}

/// Something that differs from one time to the next.
fn varying() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,9}",
        "0x[0-9a-f]{6,16}",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}:[0-9]{2,5}",
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z",
        "[1-9][0-9]{0,3} (ms|s|bytes|MiB)",
        "/tmp/[a-z0-9]{8}",
    ]
}

proptest! {
    #[test]
    fn mutated_copies_are_one_group(
        words in proptest::collection::vec("[a-z]{2,9}", 1..6),
        first in proptest::collection::vec(varying(), 6),
        second in proptest::collection::vec(varying(), 6),
    ) {
        let text = |with: &[String]| -> String {
            words.iter().zip(with).map(|(word, with)| format!("{word} ({with}) ")).collect()
        };
        prop_assert_eq!(normalised(&text(&first)), normalised(&text(&second)));
    }

    #[test]
    fn directories_do_not_count(first in "(/[a-z]{1,8}){1,5}", second in "(/[a-z0-9.]{1,8}){1,5}", name in "[a-z]{1,8}\\.[a-z]{2}") {
        let text = |dir: &str| normalised(&format!("cannot open '{dir}/x/{name}'"));
        prop_assert_eq!(text(&first), text(&second));
    }

    #[test]
    fn other_words_are_another_group(a in "[a-z]{1,12}( [a-z]{1,12}){0,4}", b in "[a-z]{1,12}( [a-z]{1,12}){0,4}", number in 0..9999u32) {
        prop_assume!(a != b);
        prop_assert_ne!(print(&format!("Error: {a} ({number})")), print(&format!("Error: {b} ({number})")));
    }

    #[test]
    fn any_text_gets_an_answer(text in any::<String>(), blown in 1..200usize) {
        prop_assert!(normalised(&text.repeat(blown)).chars().count() <= 512);
    }
}

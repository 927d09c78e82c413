//! What a program says that it lacks, and what only looks like it.

#![allow(clippy::unwrap_used, reason = "a test")]

use mcpd::crash::lack::{Holder, Lack, lack};
use mcpd_proto::log::{LogLine, Stream};

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

/// Somebody listens on 8000, and nobody on any other port but SSH's.
fn holder(port: u16) -> Option<Holder> {
    let name = match port {
        8000 => "python3",
        22 => "sshd",
        _ => return None,
    };
    Some(Holder { pid: 4242, name: name.to_owned() })
}

fn of(code: i32, stderr: &str) -> Option<Lack> {
    lack(code, &lines(stderr), &[], &[], holder)
}

#[test]
fn things_that_no_restart_brings() {
    for (code, stderr, words) in [
        (
            1,
            "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in <module>\n    import x\n\
             ModuleNotFoundError: No module named 'x'",
            "ModuleNotFoundError: No module named 'x'",
        ),
        (1, "/usr/bin/python3: No module named uvicorn", "/usr/bin/python3: No module named uvicorn"),
        (
            2,
            "python3: can't open file '/app/main.py': [Errno 2] No such file or directory",
            "python3: can't open file '/app/main.py': [Errno 2] No such file or directory",
        ),
        (
            1,
            "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module './server.js'\n\
             Require stack:\n- /app/index.js\n    at Module._resolveFilename (node:internal:1207:15)\n  code: 'MODULE_NOT_FOUND'",
            "Error: Cannot find module './server.js' (MODULE_NOT_FOUND)",
        ),
        (127, "sh: 1: no-such-tool: not found", "sh: 1: no-such-tool: not found"),
        (
            127,
            "/usr/bin/env: 'node': No such file or directory",
            "/usr/bin/env: 'node': No such file or directory",
        ),
        (127, "bash: line 1: foo: command not found", "bash: line 1: foo: command not found"),
    ] {
        assert_eq!(of(code, stderr), Some(Lack::Thing(words.to_owned())), "{stderr}");
    }
}

/// "unparked by itself when ... the named file changes"
#[test]
fn what_its_words_name() {
    for (words, wanted) in [
        (
            "python3: can't open file '/app/main.py': [Errno 2] No such file or directory",
            Some("/app/main.py"),
        ),
        ("Error: Cannot find module '/app/server.js' (MODULE_NOT_FOUND)", Some("/app/server.js")),
        ("/usr/bin/env: \u{2018}node\u{2019}: No such file or directory", Some("node")),
        ("/usr/bin/env: 'node': No such file or directory", Some("node")),
        ("sh: 1: no-such-tool: not found", Some("no-such-tool")),
        ("bash: line 1: foo: command not found", Some("foo")),
        ("bash: line 1: /opt/foo: No such file or directory", Some("/opt/foo")),
        ("ModuleNotFoundError: No module named 'x'", None),
        ("Error: Cannot find module 'express' (MODULE_NOT_FOUND)", None),
    ] {
        assert_eq!(Lack::Thing(words.to_owned()).named(), wanted, "{words}");
    }
}

#[test]
fn a_port_and_who_holds_it() {
    for stderr in [
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "Error: listen EADDRINUSE: address already in use :::8000",
        "2026/11/23 09:22:11 listen tcp :8000: bind: address already in use",
        "nginx: [emerg] bind() to 0.0.0.0:8000 failed (98: Address already in use)",
        "[ERROR] 09:22:11 port 8000: Address already in use (os error 98)",
    ] {
        let found = of(1, stderr).unwrap_or_else(|| panic!("{stderr}"));
        assert_eq!(found.text(), "port 8000 is held by python3 (pid 4242)", "{stderr}");
    }
    // Where the words name none, one on which it is likely to listen is the one that is meant.
    let unnamed = lines("OSError: [Errno 98] Address already in use");
    assert_eq!(lack(1, &unnamed, &[], &[], holder), None);
    assert!(matches!(lack(1, &unnamed, &[], &[9, 8000], holder), Some(Lack::Port(8000, _))));
}

#[test]
fn what_may_be_better_next_time() {
    for (code, stderr) in [
        // Left a moment ago, and nobody's: free again soon.
        (1, "listen tcp :8001: bind: address already in use"),
        // The time of day is no port.
        (1, "2026/11/23 09:22:11 bind: address already in use"),
        (0, "ModuleNotFoundError: No module named 'x'"),
        (1, "sh: 1: no-such-tool: not found"),
        (1, "404 page not found"),
        (127, "it went well"),
        (1, "FileNotFoundError: [Errno 2] No such file or directory: '/tmp/lock'"),
        (1, "ConnectionRefusedError: [Errno 111] Connection refused"),
        (1, "INFO No module named x was loaded"),
        (1, ""),
    ] {
        assert_eq!(of(code, stderr), None, "{stderr}");
    }
}

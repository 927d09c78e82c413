//! The reason of a crash, from last words as real programs print them.

#![allow(clippy::unwrap_used)] // helpers of tests are no tests to clippy

use std::path::PathBuf;
use std::time::Duration;

use mcpd::crash::reason;
use mcpd::sys::Shortage;
use mcpd_proto::crash::{CrashKind, HealthVerdict};
use mcpd_proto::log::{LogLine, Stream};

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

fn lines(stream: Stream, text: &str) -> Vec<LogLine> {
    let line = |text: &str| LogLine {
        time: None,
        stream: Some(stream),
        text: text.to_owned(),
        base64: None,
        continues: false,
    };
    text.lines().map(line).collect()
}

fn exited(code: i32, stderr: &str) -> String {
    let stderr = lines(Stream::Err, stderr);
    ended(CrashKind::Exit, Some(code), None, false, Duration::from_millis(300), &stderr, &[]).text
}

fn killed(signal: i32, core: bool, stderr: &str) -> String {
    let stderr = lines(Stream::Err, stderr);
    ended(CrashKind::Signal, None, Some(signal), core, Duration::from_secs(7200), &stderr, &[]).text
}

/// The cause that follows `exited with code 1 after 0.3 s: `.
fn cause(stderr: &str) -> String {
    let reason = exited(1, stderr);
    reason.strip_prefix("exited with code 1 after 0.3 s: ").unwrap_or(&reason).to_owned()
}

#[test]
fn statuses_are_decoded() {
    for (code, expected) in [
        (0, "exited with code 0 after 0.3 s"),
        (1, "exited with code 1 after 0.3 s"),
        (126, "exited with code 126 (command cannot be executed) after 0.3 s"),
        (127, "exited with code 127 (command not found) after 0.3 s"),
        (137, "exited with code 137 (128+9: SIGKILL) after 0.3 s"),
        (143, "exited with code 143 (128+15: SIGTERM) after 0.3 s"),
        (144, "exited with code 144 after 0.3 s"),
        (255, "exited with code 255 after 0.3 s"),
        (256, "exited with code 256 after 0.3 s"),
        (0xC000_0005_u32.cast_signed(), "exited with 0xC0000005 (access violation) after 0.3 s"),
        (0xC000_0135_u32.cast_signed(), "exited with 0xC0000135 (a DLL was not found) after 0.3 s"),
        (0xC000_013A_u32.cast_signed(), "exited with 0xC000013A (ended by Ctrl+C) after 0.3 s"),
        (-1, "exited with 0xFFFFFFFF after 0.3 s"),
    ] {
        assert_eq!(exited(code, ""), expected);
    }
    assert_eq!(killed(9, false, ""), "killed by SIGKILL (9) after 2 h");
    assert_eq!(killed(11, true, ""), "killed by SIGSEGV (11) after 2 h, core dumped");
    assert_eq!(killed(34, false, ""), "killed by SIGRTMIN+0 (34) after 2 h");
    assert_eq!(killed(99, false, ""), "killed by signal 99 after 2 h");
    let unknown = ended(CrashKind::Exit, None, None, false, Duration::from_secs(1), &[], &[]).text;
    assert_eq!(unknown, "ended after 1 s, nobody knows how");
}

#[test]
fn other_kinds_are_named() {
    let of = |kind| ended(kind, None, Some(9), false, Duration::from_secs(5), &[], &[]).text;
    assert_eq!(of(CrashKind::Oom), "out of memory: killed by SIGKILL (9) after 5 s");
    assert_eq!(of(CrashKind::Watchdog), "watchdog not fed in time: killed by SIGKILL (9) after 5 s");
    let limit = Duration::from_secs(90);
    assert_eq!(reason::start_timeout(limit, None, &[]).text, "not up within 1 min 30 s");
    let verdict =
        |ok, detail: &str| HealthVerdict { time: String::new(), ok, unknown: false, detail: detail.into() };
    let seen = [verdict(false, "connection refused"), verdict(true, "connected after 1 ms")];
    assert_eq!(
        reason::start_timeout(limit, Some("a connection to h:1"), &seen).text,
        "not ready within 1 min 30 s, waiting for a connection to h:1: connection refused"
    );
    assert_eq!(reason::spawn("no such file: /x").text, "could not be started: no such file: /x");
}

#[test]
fn a_kill_for_memory_names_limit_and_peak() {
    let after = Duration::from_millis(3200);
    let (peak, unit) = (Some(64 << 20), PathBuf::from("/sys/fs/cgroup/system.slice/mcpd.service"));
    let above = Shortage::Above { cgroup: unit, limit: 200 << 20 };
    for (limit, shortage, peak, expected) in [
        (
            Some("64M"),
            &Shortage::Own,
            peak,
            "killed by the kernel for exceeding memory_max = 64M (peak 64.0M), after 3.2 s",
        ),
        (Some("5%"), &Shortage::Own, None, "killed by the kernel for exceeding memory_max = 5%, after 3.2 s"),
        (
            None,
            &Shortage::Own,
            None,
            "killed by the kernel for exceeding the memory.max of its cgroup, after 3.2 s",
        ),
        (
            None,
            &above,
            peak,
            "killed by the kernel for want of memory (peak 64.0M), after 3.2 s: the cgroup \
             /sys/fs/cgroup/system.slice/mcpd.service above it has a limit of 200.0M",
        ),
        (
            Some("1G"),
            &Shortage::Machine,
            peak,
            "killed by the kernel for want of memory within its own memory_max = 1G (peak 64.0M), after 3.2 s: \
             the machine had none left",
        ),
        (Some("1G"), &Shortage::Unknown, None, "killed by the kernel for want of memory, after 3.2 s"),
    ] {
        assert_eq!(reason::oom(limit, shortage, peak, after).text, expected);
    }
}

#[test]
fn health_gives_the_last_bad_verdict() {
    let verdict = |ok, detail: &str| HealthVerdict {
        time: String::new(),
        ok,
        unknown: detail.starts_with("could not be asked"),
        detail: detail.to_owned(),
    };
    let verdicts = [verdict(false, "503 after 4 ms: expected 200"), verdict(false, "timed out after 5 s")];
    assert_eq!(
        reason::health(3, &verdicts).text,
        "health check failed 3 times in a row: timed out after 5 s"
    );
    assert_eq!(reason::health(1, &verdicts[..1]).text, "health check failed: 503 after 4 ms: expected 200");
    assert_eq!(reason::health(2, &[]).text, "health check failed 2 times in a row");
}

#[test]
fn python_says_it_last() {
    for (name, stderr, expected) in [
        (
            "import",
            "Traceback (most recent call last):\n  File \"/opt/x/main.py\", line 3, in <module>\n    import mcp_studio\n\
             ModuleNotFoundError: No module named 'mcp_studio'\n",
            "ModuleNotFoundError: No module named 'mcp_studio'",
        ),
        (
            "-m",
            "/usr/bin/python3: No module named mcp_studio\n",
            "/usr/bin/python3: No module named mcp_studio",
        ),
        (
            "log lines around",
            "INFO:     Started server process [12]\nERROR:    Traceback (most recent call last):\n  \
             File \"/x/lifespan.py\", line 48, in main\n    await app(scope)\n           ^^^\nKeyError: 'DATABASE_URL'\n\n\
             ERROR:    Application startup failed. Exiting.\n",
            "KeyError: 'DATABASE_URL'",
        ),
        (
            "no message",
            "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    assert False\nAssertionError\n",
            "AssertionError",
        ),
        (
            "syntax",
            "  File \"/x/s.py\", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n",
            "SyntaxError: invalid syntax",
        ),
        (
            "beginning cut off",
            "    self.run()\n  File \"/x/a.py\", line 9, in run\n    raise OSError('disk full')\nOSError: disk full\nbye\n",
            "OSError: disk full",
        ),
        (
            "from",
            "Traceback (most recent call last):\n  File \"c.py\", line 3, in connect\n    try: connect()\n\
             ConnectionRefusedError: [Errno 111] Connection refused\n\n\
             The above exception was the direct cause of the following exception:\n\n\
             Traceback (most recent call last):\n  File \"c.py\", line 5, in <module>\n    connect()\n    ^^^^^^^^^\n\
             RuntimeError: database not reachable\n",
            "RuntimeError: database not reachable, caused by ConnectionRefusedError: [Errno 111] Connection refused",
        ),
        (
            "during handling",
            "Traceback (most recent call last):\n  File \"c.py\", line 3, in f\n    g()\nKeyError: 1\n\n\
             During handling of the above exception, another exception occurred:\n\n\
             Traceback (most recent call last):\n  File \"c.py\", line 5, in <module>\n    f()\nTypeError: no\n",
            "TypeError: no",
        ),
        (
            "group",
            "  + Exception Group Traceback (most recent call last):\n  |   File \"g.py\", line 8, in <module>\n\
             \x20 |     asyncio.run(main())\n  |   File \"taskgroups.py\", line 145, in __aexit__\n  |     raise me from None\n\
             \x20 | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)\n\
             \x20 +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n\
             \x20   |   File \"g.py\", line 3, in bad\n    |     raise ValueError(\"bad port\")\n    | ValueError: bad port\n\
             \x20   +------------------------------------\n",
            "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): ValueError: bad port",
        ),
        (
            "groups in groups, as a cause",
            "  + Exception Group Traceback (most recent call last):\n  |   File \"n.py\", line 2, in f\n\
             \x20 |     raise ExceptionGroup(...)\n  | ExceptionGroup: outer (2 sub-exceptions)\n\
             \x20 +-+---------------- 1 ----------------\n    | ExceptionGroup: inner (2 sub-exceptions)\n\
             \x20   +-+---------------- 1 ----------------\n      | TypeError: two\nlines\n\
             \x20     +---------------- 2 ----------------\n      | ValueError: 2\n\
             \x20     +------------------------------------\n    +---------------- 2 ----------------\n    | KeyError: 'x'\n\
             \x20   +------------------------------------\n\n\
             The above exception was the direct cause of the following exception:\n\n\
             Traceback (most recent call last):\n  File \"n.py\", line 7, in <module>\n    g()\nRuntimeError: cannot start\n",
            "RuntimeError: cannot start, caused by ExceptionGroup: outer (2 sub-exceptions): TypeError: two",
        ),
        (
            "pydantic",
            "Traceback (most recent call last):\n  File \"s.py\", line 7, in <module>\n    Settings()\n\
             pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\ndatabase_url\n  \
             Field required [type=missing, input_value={}, input_type=dict]\n",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings: database_url: \
             Field required [type=missing, input_value={}, input_type=dict]",
        ),
        (
            "uvicorn, address in use",
            "INFO:     Started server process [9]\nINFO:     Waiting for application startup.\n\
             ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 7787): address already in use\n\
             INFO:     Waiting for application shutdown.\nINFO:     Application shutdown complete.\n",
            "ERROR: [Errno 98] error while attempting to bind on address ('0.0.0.0', 7787): address already in use",
        ),
    ] {
        assert_eq!(cause(stderr), expected, "{name}");
    }
}

#[test]
fn stacks_of_at_lines_say_it_first() {
    for (name, stderr, expected) in [
        (
            "node, port taken",
            "node:events:502\n      throw er; // Unhandled 'error' event\n      ^\n\n\
             Error: listen EADDRINUSE: address already in use :::8123\n\
             \x20   at Server.setupListenHandle [as _listen2] (node:net:1908:16)\n    at listenInCluster (node:net:1965:12)\n\
             Emitted 'error' event on Server instance at:\n    at emitErrorNT (node:net:1944:8) {\n  code: 'EADDRINUSE',\n\
             \x20 errno: -98,\n  port: 8123\n}\n\nNode.js v20.20.2\n",
            "Error: listen EADDRINUSE: address already in use :::8123",
        ),
        (
            "node, module",
            "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module './server.js'\n\
             Require stack:\n- /app/index.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)\n\
             \x20   at node:internal/process/execution:118:14 {\n  code: 'MODULE_NOT_FOUND',\n  requireStack: [ '/app/index.js' ]\n}\n\n\
             Node.js v20.20.2\n",
            "Error: Cannot find module './server.js' (MODULE_NOT_FOUND)",
        ),
        (
            "node, ES module",
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'express' imported from /app/m.mjs\n\
             \x20   at packageResolve (node:internal/modules/esm/resolve:873:9) {\n  code: 'ERR_MODULE_NOT_FOUND'\n}\n\nNode.js v20\n",
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'express' imported from /app/m.mjs",
        ),
        (
            "node, cause",
            "Error: x\n    at [eval]:1:16\n    ... 4 lines matching cause stack trace ...\n    at node:internal/main:51:3 {\n  \
             [cause]: TypeError: inner\n      at [eval]:1:39\n}\n\nNode.js v20.20.2\n",
            "Error: x, caused by TypeError: inner",
        ),
        (
            "node, rejection",
            "node:internal/process/promises:389\n      new UnhandledPromiseRejection(reason);\n      ^\n\n\
             UnhandledPromiseRejection: This error originated either by throwing inside of an async function without a catch \
             block, or by rejecting a promise which was not handled with .catch(). The promise rejected with the reason \
             \"no config\".\n    at throwUnhandledRejectionsMode (node:internal/process/promises:389:7) {\n  \
             code: 'ERR_UNHANDLED_REJECTION'\n}\n\nNode.js v20.20.2\n",
            "unhandled promise rejection: no config",
        ),
        (
            "deno",
            "error: Uncaught (in promise) TypeError: nope\n    at file:///app/main.ts:1:7\n",
            "TypeError: nope (main.ts:1)",
        ),
        (
            "java",
            "Exception in thread \"main\" java.lang.IllegalStateException: cannot start\n\tat app.Main.main(Main.java:5)\n\
             Caused by: java.net.BindException: Address already in use\n\tat sun.nio.ch.Net.bind0(Native Method)\n\t... 3 more\n",
            "java.lang.IllegalStateException: cannot start (Main.java:5), caused by java.net.BindException: Address already in use",
        ),
        (
            ".NET",
            "Unhandled exception. System.InvalidOperationException: no route\n   at Program.Main() in /app/Program.cs:line 3\n",
            "System.InvalidOperationException: no route (Program.cs:3)",
        ),
    ] {
        assert_eq!(cause(stderr), expected, "{name}");
    }
}

#[test]
fn compiled_programs_have_last_words_too() {
    for (name, stderr, expected) in [
        (
            "rust",
            "\nthread 'main' (4242) panicked at src/main.rs:10:5:\nindex out of bounds: the len is 3 but the index is 5\n\
             note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "panic: index out of bounds: the len is 3 but the index is 5 (src/main.rs:10:5)",
        ),
        (
            "rust, old",
            "thread 'main' panicked at 'boom', src/main.rs:2:5\nnote: run with ...\n",
            "panic: boom (src/main.rs:2:5)",
        ),
        (
            "rust, a chain of errors",
            "Error: cannot read the configuration\n\nCaused by:\n    0: cannot open /etc/x\n    1: Permission denied (os error 13)\n",
            "cannot read the configuration, caused by Permission denied (os error 13)",
        ),
        (
            "go",
            "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\npanic({0x1, 0x2})\n\
             \t/usr/local/go/src/runtime/panic.go:770 +0x132\nmain.main()\n\t/app/cmd/main.go:8 +0x1d\nexit status 2\n",
            "panic: runtime error: index out of range [5] with length 3 (main.go:8)",
        ),
        (
            "go, deadlock",
            "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/app/main.go:4 +0x2c\n",
            "fatal error: all goroutines are asleep - deadlock! (main.go:4)",
        ),
        (
            "go, log.Fatal",
            "2026/11/22 11:30:00 listen tcp :8080: bind: address already in use\n",
            "2026/11/22 11:30:00 listen tcp :8080: bind: address already in use",
        ),
    ] {
        assert_eq!(cause(stderr), expected, "{name}");
    }
    assert_eq!(
        killed(
            6,
            true,
            "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no disk\n"
        ),
        "killed by SIGABRT (6) after 2 h, core dumped: std::runtime_error: no disk"
    );
    assert_eq!(
        killed(
            6,
            false,
            "\n<--- Last few GCs --->\n\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n 1: 0xb7 node::Abort() [node]\n"
        ),
        "killed by SIGABRT (6) after 2 h: Reached heap limit Allocation failed - JavaScript heap out of memory"
    );
    assert_eq!(
        killed(6, false, "app: main.c:12: main: Assertion `x > 0' failed.\nAborted\n"),
        "killed by SIGABRT (6) after 2 h: app: main.c:12: main: Assertion `x > 0' failed."
    );
}

#[test]
fn otherwise_the_last_line_that_tells_something() {
    for (name, stderr, expected) in [
        ("plain", "starting\nno such table: users\n\n  \n", "no such table: users"),
        ("colour", "\x1b[31mfatal:\x1b[0m disk full\x1b[K\n", "fatal: disk full"),
        (
            "information after it",
            "ERROR:    Could not import module \"x\".\nINFO:     bye\n",
            "ERROR: Could not import module \"x\".",
        ),
        ("only information", "INFO:     Finished server process [1]\n", "INFO: Finished server process [1]"),
        ("JSON record", "{\"level\":50,\"time\":1,\"msg\":\"db down\"}\n", "db down"),
        (
            "JSON information",
            "{\"level\":\"error\",\"msg\":\"db down\"}\n{\"level\":\"info\",\"msg\":\"bye\"}\n",
            "db down",
        ),
        ("spread out", "a \t  b\u{7}\n", "a b"),
    ] {
        assert_eq!(cause(stderr), expected, "{name}");
    }
    assert_eq!(exited(1, "\n \n"), "exited with code 1 after 0.3 s");
}

#[test]
fn shells_say_what_was_not_found() {
    for (code, stderr, expected) in [
        (127, "sh: 1: uvicron: not found\nretrying\n", "sh: 1: uvicron: not found"),
        (127, "bash: line 1: foo: command not found\n", "bash: line 1: foo: command not found"),
        (127, "env: 'node': No such file or directory\n", "env: 'node': No such file or directory"),
        (126, "sh: 1: ./run: Permission denied\n", "sh: 1: ./run: Permission denied"),
        (
            127,
            "app: error while loading shared libraries: libz.so.1: cannot open shared object file: No such file or directory\n",
            "app: error while loading shared libraries: libz.so.1: cannot open shared object file: No such file or directory",
        ),
    ] {
        let reason = exited(code, stderr);
        assert!(reason.ends_with(&format!(" after 0.3 s: {expected}")), "{reason}");
    }
}

#[test]
fn whom_others_end_is_not_asked_why() {
    let old_news = "Traceback (most recent call last):\n  File \"x\", line 1, in f\nValueError: caught\n";
    assert_eq!(killed(9, false, old_news), "killed by SIGKILL (9) after 2 h");
    assert_eq!(killed(15, false, "INFO: shutting down\n"), "killed by SIGTERM (15) after 2 h");
    assert_eq!(exited(137, old_news), "exited with code 137 (128+9: SIGKILL) after 0.3 s");
    assert_eq!(exited(0, "all done\n"), "exited with code 0 after 0.3 s");
}

#[test]
fn what_was_caught_long_ago_is_no_cause() {
    let mut stderr = lines(
        Stream::Err,
        "Traceback (most recent call last):\n  File \"x\", line 1, in f\nValueError: caught\nlicence expired\n",
    );
    let exit = |stderr: &[LogLine]| {
        ended(CrashKind::Exit, Some(3), None, false, Duration::from_secs(3700), stderr, &[]).text
    };
    for line in &mut stderr[..3] {
        line.time = Some("2026-11-22T10:00:00.000000Z".to_owned());
    }
    stderr[3].time = Some("2026-11-22T10:00:02.000000Z".to_owned());
    assert_eq!(exit(&stderr), "exited with code 3 after 1 h 1 min: ValueError: caught");
    stderr[3].time = Some("2026-11-22T11:00:00.000000Z".to_owned());
    assert_eq!(exit(&stderr), "exited with code 3 after 1 h 1 min: licence expired");
}

/// The names of a stack are read from the program's file, and a disk may be slow.
#[test]
fn a_stack_that_takes_long_to_print_belongs_to_its_panic() {
    let mut stderr = lines(
        Stream::Err,
        "thread 'main' (7) panicked at src/main.rs:3:23:\nno configuration\nstack backtrace:\n   0: main\n             \
         at ./src/main.rs:3:23\nnote: Some details are omitted, run with `RUST_BACKTRACE=full`.\n",
    );
    for line in &mut stderr {
        line.time = Some("2026-11-22T10:00:20.000000Z".to_owned());
    }
    stderr[0].time = Some("2026-11-22T10:00:00.000000Z".to_owned());
    stderr[1].time = Some("2026-11-22T10:00:00.000000Z".to_owned());
    let exit = |stderr: &[LogLine]| {
        ended(CrashKind::Exit, Some(101), None, false, Duration::from_secs(20), stderr, &[]).text
    };
    assert_eq!(exit(&stderr), "exited with code 101 after 20 s: panic: no configuration (src/main.rs:3:23)");
    // What was printed after it by somebody else is another matter.
    let mut line = stderr[0].clone();
    (line.text, line.time) = ("licence expired".into(), Some("2026-11-22T10:00:21.000000Z".into()));
    stderr.push(line);
    assert!(exit(&stderr).ends_with("licence expired"), "{}", exit(&stderr));
}

#[test]
fn stdout_is_asked_when_stderr_is_silent() {
    let of = |stderr: &str, stdout: &str| {
        let (stderr, stdout) = (lines(Stream::Err, stderr), lines(Stream::Out, stdout));
        ended(CrashKind::Exit, Some(1), None, false, Duration::from_secs(3), &stderr, &stdout).text
    };
    assert_eq!(of("", "GET / 200\n"), "exited with code 1 after 3 s");
    assert_eq!(of("", "Error: no API key\nbye\n"), "exited with code 1 after 3 s: Error: no API key");
    assert_eq!(
        of("npm ERR! code 1\n", "TypeError: x\n    at a.js:1:1\n"),
        "exited with code 1 after 3 s: TypeError: x (a.js:1)"
    );
}

#[test]
fn reasons_are_one_bounded_line() {
    let reason = exited(1, &format!("RuntimeError: {}\n", "ä".repeat(5000)));
    assert_eq!(reason.chars().count(), reason::MAX_REASON);
    assert!(reason.ends_with('…') && !reason.contains('\n'));
    let spawn = reason::spawn("a\nb\u{1b}[31mc\0").text;
    assert_eq!(spawn, "could not be started: a bc");
}

//! "The `reason` must be the sentence a person would pick": real programs that fail for real, each in its language's own
//! words. What is not installed is skipped, aloud.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use mcpd_proto::crash::CrashReport;
use mcpd_tests::Sandbox;

/// A failure: its name, the program's file and text, its command, how it ended and the cause.
struct Failing<'f> {
    name: &'f str,
    file: &'f str,
    text: &'f str,
    command: &'f [&'f str],
    end: &'f str,
    cause: &'f str,
}

const fn failing<'f>(
    name: &'f str,
    file: &'f str,
    text: &'f str,
    command: &'f [&'f str],
    end: &'f str,
    cause: &'f str,
) -> Failing<'f> {
    Failing { name, file, text, command, end, cause }
}

fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: {program} is not here, so nothing is known of how its programs fail");
    }
    found
}

/// Runs all of them as services of one daemon, and compares the sentences.
fn run(all: &[Failing<'_>]) {
    let service = |failing: &Failing<'_>| {
        let command: Vec<String> = failing.command.iter().map(|word| format!("'{word}'")).collect();
        format!(
            "[service.{}]\nexec = [{}]\nworking_directory = \"@dir\"\nrestart.when = \"never\"\n",
            failing.name,
            command.join(", ")
        )
    };
    let services: String = all.iter().map(service).collect();
    let sandbox = Sandbox::new(&services);
    for failing in all.iter().filter(|failing| !failing.file.is_empty()) {
        sandbox.write(failing.file, failing.text);
    }
    let daemon = sandbox.start();
    let directory = sandbox.dir().to_str().unwrap();
    let mut wrong = Vec::new();
    for failing in all {
        let report = daemon.wait_crashes(failing.name, 1).remove(0);
        let expected = [failing.end, failing.cause].map(|text| text.replace("@dir", directory));
        let found = [&without_time(&report), report.cause.as_deref().unwrap_or("")].map(str::to_owned);
        if found != expected {
            wrong.push(format!("{}:\n  found    {found:?}\n  expected {expected:?}", failing.name));
        }
        assert!(report.fingerprint.is_some_and(|print| print.len() == 16));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How it ended, without after how long, and without the cause.
fn without_time(report: &CrashReport) -> String {
    let cause = report.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let end = report.reason.strip_suffix(&cause).unwrap_or(&report.reason);
    match end.find(" after ") {
        Some(at) => {
            let rest = end[at + 7..].find(", ").map_or("", |comma| &end[at + 7 + comma..]);
            end[..at].to_owned() + rest
        }
        None => end.to_owned(),
    }
}

#[test]
fn python_programs() {
    if !has("python3", "--version") {
        return;
    }
    const ONE: &str = "exited with code 1";
    run(&[
        failing(
            "raise",
            "raise.py",
            "def check(port):\n    raise ValueError(f'bad port: {port}')\ncheck(99999)\n",
            &["python3", "raise.py"],
            ONE,
            "ValueError: bad port: 99999",
        ),
        failing(
            "import",
            "import.py",
            "import no_such_module_anywhere\n",
            &["python3", "import.py"],
            ONE,
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        ),
        failing(
            "chained",
            "chained.py",
            "try:\n    open('/no/such/file')\nexcept OSError as error:\n    raise RuntimeError('no configuration') from error\n",
            &["python3", "chained.py"],
            ONE,
            "RuntimeError: no configuration, caused by FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'",
        ),
        failing(
            "group",
            "group.py",
            "import asyncio\nasync def bad():\n    raise ValueError('no token')\nasync def main():\n    \
             async with asyncio.TaskGroup() as group:\n        group.create_task(bad())\nasyncio.run(main())\n",
            &["python3", "group.py"],
            ONE,
            "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): ValueError: no token",
        ),
        failing(
            "logged",
            "logged.py",
            "import logging, sys\nlogging.basicConfig(level=logging.INFO)\nlogging.info('starting')\n\
             try:\n    {}['DATABASE_URL']\nexcept KeyError:\n    logging.exception('cannot start')\n\
             logging.info('bye')\nsys.exit(3)\n",
            &["python3", "logged.py"],
            "exited with code 3",
            "KeyError: 'DATABASE_URL'",
        ),
        failing(
            "sysexit",
            "",
            "",
            &["python3", "-c", "import sys; print(\"starting\"); sys.exit(\"no configuration given\")"],
            ONE,
            "no configuration given",
        ),
        failing(
            "syntax",
            "syntax.py",
            "def f(:\n    pass\n",
            &["python3", "syntax.py"],
            ONE,
            "SyntaxError: invalid syntax",
        ),
        failing(
            "arguments",
            "arguments.py",
            "import argparse\np = argparse.ArgumentParser(prog='srv')\np.add_argument('--port', required=True)\np.parse_args()\n",
            &["python3", "arguments.py"],
            "exited with code 2 (Python: wrong arguments, or no such script)",
            "srv: error: the following arguments are required: --port",
        ),
        failing(
            "abort",
            "abort.py",
            "import faulthandler, os\nfaulthandler.enable()\nos.abort()\n",
            &["python3", "abort.py"],
            "killed by SIGABRT (6)",
            "Fatal Python error: Aborted",
        ),
        failing(
            "recursion",
            "recursion.py",
            "def f(n):\n    return f(n + 1)\nf(0)\n",
            &["python3", "recursion.py"],
            ONE,
            "RecursionError: maximum recursion depth exceeded",
        ),
    ]);
}

#[test]
fn node_programs() {
    if !has("node", "--version") {
        return;
    }
    const ONE: &str = "exited with code 1";
    run(&[
        failing(
            "throw",
            "throw.js",
            "function check(port) {\n  throw new RangeError('bad port: ' + port);\n}\ncheck(99999);\n",
            &["node", "throw.js"],
            ONE,
            "RangeError: bad port: 99999 (throw.js:2)",
        ),
        failing(
            "module",
            "module.js",
            "require('./no-such-module');\n",
            &["node", "module.js"],
            ONE,
            "Error: Cannot find module './no-such-module' (MODULE_NOT_FOUND) (module.js:1)",
        ),
        failing(
            "rejected",
            "rejected.js",
            "async function main() {\n  throw new Error('no database');\n}\nmain();\n",
            &["node", "rejected.js"],
            ONE,
            "Error: no database (rejected.js:2)",
        ),
        failing(
            "text",
            "text.js",
            "Promise.reject('no configuration');\n",
            &["node", "text.js"],
            ONE,
            "unhandled promise rejection: no configuration",
        ),
        failing(
            "caused",
            "caused.js",
            "throw new Error('cannot start', { cause: new TypeError('no port') });\n",
            &["node", "caused.js"],
            ONE,
            "Error: cannot start (caused.js:1), caused by TypeError: no port",
        ),
        failing(
            "syntax",
            "syntax.js",
            "const = 1;\n",
            &["node", "syntax.js"],
            ONE,
            "SyntaxError: Unexpected token '='",
        ),
        failing(
            "option",
            "",
            "",
            &["node", "--no-such-option", "x.js"],
            "exited with code 9 (Node: a wrong option)",
            "node: bad option: --no-such-option",
        ),
    ]);
}

#[test]
fn shells() {
    // Each shell has its own words for what is not there.
    let dash = std::fs::canonicalize("/bin/sh").is_ok_and(|shell| shell.ends_with("dash"));
    let (missing, denied) = if dash {
        ("sh: 1: no-such-program: not found", "sh: 1: ./script: Permission denied")
    } else {
        ("sh: line 1: no-such-program: command not found", "sh: line 1: ./script: Permission denied")
    };
    run(&[
        failing(
            "notfound",
            "",
            "",
            &["sh", "-c", "no-such-program --port 80"],
            "exited with code 127 (command not found)",
            missing,
        ),
        failing(
            "denied",
            "script",
            "echo\n",
            &["sh", "-c", "./script"],
            "exited with code 126 (command cannot be executed)",
            denied,
        ),
        failing(
            "config",
            "",
            "",
            &["sh", "-c", "exit 78"],
            "exited with code 78 (EX_CONFIG: wrong configuration)",
            "",
        ),
        failing("silent", "", "", &["sh", "-c", "exit 5"], "exited with code 5", ""),
        failing("killed", "", "", &["sh", "-c", "echo working; kill -9 $$$$"], "killed by SIGKILL (9)", ""),
        failing(
            "said",
            "",
            "",
            &["sh", "-c", "echo starting; echo \"fatal: no space left on device\" >&2; exit 1"],
            "exited with code 1",
            "fatal: no space left on device",
        ),
        failing(
            "passed",
            "",
            "",
            &["sh", "-c", "sh -c \"kill -SEGV \\$\\$\"; exit $?"],
            "exited with code 139 (128+11: SIGSEGV)",
            "Segmentation fault",
        ),
    ]);
}

#[test]
fn a_rust_program() {
    if !has("rustc", "--version") {
        return;
    }
    let built = Sandbox::new("");
    let build = |name: &str, text: &str| {
        built.write(&format!("{name}.rs"), text);
        let mut rustc = Command::new("rustc");
        let output =
            rustc.args([&format!("{name}.rs"), "-o", name]).current_dir(built.dir()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        built.path(name).display().to_string()
    };
    let index = build(
        "index",
        "fn main() {\n    let all: Vec<u32> = Vec::new();\n    println!(\"{}\", all[std::env::args().count()]);\n}\n",
    );
    let error =
        build("error", "fn main() -> Result<(), String> {\n    Err(\"no configuration\".to_owned())\n}\n");
    run(&[
        failing(
            "index",
            "",
            "",
            &[&index],
            "exited with code 101",
            "panic: index out of bounds: the len is 0 but the index is 1 (index.rs:3:23)",
        ),
        failing("error", "", "", &[&error], "exited with code 1", "Error: \"no configuration\""),
    ]);
}

#[test]
fn a_java_program() {
    if !has("java", "-version") {
        return;
    }
    run(&[failing(
        "thrown",
        "Main.java",
        "public class Main {\n  static void start() {\n    throw new IllegalStateException(\"no configuration\");\n  }\n  \
         public static void main(String[] words) {\n    start();\n  }\n}\n",
        &["java", "Main.java"],
        "exited with code 1",
        "java.lang.IllegalStateException: no configuration (Main.java:3)",
    )]);
}

#[test]
fn a_go_program() {
    if !has("go", "version") {
        return;
    }
    let built = Sandbox::new("");
    built.write("main.go", "package main\n\nfunc main() {\n\tvar all []int\n\t_ = all[len(all)]\n}\n");
    let output =
        Command::new("go").args(["build", "-o", "main", "main.go"]).current_dir(built.dir()).output();
    assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{output:?}");
    let main = built.path("main").display().to_string();
    run(&[failing(
        "index",
        "",
        "",
        &[&main],
        "exited with code 2",
        "panic: runtime error: index out of range [0] with length 0 (main.go:5)",
    )]);
}

/// "Address already in use" with the holder.
#[test]
fn a_port_that_somebody_holds() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let mut services = String::new();
    if has("python3", "--version") {
        services += &format!(
            "[service.python]\nexec = [\"python3\", \"-m\", \"http.server\", \"--bind\", \"127.0.0.1\", \"{port}\"]\nrestart.when = \"never\"\n"
        );
    }
    if has("node", "--version") {
        services += &format!(
            "[service.node]\nexec = [\"node\", \"-e\", \"require('http').createServer().listen({port}, '127.0.0.1')\"]\nrestart.when = \"never\"\n"
        );
    }
    let sandbox = Sandbox::new(&services);
    let daemon = sandbox.start();
    let name = std::fs::read_to_string(Path::new("/proc/self/comm"));
    for (service, words) in [
        ("python", "OSError: [Errno 98] Address already in use".to_owned()),
        ("node", format!("Error: listen EADDRINUSE: address already in use 127.0.0.1:{port}")),
    ] {
        if !services.contains(&format!("[service.{service}]")) {
            continue;
        }
        let report = daemon.wait_crashes(service, 1).remove(0);
        assert_eq!(report.cause.as_deref(), Some(words.as_str()));
        if let Ok(name) = &name {
            let holder = format!("port {port} is held by ");
            assert!(report.reason.contains(&holder), "{} (by {name})", report.reason);
            assert!(report.reason.contains(&format!("(pid {})", std::process::id())), "{}", report.reason);
        }
    }
}

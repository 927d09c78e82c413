//! How a program starts, what it gets, how its end is reported.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use mcpd::sys::{self, Collected, Key, Output, SpawnPlan, SpawnStep, Whom};

use crate::lab::*;

#[test]
fn an_exit_code_is_reported_once() {
    let mut lab = Lab::new();
    lab.start(1, &shell(1, "exit 7"));
    let exit = lab.exit_of(1);
    assert_eq!((exit.code, exit.signal, exit.core_dumped), (Some(7), None, false));
    assert!(exit.cpu.is_some());
    lab.left(1, 0);
    let error = lab.children.signal(1, SIGTERM, Whom::Main).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    lab.children.forget(1);
}

#[test]
fn a_signal_that_ended_it_is_reported() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "echo up; exec sleep 1000"));
    assert_eq!(started.line(), "up");
    lab.children.signal(1, SIGTERM, Whom::Main).unwrap();
    let exit = lab.exit_of(1);
    assert_eq!((exit.code, exit.signal), (None, Some(SIGTERM)));
}

#[test]
fn a_signal_to_the_group_reaches_all_of_it() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "sleep 1000 & sleep 1000 & echo up; wait"));
    assert_eq!(started.line(), "up");
    lab.children.signal(1, SIGKILL, Whom::Group).unwrap();
    assert_eq!(lab.exit_of(1).signal, Some(SIGKILL));
    // The pipe ends when the last of them is gone.
    assert_eq!(started.all(), "");
    lab.collect_until("an empty group", |children, _| children.leftovers(1) == Some(0));
}

#[test]
fn it_leads_a_session_and_a_group_of_its_own() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &plan(1, "/bin/cat", ["/proc/self/stat"]));
    let line = started.all();
    let pid = started.pid.to_string();
    assert_eq!([5, 6].map(|number| stat_field(&line, number)), [pid.as_str(), pid.as_str()], "{line}");
    lab.exit_of(1);
}

#[test]
fn sigpipe_and_all_others_are_at_their_default_and_none_is_blocked() {
    let mut lab = Lab::new();
    let status = lab.start(1, &plan(1, "/bin/cat", ["/proc/self/status"])).all();
    for what in ["SigBlk", "SigIgn", "SigCgt"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(":\t")).unwrap();
        // Signals 32 and 33 are the C library's own: programs neither send nor handle them.
        let own = 1 << 31 | 1 << 32;
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !own, 0, "{what}");
    }
    lab.exit_of(1);
    // What it is for: a writer whose reader is gone ends.
    lab.start(2, &plan(2, "/usr/bin/yes", [])).stdout = None;
    assert_eq!(lab.exit_of(2).signal, Some(13));
}

#[test]
fn it_starts_in_its_working_directory_and_a_relative_program_counts_from_there() {
    let mut lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    script(&directory, "where", "#!/bin/sh\npwd -P\n", 0o755);
    let plan = SpawnPlan { working_directory: Some(directory.clone()), ..plan(1, "./where", []) };
    assert_eq!(lab.start(1, &plan).line(), directory.to_str().unwrap());
    lab.exit_of(1);
}

#[test]
fn its_environment_is_what_the_plan_says_and_nothing_else() {
    let mut lab = Lab::new();
    let env = vec![("A".into(), "1 \"2\"".into()), ("EMPTY".into(), "".into()), ("B".into(), "x=y".into())];
    let plan = SpawnPlan { env, ..plan(1, "/usr/bin/env", []) };
    assert_eq!(lab.start(1, &plan).all(), "A=1 \"2\"\nEMPTY=\nB=x=y\n");
    lab.exit_of(1);
}

#[test]
fn its_arguments_arrive_and_the_first_is_its_own() {
    let mut lab = Lab::new();
    let plain = plan(1, "/bin/sh", ["-c", "printf '%s|' \"$0\" \"$@\"", "zero", "a b", ""]);
    assert_eq!(lab.start(1, &plain).all(), "zero|a b||");
    lab.exit_of(1);
    let mut renamed = plan(2, "/bin/cat", ["/proc/self/cmdline"]);
    renamed.argv[0] = "renamed".into();
    assert_eq!(lab.start(2, &renamed).all(), "renamed\0/proc/self/cmdline\0");
    lab.exit_of(2);
}

#[test]
fn stdin_is_null_and_it_has_no_other_descriptor() {
    let mut lab = Lab::new();
    let script = "readlink /proc/$$/fd/0; for fd in /proc/$$/fd/*; do echo ${fd##*/}; done";
    let (_some, _open) = UnixStream::pair().unwrap();
    let text = lab.start(1, &shell(1, script)).all();
    assert_eq!(text.lines().next(), Some("/dev/null"));
    let mut descriptors: Vec<_> = text.lines().skip(1).collect();
    // The shell holds the directory that it lists, and perhaps one of its own far up.
    descriptors.retain(|&fd| fd != "3" && fd != "10");
    assert_eq!(descriptors, ["0", "1", "2"]);
    lab.exit_of(1);
}

#[test]
fn it_reads_what_was_planned_for_its_stdin() {
    let mut lab = Lab::new();
    // More than a pipe holds: nobody has to feed it.
    let text = "a line to be read\n".repeat(20_000);
    let stdin = Some(Arc::new(sys::in_memory(text.as_bytes()).unwrap()));
    assert_eq!(lab.start(1, &SpawnPlan { stdin, ..plan(1, "/bin/cat", []) }).all(), text);
    assert_eq!(lab.start(2, &plan(2, "/bin/cat", [])).all(), "");
    assert_eq!([1, 2].map(|key| lab.exit_of(key).code), [Some(0); 2]);
}

#[test]
fn stdout_and_stderr_are_apart_or_merged_in_order() {
    let mut lab = Lab::new();
    let script = "echo one; echo two >&2; echo three";
    let apart = SpawnPlan { stderr: Output::Pipe, ..shell(1, script) };
    let mut started = lab.start(1, &apart);
    assert_eq!(started.all(), "one\nthree\n");
    assert_eq!(read_until(started.stderr.as_mut().unwrap(), |_| false), "two\n");
    let merged = SpawnPlan { merge_stderr: true, stderr: Output::Pipe, ..shell(2, script) };
    let mut started = lab.start(2, &merged);
    assert!(started.stderr.is_none());
    assert_eq!(started.all(), "one\ntwo\nthree\n");
    let none = SpawnPlan { stdout: Output::Null, ..shell(3, "[ /proc/self/fd/1 -ef /dev/null ]") };
    let started = lab.start(3, &none);
    assert!(started.stdout.is_none() && started.stderr.is_none());
    assert_eq!([1, 2, 3].map(|key| lab.exit_of(key).code), [Some(0); 3]);
}

#[test]
fn what_cannot_start_names_the_step_and_the_cause() {
    let _lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    std::os::unix::fs::symlink("/nowhere/at/all", directory.join("dangling")).unwrap();
    script(directory, "no-interpreter", "#!/usr/bin/no-such-python -u\n", 0o755);
    script(directory, "crlf", "#!/bin/sh\r\necho hello\r\n", 0o755);
    script(directory, "plain-interpreter", &format!("#!{}\n", directory.join("plain").display()), 0o755);
    script(directory, "plain", "#!/bin/sh\n", 0o644);
    script(directory, "no-line", "echo hello\n", 0o755);
    script(directory, "empty", "", 0o755);
    script(directory, "garbage", "\u{1}\u{2}\u{3}", 0o755);
    script(directory, "damaged", "\u{7f}ELF damaged", 0o755);
    script(directory, "busy", "#!/bin/sh\n", 0o755);
    let _writer = fs::OpenOptions::new().append(true).open(directory.join("busy")).unwrap();
    let cases = [
        ("missing", 2, "it does not exist"),
        ("dangling", 2, "it is a symbolic link to /nowhere/at/all, which does not exist"),
        ("no-interpreter", 2, "the interpreter /usr/bin/no-such-python of its #! line does not exist"),
        (
            "crlf",
            2,
            "the interpreter /bin/sh of its #! line does not exist: the line ends with a carriage return",
        ),
        ("plain", 13, "permission denied: not executable (mode 0644)"),
        ("plain-interpreter", 13, "of its #! line is not executable"),
        (".", 13, "it is a directory"),
        ("plain/x", 20, "a part of its path is not a directory"),
        ("no-line", 8, "is not an executable format: a script needs a first line like #!/bin/sh"),
        ("empty", 8, "is not an executable format: the file is empty"),
        ("garbage", 8, "is not an executable format"),
        ("damaged", 8, "is not an executable format of this machine"),
        ("busy", 26, "another process is writing to it"),
    ];
    for (name, errno, cause) in cases {
        let program = directory.join(name);
        let error = sys::spawn(&plan(1, program.to_str().unwrap(), [])).unwrap_err();
        assert_eq!((error.step, error.errno), (SpawnStep::Exec, errno), "{name}: {error}");
        assert!(error.message.starts_with(&format!("cannot run {}: ", program.display())), "{error}");
        assert!(error.message.contains(cause), "{name}: {error}");
    }

    let directories = [("missing", 2, "it does not exist"), ("plain", 20, "it is not a directory")];
    for (name, errno, cause) in directories {
        let path = directory.join(name);
        let plan = SpawnPlan { working_directory: Some(path.clone()), ..shell(1, "") };
        let error = sys::spawn(&plan).unwrap_err();
        assert_eq!((error.step, error.errno), (SpawnStep::WorkingDirectory, errno), "{error}");
        assert_eq!(error.message, format!("cannot enter the working directory {}: {cause}", path.display()));
    }

    // Root may enter any directory.
    let closed = directory.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    match sys::spawn(&SpawnPlan { working_directory: Some(closed.clone()), ..shell(1, "") }) {
        Ok(_) => assert!(sys::is_root()),
        Err(error) => {
            assert_eq!((error.step, error.errno), (SpawnStep::WorkingDirectory, 13), "{error}");
            let message =
                format!("cannot enter the working directory {}: permission denied", closed.display());
            assert_eq!(error.message, message);
        }
    }

    let huge = "x".repeat(256 * 1024);
    let error = sys::spawn(&plan(1, "/bin/true", [&huge])).unwrap_err();
    assert_eq!((error.step, error.errno), (SpawnStep::Exec, 7), "{error}");
    let error = sys::spawn(&plan(1, "/bin/true", ["a\0b"])).unwrap_err();
    assert_eq!((error.step, error.errno), (SpawnStep::Exec, 22), "{error}");
    assert!(error.message.contains("NUL"), "{error}");
    assert!(own_children().is_empty() || sys::is_root());
}

/// Programs that end at once, started by several threads while the loop reaps: the moment in which a child is dead and
/// not adopted yet comes up all the time.
#[test]
fn two_hundred_that_end_at_once_are_each_reported_once() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50;
    let mut lab = Lab::new();
    let (send, answers) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let send = send.clone();
            std::thread::spawn(move || {
                for number in 0..EACH {
                    let key = thread * EACH + number;
                    let plan = SpawnPlan { stdout: Output::Null, ..plan(key, "/bin/true", []) };
                    send.send((key, sys::spawn(&plan).unwrap())).unwrap();
                }
            })
        })
        .collect();
    drop(send);
    let mut waiting = THREADS * EACH;
    while waiting > 0 {
        lab.children.collect(true, &mut |_| (), &mut lab.found);
        let (key, spawned) = answers.recv_timeout(BOUND).unwrap();
        lab.children.adopt(key, spawned.process, &run_id(key));
        waiting -= 1;
        lab.children.collect(waiting > 0, &mut |_| (), &mut lab.found);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let all = usize::try_from(THREADS * EACH).unwrap();
    let mains =
        |found: &[Collected]| found.iter().filter(|one| matches!(one, Collected::Main { .. })).count();
    lab.collect_until("all of them", |_, found| mains(found) >= all);
    let mut reported: HashMap<Key, u32> = HashMap::new();
    for event in &lab.found {
        match event {
            Collected::Main { key, exit } => {
                assert_eq!(exit.code, Some(0));
                *reported.entry(*key).or_default() += 1;
            }
            // One that ended before it was adopted: a reason to look, and no loss.
            Collected::Orphan { .. } => {}
        }
    }
    assert_eq!(reported.len(), all);
    assert!(reported.values().all(|&times| times == 1));
}

#[test]
fn an_unknown_child_that_ends_while_a_spawn_is_in_flight_is_claimed_when_it_is_adopted() {
    let mut lab = Lab::new();
    let mut first = sys::spawn(&shell(1, "exit 3")).unwrap();
    assert_eq!(read_until(first.stdout.as_mut().unwrap(), |_| false), "");
    let mut second = lab.start(2, &shell(2, "exit 4"));
    assert_eq!(second.all(), "");
    let start = Instant::now();
    while main_exit(&lab.found, 2).is_none() {
        lab.children.collect(true, &mut |_| (), &mut lab.found);
        assert!(start.elapsed() < BOUND);
        std::thread::yield_now();
    }
    // The one that is known gets through although the unknown one died before it; nothing of either is left a zombie.
    assert_eq!(main_exit(&lab.found, 2).unwrap().code, Some(4));
    assert!(main_exit(&lab.found, 1).is_none());
    lab.children.adopt(1, first.process, &run_id(1));
    assert_eq!(lab.exit_of(1).code, Some(3));
}

#[test]
fn nothing_is_left_open_by_successes_and_failures() {
    let mut lab = Lab::new();
    lab.start(0, &shell(0, ""));
    lab.exit_of(0);
    // What is opened at the first look stays open.
    lab.kill_leftovers(0);
    let before = open_descriptors();
    for key in 1..=50 {
        let plan_of_all = SpawnPlan {
            stderr: Output::Pipe,
            working_directory: Some("/".into()),
            ..shell(key, "sleep 0.01 & exit 0")
        };
        lab.start(key, &plan_of_all);
        sys::spawn(&plan(key, "/no/such/program", [])).unwrap_err();
        lab.exit_of(key);
        lab.kill_leftovers(key);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_child_gets_the_limit_of_open_files_that_the_daemon_was_given() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut lab = Lab::new();
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(777), maximum: own.maximum }).unwrap();
    sys::raise_open_files_limit();
    assert_eq!(getrlimit(Resource::Nofile).current, own.maximum);
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut started =
        lab.start(1, &shell(1, &format!("read go < {}; ulimit -S -n; ulimit -H -n", gate.display())));
    fs::OpenOptions::new().write(true).open(&gate).unwrap().write_all(b"go\n").unwrap();
    let hard = own.maximum.map_or("unlimited".to_owned(), |limit| limit.to_string());
    assert_eq!(started.all(), format!("777\n{hard}\n"));
    lab.exit_of(1);
}

#[test]
fn the_most_memory_it_had_is_its_own() {
    let mut lab = Lab::new();
    // This test is larger than `true`, and until exec the child counts as large as this.
    let ballast = vec![1_u8; 64 << 20];
    lab.start(1, &plan(1, "/bin/true", []));
    assert_eq!(lab.exit_of(1).max_rss_bytes, None);
    drop(ballast);
    lab.start(2, &plan(2, "/bin/dd", ["if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]));
    let peak = lab.exit_of(2).max_rss_bytes.unwrap();
    assert!((200 << 20..260 << 20).contains(&peak), "{peak}");
}

#[test]
fn the_machine_has_a_name_and_a_clock() {
    assert!(!sys::host_name().is_empty());
    assert!(sys::os_release().starts_with("Linux "), "{}", sys::os_release());
    let (first, second) = (sys::monotonic_ns(), sys::monotonic_ns());
    assert!(first > 0 && second >= first);
    assert_eq!(sys::is_root(), fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0\t"));
}

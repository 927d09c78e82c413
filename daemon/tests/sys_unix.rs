//! The platform seam of Linux against real processes.
//!
//! Reaping and the child subreaper are matters of the whole process, so that tests running side by side would take each
//! other's children: each holds [`Lab`], of which there is one. When it goes, no process may be left.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use mcpd::sys::{
    self, Cgroups, Children, Collected, Exit, Key, LogPipe, Named, Output, RUN_ID_VARIABLE, SpawnPlan,
    SpawnStep, Spawned, Whom,
};
use rustix::event::{PollFd, PollFlags, Timespec};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// No wait of a test is longer; none comes near it unless something is broken.
const BOUND: Duration = Duration::from_secs(30);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The children of this process, and word of each SIGCHLD.
struct Lab {
    children: Children,
    deaths: UnixStream,
    found: Vec<Collected>,
    hook: signal_hook::SigId,
    _alone: MutexGuard<'static, ()>,
}

impl Lab {
    fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (deaths, sender) = UnixStream::pair().unwrap();
        deaths.set_nonblocking(true).unwrap();
        let hook = signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, sender).unwrap();
        let children = Children::new(Arc::new(|| ())).unwrap();
        Self { children, deaths, found: Vec::new(), hook, _alone: alone }
    }

    fn start(&mut self, key: Key, plan: &SpawnPlan) -> Started {
        let Spawned { process, stdout, stderr } = sys::spawn(plan).unwrap();
        let pid = process.id();
        self.children.adopt(key, process, &run_id(key));
        Started { pid, stdout, stderr }
    }

    /// Collects until `done` says so of all that was found so far.
    fn collect_until(&mut self, what: &str, mut done: impl FnMut(&mut Children, &[Collected]) -> bool) {
        let start = Instant::now();
        loop {
            // What dies after the signals were drained brings a new one.
            while self.deaths.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
            self.children.collect(false, &mut self.found);
            if done(&mut self.children, &self.found) {
                return;
            }
            wait_readable(&self.deaths, what, start);
        }
    }

    fn exit_of(&mut self, key: Key) -> Exit {
        self.collect_until("the end of the main process", |_, found| main_exit(found, key).is_some());
        main_exit(&self.found, key).unwrap()
    }

    /// So many are left of a run. Whose a process is that is in the middle of exec cannot be told: the exec passes.
    fn left(&mut self, key: Key, count: usize) {
        let start = Instant::now();
        while self.children.leftovers(key).is_none() || !self.children.doubtful(key).is_empty() {
            assert!(start.elapsed() < BOUND, "it cannot be told what is left of {key}");
            std::thread::yield_now();
        }
        assert_eq!(self.children.leftovers(key), Some(count), "of {key}");
    }

    /// Kills what a run has left until nothing is.
    fn kill_leftovers(&mut self, key: Key) {
        self.collect_until("the end of the leftovers", |children, _| {
            children.signal_leftovers(key, SIGKILL);
            children.leftovers(key) == Some(0)
        });
        self.children.forget(key);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.hook);
        self.children.end_all();
        let left = own_children();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "processes are left: {left:?}");
        }
    }
}

struct Started {
    pid: u32,
    stdout: Option<LogPipe>,
    stderr: Option<LogPipe>,
}

impl Started {
    fn line(&mut self) -> String {
        read_until(self.stdout.as_mut().unwrap(), |bytes| bytes.ends_with(b"\n")).trim().to_owned()
    }

    fn all(&mut self) -> String {
        read_until(self.stdout.as_mut().unwrap(), |_| false)
    }
}

fn main_exit(found: &[Collected], key: Key) -> Option<Exit> {
    let mut exits = found.iter().filter_map(|event| match event {
        Collected::Main { key: whose, exit } if *whose == key => Some(exit.clone()),
        Collected::Main { .. } | Collected::Orphan { .. } => None,
    });
    let exit = exits.next();
    assert!(exits.next().is_none(), "the end of {key} was reported twice");
    exit
}

fn wait_readable(fd: &impl AsFd, what: &str, start: Instant) {
    let left = BOUND.checked_sub(start.elapsed()).unwrap_or_else(|| panic!("waited too long for {what}"));
    let timeout =
        Timespec { tv_sec: left.as_secs().try_into().unwrap(), tv_nsec: left.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => (),
        Err(error) => panic!("poll: {error}"),
    }
}

/// Reads a pipe until it ends or `enough`.
fn read_until(pipe: &mut LogPipe, enough: impl Fn(&[u8]) -> bool) -> String {
    let start = Instant::now();
    let mut bytes = Vec::new();
    while !enough(&bytes) {
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                wait_readable(pipe, "output", start)
            }
            Err(error) => panic!("reading the pipe: {error}"),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn run_id(key: Key) -> String {
    format!("sys-unix-{}-{key}", std::process::id())
}

fn plan<const N: usize>(key: Key, program: &str, arguments: [&str; N]) -> SpawnPlan {
    SpawnPlan {
        program: PathBuf::from(program),
        argv: [program].into_iter().chain(arguments).map(OsString::from).collect(),
        env: vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            (RUN_ID_VARIABLE.into(), run_id(key).into()),
        ],
        working_directory: None,
        stdout: Output::Pipe,
        stderr: Output::Null,
        merge_stderr: false,
        cgroup: cgroups().map(|cgroups| {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            cgroups.make("test", &format!("{}-{count}", run_id(key))).unwrap()
        }),
        setup: Vec::new(),
    }
}

/// Names a state directory when every program is to be started in a cgroup of its own.
const IN_CGROUPS: &str = "SYS_UNIX_TEST_IN_CGROUPS_OF";

static COUNT: AtomicU32 = AtomicU32::new(0);

fn cgroups() -> Option<&'static Cgroups> {
    static CGROUPS: OnceLock<Option<Cgroups>> = OnceLock::new();
    let claim = || std::env::var_os(IN_CGROUPS).map(|dir| Cgroups::claim(Path::new(&dir)).unwrap());
    CGROUPS.get_or_init(claim).as_ref()
}

/// Seen although the test harness keeps what a test that passes prints.
fn skipped(why: &str) {
    let line = format!("SKIPPED: {why}\n");
    let _ = rustix::io::write(std::io::stderr(), line.as_bytes());
}

/// Whatever holds of a program holds of one that is started in a cgroup: this whole file again. Trap 8 of
/// docs/traps.md: it is there before its first instruction.
#[test]
fn the_same_holds_in_cgroups() {
    if cgroups().is_some() {
        return;
    }
    // It would take this test's child for its own, and this one that one's.
    let _lab = Lab::new();
    let state = tempfile::tempdir().unwrap();
    match Cgroups::claim(state.path()) {
        Ok(cgroups) => cgroups.leave(),
        Err(why) => return skipped(&format!("{why}: nothing is tested with cgroups")),
    }
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .env(IN_CGROUPS, state.path())
        .output()
        .unwrap();
    // What the tests have not removed themselves: in some of them processes are left to be killed.
    let cgroups = Cgroups::claim(state.path()).unwrap();
    let base = cgroups.path().to_path_buf();
    cgroups.leave();
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success(), "{said}\n{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("test a_cgroup_holds_what_leaves_everything_else ... ok"), "{said}");
    assert!(!base.exists(), "{} is left", base.display());
}

/// A session of its own, nobody's child, an environment without a mark: only the cgroup knows whose it is.
#[test]
fn a_cgroup_holds_what_leaves_everything_else() {
    if cgroups().is_none() {
        return;
    }
    let mut lab = Lab::new();
    let deaf = "trap \"\" TERM; /bin/sleep 1000 >/dev/null & echo away; exec >/dev/null; wait";
    let away = format!("( setsid env -i /bin/sh -c '{deaf}' & )");
    let plan = shell(1, &format!("{away}; cat /proc/self/cgroup; exec sleep 1000"));
    let cgroup = plan.cgroup.clone().unwrap();
    let mut started = lab.start(1, &plan);
    let (mut lines, name) = (String::new(), cgroup.path().file_name().unwrap().to_str().unwrap().to_owned());
    while !(lines.contains("away") && lines.contains(&name)) {
        lines += &started.line();
    }
    assert_eq!(lab.children.cgroup(1), Some(&cgroup));
    lab.children.signal(1, SIGTERM, Whom::Main).unwrap();
    assert_eq!(lab.exit_of(1).signal, Some(SIGTERM));
    // The shell and its sleep.
    lab.left(1, 2);
    assert!(cgroup.is_populated() && cgroup.remove().is_err());
    lab.kill_leftovers(1);
    assert!(!cgroup.is_populated());
    cgroup.remove().unwrap();
    assert!(!cgroup.path().exists());
    cgroup.remove().unwrap();
}

/// Its whole cgroup gets SIGKILL, not only its group; cgroups that it has made below its own go as well.
#[test]
fn killing_the_group_kills_the_cgroup() {
    if cgroups().is_none() {
        return;
    }
    let mut lab = Lab::new();
    let plan = shell(1, "( setsid env -i sleep 1000 & ) ; echo away; exec sleep 1000");
    let cgroup = plan.cgroup.clone().unwrap();
    let mut started = lab.start(1, &plan);
    assert_eq!(started.line(), "away");
    let below = cgroup.path().join("below/deeper");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("cgroup.procs"), started.pid.to_string()).unwrap();
    lab.children.signal(1, SIGKILL, Whom::Group).unwrap();
    lab.exit_of(1);
    lab.collect_until("the end of all", |_, _| !cgroup.is_populated());
    lab.left(1, 0);
    assert_eq!(lab.children.forget(1), Some(cgroup.clone()));
    cgroup.remove().unwrap();
    assert!(!cgroup.path().exists());
}

/// A cgroup that cannot be entered is a step of its own, so that whoever starts it can do without.
#[test]
fn a_cgroup_that_is_gone_is_told_from_a_program_that_is() {
    if cgroups().is_none() {
        return;
    }
    let _lab = Lab::new();
    let plan = shell(1, "true");
    plan.cgroup.as_ref().unwrap().remove().unwrap();
    let error = sys::spawn(&plan).unwrap_err();
    assert_eq!(error.step, SpawnStep::Cgroup, "{error}");
}

fn shell(key: Key, script: &str) -> SpawnPlan {
    plan(key, "/bin/sh", ["-c", script])
}

fn script(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn own_children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flat_map(|task| {
            let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One field of a line of `/proc/PID/stat`, counted as in proc(5).
fn stat_field(line: &str, number: usize) -> &str {
    line[line.rfind(')').unwrap() + 2..].split(' ').nth(number - 3).unwrap()
}

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
        lab.children.collect(true, &mut lab.found);
        let (key, spawned) = answers.recv_timeout(BOUND).unwrap();
        lab.children.adopt(key, spawned.process, &run_id(key));
        waiting -= 1;
        lab.children.collect(waiting > 0, &mut lab.found);
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
        lab.children.collect(true, &mut lab.found);
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
fn a_member_of_the_group_that_outlives_its_leader_is_found_and_killed() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "sleep 1000 & echo $!; exit 5"));
    let survivor: u32 = started.line().parse().unwrap();
    assert_eq!(lab.exit_of(1).code, Some(5));
    lab.left(1, 1);
    // Before its exec it still is a copy of the shell.
    let [Named { pid, name }] = &lab.children.living(1)[..] else { panic!("more than one is left") };
    assert!(*pid == survivor && ["sh", "sleep"].contains(&name.as_str()), "{pid} {name}");
    assert_eq!(lab.children.signal_leftovers(1, SIGKILL), 1);
    lab.collect_until("the orphan", |_, found| found.contains(&Collected::Orphan { pid: survivor }));
    lab.left(1, 0);
    assert_eq!(started.all(), "");
}

#[test]
fn descendants_that_left_the_session_are_found_with_their_own_descendants() {
    let mut lab = Lab::new();
    // A daemon by the book: fork, setsid, fork; and it has a child of its own that knows nothing of the run.
    let daemon = "setsid sh -c '(env -i sleep 1000 & echo up; exec sleep 1000) &'";
    let mut first = lab.start(1, &shell(1, &format!("{daemon}; exit 0")));
    assert_eq!(first.line(), "up");
    // Another run's daemon is nobody's business.
    let mut other = lab.start(2, &shell(2, &format!("{daemon}; echo up; exec sleep 1000")));
    read_until(other.stdout.as_mut().unwrap(), |bytes| bytes == b"up\nup\n");
    assert_eq!(lab.exit_of(1).code, Some(0));
    lab.left(1, 2);
    lab.left(2, 2);
    lab.kill_leftovers(1);
    assert_eq!(first.all(), "");
    lab.left(2, 2);
    lab.children.signal(2, SIGKILL, Whom::Group).unwrap();
    lab.exit_of(2);
    lab.kill_leftovers(2);
    assert_eq!(other.all(), "");
}

/// A command around a run, and what it leaves in its own session without a word of the run in its environment.
#[test]
fn what_a_part_of_a_run_leaves_is_left_by_the_run() {
    let mut lab = Lab::new();
    let _ = lab.start(1, &shell(1, "exit 0"));
    assert_eq!(lab.exit_of(1).code, Some(0));
    let script = "env -i /bin/sleep 1000 > /dev/null 2>&1 & echo $!; exec /bin/sleep 1000";
    let plan = SpawnPlan { cgroup: lab.children.cgroup(1).cloned(), ..shell(1, script) };
    let Spawned { process, stdout, stderr } = sys::spawn(&plan).unwrap();
    let mut part = Started { pid: process.id(), stdout, stderr };
    lab.children.adopt(2, process, &run_id(1));
    lab.children.join(2, 1);
    let child: u32 = part.line().parse().unwrap();
    lab.collect_until("the program", |children, _| {
        let all = children.living(1);
        // The shell that becomes `env` and then `sleep` is its child all along.
        all.iter().map(|one| one.pid).eq([part.pid.min(child), part.pid.max(child)])
    });
    lab.children.signal(2, SIGKILL, Whom::Main).unwrap();
    assert_eq!(lab.exit_of(2).signal, Some(SIGKILL));
    assert_eq!(lab.children.living(1).iter().map(|one| one.pid).collect::<Vec<_>>(), [child]);
    lab.kill_leftovers(1);
    // It went with the run.
    lab.left(2, 0);
}

#[test]
fn one_that_belonged_through_its_parent_is_known_after_the_parent_died() {
    let mut lab = Lab::new();
    let mut started = lab.start(1, &shell(1, "setsid sh -c 'env -i sleep 1000 & echo $$; wait' & exit 0"));
    let parent: u32 = started.line().parse().unwrap();
    lab.exit_of(1);
    lab.left(1, 2);
    let pid = rustix::process::Pid::from_raw(parent.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    lab.collect_until("the parent", |_, found| found.contains(&Collected::Orphan { pid: parent }));
    lab.left(1, 1);
    lab.kill_leftovers(1);
    assert_eq!(started.all(), "");
}

/// What is on its way out has no environment any more and still has its ports and its children: it is left until it is
/// dead, whoever asks.
#[test]
fn one_that_takes_long_to_die_is_left_until_it_is_dead() {
    if cgroups().is_some() {
        // The kernel takes it out of its cgroup a moment before it counts as dead.
        return;
    }
    let mut lab = Lab::new();
    let begun = Instant::now();
    let looked = (1..).any(|key| {
        assert!(begun.elapsed() < BOUND, "each was dead before the first look at it came back");
        looks_at_one_that_dies(&mut lab, key) > 0
    });
    assert!(looked);
}

/// How often it was looked at while it died: on a busy machine never, now and then.
fn looks_at_one_that_dies(lab: &mut Lab, key: Key) -> usize {
    // Half a gigabyte takes the kernel some 50 ms to tear down.
    let large = "setsid dd if=/dev/zero of=/dev/null bs=500M 2>/dev/null >&2 & echo $!";
    let survivor: u32 = lab.start(key, &shell(key, large)).line().parse().unwrap();
    lab.exit_of(key);
    let start = Instant::now();
    let resident = || {
        let statm = fs::read_to_string(format!("/proc/{survivor}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    while resident() < 500 << 20 {
        assert!(start.elapsed() < BOUND);
        std::thread::yield_now();
    }
    // Nobody has looked at it before: there is nothing but itself to know it by.
    let pid = rustix::process::Pid::from_raw(survivor.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut looks = 0;
    loop {
        let left = lab.children.leftovers(key);
        // Dead and not reaped: that happens in `collect` only.
        if stat_field(&fs::read_to_string(format!("/proc/{survivor}/stat")).unwrap(), 3) == "Z" {
            break;
        }
        assert_ne!(left, Some(0), "after {looks} looks");
        looks += 1;
    }
    lab.left(key, 0);
    looks
}

/// Whoever ends its first thread and lives on in others is known by those, and is in nobody else's way.
#[test]
fn one_whose_first_thread_has_ended_is_known() {
    const SCRIPT: &str = "import ctypes, os, threading, time\n\
        threading.Thread(target=time.sleep, args=(1000,)).start()\n\
        print(os.getpid(), flush=True)\n\
        ctypes.CDLL(None).syscall(EXIT, 0)";
    let exit = if cfg!(target_arch = "x86_64") { "60" } else { "93" };
    let script = SCRIPT.replace("EXIT", exit);
    let mut lab = Lab::new();
    let mut earlier = lab.start(1, &shell(1, "exit 0"));
    let python = format!("setsid python3 -c \"{script}\" & exit 0");
    let mut started = lab.start(2, &shell(2, &python));
    assert_eq!(earlier.all(), "");
    for key in [1, 2] {
        lab.exit_of(key);
    }
    let Ok(survivor) = started.line().parse::<u32>() else {
        return skipped("python3 is not installed: nothing has ended its first thread");
    };
    let start = Instant::now();
    while stat_field(&fs::read_to_string(format!("/proc/{survivor}/stat")).unwrap(), 3) != "Z" {
        assert!(start.elapsed() < BOUND);
        std::thread::yield_now();
    }
    lab.left(1, 0);
    lab.left(2, 1);
    lab.kill_leftovers(2);
}

/// It forks a successor in a new session and ends, again and again, so that a look at its tree always races with it. On
/// a busy machine whoever looks stands still while a hundred hops come and go.
#[test]
fn a_runaway_that_keeps_forking_away_is_never_lost_and_is_caught() {
    const HOPS: u64 = 1500;
    let mut lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("hops");
    // Should this test be killed, it ends as well.
    let goes_on = format!("kill -0 {} || exit", std::process::id());
    let hop = format!("#!/bin/sh\n{goes_on}\necho >>{}\nsetsid \"$0\" &\n", log.display());
    let hop = script(directory.path(), "hop", &hop, 0o755);
    let mut started = lab.start(1, &shell(1, &format!("setsid {} & echo off", hop.display())));
    assert_eq!(started.line(), "off");
    lab.exit_of(1);
    let hops = || fs::metadata(&log).map_or(0, |log| log.len());
    let (busy, start) = (busy_machine(), Instant::now());
    let mut looks = 0;
    while hops() < HOPS {
        // `None` says no more than that it was not seen.
        assert_ne!(lab.children.leftovers(1), Some(0), "lost at look {looks}, after {} hops", hops());
        lab.children.collect(false, &mut lab.found);
        looks += 1;
        assert!(start.elapsed() < BOUND, "it stands still after {} hops", hops());
    }
    drop(busy);
    println!("{looks} looks");
    lab.kill_leftovers(1);
    // It ends only if no hop is left to hold it.
    started.all();
}

/// Work for every processor, until it is dropped.
fn busy_machine() -> impl Drop {
    struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.drain(..).for_each(|thread| thread.join().unwrap());
        }
    }
    let over = Arc::new(AtomicBool::new(false));
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let spin = |over: Arc<AtomicBool>| move || while !over.load(Ordering::Relaxed) {};
    let threads = (0..processors).map(|_| std::thread::spawn(spin(Arc::clone(&over))));
    Busy(Arc::clone(&over), threads.collect())
}

#[test]
fn five_hundred_are_stopped_at_once() {
    const ALL: u64 = 500;
    let mut lab = Lab::new();
    for key in 0..ALL {
        let plan = SpawnPlan { stdout: Output::Null, ..plan(key, "/bin/sleep", ["1000"]) };
        lab.start(key, &plan);
    }
    let start = Instant::now();
    for key in 0..ALL {
        lab.children.signal(key, SIGTERM, Whom::Group).unwrap();
    }
    lab.collect_until("all of them", |_, found| found.len() >= usize::try_from(ALL).unwrap());
    for key in 0..ALL {
        assert_eq!(main_exit(&lab.found, key).unwrap().signal, Some(SIGTERM));
        lab.left(key, 0);
        lab.children.forget(key);
    }
    println!("stopped and checked in {:?}", start.elapsed());
}

#[test]
fn the_last_resort_ends_children_groups_and_daemons() {
    let mut lab = Lab::new();
    let script = "sleep 1000 & setsid sh -c '(echo up; sleep 1000; sleep 1000) &'; exec sleep 1000";
    let mut all = [1, 2, 3].map(|key| lab.start(key, &shell(key, script)));
    for started in &mut all {
        assert_eq!(started.line(), "up");
    }
    // Of each: the main process, its background child, the daemon. The daemon's own child may not be there yet, or for
    // a moment the one between.
    let killed = lab.children.end_all();
    assert!((9..=15).contains(&killed), "{killed}");
    assert!(own_children().is_empty());
    for started in &mut all {
        assert_eq!(started.all(), "");
    }
    assert_eq!(lab.children.end_all(), 0);
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

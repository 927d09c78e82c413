//! Whom a service runs as and what it may use: the exec step, and what cannot be had.
//!
//! Some of it only root can do; those scenarios say aloud when they are skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{wait_for, wait_for_file};
use mcpd_tests::{CtlOutput, Daemon, Sandbox, binaries};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// `nobody`, as every distribution has it.
const NOBODY: u32 = 65534;

/// Whether this is root; says so aloud otherwise.
fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Not `eprintln`: a test that passes would say it to nobody.
        let line = format!("SKIPPED: {test}: only root can start services as another user\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    root
}

/// The daemon gets fewer open files than it may have: it raises its limit, and no service is to see that.
#[allow(unsafe_code, reason = "nothing else sets a limit for a child")]
fn few_open_files(command: &mut Command) -> u64 {
    const SOFT: u64 = 700;
    // SAFETY: between fork and exec these are two system calls on values of their own.
    unsafe {
        command.pre_exec(|| {
            let limit = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(SOFT), ..limit }).map_err(Into::into)
        });
    }
    SOFT
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft and hard limit, as `/proc/PID/limits` has them.
fn limit(pid: u32, name: &str) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

fn environment(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let pairs = text.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    pairs.filter_map(|pair| pair.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect()
}

fn nice(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // proc(5): the state is field 3, this is field 19.
    stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(16).unwrap().parse().unwrap()
}

/// What the fixture's `env` has found.
fn told(sandbox: &Sandbox, file: &str) -> Value {
    serde_json::from_str(&wait_for_file(&sandbox.path(file))).unwrap()
}

/// Parked without a restart; the reason, and that of the only report.
fn parked_at_once(daemon: &Daemon<'_>, name: &str) -> (String, String) {
    let parked = daemon.wait_state(name, State::Parked);
    assert_eq!((parked.generation, parked.restarts, parked.restarts_total), (1, 0, 0), "{parked:#?}");
    let reports = daemon.reports(name);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!((reports[0].kind, reports[0].restart.decision.as_str()), (CrashKind::Spawn, "park"));
    assert_eq!((reports[0].pid, reports[0].exit_code), (None, None));
    (parked.reason.unwrap(), reports[0].reason.clone())
}

/// Lets everybody look into the sandbox, which is its owner's alone.
fn open_to_all(sandbox: &Sandbox) {
    fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn limits_and_the_like_are_set_before_the_program_runs() {
    let processor = status(std::process::id(), "Cpus_allowed_list");
    let processor = processor.split([',', '-']).next().unwrap();
    let sandbox = Sandbox::new(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        umask = "0137"
        [service.a.resources]
        limit_nofile = "50:60"
        limit_core = "1M"
        limit_cpu = "1h"
        limit_stack = "4M:infinity"
        limit_rttime = "200ms"
        limit_rtprio = 0
        nice = 7
        oom_score_adjust = 321
        cpu_affinity = "{processor}"
        "#
    ));
    // A hard limit that is lower than infinity cannot be raised to it without CAP_SYS_RESOURCE.
    let stack = getrlimit(Resource::Stack).maximum.map_or("infinity".into(), |hard| format!("{hard}"));
    let text = fs::read_to_string(sandbox.config()).unwrap().replace("4M:infinity", &format!("4M:{stack}"));
    fs::write(sandbox.config(), text).unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    let pair = |soft: &str, hard: &str| (soft.to_owned(), hard.to_owned());
    assert_eq!(limit(pid, "Max open files"), pair("50", "60"));
    assert_eq!(limit(pid, "Max core file size"), pair("1048576", "1048576"));
    assert_eq!(limit(pid, "Max cpu time"), pair("3600", "3600"));
    assert_eq!(limit(pid, "Max stack size").0, "4194304");
    assert_eq!(limit(pid, "Max realtime timeout"), pair("200000", "200000"));
    assert_eq!(limit(pid, "Max realtime priority"), pair("0", "0"));
    assert_eq!(status(pid, "Umask"), "0137");
    assert_eq!(status(pid, "Cpus_allowed_list"), processor);
    assert_eq!(nice(pid), 7);
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "321");
    // The daemon itself is as it was.
    assert_eq!(nice(daemon.pid()), nice(std::process::id()));
    assert_eq!(status(daemon.pid(), "Cpus_allowed_list"), status(std::process::id(), "Cpus_allowed_list"));
}

/// A program that the step starts finds what one that is started directly finds: its arguments, environment and
/// directory, three descriptors, no blocked and no ignored signal, a session of its own.
#[test]
fn the_step_leaves_no_trace_in_the_program() {
    let mut soft = 0;
    let sandbox = Sandbox::new(
        r#"
        [service.direct]
        exec = ["@fixture", "env", "@dir/direct"]
        working_directory = "@dir"
        environment = { A = "1", LD_LIBRARY_PATH = "/somewhere" }
        [service.step]
        exec = ["@fixture", "env", "@dir/step"]
        working_directory = "@dir"
        environment = { A = "1", LD_LIBRARY_PATH = "/somewhere" }
        umask = "022"
        [service.plain]
        exec = ["/bin/sleep", "1000"]
        [service.first]
        exec = ["/bin/sh", "-c", "ulimit -Sn > @dir/first.part; mv @dir/first.part @dir/first; exec sleep 1000"]
        umask = "022"
        "#,
    );
    let daemon = sandbox.start_with(|command| soft = few_open_files(command));
    let (mut direct, mut step) = (told(&sandbox, "direct"), told(&sandbox, "step"));
    assert_eq!(step["system"]["fds"], json!([0, 1, 2]));
    for (told, name) in [(&mut direct, "direct"), (&mut step, "step")] {
        let pid = u32::try_from(told["pid"].as_u64().unwrap()).unwrap();
        // It runs a moment before mcpd says so.
        daemon.wait_state(name, State::Up);
        assert_eq!(pid, daemon.pid_of(name));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let (group, session) = (fields[2], fields[3]);
        assert_eq!((group, session), (pid.to_string().as_str(), pid.to_string().as_str()));
        assert_eq!(limit(pid, "Max open files").0, soft.to_string(), "{name}");
        assert_eq!(told["env"]["MCPD_SERVICE"], name);
        for own in ["MCPD_SERVICE", "MCPD_RUN_ID"] {
            assert!(told["env"].as_object_mut().unwrap().remove(own).is_some());
        }
        told["pid"] = Value::Null;
        told["args"] = Value::Null;
    }
    assert_eq!(direct, step);
    // Not only a moment later: the very first instruction finds the limit that mcpd was given.
    assert_eq!(wait_for_file(&sandbox.path("first")).trim(), soft.to_string());
    // A Rust program, as the fixture is one, ignores SIGPIPE by itself: this one shows what it was given. The shell
    // before it blocks all signals while it waits for a child.
    wait_for("sleep in the shell's place", || status(daemon.pid_of("first"), "Name") == "sleep");
    let signals = |name| ["SigIgn", "SigBlk"].map(|field| status(daemon.pid_of(name), field));
    daemon.wait_state("plain", State::Up);
    assert_eq!(signals("first"), signals("plain"));
}

/// mcpd starts services by itself, and has to do so when an upgrade has put another program in its place.
#[test]
fn an_upgrade_on_disk_does_not_keep_services_from_being_started() {
    let sandbox =
        Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\numask = \"077\"\nenabled = false\n");
    let program = sandbox.path("mcpd");
    fs::copy(binaries::mcpd(), &program).unwrap();
    let daemon = sandbox.start_with(|command| {
        let (out, err) =
            (fs::File::create(sandbox.path("mcpd.out")), fs::File::create(sandbox.path("mcpd.err")));
        *command = sandbox.command(&program);
        command.arg("--config").arg(sandbox.config()).stdout(out.unwrap()).stderr(err.unwrap());
    });
    fs::remove_file(&program).unwrap();
    let _ = daemon.ctl(&["start", "a"]).expect(0);
    assert_eq!(status(daemon.pid_of("a"), "Umask"), "0077");
    let other = sandbox.write("mcpd", "#!/bin/sh\nexit 9\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    assert_eq!(status(daemon.pid_of("a"), "Umask"), "0077");
}

#[test]
fn what_cannot_be_had_parks_at_once_and_names_the_step() {
    let sandbox = Sandbox::new(
        r#"
        [service.limit]
        exec = ["@fixture", "run"]
        resources.limit_nofile = "10:2000000000"
        [service.user]
        exec = ["@fixture", "run"]
        user = "nobody-of-this-name"
        restart.when = "never"
        [service.group]
        exec = ["@fixture", "run"]
        group = "no-group-of-this-name"
        [service.number]
        exec = ["@fixture", "run"]
        user = 4000000001
        [service.processor]
        exec = ["@fixture", "run"]
        resources.cpu_affinity = [0, 1023]
        [service.file]
        exec = ["@fixture", "run"]
        environment_files = ["@dir/none"]
        "#,
    );
    let mut check = sandbox.command(&binaries::mcpd());
    check.arg("--config").arg(sandbox.config()).arg("--check");
    let checked = CtlOutput::of(check).expect(0);
    assert!(
        checked.stderr.contains("service \"user\" would be parked: user: there is no user"),
        "{checked:?}"
    );

    let daemon = sandbox.start();
    for (name, wanted) in [
        (
            "limit",
            "limits: cannot set RLIMIT_NOFILE to 10:2000000000: Operation not permitted (the kernel allows ",
        ),
        ("user", "user: there is no user \"nobody-of-this-name\""),
        ("group", "group: there is no group \"no-group-of-this-name\""),
        ("number", "user: 4000000001 has no account: say which `group` it is to have"),
        ("processor", "cpu_affinity: cannot run on the processors 0,1023: mcpd may use "),
        ("file", "none does not exist"),
    ] {
        let (reason, report) = parked_at_once(&daemon, name);
        assert!(reason.contains(wanted) && report.contains(wanted), "{name}: {reason}\n{report}");
        assert!(reason.contains("once that is mended"), "{reason}");
        assert!(report.starts_with("could not be started: "), "{report}");
    }
    // The person who asks is told, in the same words.
    let said = daemon.ctl(&["start", "user"]).expect(1);
    assert!(said.stderr.contains("there is no user") && said.stderr.contains("parked"), "{said:?}");
    // A reload with what was wrong mended starts it.
    let text = fs::read_to_string(sandbox.config()).unwrap().replace("user = \"nobody-of-this-name\"", "");
    fs::write(sandbox.config(), text).unwrap();
    sandbox.write("none", "A=1\n");
    daemon.call("daemon.reload", json!({}));
    daemon.wait_state("user", State::Up);
    // And one whose file has appeared, though its definition is the same.
    daemon.wait_state("file", State::Up);
    daemon.wait_state("limit", State::Parked);
}

#[test]
fn a_service_runs_as_its_user() {
    if !root("a_service_runs_as_its_user") {
        return;
    }
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["/bin/sh", "-c", "echo by name > /dev/stdout; echo by name > /dev/stderr; umask > own/umask; exec sleep 1000"]
        user = "nobody"
        supplementary_groups = [4242, "root"]
        umask = "027"
        working_directory = "@dir/home"
        environment = { SHELL = "/my/shell" }
        resources.limit_nproc = 5000
        health = { exec = ["/bin/sh", "-c", "id -u > own/probed"], interval = "1h" }
        [service.group]
        exec = ["/bin/sleep", "1000"]
        group = "nogroup"
        [service.number]
        exec = ["/bin/sleep", "1000"]
        user = 4000000001
        group = 4000000002
        "#,
    );
    open_to_all(&sandbox);
    let home = sandbox.path("home");
    fs::create_dir_all(home.join("own")).unwrap();
    // Only its user may enter it.
    chown(&home, Some(NOBODY), Some(0)).unwrap();
    chown(home.join("own"), Some(NOBODY), Some(0)).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let daemon = sandbox.start_with(|command| {
        command.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root").env("SHELL", "/bin/sh");
    });
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    let ids = |id: u32| format!("{id} {id} {id} {id}");
    assert_eq!((status(pid, "Uid"), status(pid, "Gid")), (ids(NOBODY), ids(NOBODY)));
    assert_eq!(status(pid, "Groups"), format!("0 4242 {NOBODY}"));
    assert_eq!(status(pid, "CapEff"), "0000000000000000");
    assert_eq!(limit(pid, "Max processes").0, "5000");
    let environment = environment(pid);
    let variable = |name: &str| environment.get(name).map(String::as_str);
    assert_eq!((variable("USER"), variable("LOGNAME")), (Some("nobody"), Some("nobody")));
    // Its own home as the account says, not root's; what is configured stands.
    assert_ne!(variable("HOME"), Some("/root"));
    assert_eq!(variable("SHELL"), Some("/my/shell"));
    // The streams can be opened by name, and what goes there arrives.
    wait_for("both lines", || {
        daemon.status("a").log_tail.iter().filter(|line| line.text == "by name").count() == 2
    });
    assert_eq!(wait_for_file(&home.join("own/umask")).trim(), "0027");
    let file = fs::metadata(home.join("own/umask")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (NOBODY, NOBODY, 0o640));
    assert_eq!(wait_for_file(&home.join("own/probed")).trim(), NOBODY.to_string());
    // Its log is the daemon's.
    let log = daemon.status("a").log_file.unwrap();
    assert_eq!(fs::metadata(log).unwrap().uid(), 0);

    daemon.wait_state("group", State::Up);
    let pid = daemon.pid_of("group");
    assert_eq!((status(pid, "Uid"), status(pid, "Gid")), (ids(0), ids(NOBODY)));
    daemon.wait_state("number", State::Up);
    let pid = daemon.pid_of("number");
    assert_eq!((status(pid, "Uid"), status(pid, "Gid")), (ids(4_000_000_001), ids(4_000_000_002)));
    assert_eq!(status(pid, "Groups"), "");
}

#[test]
fn directory_and_program_are_looked_at_as_the_user() {
    if !root("directory_and_program_are_looked_at_as_the_user") {
        return;
    }
    let sandbox = Sandbox::new(
        r#"
        [service.directory]
        exec = ["/bin/sleep", "1000"]
        user = "nobody"
        working_directory = "@dir/locked"
        [service.program]
        exec = ["@dir/program"]
        user = "nobody"
        "#,
    );
    open_to_all(&sandbox);
    fs::create_dir(sandbox.path("locked")).unwrap();
    fs::set_permissions(sandbox.path("locked"), fs::Permissions::from_mode(0o700)).unwrap();
    let program = sandbox.write("program", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let daemon = sandbox.start();
    let (reason, _) = parked_at_once(&daemon, "directory");
    let directory = sandbox.path("locked").display().to_string();
    let wanted =
        format!("cannot enter the working directory {directory}: permission denied (as the user \"nobody\")");
    assert!(reason.contains(&wanted), "{reason}");
    let (reason, _) = parked_at_once(&daemon, "program");
    assert!(reason.contains("not executable for this user (mode 0700, owner 0:0)"), "{reason}");
}

/// Without root only oneself is left, and that needs no right.
#[test]
fn without_root_only_oneself_is_possible() {
    if !root("without_root_only_oneself_is_possible") {
        return;
    }
    let sandbox = Sandbox::new(
        r#"
        [service.self]
        exec = ["/bin/sleep", "1000"]
        user = "nobody"
        [service.root]
        exec = ["/bin/sleep", "1000"]
        user = "root"
        [service.group]
        exec = ["/bin/sleep", "1000"]
        supplementary_groups = ["root"]
        [service.important]
        exec = ["/bin/sleep", "1000"]
        resources.oom_score_adjust = -1000
        [service.first]
        exec = ["/bin/sleep", "1000"]
        resources.nice = -20
        [service.files]
        exec = ["/bin/sleep", "1000"]
        resources.limit_nofile = "infinity"
        "#,
    );
    // The programs under test may lie where nobody else may look.
    let program = sandbox.path("mcpd");
    fs::copy(binaries::mcpd(), &program).unwrap();
    let hand_over = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    [sandbox.dir(), &sandbox.config(), &program].into_iter().for_each(hand_over);
    let daemon = sandbox.start_with(|command| {
        let (out, err) =
            (fs::File::create(sandbox.path("mcpd.out")), fs::File::create(sandbox.path("mcpd.err")));
        *command = sandbox.command(&program);
        command.arg("--config").arg(sandbox.config()).stdout(out.unwrap()).stderr(err.unwrap());
        command.uid(NOBODY).gid(NOBODY);
    });
    daemon.wait_state("self", State::Up);
    let environment = environment(daemon.pid_of("self"));
    assert_eq!(environment.get("USER").map(String::as_str), Some("nobody"));
    for (name, wanted) in [
        (
            "root",
            "user: cannot run it as \"root\" (0): only root can change that, and mcpd runs as the user 65534",
        ),
        ("group", "group: cannot run it with the group 0: only root can change that"),
        ("important", "oom_score_adjust: cannot set it to -1000: Permission denied"),
        ("first", "nice: cannot set it to -20: Permission denied"),
        ("files", "Operation not permitted (mcpd's own hard limit is "),
    ] {
        let (reason, _) = parked_at_once(&daemon, name);
        assert!(reason.contains(wanted), "{name}: {reason}");
    }
}

//! What services say about themselves, `sd_notify(3)`: who is heard, and what comes of it.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::{Health, State};
use mcpd_tests::wait::wait_for_file;
use mcpd_tests::{Daemon, Sandbox};

fn notify_socket(sandbox: &Sandbox) -> PathBuf {
    let mut path = sandbox.socket().into_os_string();
    path.push(".notify");
    path.into()
}

fn wait_status_text(daemon: &Daemon<'_>, name: &str, text: &str) {
    daemon.wait_status(name, text, |now| now.status_text.as_deref() == Some(text));
}

/// `type = "notify"`: up with READY=1 and not before, `start` waits for it, STATUS= is shown.
#[test]
fn a_service_is_up_when_it_says_so() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", 'say=STATUS=warming up', "await=@dir/go", 'say=READY=1\nSTATUS=serving 3 clients']
        type = "notify"
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    let mut start = daemon.ctl_command(&["start", "a"]).spawn().unwrap();
    wait_status_text(&daemon, "a", "warming up");
    let now = daemon.status("a");
    assert_eq!(
        (now.state, now.reason.as_deref()),
        (State::Starting, Some("waits for READY=1 on its notification socket"))
    );
    assert!(start.try_wait().unwrap().is_none());
    sandbox.touch("go");
    assert!(start.wait().unwrap().success());
    daemon.wait_state("a", State::Up);
    wait_status_text(&daemon, "a", "serving 3 clients");
    let shown = daemon.ctl(&["status", "a"]).expect(0).stdout;
    assert!(shown.contains("says:     serving 3 clients"), "{shown}");
    // The next run has said nothing yet.
    sandbox.remove("go");
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    assert_eq!(daemon.status("a").status_text, None);
}

/// NOTIFY_SOCKET and WATCHDOG_USEC are for those who asked for them, and for nobody's probes.
#[test]
fn only_those_who_want_it_get_a_socket() {
    let sandbox = Sandbox::new(
        r#"
        [service.with]
        exec = ["@fixture", "env", "@dir/with"]
        environment = { WATCHDOG_PID = "1", NOTIFY_SOCKET = "/nowhere" }
        watchdog = "1h"
        health = { exec = ["@fixture", "env", "@dir/probe"], start_period = 0, timeout = "1h" }
        [service.without]
        exec = ["@fixture", "env", "@dir/without"]
        "#,
    );
    let _daemon = sandbox.start_with(|command| {
        command.env("NOTIFY_SOCKET", "/nowhere/either").env("WATCHDOG_USEC", "60000000");
    });
    let with = wait_for_file(&sandbox.path("with"));
    let expected = format!("\"NOTIFY_SOCKET\":\"{}\"", notify_socket(&sandbox).display());
    assert!(with.contains(&expected) && with.contains("\"WATCHDOG_USEC\":\"3600000000\""), "{with}");
    assert!(!with.contains("nowhere") && !with.contains("WATCHDOG_PID"), "{with}");
    for name in ["probe", "without"] {
        let without = wait_for_file(&sandbox.path(name));
        assert!(!without.contains("\"WATCHDOG_USEC\""), "{without}");
        assert!(name == "probe" || !without.contains("\"NOTIFY_SOCKET\""), "{without}");
    }
}

/// "sender verified": every process of the service's tree may speak, one that has escaped or is gone by then too.
#[test]
fn the_whole_tree_may_speak() {
    let sandbox = Sandbox::new(
        r#"
        [service.child]
        exec = ["@fixture", "notify", "child=READY=1"]
        type = "notify"
        [service.brief]
        exec = ["@fixture", "notify", "brief=READY=1"]
        type = "notify"
        [service.away]
        exec = ["@fixture", "notify", "away=READY=1"]
        type = "notify"
        [service.at-once]
        exec = ["@fixture", "notify", "say=READY=1", "exit=0"]
        type = "notify"
        "#,
    );
    let daemon = sandbox.start();
    for name in ["child", "brief", "away"] {
        assert_eq!(daemon.wait_state(name, State::Up).generation, 1, "{name}");
    }
    daemon.wait_state("at-once", State::Down);
}

/// A message of somebody else is dropped, and told; so is one of a service that may not send.
#[test]
fn strangers_are_not_heard() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", "await=@dir/go", "say=READY=1"]
        type = "notify"
        watchdog = "1h"
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Starting);
    let socket = UnixDatagram::unbound().unwrap();
    let say = |text: &[u8]| socket.send_to(text, notify_socket(&sandbox)).unwrap();
    say(b"READY=1");
    say(b"STATUS=from outside");
    say(&[b'x'; 10_000]);
    let told = daemon.wait_event("a stranger", |event| event.event == "notify_refused");
    assert_eq!(told.data["pid"], std::process::id());
    assert!(told.message.contains(&format!("pid {}", std::process::id())), "{}", told.message);
    let now = daemon.status("a");
    assert_eq!((now.state, now.status_text), (State::Starting, None));
    sandbox.touch("go");
    daemon.wait_state("a", State::Up);
    say(b"WATCHDOG=trigger\nSTOPPING=1");
    // Told at most once in 10 s, however many there are.
    assert_eq!(daemon.events().iter().filter(|event| event.event == "notify_refused").count(), 1);
    let now = daemon.status("a");
    assert_eq!((now.state, now.crash_count), (State::Up, 0));
}

/// MAINPID= is refused, and said once.
#[test]
fn another_main_process_is_refused() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", 'say=MAINPID=1', 'say=MAINPID=1\nREADY=1']
        type = "notify"
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    daemon.wait_event("the refusal", |event| {
        event.event == "main_pid_refused" && event.data["main_pid"] == "1"
    });
    assert_eq!(daemon.events().iter().filter(|event| event.event == "main_pid_refused").count(), 1);
    assert_ne!(up.pid, Some(1));
}

/// `watchdog`: silence is a failure of kind `watchdog`; the process gets SIGABRT, so that it can say where it hangs.
#[test]
fn who_falls_silent_is_restarted() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "record", "@dir/starts", "notify", "feed=50:@dir/hang", 'say=STATUS=busy with 7\nREADY=1']
        type = "notify"
        watchdog = "1s"
        restart.delay = "10ms"
        "#,
    );
    let daemon = sandbox.start();
    let first = daemon.wait_state("a", State::Up);
    sandbox.touch("hang");
    let report = daemon.wait_crashes("a", 1).remove(0);
    sandbox.remove("hang");
    assert_eq!(
        (report.kind, report.pid, report.signal.as_deref()),
        (CrashKind::Watchdog, first.pid, Some("SIGABRT"))
    );
    assert_eq!(report.status_text.as_deref(), Some("busy with 7"));
    assert_eq!(
        report.reason,
        "watchdog: it did not say for 1 s that it is alive: its last STATUS was \"busy with 7\""
    );
    daemon.wait_status("a", "up again", |now| now.state == State::Up && now.generation >= 2);
}

/// A service that asks for it is treated as one that hangs, whatever its type; one without a watchdog is not.
#[test]
fn a_trigger_is_a_hang() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", "say=WATCHDOG=trigger"]
        watchdog = "1h"
        restart.when = "never"
        [service.b]
        exec = ["@fixture", "notify", 'say=WATCHDOG=trigger\nREADY=1']
        type = "notify"
        "#,
    );
    let daemon = sandbox.start();
    let report = daemon.wait_crashes("a", 1).remove(0);
    assert_eq!(
        (report.kind, report.reason.as_str()),
        (CrashKind::Watchdog, "watchdog: it said WATCHDOG=trigger")
    );
    assert_eq!(daemon.wait_state("b", State::Up).crash_count, 0);
}

/// EXTEND_TIMEOUT_USEC: a start and a stop that ask for more time get it.
#[test]
fn more_time_is_given_to_who_asks() {
    let sandbox = Sandbox::new(
        r#"
        [service.start]
        exec = ["@fixture", "notify", "say=EXTEND_TIMEOUT_USEC=600000000", "pause=900", "say=READY=1"]
        type = "notify"
        start_timeout = "400ms"
        [service.late]
        exec = ["@fixture", "notify", "pause=900000", "say=READY=1"]
        type = "notify"
        start_timeout = "400ms"
        restart.when = "never"
        [service.stop]
        exec = ["@fixture", "notify", "say=READY=1", "await=@dir/stop", "say=STOPPING=1", "say=EXTEND_TIMEOUT_USEC=600000000", "pause=900", "exit=3"]
        type = "notify"
        stop_timeout = "400ms"
        restart.when = "never"
        "#,
    );
    let daemon = sandbox.start();
    assert_eq!(daemon.wait_state("start", State::Up).generation, 1);
    let late = daemon.wait_crashes("late", 1).remove(0);
    assert_eq!(late.kind, CrashKind::StartTimeout);
    assert_eq!(late.reason, "not ready within 400 ms, waiting for READY=1 on its notification socket");
    daemon.wait_state("stop", State::Up);
    sandbox.touch("stop");
    // Ended by itself: SIGKILL would have come long before.
    let report = daemon.wait_crashes("stop", 1).remove(0);
    assert_eq!((report.kind, report.exit_code), (CrashKind::Exit, Some(3)));
}

/// RELOADING=1 and READY=1, STOPPING=1: what it says of its life is what `status` says.
#[test]
fn what_it_says_of_its_life_is_seen() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", "say=READY=1", "await=@dir/1", "say=RELOADING=1", "await=@dir/2", "say=READY=1", "await=@dir/3", "say=STOPPING=1", "await=@dir/4", "exit=0"]
        type = "notify"
        stop_timeout = "1h"
        "#,
    );
    let daemon = sandbox.start();
    let up = daemon.wait_state("a", State::Up);
    assert_eq!(up.reason, None);
    sandbox.touch("1");
    let reloading = daemon.wait_status("a", "reloading", |now| now.reason.is_some());
    assert_eq!(
        (reloading.state, reloading.reason.as_deref()),
        (State::Up, Some("it reloads its configuration"))
    );
    sandbox.touch("2");
    daemon.wait_status("a", "reloaded", |now| now.reason.is_none());
    sandbox.touch("3");
    let stopping = daemon.wait_state("a", State::Stopping);
    assert_eq!(stopping.reason.as_deref(), Some("it says that it is stopping"));
    sandbox.touch("4");
    // Nobody asked for it, so it is an end by itself; one that is no failure stays down.
    let down = daemon.wait_state("a", State::Down);
    assert!(down.reason.as_deref().is_some_and(|why| why.contains("by itself")), "{down:#?}");
    assert_eq!(down.crash_count, 0);
}

/// The health check of a service that says when it is ready waits for that: trap 6 of docs/traps.md.
#[test]
fn health_waits_for_ready_1() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "notify", "await=@dir/go", "say=READY=1"]
        ready.notify = true
        health = { exec = ["@fixture", "exists", "@dir/go"], interval = "20ms", retries = 1, start_period = 0 }
        "#,
    );
    let daemon = sandbox.start();
    let starting = daemon.wait_state("a", State::Starting);
    assert_eq!((starting.health, starting.health_detail), (Health::Starting, None));
    sandbox.touch("go");
    let up = daemon.wait_status("a", "healthy", |now| now.health == Health::Healthy);
    assert_eq!((up.generation, up.crash_count), (1, 0));
}

/// A daemon that is gone leaves no socket; one that was killed leaves one, which is no obstacle.
#[test]
fn the_socket_goes_with_the_daemon() {
    let service = "[service.a]\nexec = [\"@fixture\", \"notify\", \"say=READY=1\"]\ntype = \"notify\"\n";
    let sandbox = Sandbox::new(service);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.kill();
    assert!(notify_socket(&sandbox).exists());
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    assert!(daemon.stop().success());
    assert!(!notify_socket(&sandbox).exists());
}

/// A service of another user reaches the socket, through the directory that mcpd makes for it, and only the socket.
#[test]
fn a_service_of_another_user_is_heard() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        let line =
            "SKIPPED: a_service_of_another_user_is_heard: only root can start services as another user\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return;
    }
    let sandbox = Sandbox::new("");
    let text = std::fs::read_to_string(sandbox.config()).unwrap();
    let socket = sandbox.path("run/c.sock");
    let text = text.replace(&sandbox.socket().display().to_string(), &socket.display().to_string());
    // The programs under test may lie where nobody else may look.
    let fixture = sandbox.path("fixture");
    std::fs::copy(mcpd_tests::binaries::fixture(), &fixture).unwrap();
    std::fs::set_permissions(sandbox.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let service = format!(
        "[service.a]\nexec = [\"{}\", \"notify\", \"say=READY=1\"]\ntype = \"notify\"\nuser = \"nobody\"\nrestart.when = \"never\"\n",
        fixture.display()
    );
    std::fs::write(sandbox.config(), format!("{text}{service}")).unwrap();
    let mut mcpd = Daemon::command(&sandbox).spawn().unwrap();
    mcpd_tests::wait::wait_for("an answer", || {
        let mut ctl = sandbox.command(&mcpd_tests::binaries::mcpctl());
        ctl.env("MCPD_SOCKET", &socket).args(["status", "a", "--json"]);
        ctl.stdout(std::process::Stdio::piped());
        let out = ctl.output().unwrap().stdout;
        serde_json::from_slice::<serde_json::Value>(&out).is_ok_and(|now| now["state"] == "up")
    });
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(sandbox.path("run")) & 0o007, mode(socket.clone()) & 0o007), (0o001, 0));
    mcpd_tests::processes::signal(mcpd.id(), rustix::process::Signal::TERM);
    assert!(mcpd.wait().unwrap().success());
}

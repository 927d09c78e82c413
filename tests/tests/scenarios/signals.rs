//! Signals and systemd: what mcpd does when it is told to, and what it tells its manager.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use mcpd_tests::proto::status::{Health, State};
use mcpd_tests::wait::{patience, wait_for};
use mcpd_tests::{Sandbox, processes};
use rustix::process::Signal;
use serde_json::json;

/// What a service manager hears.
struct Notify {
    socket: UnixDatagram,
}

impl Notify {
    fn bind(sandbox: &Sandbox) -> Self {
        let socket = UnixDatagram::bind(sandbox.path("n.sock")).unwrap();
        Self { socket }
    }

    /// The next message, as its lines.
    fn next(&self) -> Option<Vec<String>> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(patience())).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Reads until a message has this line; that message.
    fn until(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + patience();
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let Some(message) = self.next() else { break };
            if message.iter().any(|one| one == line) {
                return message;
            }
            heard.push(message);
        }
        panic!("waited for {line}, heard {heard:?}")
    }
}

/// "SIGTERM/SIGINT orderly stop"
#[test]
fn sigterm_and_sigint_stop_everything_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::new(
            r#"
            [service.a]
            exec = ["@fixture", "run", "--term-delay", "100"]
            [service.tree]
            exec = ["@fixture", "tree", "2", "--deaf"]
            stop_timeout = "200ms"
            [service.backoff]
            exec = ["@fixture", "exit", "1"]
            restart = { delay = "1h", max_delay = "2h" }
            "#,
        );
        let mut daemon = sandbox.start();
        daemon
            .wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
        daemon.wait_state("backoff", State::Backoff);
        daemon.wait_state("tree", State::Up);
        daemon.signal(signal);
        let status = daemon.wait_end();
        assert!(status.success(), "{status}");
        assert!(processes::marked(sandbox.mark()).is_empty());
        assert!(!sandbox.socket().exists());
        // A stop is no crash: nothing but the one crash that was there is reported.
        let crashes = sandbox.state_dir().join("crashes");
        assert!(!crashes.join("a").exists() || crashes.join("a").read_dir().unwrap().next().is_none());
    }
}

/// of the core, `Shutdown`: "a second time: at once"
#[test]
fn a_second_sigterm_does_not_wait_for_the_deaf() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "ignore-term", "--children", "2"]
        stop_timeout = "1h"
        "#,
    );
    let mut daemon = sandbox.start();
    daemon.wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    daemon.signal(Signal::TERM);
    daemon.wait("stopping", || {
        let state = daemon.status("a").state;
        if state == State::Stopping { Ok(()) } else { Err(format!("{state:?}")) }
    });
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(processes::marked(sandbox.mark()).is_empty());
}

/// "SIGHUP reload"
#[test]
fn sighup_reloads() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\n");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    sandbox.configure(
        "[service.a]\nexec = [\"@fixture\", \"run\"]\n[service.b]\nexec = [\"@fixture\", \"run\"]\n",
    );
    daemon.signal(Signal::HUP);
    daemon.wait("b to be there and up", || {
        let list = daemon.list().services;
        if list.iter().any(|one| one.name == "b" && one.state == State::Up) {
            Ok(())
        } else {
            Err(format!("{list:?}"))
        }
    });
    assert_eq!(daemon.pid_of("a"), pid);
    // A bad file is said, and nothing else happens.
    sandbox.configure("[service.a]\nexce = 1\n");
    daemon.signal(Signal::HUP);
    wait_for("the reason on stderr", || daemon.stderr().contains("exce"));
    assert_eq!(daemon.list().services.len(), 2);
}

/// "READY=1, STATUS=, WATCHDOG=1 from the loop, RELOADING=1, STOPPING=1 through `sd-notify`"
#[test]
fn the_manager_is_told_everything() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    let services = format!(
        "[service.slow]\nexec = [\"@fixture\", \"slow-start\", \"500\", \"http\", \"{address}\"]\n\
         health = {{ http = \"http://{address}/\", interval = \"50ms\", start_period = \"15s\" }}\n\
         [service.hopeless]\nexec = [\"@dir/no-such-program\"]\n\
         [service.off]\nexec = [\"@fixture\", \"run\"]\nenabled = false\n"
    );
    sandbox.configure(&services);
    let notify = Notify::bind(&sandbox);
    let mut daemon = sandbox.start_with(|command| {
        command.env("NOTIFY_SOCKET", sandbox.path("n.sock")).env("WATCHDOG_USEC", "400000");
    });
    // "READY=1 once the control socket listens and every enabled service is up or has failed for good"
    let mut message = notify.until("READY=1");
    let slow = daemon.status("slow");
    assert_eq!((slow.state, slow.health), (State::Up, Health::Healthy), "{slow:#?}");
    // "STATUS= one line that stays true"
    let deadline = Instant::now() + patience();
    let status = loop {
        if let Some(line) = message.iter().find_map(|line| line.strip_prefix("STATUS=")) {
            break line.to_owned();
        }
        assert!(Instant::now() < deadline, "no STATUS");
        message = notify.next().expect("a status follows");
    };
    assert!(!status.is_empty() && status == daemon.list().daemon.summary, "{status}");
    // "WATCHDOG=1 from the loop itself": at least every half of WATCHDOG_USEC.
    let asked = Instant::now();
    for _ in 0..4 {
        notify.until("WATCHDOG=1");
    }
    let took = asked.elapsed().as_millis();
    assert!(took < 4 * 400, "four pings took {took} ms");

    // The status follows what happens.
    daemon.call("service.start", json!({ "names": ["off"], "wait": false }));
    daemon.wait_state("off", State::Up);
    let summary = daemon.list().daemon.summary;
    notify.until(&format!("STATUS={summary}"));

    // "RELOADING=1 + MONOTONIC_USEC on SIGHUP", then READY=1 again.
    daemon.signal(Signal::HUP);
    let reloading = notify.until("RELOADING=1");
    let stamp = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("the stamp");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    let age = now_micros - stamp.parse::<i64>().unwrap();
    assert!((0..20_000_000).contains(&age), "the stamp is {age} us old");
    notify.until("READY=1");

    daemon.signal(Signal::TERM);
    notify.until("STOPPING=1");
    assert!(daemon.wait_end().success());
}

/// The design: "EXTEND_TIMEOUT_USEC while stopping slow services"
#[test]
fn a_slow_stop_asks_for_more_time() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run", "--term-delay", "700"]
        stop_timeout = "10s"
        "#,
    );
    let notify = Notify::bind(&sandbox);
    let mut daemon = sandbox.start_with(|command| {
        command.env("NOTIFY_SOCKET", sandbox.path("n.sock"));
    });
    daemon.wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    daemon.signal(Signal::TERM);
    let mut stopping = notify.until("STOPPING=1");
    let deadline = Instant::now() + patience();
    while !stopping.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")) {
        assert!(Instant::now() < deadline, "no EXTEND_TIMEOUT_USEC");
        stopping = notify.next().expect("EXTEND_TIMEOUT_USEC");
    }
    assert!(daemon.wait_end().success());
}

/// A service must not talk to mcpd's own manager in its name.
#[test]
fn services_do_not_inherit_the_managers_socket() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"env\", \"@dir/env.json\"]\n");
    let _notify = Notify::bind(&sandbox);
    let daemon = sandbox.start_with(|command| {
        command.env("NOTIFY_SOCKET", sandbox.path("n.sock")).env("WATCHDOG_USEC", "30000000");
    });
    let json = mcpd_tests::wait::wait_for_file(&sandbox.path("env.json"));
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(found["env"].get(name).is_none(), "{name} reached the service");
    }
    drop(daemon);
}

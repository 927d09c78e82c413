//! mcpctl: what it prints and how it exits.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mcpd_tests::proto::status::State;
use mcpd_tests::wait::patience;
use mcpd_tests::{CtlOutput, Sandbox, binaries};
use serde_json::{Value, json};

/// A service of every sort.
const ZOO: &str = r#"
    [service.good]
    description = "A good one"
    exec = ["@fixture", "run"]
    [service.off]
    exec = ["@fixture", "run"]
    enabled = false
    [service.backoff]
    exec = ["@fixture", "exit", "3", "--stderr", "ModuleNotFoundError: no module named mcp"]
    restart = { delay = "1h", max_delay = "2h" }
    [service.parked]
    exec = ["@fixture", "exit", "78"]
    restart = { prevent_exit_status = [78] }
    [service.missing]
    exec = ["no-such-program-anywhere"]
"#;

/// "exit codes of section 6"
#[test]
fn exit_codes() {
    let sandbox = Sandbox::new(ZOO);
    let daemon = sandbox.start();
    daemon.wait_state("good", State::Up);
    daemon.wait_state("backoff", State::Backoff);
    daemon.wait_state("parked", State::Parked);
    let table: [(&str, i32); 33] = [
        // `status NAME` is LSB
        ("status", 0),
        ("status good", 0),
        ("status off", 3),
        ("status backoff", 3),
        ("status parked", 3),
        ("status nobody", 4),
        ("status good off", 3),
        ("status good off nobody", 4),
        // done, no such service, usage
        ("stop off", 0),
        ("stop nobody", 5),
        ("start good nobody", 5),
        ("restart nobody", 5),
        ("reset nobody", 5),
        ("logs nobody", 5),
        ("crashes nobody", 5),
        ("crashes show nonsense", 1),
        ("signal nobody SIGHUP", 5),
        ("signal good SIGHUP", 0),
        ("signal off SIGHUP", 7),
        ("start", 2),
        ("frobnicate", 2),
        ("status --colour", 2),
        ("logs good -n many", 2),
        ("reset parked", 0),
        ("crashes", 0),
        ("crashes good", 0),
        ("logs good", 0),
        ("events", 0),
        ("daemon status", 0),
        ("daemon reload", 0),
        ("--help", 0),
        ("--version", 0),
        // The program ends at once: failed.
        ("start parked", 1),
    ];
    for (line, code) in table {
        let words: Vec<&str> = line.split(' ').collect();
        let said = daemon.ctl(&words);
        assert_eq!(said.code, code, "mcpctl {line}\n{}\n{}", said.stdout, said.stderr);
        assert!(code == 0 || !said.all().trim().is_empty(), "mcpctl {line} says nothing");
        // The answer is on stdout, complaints are on stderr.
        assert!(code != 5 || said.stdout.is_empty(), "mcpctl {line}: {}", said.stdout);
    }
    let hint = daemon.ctl(&["stop", "godo"]).expect(5);
    assert!(hint.stderr.contains("good"), "did you mean: {}", hint.stderr);
}

/// "A daemon that is not there gives one clear sentence and exit code 10."
#[test]
fn an_absent_daemon_gives_one_sentence() {
    let sandbox = Sandbox::new("");
    let socket = sandbox.path("nobody.sock");
    for words in
        [&["status"][..], &["restart", "a"], &["crashes"], &["logs", "a"], &["daemon", "status"], &["events"]]
    {
        let mut command = sandbox.command(&binaries::mcpctl());
        command.args(words).arg("--socket").arg(&socket);
        let said = CtlOutput::of(command).expect(10);
        assert!(said.stdout.is_empty(), "{said:?}");
        assert!(said.stderr.contains(socket.to_str().unwrap()), "{}", said.stderr);
        assert!(
            !said.stderr.contains("Error {") && said.stderr.trim().lines().count() <= 3,
            "{}",
            said.stderr
        );
    }
    // With --json it is a document.
    let mut command = sandbox.command(&binaries::mcpctl());
    command.args(["status", "--json", "--socket"]).arg(&socket);
    let said = CtlOutput::of(command).expect(10);
    assert_eq!(said.json()["error"]["data"]["kind"], "unreachable");
    // A stale socket is nobody as well.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut command = sandbox.command(&binaries::mcpctl());
    command.arg("status").env("MCPD_SOCKET", &socket);
    let _ = CtlOutput::of(command).expect(10);
}

/// The design: "JSON documents (**fixed** keys)"
#[test]
fn json_documents_have_their_keys() {
    let sandbox = Sandbox::new(ZOO);
    let daemon = sandbox.start();
    daemon.wait_state("good", State::Up);
    daemon.wait_state("backoff", State::Backoff);
    daemon.wait_state("parked", State::Parked);
    let document = daemon.ctl(&["status", "--json"]).expect(0).json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["daemon"]["pid"], daemon.pid());
    let services = document["services"].as_array().unwrap();
    assert_eq!(services.len(), 5);
    for service in services {
        for key in [
            "name",
            "state",
            "health",
            "pid",
            "generation",
            "uptime_seconds",
            "restarts",
            "max_restarts",
            "crash_count",
            "started_at",
            "command",
            "next",
            "last_crash",
        ] {
            assert!(service.get(key).is_some(), "{key} in {service:#}");
        }
    }
    let find = |name: &str| services.iter().find(|service| service["name"] == name).unwrap();
    assert_eq!((&find("good")["state"], &find("good")["pid"]), (&json!("up"), &json!(daemon.pid_of("good"))));
    assert_eq!((&find("off")["state"], &find("off")["pid"]), (&json!("down"), &Value::Null));
    assert_eq!(find("parked")["state"], "parked");
    let next = &find("backoff")["next"];
    assert_eq!(next["what"], "start");
    assert!(next["in_seconds"].as_f64().unwrap() > 3000.0, "{next:#}");

    // "`status NAME --json` is one S"
    let one = daemon.ctl(&["status", "good", "--json"]).expect(0).json();
    assert_eq!((&one["name"], &one["state"]), (&json!("good"), &json!("up")));
    let lost = daemon.ctl(&["status", "nobody", "--json"]).expect(4).json();
    assert_eq!(lost["error"]["data"]["kind"], "no_such_service", "{lost:#}");
    // "Every verb takes `--json`"
    for line in ["crashes", "daemon status", "daemon reload", "stop off", "reset parked", "config show"] {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.push("--json");
        let config = sandbox.config();
        if line == "config show" {
            words.push(config.to_str().unwrap());
        }
        assert!(daemon.ctl(&words).expect(0).json().is_object(), "{line}");
    }
    assert!(!daemon.ctl(&["events", "--json"]).expect(0).json_lines().is_empty());
}

/// "`status` with no name: one line per service ... and a summary line."
#[test]
fn status_is_one_line_per_service_and_a_summary() {
    let sandbox = Sandbox::new(ZOO);
    let daemon = sandbox.start();
    daemon.wait_state("good", State::Up);
    daemon.wait_state("backoff", State::Backoff);
    daemon.wait_state("parked", State::Parked);
    let shown = daemon.ctl(&["status"]).expect(0).stdout;
    assert!(!shown.contains('\u{1b}'), "no colour when piped");
    for name in ["good", "off", "backoff", "parked", "missing"] {
        let lines = shown.lines().filter(|line| line.split_whitespace().next() == Some(name));
        assert_eq!(lines.count(), 1, "{name}:\n{shown}");
    }
    let good = shown.lines().find(|line| line.contains("good")).unwrap();
    assert!(good.contains("up") && good.contains(&daemon.pid_of("good").to_string()), "{good}");
    let summary =
        shown.lines().find(|line| line.starts_with("5 services")).unwrap_or_else(|| panic!("{shown}"));
    assert!(summary.contains("1 up") && summary.contains("2 parked"), "{summary}");

    // "`status NAME`: everything about one, with the last log lines and what happens next and when"
    let one = daemon.ctl(&["status", "backoff"]).expect(3).stdout;
    assert!(one.contains("ModuleNotFoundError"), "{one}");
    assert!(one.contains("code 3"), "{one}");
    // In an hour and up to a tenth of it.
    assert!(one.contains("start in 59m") || one.contains("start in 1h"), "when the next start is: {one}");
    let missing = daemon.ctl(&["status", "missing"]).expect(3).stdout;
    assert!(missing.contains("no-such-program-anywhere"), "{missing}");
    let good = daemon.ctl(&["status", "good"]).expect(0).stdout;
    assert!(good.contains("A good one") && good.contains("ready"), "{good}");
}

/// "`restart` waits until the service is up (or says why not, with the stderr tail)."
#[test]
fn restart_waits_or_says_why_not() {
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    sandbox.configure(&format!(
        "[service.slow]\nexec = [\"@fixture\", \"slow-start\", \"600\", \"http\", \"{address}\"]\n\
         health = {{ http = \"http://{address}/\", interval = \"50ms\", start_period = \"15s\" }}\n\
         [service.bad]\nexec = [\"@fixture\", \"crash-first\", \"1000\", \"@dir/bad\", \"run\"]\nenabled = false\n\
         restart = {{ delay = \"1h\", max_delay = \"2h\" }}\n\
         [service.missing]\nexec = [\"no-such-program-anywhere\"]\n"
    ));
    let daemon = sandbox.start();
    daemon.wait_state("slow", State::Up);
    let before = daemon.pid_of("slow");
    let asked = Instant::now();
    let said = daemon.ctl(&["restart", "slow"]).expect(0);
    assert!(asked.elapsed() >= Duration::from_millis(600), "it waits for the health check: {said:?}");
    let now = daemon.status("slow");
    assert_eq!((now.state, now.generation), (State::Up, 2));
    assert_ne!(now.pid, Some(before));
    assert!(said.stdout.contains("slow"), "{said:?}");

    for verb in ["restart", "start"] {
        let said = daemon.ctl(&[verb, "bad"]).expect(1);
        assert!(said.stderr.contains("RuntimeError: crashed on demand"), "the stderr tail: {said:?}");
        assert!(said.stderr.contains("code 1"), "the reason: {said:?}");
        daemon.call("service.stop", json!({ "names": ["bad"] }));
    }
    let said = daemon.ctl(&["restart", "bad", "--json"]).expect(1).json();
    let outcome = &said["outcomes"][0];
    assert_eq!((&outcome["ok"], &outcome["error"]["data"]["kind"]), (&json!(false), &json!("start_failed")));
    let tail = outcome["error"]["data"]["stderr_tail"].to_string();
    assert!(tail.contains("crashed on demand"), "{said:#}");
    let said = daemon.ctl(&["start", "missing"]).expect(1);
    assert!(said.stderr.contains("no-such-program-anywhere"), "{said:?}");
}

/// "11 timed out", and what was asked goes on.
#[test]
fn a_timeout_has_its_code() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run", "--term-delay", "1000"]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_status("a", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    let said = daemon.ctl(&["stop", "a", "--timeout", "100ms"]).expect(11);
    assert!(!said.stderr.trim().is_empty());
    daemon.wait_state("a", State::Down);
}

/// "`start`, `stop`, `restart`, `signal`, `reset`": one after the other, as a person would.
#[test]
fn verbs_do_what_they_say() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        enabled = false
        [service.b]
        exec = ["@fixture", "run"]
        enabled = false
        "#,
    );
    let daemon = sandbox.start();
    let _ = daemon.ctl(&["start", "a", "b"]).expect(0);
    assert_eq!((daemon.status("a").state, daemon.status("b").state), (State::Up, State::Up));
    let again = daemon.ctl(&["start", "a"]).expect(0);
    assert!(again.stdout.contains('a'), "{again:?}");
    let pid = daemon.pid_of("a");
    let _ = daemon.ctl(&["signal", "a", "USR2"]).expect(0);
    daemon.wait("the signal to arrive", || {
        let log = daemon.ctl(&["logs", "a", "--raw"]).stdout;
        if log.contains("signal SIGUSR2") { Ok(()) } else { Err(log) }
    });
    let _ = daemon.ctl(&["restart", "a"]).expect(0);
    assert_ne!(daemon.pid_of("a"), pid);
    let _ = daemon.ctl(&["stop", "a", "b"]).expect(0);
    let _ = daemon.ctl(&["stop", "a"]).expect(0);
    assert_eq!((daemon.status("a").state, daemon.status("b").state), (State::Down, State::Down));
    let _ = daemon.ctl(&["reset", "a"]).expect(0);
    assert!(daemon.crashes("a").is_empty() && daemon.crashes("b").is_empty());
}

/// "`events -f`"
#[test]
fn events_are_followed() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash"]
        restart = { delay = "10ms" }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let mut command = daemon.ctl_command(&["events", "-f", "--json"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (give, take) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap();
            if give.send(event).is_err() {
                break;
            }
        }
    });
    // The backlog tells of the start; from then on it is live.
    let first = take.recv_timeout(patience()).unwrap();
    assert_eq!(first["schema"], 1, "{first:#}");
    sandbox.touch("crash");
    let mut names = Vec::new();
    let deadline = Instant::now() + patience();
    while !(names.contains(&"crash".to_owned()) && names.contains(&"backoff".to_owned())) {
        assert!(Instant::now() < deadline, "{names:?}");
        let event = take.recv_timeout(patience()).unwrap_or_else(|_| panic!("only {names:?}"));
        assert!(!event["message"].as_str().unwrap().is_empty());
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    drop(take);
    reader.join().unwrap();
}

/// "`daemon status|reload|shutdown`"
#[test]
fn the_daemon_is_asked_and_shut_down() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@fixture\", \"run\"]\n");
    let mut daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let status = daemon.ctl(&["daemon", "status"]).expect(0).stdout;
    assert!(status.contains(&daemon.pid().to_string()) && status.contains("mcpd.toml"), "{status}");
    let document = daemon.ctl(&["daemon", "status", "--json"]).expect(0).json();
    assert_eq!(document["pid"], daemon.pid());
    let _ = daemon.ctl(&["daemon", "shutdown"]).expect(0);
    assert!(daemon.wait_end().success());
    let _ = daemon.ctl(&["status"]).expect(10);
}

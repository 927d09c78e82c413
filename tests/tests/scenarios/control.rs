//! Control: the socket, who may hold it, what comes over it, and what a reload touches.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mcpd_tests::proto::client::{CallError, Client};
use mcpd_tests::proto::error::Kind;
use mcpd_tests::proto::message::{FromDaemon, Id};
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{patience, wait_for, wait_for_file};
use mcpd_tests::{CtlOutput, Daemon, Sandbox, binaries, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

const RUNS: &str = r#"
    [service.a]
    exec = ["@fixture", "run"]
"#;

/// A connection without a client's manners.
fn connect(daemon: &Daemon<'_>) -> UnixStream {
    let stream = UnixStream::connect(daemon.sandbox().socket()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream
}

/// The next line as JSON; `None` at the end of the stream.
fn answer(reader: &mut impl BufRead) -> Option<Value> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
        // Closed with unread bytes of ours in its buffer: the end as well.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

/// Everybody else is served as always, and fast.
fn others_are_fine(daemon: &Daemon<'_>) {
    let asked = Instant::now();
    assert_eq!(daemon.status("a").state, State::Up);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

fn refused(result: Result<Value, CallError>) -> mcpd_tests::proto::error::ErrorObject {
    match result {
        Err(CallError::Refused(error)) => *error,
        other => panic!("an error was expected: {other:?}"),
    }
}

/// "Only one mcpd per socket and state directory (lock; the second says who holds it)." And per directory of logs: trap
/// 14 of docs/traps.md, two writers of one file.
#[test]
fn the_second_daemon_is_told_who_holds_it() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let second = |config: &std::path::Path| {
        let mut command = sandbox.command(&binaries::mcpd());
        command.arg("--config").arg(config);
        CtlOutput::of(command)
    };
    let same = second(&sandbox.config());
    assert!(same.code > 0, "{same:?}");
    assert!(same.stderr.contains(&daemon.main_pid().to_string()), "{}", same.stderr);

    // Everything is another's but the state, but the socket, but the logs.
    let config = std::fs::read_to_string(sandbox.config()).unwrap();
    let places = [("/c.sock\"", "control_socket"), ("/state\"", "state_dir"), ("/log\"", "log_dir")];
    std::fs::create_dir(sandbox.path("second")).unwrap();
    for (shared, key) in places {
        let others = places.iter().filter(|(place, _)| *place != shared);
        let text =
            others.fold(config.clone(), |text, (place, _)| text.replace(place, &format!("/second{place}")));
        let path = sandbox.write("second.toml", &text);
        let refused = second(&path);
        assert!(refused.code > 0, "{refused:?}");
        assert!(refused.stderr.contains(&daemon.main_pid().to_string()), "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("another daemon.{key}")), "{}", refused.stderr);
    }
    others_are_fine(&daemon);
    assert!(sandbox.socket().exists(), "the first one's socket is where it was");
}

/// "Unix socket with mode and stale-socket handling"
#[test]
fn the_socket_has_its_mode_and_a_stale_one_is_taken_over() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let metadata = std::fs::metadata(sandbox.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    daemon.kill();
    assert!(sandbox.socket().exists(), "kill -9 leaves the socket");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    assert!(daemon.stop().success());
    assert!(!sandbox.socket().exists(), "an orderly end does not");

    // What is no socket is not removed.
    std::fs::write(sandbox.socket(), "precious").unwrap();
    let mut command = sandbox.command(&binaries::mcpd());
    command.arg("--config").arg(sandbox.config());
    let refused = CtlOutput::of(command);
    assert!(refused.code > 0 && refused.stderr.contains("c.sock"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(sandbox.socket()).unwrap(), "precious");
}

/// "`daemon.hello`, `daemon.status`, ... `daemon.shutdown`"
#[test]
fn hello_status_and_shutdown() {
    let sandbox = Sandbox::new(RUNS);
    let mut daemon = sandbox.start();
    let hello = daemon.call("daemon.hello", json!({ "client": "test" }));
    assert_eq!((&hello["schema"], &hello["pid"]), (&json!(1), &json!(daemon.pid())));
    let methods: Vec<&str> = hello["methods"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for method in [
        "daemon.hello",
        "daemon.status",
        "daemon.reload",
        "config.plan",
        "daemon.shutdown",
        "service.list",
        "service.status",
        "service.start",
        "service.stop",
        "service.restart",
        "service.signal",
        "service.reset",
        "crash.list",
        "crash.get",
        "log.read",
        "log.follow",
        "event.list",
        "event.subscribe",
    ] {
        assert!(methods.contains(&method), "{method} in {methods:?}");
    }
    daemon.wait_state("a", State::Up);
    let status = daemon.call("daemon.status", json!({}));
    assert_eq!((&status["state"], &status["pid"]), (&json!("running"), &json!(daemon.pid())));
    assert_eq!(status["config"], sandbox.config().to_str().unwrap());
    assert_eq!(status["state_dir"], sandbox.state_dir().to_str().unwrap());
    assert_eq!(status["log_dir"], sandbox.log_dir().to_str().unwrap());
    assert!(status["summary"].as_str().unwrap().contains('1'), "{status:#}");

    let pid = daemon.pid_of("a");
    // "`{}`, once every service is down"
    assert_eq!(daemon.call("daemon.shutdown", json!({})), json!({}));
    assert!(!processes::lives(pid));
    assert!(daemon.wait_end().success());
}

/// "Any JSON tool can speak it": a line in, a line out, ids of any kind given back.
#[test]
fn a_line_in_a_line_out() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let mut stream = connect(&daemon);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list\"}\n").unwrap();
    let list = answer(&mut reader).unwrap();
    assert_eq!((&list["jsonrpc"], &list["id"]), (&json!("2.0"), &json!(1)));
    assert_eq!(list["result"]["services"][0]["name"], "a");
    stream
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":\"x-1\",\"method\":\"daemon.status\",\"params\":{}}\r\n")
        .unwrap();
    assert_eq!(answer(&mut reader).unwrap()["id"], "x-1");
    // A notification gets no answer; the next request does.
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"daemon.status\"}\n").unwrap();
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"daemon.status\"}\n").unwrap();
    assert_eq!(answer(&mut reader).unwrap()["id"], 3);
    // Whoever says that nothing more comes gets the answers that are owed.
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"daemon.status\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(answer(&mut reader).unwrap()["id"], 4);
    assert_eq!(answer(&mut reader), None);
}

/// "requests may be pipelined, answers carry the id"
#[test]
fn requests_may_be_pipelined() {
    const REQUESTS: i64 = 300;
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let mut stream = connect(&daemon);
    let mut batch = String::new();
    for id in 0..REQUESTS {
        let method = if id % 2 == 0 { "service.list" } else { "daemon.status" };
        batch += &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\"}}\n");
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| stream.write_all(batch.as_bytes()).unwrap());
        let mut ids: Vec<i64> =
            (0..REQUESTS).map(|_| answer(&mut reader).unwrap()["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..REQUESTS).collect::<Vec<_>>());
    });
}

/// "Errors are typed: code, a sentence, and `data` with a stable `kind`"
#[test]
fn errors_are_typed() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let table = [
        ("no.such.method", json!({}), -32601, Kind::MethodNotFound),
        ("service.status", json!({}), -32602, Kind::InvalidParams),
        ("service.status", json!({ "name": 7 }), -32602, Kind::InvalidParams),
        ("service.status", json!({ "name": "a", "colour": "blue" }), -32602, Kind::InvalidParams),
        ("service.status", json!({ "name": "b" }), -32000, Kind::NoSuchService),
        ("service.start", json!({ "names": ["a", "b"] }), -32000, Kind::NoSuchService),
        ("service.signal", json!({ "names": ["a"], "signal": "SIGNONE" }), -32602, Kind::InvalidParams),
        ("log.read", json!({ "name": "b" }), -32000, Kind::NoSuchService),
        ("crash.get", json!({ "id": "1970" }), -32000, Kind::NoSuchCrash),
    ];
    for (method, params, code, kind) in table {
        let error = refused(daemon.try_call(method, params.clone()));
        assert_eq!((error.code, error.kind()), (code, Some(kind)), "{method} {params}: {error:?}");
        assert!(!error.message.is_empty());
    }
    // And lines that are no requests, each answered, none fatal.
    let mut stream = connect(&daemon);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (line, code) in [
        ("this is no JSON", -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}", -32600),
        ("[]", -32600),
        ("42", -32600),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"daemon.status\"}", -32600),
    ] {
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
        let said = answer(&mut reader).unwrap_or_else(|| panic!("no answer to {line}"));
        assert_eq!(said["error"]["code"], code, "{line}: {said}");
    }
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"daemon.status\"}\n").unwrap();
    assert_eq!(answer(&mut reader).unwrap()["id"], 9);
}

/// "1 MiB lines ...: an error for that client, no effect on anyone else"
#[test]
fn a_line_over_one_mebibyte_ends_that_connection() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    let mut stream = connect(&daemon);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // Exactly 1 MiB is a line like any other.
    let mut line = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}".to_vec();
    line.resize(1024 * 1024, b' ');
    line.push(b'\n');
    stream.write_all(&line).unwrap();
    assert_eq!(answer(&mut reader).unwrap()["id"], 1);
    // One byte more is not, and neither is one without an end.
    line.insert(0, b' ');
    // The daemon need not read to the end of it.
    let _ = stream.write_all(&line);
    let said = answer(&mut reader).unwrap();
    assert_eq!(said["error"]["data"]["kind"], "line_too_long", "{said}");
    assert_eq!(answer(&mut reader), None);

    let mut endless = connect(&daemon);
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 && endless.write_all(&[b'x'; 65536]).is_ok() {
        sent += 65536;
    }
    assert!(sent < 32 * 1024 * 1024, "the daemon still reads after {sent} bytes of one line");
    others_are_fine(&daemon);
}

/// "garbage bytes, half requests ...: an error for that client, no effect on anyone else"
#[test]
fn garbage_and_half_requests_hurt_nobody() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let mut garbage = connect(&daemon);
    let mut reader = BufReader::new(garbage.try_clone().unwrap());
    garbage.write_all(b"\xff\xfe\x00\x80 \0\0\0\n").unwrap();
    assert_eq!(answer(&mut reader).unwrap()["error"]["code"], -32700);
    let mut noise: Vec<u8> =
        (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    noise.push(b'\n');
    let _ = connect(&daemon).write_all(&noise);

    // Half a request: held open, given up, or cut off.
    let mut halves = Vec::new();
    for _ in 0..20 {
        let mut half = connect(&daemon);
        half.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth").unwrap();
        halves.push(half);
    }
    others_are_fine(&daemon);
    drop(halves.split_off(10));
    halves[0].write_all(b"od\":\"daemon.status\"}\n").unwrap();
    let whole = answer(&mut BufReader::new(&halves[0])).unwrap();
    assert_eq!(whole["id"], 1, "a request that took its time is served: {whole}");
    others_are_fine(&daemon);
}

/// "a client that never reads ...: an error for that client, no effect on anyone else"
#[test]
fn clients_that_never_read_hold_nobody_up() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.flood]
        exec = ["@fixture", "flood", "20000000", "--done-file", "@dir/done"]
        enabled = false
        log = { max_size = "1M", max_files = 2 }
        [service.busy]
        exec = ["@fixture", "exit", "1"]
        enabled = false
        restart = { delay = "1ms", multiplier = 1, max_restarts = 200 }
        crash = { keep = 3 }
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list\"}\n";
    let mut deaf = connect(&daemon);
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Until the daemon takes no more of it.
    let mut taken = 0;
    while taken < 200_000 && deaf.write_all(request).is_ok() {
        taken += 1;
    }
    let mut subscribed = connect(&daemon);
    subscribed.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"event.subscribe\"}\n").unwrap();
    let mut following = connect(&daemon);
    following
        .write_all(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log.follow\",\"params\":{\"name\":\"flood\"}}\n",
        )
        .unwrap();
    daemon.call("service.start", json!({ "names": ["flood", "busy"], "wait": false }));
    others_are_fine(&daemon);
    assert_eq!(
        wait_for_file(&sandbox.path("done")),
        "done",
        "20 MB are written although a follower does not read"
    );
    assert_eq!(daemon.wait_state("busy", State::Parked).generation, 201);
    others_are_fine(&daemon);
    drop((deaf, subscribed, following));
}

/// "500 clients at once: an error for that client, no effect on anyone else"
#[test]
fn five_hundred_clients_at_once() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let mut clients = Vec::new();
    for _ in 0..500 {
        match UnixStream::connect(sandbox.socket()) {
            Ok(stream) => {
                stream.set_read_timeout(Some(patience())).unwrap();
                clients.push(stream);
            }
            Err(error) => panic!("client {}: {error}", clients.len()),
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        // One that was turned away may be closed already.
        let _ = writeln!(client, "{{\"jsonrpc\":\"2.0\",\"id\":{index},\"method\":\"daemon.status\"}}");
    }
    let mut served = 0;
    for (index, client) in clients.iter().enumerate() {
        let said = answer(&mut BufReader::new(client));
        match said {
            Some(said) if said["id"] == index => served += 1,
            Some(said) => assert_eq!(said["error"]["data"]["kind"], "daemon_busy", "{said}"),
            None => panic!("client {index} was turned away without a word"),
        }
    }
    assert!(served >= 100, "{served} of 500 were served");
    drop(clients);
    // The place that they took is free again.
    wait_for("a new client to be served", || {
        Client::connect(&sandbox.socket())
            .is_ok_and(|mut client| client.call("daemon.status", json!({})).is_ok())
    });
    others_are_fine(&daemon);
}

/// "`daemon.reload` (re-reads the file; only services whose definition changed are touched ...)"
#[test]
fn a_reload_touches_only_what_changed() {
    let before = r#"
        [service.same]
        exec = ["@fixture", "run"]
        [service.changed]
        exec = ["@fixture", "run"]
        [service.tuned]
        exec = ["@fixture", "run"]
        [service.gone]
        exec = ["@fixture", "run"]
    "#;
    let after = r#"
        [service.same]
        exec = ["@fixture", "run"]
        [service.changed]
        exec = ["@fixture", "run"]
        environment = { NEW = "1" }
        [service.tuned]
        exec = ["@fixture", "run"]
        restart = { delay = "7s" }
        stop_timeout = "3s"
        [service.new]
        exec = ["@fixture", "run"]
    "#;
    let sandbox = Sandbox::new(before);
    let daemon = sandbox.start();
    let names = ["same", "changed", "tuned", "gone"];
    let pids = names.map(|name| {
        daemon.wait_state(name, State::Up);
        daemon.pid_of(name)
    });
    sandbox.configure(after);
    let reloaded = daemon.call("daemon.reload", json!({ "restart": true }));
    assert_eq!(reloaded["added"], json!(["new"]), "{reloaded:#}");
    assert_eq!(reloaded["removed"], json!(["gone"]));
    assert_eq!(reloaded["restarted"], json!(["changed"]));
    assert_eq!(reloaded["updated"], json!(["tuned"]));
    assert_eq!(reloaded["unchanged"], 1);
    daemon.wait_state("new", State::Up);
    let changed =
        daemon.wait_status("changed", "up again", |now| now.state == State::Up && now.generation == 2);
    assert_ne!(changed.pid, Some(pids[1]));
    assert_eq!((daemon.pid_of("same"), daemon.pid_of("tuned")), (pids[0], pids[2]));
    daemon.wait("gone to be gone", || {
        let list = daemon.list();
        if list.services.iter().all(|service| service.name != "gone") {
            Ok(())
        } else {
            Err(format!("{list:?}"))
        }
    });
    assert!(!processes::exists(pids[3]));
    assert!(daemon.crashes("changed").is_empty());

    // The same file again changes nothing.
    let again = daemon.call("daemon.reload", json!({}));
    assert_eq!(again["unchanged"], 4, "{again:#}");
    assert_eq!(daemon.pid_of("same"), pids[0]);
}

/// "a bad file changes nothing and says why"
#[test]
fn a_bad_reload_changes_nothing_and_says_why() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let pid = daemon.pid_of("a");
    sandbox.configure("[service.a]\nexec = [\"@fixture\", \"run\"]\nrestrat = 1\n[service.b]\nexec = 7\n");
    let error = refused(daemon.try_call("daemon.reload", json!({})));
    assert_eq!(error.kind(), Some(Kind::ConfigInvalid), "{error:?}");
    let said = error.data["diagnostics"].as_str().unwrap();
    assert!(said.contains("restrat") && said.contains("restart") && said.contains("mcpd.toml:7"), "{said}");
    let shown = daemon.ctl(&["daemon", "reload"]).expect(6);
    assert!(shown.all().contains("restrat"), "{shown:?}");

    assert_eq!(daemon.pid_of("a"), pid);
    assert_eq!(daemon.list().services.len(), 1);
    assert!(daemon.list().daemon.last_reload.is_some(), "status still tells of it");
    sandbox.configure(RUNS);
    assert_eq!(daemon.call("daemon.reload", json!({}))["unchanged"], 1);
}

/// "park: stay down ..., until config ... change": a reload that mends a parked service starts it.
#[test]
fn a_reload_that_mends_a_parked_service_starts_it() {
    let sandbox = Sandbox::new("[service.a]\nexec = [\"@dir/no-such-program\"]\n");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Parked);
    sandbox.configure(RUNS);
    daemon.call("daemon.reload", json!({}));
    daemon.wait_state("a", State::Up);
}

/// "`event.subscribe`", "Streams are notifications until the client closes or sends `cancel`."
#[test]
fn a_stream_ends_when_it_is_cancelled() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    let mut client = daemon.client();
    let stream = client.send("event.subscribe", json!({ "backlog": 100 })).unwrap();
    let FromDaemon::Notification(first) = client.receive().unwrap() else {
        panic!("a notification comes first")
    };
    assert_eq!((first.method.as_str(), &first.params["request"]), ("event", &json!(stream)));
    client.send("cancel", json!({ "request": stream })).unwrap();
    let answered = loop {
        match client.receive().unwrap() {
            FromDaemon::Response(response) if response.id == Id::Number(stream) => break response,
            FromDaemon::Response(_) | FromDaemon::Notification(_) => {}
        }
    };
    assert!(answered.error.is_none(), "{answered:?}");
    // The connection goes on.
    assert_eq!(client.call("daemon.status", json!({})).unwrap()["state"], "running");

    // Ids grow by one, causes are earlier ids.
    let events = daemon.events();
    assert!(events.windows(2).all(|pair| pair[1].id == pair[0].id + 1), "{events:#?}");
    assert!(events.iter().all(|event| event.cause.is_none_or(|cause| cause < event.id)));
}

/// "a second connection is not held up by one whose request waits"
#[test]
fn a_waiting_request_holds_nobody_up() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        [service.slow]
        exec = ["@fixture", "run", "--term-delay", "700"]
        "#,
    );
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_status("slow", "ready", |now| now.log_tail.iter().any(|line| line.text.starts_with("ready")));
    let mut stream = connect(&daemon);
    // On one connection as well: the answer to the second request comes first.
    stream
        .write_all(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.stop\",\"params\":{\"names\":[\"slow\"]}}\n\
              {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"daemon.status\"}\n",
        )
        .unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(answer(&mut reader).unwrap()["id"], 2);
    assert_eq!(answer(&mut reader).unwrap()["id"], 1);
    let mut rest = Vec::new();
    reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

/// "`daemon.reload` (re-reads the file; only services whose definition changed are touched)": however quickly one file
/// follows the other, the last one is what is. Trap 24 of docs/traps.md.
#[test]
fn a_storm_of_reloads_ends_with_what_the_last_file_says() {
    let service = |name: &str| format!("[service.{name}]\nexec = [\"@fixture\", \"run\"]\n");
    let crashing = "[service.c]\nexec = [\"@fixture\", \"exit\", \"1\"]\nrestart = { delay = \"1ms\", max_restarts = 0 }\n";
    let some: String = ["a", "b"].map(service).concat();
    let more: String = ["a", "b", "n1", "n2", "n3", "n4"].map(service).concat() + crashing;
    let sandbox = Sandbox::new(&more);
    let daemon = sandbox.start();
    for turn in 0..60 {
        sandbox.configure(if turn % 2 == 0 { &some } else { &more });
        daemon.signal(Signal::HUP);
        if turn % 3 == 0 {
            daemon.call("daemon.status", json!({}));
        }
    }
    sandbox.configure(&more);
    daemon.call("daemon.reload", json!({}));
    for name in ["a", "b", "n1", "n2", "n3", "n4"] {
        daemon.wait_state(name, State::Up);
    }
    sandbox.configure(&some);
    daemon.call("daemon.reload", json!({}));
    daemon.wait("only what the last file has", || {
        let now = daemon.list();
        let names: Vec<_> = now.services.iter().map(|service| service.name.clone()).collect();
        if names == ["a", "b"] && now.daemon.summary == "2 running" {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
    assert!(daemon.stop().success());
}

/// "Bad input gets a clear error": what is no file is not waited for.
#[test]
fn pipes_in_the_place_of_files_hang_nothing() {
    let sandbox = Sandbox::new("");
    let fifo = sandbox.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    sandbox.configure(
        "[service.a]\nexec = [\"@fixture\", \"run\"]\nenvironment_files = [\"@dir/fifo\"]\n\
         restart = { when = \"never\" }\n[service.b]\nexec = [\"@fixture\", \"run\"]\n",
    );
    std::fs::create_dir_all(sandbox.log_dir()).unwrap();
    let log = sandbox.log_dir().join("b.log");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    let daemon = sandbox.start();
    let parked = daemon.wait_state("a", State::Down);
    assert!(parked.last_crash.as_ref().unwrap().reason.contains("no regular file"), "{parked:#?}");
    daemon.wait_state("b", State::Up);
    let shown = daemon.ctl(&["logs", "b"]);
    assert!(shown.code != 0 && shown.all().contains("no regular file"), "{shown:?}");
    daemon.wait("the trouble with the log to be said", || {
        let text = daemon.stderr();
        if text.contains("it is a pipe, not a file") { Ok(()) } else { Err(text) }
    });
    // As the configuration itself.
    std::fs::rename(&fifo, sandbox.path("kept")).unwrap();
    std::fs::remove_file(sandbox.config()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(sandbox.config()).status().unwrap().success());
    let refused = daemon.ctl(&["daemon", "reload"]).expect(6);
    assert!(refused.all().contains("no regular file"), "{}", refused.all());
    std::fs::remove_file(sandbox.config()).unwrap();
    sandbox.configure("[service.b]\nexec = [\"@fixture\", \"run\"]\n");
    let _ = daemon.ctl(&["daemon", "reload"]).expect(0);
    assert!(daemon.stop().success());
}

//! Who is told when something is wrong with a service: programs, webhooks, mcpd's own log. One message for each condition
//! that begins or is over, whatever the receivers are like.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mcpd_tests::proto::status::State;
use mcpd_tests::{Daemon, Sandbox};
use serde_json::{Value, json};

/// One request that came.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    /// As `name: value`, the name in small letters.
    headers: Vec<String>,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A receiver of webhooks. By the path: `/hang` never answers, `/404` and the like answer so, `/busy` answers 503 the first
/// time; everything else is fine.
struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn new(sandbox: &Sandbox) -> Self {
        let listener = TcpListener::bind(sandbox.address()).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, ends) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (kept, asked) = (requests.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            // Until the receiver is dropped.
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                if asked.load(Ordering::Acquire) {
                    break;
                }
                held.extend(answer(stream, &kept));
            }
        });
        Self { address, requests, ends, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Those to this path, once there are so many.
    fn wait(&self, daemon: &Daemon<'_>, path: &str, count: usize) -> Vec<Request> {
        daemon.wait(&format!("{count} requests to {path}"), || {
            let mut found = self.requests();
            found.retain(|request| request.path == path);
            if found.len() >= count { Ok(found) } else { Err(format!("{:#?}", self.requests())) }
        })
    }
}

/// The stream, when it is to be held open without an answer.
fn answer(stream: TcpStream, requests: &Mutex<Vec<Request>>) -> Option<TcpStream> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if name == "content-length" {
            length = value.parse().ok()?;
        }
        headers.push(format!("{name}: {value}"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let mut requests = requests.lock().unwrap();
    let again = requests.iter().any(|request| request.path == path);
    requests.push(Request { path: path.clone(), headers, body });
    drop(requests);
    let status = match path.trim_start_matches('/') {
        "hang" => return Some(stream),
        "busy" if !again => "503".to_owned(),
        status if status.parse::<u16>().is_ok() => status.to_owned(),
        _ => "200".to_owned(),
    };
    let mut stream = stream;
    let said = format!("I was asked for {path}");
    let head =
        format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", said.len());
    let _ = stream.write_all((head + &said).as_bytes());
    None
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the script below wrote, once it is whole.
fn told(daemon: &Daemon<'_>, sandbox: &Sandbox, condition: &str, state: &str) -> (Value, String) {
    let name = format!("told-{condition}-{state}");
    daemon.wait(&name, || {
        let read = |end: &str| std::fs::read_to_string(sandbox.path(&format!("{name}.{end}"))).ok();
        match (read("json").map(|text| serde_json::from_str(&text)), read("env")) {
            (Some(Ok(document)), Some(env)) if env.ends_with("end\n") => Ok((document, env)),
            found => Err(format!("{found:?}")),
        }
    })
}

/// The document to a file, then the facts.
const SCRIPT: &str = r#"cat > @dir/told-$MCPD_CONDITION-$MCPD_STATE.json
f=@dir/told-$MCPD_CONDITION-$MCPD_STATE.env; env | grep ^MCPD_ > $f; test -r "$MCPD_REPORT" && echo readable >> $f; echo end >> $f"#;

fn script(sandbox: &Sandbox) -> String {
    sandbox.write("tell.sh", &sandbox.fill(SCRIPT)).display().to_string()
}

#[test]
fn a_program_gets_the_document_and_the_facts() {
    let sandbox = Sandbox::new("");
    let script = script(&sandbox);
    sandbox.configure(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
        restart = {{ delay = "20ms", jitter = 0, max_restarts = 1 }}
        environment = {{ API_TOKEN = "T0PSECRET" }}
        [[service.a.crash.notify]]
        exec = ["/bin/sh", "{script}"]
        "#
    ));
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");
    let (document, env) = told(&daemon, &sandbox, "failing", "opened");
    let report = daemon.wait_crashes("a", 1).remove(0);
    assert_eq!((&document["schema"], &document["service"]), (&json!(1), &json!("a")));
    assert_eq!((&document["condition"], &document["state"]), (&json!("failing"), &json!("opened")));
    assert_eq!(document["reason"], report.reason);
    assert_eq!(document["crash_id"], report.id);
    assert_eq!(document["crash"]["exit_code"], 3);
    assert_eq!(document["after_seconds"], Value::Null);
    assert!(!document["host"].as_str().unwrap().is_empty());
    for fact in [
        "MCPD_SERVICE=a",
        "MCPD_CONDITION=failing",
        "MCPD_STATE=opened",
        &format!("MCPD_CRASH_ID={}", report.id),
        &format!("MCPD_REASON={}", report.reason),
        "readable",
    ] {
        assert!(env.lines().any(|line| line == fact), "{fact}: {env}");
    }
    // It is mcpd's program, and no part of the service.
    assert!(!env.contains("T0PSECRET"));
    // The event that the document is about.
    let opened = daemon.wait_event("failing", |event| event.event == "condition_opened");
    assert_eq!(document["event"], opened.id);
    let notified = daemon.wait_event("notified", |event| event.event == "notified");
    assert_eq!((notified.cause, notified.service.as_deref()), (Some(opened.id), Some("a")));

    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");
    let (document, env) = told(&daemon, &sandbox, "parked", "opened");
    let report = daemon.wait_crashes("a", 2).remove(1);
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("restart.max_restarts") && reason.contains(&report.reason), "{reason}");
    assert!(env.contains(&format!("MCPD_CRASH_ID={}", report.id)), "{env}");

    // It goes on failing while it is parked; somebody has to see to it.
    drop(daemon.ctl(&["stop", "a"]).expect(0));
    for condition in ["parked", "failing"] {
        let (document, env) = told(&daemon, &sandbox, condition, "closed");
        assert!(document["after_seconds"].as_f64().unwrap() > 0.0, "{document:#}");
        assert_eq!(document["crash"], Value::Null);
        assert!(env.contains("MCPD_CRASH_ID=\n") && env.contains("MCPD_REPORT=\n"), "{env}");
    }
}

#[test]
fn webhooks_get_their_shape_and_nobody_sees_where_they_are() {
    let sandbox = Sandbox::new("");
    let receiver = Receiver::new(&sandbox);
    let text = |more: &str| {
        format!(
            r#"
            [service.a]
            exec = ["@fixture", "crash-on", "@dir/crash", "--code", "3"]
            restart = {{ when = "never" }}
            environment = {{ API_TOKEN = "T0PSECRET-A" }}
            crash.notify = [
                {{ webhook = "{}", headers = {{ Authorization = "Bearer T0PSECRET-B" }} }},
                {{ webhook = "{}", template = "slack" }},
                {{ webhook = "{}", template = "discord" }},
                {{ webhook = "{}", template = "ntfy" }},
                {{ webhook = "{}", on = ["parked"] }},
                {more}
            ]
            "#,
            receiver.url("/json/T0PSECRET"),
            receiver.url("/slack/T0PSECRET"),
            receiver.url("/discord"),
            receiver.url("/ntfy"),
            receiver.url("/parked"),
        )
    };
    sandbox.configure(&text(&format!(r#"{{ webhook = "{}" }}"#, receiver.url("/404"))));
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.touch("crash");

    let json = receiver.wait(&daemon, "/json/T0PSECRET", 1).remove(0);
    assert_eq!(json.json()["condition"], "failing");
    assert_eq!(
        json.json()["crash"]["stderr_tail"].as_array().unwrap().last().unwrap()["text"],
        "RuntimeError: crashed on demand"
    );
    for header in ["authorization: Bearer T0PSECRET-B", "content-type: application/json"] {
        assert!(json.headers.iter().any(|found| found == header), "{header}: {json:?}");
    }
    let slack = receiver.wait(&daemon, "/slack/T0PSECRET", 1).remove(0).json();
    assert!(slack["text"].as_str().unwrap().contains("RuntimeError: crashed on demand"), "{slack:#}");
    let discord = receiver.wait(&daemon, "/discord", 1).remove(0).json();
    assert!(discord["embeds"][0]["title"].as_str().unwrap().starts_with("a on "), "{discord:#}");
    let ntfy = receiver.wait(&daemon, "/ntfy", 1).remove(0);
    assert!(ntfy.headers.iter().any(|header| header == "priority: high"), "{ntfy:?}");

    // What is refused for good is told at once.
    let failed = daemon.wait_event("notify_failed", |event| event.event == "notify_failed");
    assert!(failed.message.contains("1 try: it answered 404"), "{}", failed.message);
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| request.path != "/parked"), "{requests:#?}");
    assert!(requests.iter().all(|request| !request.body.contains("T0PSECRET")), "{requests:#?}");

    // Nowhere mcpd says anything are the secrets to be seen.
    sandbox.configure(&text(""));
    let plan = daemon.ctl(&["config", "plan", "--json"]).expect(0).all();
    assert!(plan.contains("crash.notify") && plan.contains("[redacted]"), "{plan}");
    let shown = daemon.ctl(&["config", "show", "--json", sandbox.config().to_str().unwrap()]);
    let status = serde_json::to_string(&daemon.status("a")).unwrap();
    let events = serde_json::to_string(&daemon.events()).unwrap();
    for text in [plan, shown.all(), status, events, daemon.stderr()] {
        assert!(!text.contains("/T0PSECRET") && !text.contains("T0PSECRET-B"), "{text}");
    }
    drop(daemon.ctl(&["daemon", "reload"]).expect(0));
    drop(daemon.ctl(&["stop", "a"]).expect(0));
    let closed = receiver.wait(&daemon, "/json/T0PSECRET", 2).remove(1).json();
    assert_eq!((&closed["condition"], &closed["state"]), (&json!("failing"), &json!("closed")));
}

#[test]
fn receivers_that_hang_or_fail_hold_up_nobody() {
    let sandbox = Sandbox::new("");
    let (receiver, hangs) = (Receiver::new(&sandbox), Receiver::new(&sandbox));
    // Nobody is there.
    let refuses = format!("http://{}/", sandbox.address());
    sandbox.configure(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3"]
        restart = {{ when = "never" }}
        crash.notify = [
            {{ webhook = "{}" }},
            {{ webhook = "{refuses}" }},
            {{ exec = ["/bin/sh", "-c", "exec sleep 1000"] }},
            {{ exec = ["/no/such/program"] }},
            {{ webhook = "{}" }},
            {{ webhook = "{}" }},
        ]
        "#,
        hangs.url("/hang"),
        receiver.url("/busy"),
        receiver.url("/fine"),
    ));
    let daemon = sandbox.start();
    hangs.wait(&daemon, "/hang", 1);
    receiver.wait(&daemon, "/fine", 1);
    // It said 503, and is asked again a second later.
    receiver.wait(&daemon, "/busy", 2);
    daemon.wait_event("notified", |event| {
        event.event == "notified" && event.message.contains("failing opened")
    });
    // Whatever becomes of it, services are supervised.
    daemon.ctl(&["start", "a"]);
    daemon.wait_crashes("a", 2);
    assert_eq!(receiver.requests().len(), 3, "it went on failing: nothing new is to be told");
}

#[test]
fn a_storm_of_crashes_is_one_message_for_each_condition() {
    let sandbox = Sandbox::new("");
    let receiver = Receiver::new(&sandbox);
    sandbox.configure(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3"]
        restart = {{ delay = "1ms", max_delay = "1ms", jitter = 0, max_restarts = 0 }}
        crash = {{ keep = 1000, notify = [{{ webhook = "{}" }}] }}
        "#,
        receiver.url("/"),
    ));
    let daemon = sandbox.start();
    let seen = |count: usize| -> Vec<(String, String)> {
        let requests = receiver.wait(&daemon, "/", count);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        requests
            .iter()
            .map(Request::json)
            .map(|said| (text(&said["condition"]), text(&said["state"])))
            .collect()
    };
    let pair = |condition: &str, state: &str| (condition.to_owned(), state.to_owned());
    seen(2);
    daemon.wait_status("a", "fifty crashes", |status| status.crash_count >= 50);
    drop(daemon.ctl(&["stop", "a"]).expect(0));
    let mut all = seen(4);
    assert_eq!(all[..2], [pair("failing", "opened"), pair("flapping", "opened")]);
    all.drain(..2);
    all.sort();
    assert_eq!(all, [pair("failing", "closed"), pair("flapping", "closed")]);
    assert_eq!(receiver.requests().len(), 4);
    let flapping = receiver.requests()[1].json();
    assert!(flapping["reason"].as_str().unwrap().starts_with("it failed "), "{flapping:#}");
    assert!(flapping["crash"].is_object(), "{flapping:#}");
}

#[test]
fn a_health_check_that_only_reports_is_told() {
    let sandbox = Sandbox::new("");
    let receiver = Receiver::new(&sandbox);
    sandbox.configure(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "run"]
        health = {{ exec = ["@fixture", "exists", "@dir/well"], interval = "20ms", retries = 2, start_period = 0, action = "report" }}
        crash.notify = [{{ webhook = "{}", on = ["unhealthy"] }}, {{ journal = true }}]
        "#,
        receiver.url("/"),
    ));
    sandbox.touch("well");
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    sandbox.remove("well");
    let opened = receiver.wait(&daemon, "/", 1).remove(0).json();
    assert_eq!((&opened["condition"], &opened["state"]), (&json!("unhealthy"), &json!("opened")));
    assert!(opened["reason"].as_str().unwrap().contains("is not there"), "{opened:#}");
    sandbox.touch("well");
    let closed = receiver.wait(&daemon, "/", 2).remove(1).json();
    assert_eq!((&closed["condition"], &closed["state"]), (&json!("unhealthy"), &json!("closed")));
    daemon.wait("mcpd's own log", || {
        let said = daemon.stderr();
        let both = said.contains("is unhealthy: its health check fails")
            && said.contains("is no longer unhealthy: ");
        if both { Ok(()) } else { Err(said) }
    });
}

/// The end of mcpd is the end of what was wrong, and whoever heard of that hears of this as well.
#[test]
fn what_is_over_with_mcpd_is_told_before_its_end() {
    let sandbox = Sandbox::new("");
    let script = script(&sandbox);
    sandbox.configure(&format!(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3"]
        restart = {{ max_restarts = 1, delay = "1ms" }}
        crash.notify = [{{ exec = ["/bin/sh", "{script}"], on = ["parked"] }}]
        "#
    ));
    let daemon = sandbox.start();
    told(&daemon, &sandbox, "parked", "opened");
    assert!(daemon.stop().success());
    let env = std::fs::read_to_string(sandbox.path("told-parked-closed.env")).unwrap();
    assert!(env.contains("MCPD_STATE=closed") && env.ends_with("end\n"), "{env}");
}

//! Control of many: hundreds of services in one request.

use std::collections::BTreeSet;

use mcpd_tests::proto::message::FromDaemon;
use mcpd_tests::proto::method::EachOutcome;
use mcpd_tests::proto::status::State;
use mcpd_tests::proto::{MAX_LINE, SCHEMA};
use mcpd_tests::{Daemon, Sandbox};
use serde_json::{Value, json};

const MANY: usize = 500;
/// These end at once.
const BAD: usize = 3;

/// `MANY` services that stay up, none started yet, and some that do not.
fn many() -> String {
    format!(
        r#"
        [service."s@"]
        exec = ["/bin/sleep", "86400"]
        instances = {MANY}
        enabled = false
        log.target = "none"
        [service."bad@"]
        exec = ["@fixture", "exit", "3"]
        instances = {BAD}
        enabled = false
        restart.when = "never"
        "#
    )
}

/// Gives an order and collects what is told of each service; the answer last.
fn order(daemon: &Daemon<'_>, method: &str, names: &Value) -> (Vec<EachOutcome>, Value) {
    let mut client = daemon.client();
    let params = json!({ "names": names, "each": true });
    let mut told = Vec::new();
    let answer = client.call_streaming(method, params, |item| {
        assert_eq!(item.method, "service.outcome");
        let line = serde_json::to_string(&item).unwrap();
        assert!(line.len() < MAX_LINE / 100, "{} bytes", line.len());
        told.push(serde_json::from_value(item.params).unwrap());
    });
    (told, answer.unwrap())
}

/// "start/stop/restart of 1,000 services in one request, answered as each finishes"
#[test]
fn hundreds_are_answered_as_each_finishes() {
    let sandbox = Sandbox::new(&many());
    let daemon = sandbox.start();
    let (told, answer) = order(&daemon, "service.start", &json!(["*"]));
    assert_eq!((told.len(), &answer["schema"]), (MANY + BAD, &json!(SCHEMA)));
    assert_eq!((&answer["succeeded"], &answer["failed"]), (&json!(MANY), &json!(BAD)), "{answer}");
    assert_eq!(answer["outcomes"], json!([]));
    assert!(told.iter().enumerate().all(|(at, each)| (each.done, each.of) == (at + 1, MANY + BAD)));
    let names: BTreeSet<&str> = told.iter().map(|each| each.outcome.name.as_str()).collect();
    assert_eq!(names.len(), MANY + BAD, "each once");
    assert!(told.iter().all(|each| each.outcome.ok != each.outcome.name.starts_with("bad@")));
    // Those that end at once are told of before those that have to live for a second, although they come last by name.
    let first_good = told.iter().position(|each| each.outcome.ok).unwrap();
    assert!(told[..first_good].iter().any(|each| each.outcome.name.starts_with("bad@")), "{first_good}");

    let pids: Vec<Option<u32>> = daemon.list().services.iter().map(|service| service.pid).collect();
    let (told, _) = order(&daemon, "service.restart", &json!(["s@*"]));
    assert!(told.len() == MANY && told.iter().all(|each| each.outcome.ok));
    let after = daemon.list().services;
    assert!(after.iter().zip(&pids).all(|(now, before)| now.name.starts_with("bad@") || now.pid != *before));

    let shown = daemon.ctl(&["stop", "s@*"]).expect(0);
    assert!(shown.stdout.starts_with(&format!("{MANY} services stopped in ")), "{shown:?}");
    assert_eq!(shown.stderr, "", "no counter where nobody watches");
    assert!(daemon.list().services.iter().all(|service| service.pid.is_none()));
    let shown = daemon.ctl(&["start", "bad@*", "s@1*", "--json"]).expect(1);
    let lines = shown.json_lines();
    assert_eq!(lines.last().unwrap()["failed"], json!(BAD));
    assert_eq!(lines[0]["of"], json!(lines.len() - 1));
}

/// "a client that goes away changes nothing"
#[test]
fn an_order_outlives_the_client_that_gave_it() {
    let sandbox = Sandbox::new(&many());
    let daemon = sandbox.start();
    let mut client = daemon.client();
    client.send("service.start", json!({ "names": ["s@*", "bad@*"], "each": true })).unwrap();
    let FromDaemon::Notification(_) = client.receive().unwrap() else { panic!("the answer came first") };
    drop(client);
    daemon.wait("all to be up", || {
        let services = daemon.list().services;
        let up = services.iter().filter(|service| service.state == State::Up).count();
        if up == MANY { Ok(()) } else { Err(format!("{up} are up")) }
    });
    assert_eq!(order(&daemon, "service.stop", &json!(["s@*"])).0.len(), MANY);
}

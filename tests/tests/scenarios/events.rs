//! The journal of events: who asked, what because of what, and all of it there after a SIGKILL.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use mcpd_tests::proto::client::Client;
use mcpd_tests::proto::event::Event;
use mcpd_tests::proto::message::FromDaemon;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{patience, wait_for};
use mcpd_tests::{Daemon, Sandbox, processes};
use serde_json::{Value, json};

const RUNS: &str = r#"
    [service.a]
    exec = ["@fixture", "run"]
"#;

/// What is on disk, in the order of the files' names and lines, and how many lines are no records.
fn on_disk(sandbox: &Sandbox) -> (Vec<Event>, usize) {
    let folder = sandbox.state_dir().join("events");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // "events-000..." sorts before "events.jsonl".
    paths.sort();
    let (mut events, mut torn) = (Vec::new(), 0);
    for path in paths {
        for line in fs::read(path).unwrap().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(event) => events.push(event),
                Err(_) => torn += 1,
            }
        }
    }
    (events, torn)
}

fn listed(daemon: &Daemon<'_>, params: Value) -> Vec<Event> {
    serde_json::from_value(daemon.call("event.list", params)["events"].clone()).unwrap()
}

/// "operator command (who, from which peer) ... is one record with the id of its cause"
#[test]
fn who_asked_is_written_down_and_what_follows_leads_back_to_it() {
    let sandbox = Sandbox::new(RUNS);
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.call("service.stop", json!({ "names": ["a"] }));
    let asked = daemon.wait_event("asked", |event| event.event == "asked");
    let by = &asked.data["by"];
    assert_eq!(by["pid"], std::process::id(), "{asked:?}");
    assert_eq!(by["uid"], rustix::process::geteuid().as_raw(), "{asked:?}");
    assert!(by["program"].as_str().is_some_and(|name| name.starts_with("scenarios")), "{asked:?}");
    assert_eq!((asked.cause, &asked.data["verb"]), (None, &json!("stop")));
    let down = daemon.wait_event("down", |event| event.event == "down" && event.service.is_some());
    let events: BTreeMap<u64, Event> = daemon.events().into_iter().map(|event| (event.id, event)).collect();
    let mut chain = vec![&down];
    while let Some(cause) = chain[chain.len() - 1].cause.and_then(|cause| events.get(&cause)) {
        chain.push(cause);
    }
    let names: Vec<&str> = chain.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["down", "exited", "stopping", "asked"]);

    sandbox.configure("[service.a]\nexec = [\"@fixture\", \"run\", \"--term-delay\", \"1\"]\n");
    daemon.call("daemon.reload", json!({}));
    let reload = daemon.wait_event("reload", |event| event.event == "reload");
    assert_eq!(reload.data["by"]["pid"], std::process::id(), "{reload:?}");
    let redefined = daemon.wait_event("redefined", |event| event.event == "redefined");
    assert_eq!(redefined.cause, Some(reload.id), "{redefined:?}");
    let keys = redefined.data["keys"].as_array().unwrap();
    assert_eq!(keys, &[json!("exec")], "{redefined:?}");
}

/// Whatever became of a service leads back to mcpd's beginning, to somebody's word or to a change of the configuration.
#[test]
fn everything_leads_back_to_where_it_began() {
    let services = |edition: &str| {
        format!(
            r#"
            [service.crashes]
            exec = ["@fixture", "exit", "1"]
            restart = {{ delay = "10ms", jitter = 0, max_restarts = 2 }}
            [service.base]
            exec = ["@fixture", "run"]
            environment = {{ EDITION = "{edition}" }}
            [service.top]
            exec = ["@fixture", "run"]
            requires = ["base"]
            after = ["base"]
            [service.idle]
            exec = ["@fixture", "run"]
            enabled = false
            "#
        )
    };
    let sandbox = Sandbox::new(&services("a"));
    let daemon = sandbox.start();
    daemon.wait_state("crashes", State::Parked);
    daemon.wait_state("top", State::Up);
    let _ = daemon.ctl(&["start", "idle"]).expect(0);
    daemon.ctl(&["signal", "USR1", "idle"]);
    let _ = daemon.ctl(&["restart", "base"]).expect(0);
    daemon.wait_status("top", "up again", |now| now.state == State::Up && now.generation > 1);
    let _ = daemon.ctl(&["stop", "base"]).expect(0);
    daemon.wait_state("top", State::Down);
    let _ = daemon.ctl(&["reset", "crashes"]).expect(0);
    let _ = daemon.ctl(&["start", "top"]).expect(0);
    sandbox.configure(&services("b"));
    let _ = daemon.ctl(&["daemon", "reload", "--restart"]).expect(0);
    daemon.wait_status("base", "new", |now| now.state == State::Up && now.generation > 3);

    let events: BTreeMap<u64, Event> = daemon.events().into_iter().map(|event| (event.id, event)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for event in events.values().filter(|event| event.service.is_some()) {
        let mut at = event;
        while let Some(cause) = at.cause {
            assert!(cause < at.id, "{at:?}");
            at = events.get(&cause).unwrap_or_else(|| panic!("{at:?} has a cause that is not there"));
        }
        let becomes =
            ["spawning", "started", "up", "stopping", "exited", "failed", "backoff", "parked", "down"];
        if becomes.contains(&event.event.as_str()) {
            let roots = ["began", "asked", "reload"];
            assert!(roots.contains(&at.event.as_str()), "{event:?} leads back to {at:?}");
            seen.insert((event.event.clone(), at.event.clone()));
        }
    }
    for (event, root) in [
        ("parked", "began"),
        ("spawning", "asked"),
        ("down", "asked"),
        ("stopping", "reload"),
        ("spawning", "reload"),
    ] {
        assert!(seen.contains(&(event.to_owned(), root.to_owned())), "{event} <- {root}: {seen:?}");
    }
}

/// A crash's record leads to the failure, and the failure to the start of that run.
#[test]
fn a_crash_has_the_failure_as_its_cause() {
    let sandbox = Sandbox::new(
        r#"
        [service.a]
        exec = ["@fixture", "exit", "3"]
        restart = { when = "never" }
        "#,
    );
    let daemon = sandbox.start();
    let crash = daemon.wait_event("crash", |event| event.event == "crash");
    let events = daemon.events();
    let cause = events.iter().find(|event| Some(event.id) == crash.cause).unwrap();
    assert_eq!((cause.event.as_str(), cause.service.as_deref()), ("failed", Some("a")));
}

/// The next life goes on where the last one ended, and a client too.
#[test]
fn events_outlive_the_daemon() {
    let sandbox = Sandbox::new(RUNS);
    let first = sandbox.start();
    first.wait_state("a", State::Up);
    let last = first.events().last().unwrap().id;
    first.kill_alone();
    let second = sandbox.start();
    second.wait_state("a", State::Up);
    let all = listed(&second, json!({ "last": 10_000 }));
    assert!(all.windows(2).all(|pair| pair[1].id > pair[0].id), "{all:#?}");
    assert_eq!(all.iter().filter(|event| event.event == "began").count(), 2);
    assert!(all.iter().any(|event| event.id == last));
    let of_a = listed(&second, json!({ "name": "a", "events": ["started"] }));
    assert_eq!(of_a.len(), 2, "{of_a:#?}");
    let since = listed(&second, json!({ "since": of_a[1].time, "name": "a" }));
    assert_eq!(since.first(), of_a.get(1));
    // Neither gap nor double from one life into the next.
    let mut client = second.client();
    let mut seen = Vec::new();
    client
        .call_streaming("event.subscribe", json!({ "after": last, "follow": false }), |item| {
            seen.push(item.params["id"].as_u64().unwrap());
        })
        .unwrap();
    let expected: Vec<u64> = all.iter().map(|event| event.id).filter(|id| *id > last).collect();
    assert_eq!(seen[..expected.len()], expected);
    let text = second.ctl(&["events", "a", "--since", "1h"]).expect(0).all();
    assert_eq!(text.lines().filter(|line| line.contains(" started ")).count(), 2, "{text}");
    // It is another one that never was.
    assert_eq!(second.ctl(&["events", "b"]).code, 5);
}

/// "Disk full, read-only state directory ...: said once, service supervision unaffected."
#[test]
fn a_journal_that_cannot_be_written_harms_nobody() {
    let sandbox = Sandbox::new(RUNS);
    let path = sandbox.state_dir().join("events");
    fs::create_dir_all(sandbox.state_dir()).unwrap();
    fs::write(&path, "in the way").unwrap();
    let daemon = sandbox.start();
    daemon.wait_state("a", State::Up);
    daemon.wait_event("journal_failing", |event| event.event == "journal_failing");
    fs::remove_file(&path).unwrap();
    daemon.wait("journal_recovered", || {
        // It is tried again when there is something to write.
        daemon.call("service.reset", json!({ "names": ["a"] }));
        daemon.call("service.restart", json!({ "names": ["a"] }));
        let events = daemon.events();
        let recovered = events.iter().find(|event| event.event == "journal_recovered");
        recovered.map(|event| assert_eq!(event.data["lost"], 0)).ok_or("not yet".to_owned())
    });
    assert_eq!(daemon.events().iter().filter(|event| event.event == "journal_failing").count(), 1);
    wait_for("all of it on disk", || {
        let (events, torn) = on_disk(&sandbox);
        torn == 0 && events.first().is_some_and(|event| event.event == "began") && {
            events.iter().any(|event| event.event == "journal_recovered")
        }
    });
}

/// "Kill -9 of mcpd in the middle of writing ... an event, 200 times, loses no report that was decided upon and corrupts
/// none": what a client had seen is there, numbers only grow, and no more than a line a life is torn.
#[test]
fn two_hundred_sigkills_lose_nothing_that_was_seen() {
    const LIVES: usize = 200;
    let mut services = String::new();
    for number in 0..12 {
        services += &format!(
            "[service.s{number}]\nexec = [\"/bin/true\"]\nrestart = {{ when = \"always\", delay = 0, max_restarts = 0, jitter = 0 }}\n"
        );
    }
    let sandbox = Sandbox::new(&services);
    let mut seen: BTreeMap<u64, Event> = BTreeMap::new();
    for life in 0..LIVES {
        let mut child = Daemon::command(&sandbox).spawn().unwrap();
        let mut client = connected(&sandbox);
        let after = seen.last_key_value().map_or(0, |(id, _)| *id);
        client.send("event.subscribe", json!({ "after": after })).unwrap();
        let (heard, hears) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            // Also what was on its way when it was killed.
            while let Ok(message) = client.receive() {
                if let FromDaemon::Notification(item) = message
                    && item.method == "event"
                {
                    let mut event = item.params;
                    event.as_object_mut().unwrap().remove("request");
                    heard.send(serde_json::from_value::<Event>(event).unwrap()).unwrap();
                }
            }
        });
        // Some lives are killed at once, some in the middle of it all.
        let enough = (life * 7) % 60;
        let mut mine: Vec<Event> = Vec::new();
        while mine.len() < enough {
            mine.push(hears.recv_timeout(patience()).unwrap());
        }
        processes::kill_with_daemon(child.id());
        child.wait().unwrap();
        reader.join().unwrap();
        mine.extend(hears);
        for event in mine {
            assert!(event.id > after);
            assert_eq!(seen.insert(event.id, event), None, "told twice");
        }
    }
    let (there, torn) = on_disk(&sandbox);
    assert!(torn <= LIVES, "{torn}");
    assert!(there.windows(2).all(|pair| pair[0].id < pair[1].id));
    let there: BTreeMap<u64, Event> = there.into_iter().map(|event| (event.id, event)).collect();
    assert!(there.len() > LIVES * 10, "{}", there.len());
    for (id, event) in &seen {
        assert_eq!(there.get(id), Some(event), "seen, and not there");
        assert!(event.cause.is_none_or(|cause| cause < *id && there.contains_key(&cause)), "{event:?}");
    }
    // The clients have gone on where they were, so that they have seen all but what came after the last of them.
    let last = *seen.last_key_value().unwrap().0;
    assert!(there.keys().all(|id| *id > last || seen.contains_key(id)));
    // And the next life finds its way about in it.
    let daemon = sandbox.start();
    let newest = listed(&daemon, json!({ "events": ["began"], "last": 10_000 }));
    assert_eq!(newest.len(), there.values().filter(|event| event.event == "began").count() + 1);
}

/// "a storm of 1,000 crashes a second costs bounded disk and memory, and says what it coalesced"; and a client that does
/// not read for a while is told of everything that is there, and how much is not.
#[test]
fn a_storm_is_coalesced_and_a_slow_client_is_told_what_is_missing() {
    let restart = "restart = { when = \"always\", delay = 0, max_restarts = 0, jitter = 0 }";
    let services: String =
        (0..3).map(|number| format!("[service.s{number}]\nexec = [\"/bin/true\"]\n{restart}\n")).collect();
    let sandbox = Sandbox::new(&services);
    let daemon = sandbox.start();
    let mut client = daemon.client();
    client.send("event.subscribe", json!({ "after": 0 })).unwrap();
    let told = daemon.wait("a storm that is told of", || {
        listed(&daemon, json!({ "events": ["coalesced"] })).into_iter().next().ok_or("nothing yet".to_owned())
    });
    daemon.wait("more than are kept for a slow client", || {
        let newest = listed(&daemon, json!({ "last": 1 }))[0].id;
        if newest > 6_000 { Ok(()) } else { Err(format!("{newest} events")) }
    });
    let counts = told.data["counts"].as_object().unwrap();
    let records: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert!(told.service.is_some() && records > 0 && told.data["records"] == records, "{told:?}");
    // What it is told to have missed is what it has not seen, neither more nor less.
    let (mut last, mut gaps, mut missed) = (0, 0, 0);
    while missed == 0 || gaps != missed || last < told.data["last"].as_u64().unwrap() {
        let FromDaemon::Notification(item) = client.receive().unwrap() else { panic!("it ends too early") };
        match item.params["id"].as_u64() {
            Some(id) => {
                assert!(id > last, "{id} after {last}");
                gaps += id - last - 1;
                last = id;
            }
            None => missed += item.params["missed"].as_u64().unwrap(),
        }
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let (events, torn) = on_disk(&sandbox);
    assert_eq!(torn, 0);
    let first = told.data["first"].as_u64().unwrap();
    let of_it = events.iter().filter(|event| event.service == told.service && event.id < first);
    assert_eq!(of_it.count(), 500);
    let newest = usize::try_from(events.last().unwrap().id).unwrap();
    assert!(events.len() < newest, "{} of {newest}", events.len());
}

fn connected(sandbox: &Sandbox) -> Client {
    let mut client = None;
    wait_for("an answer", || {
        client = Client::connect(&sandbox.socket()).ok();
        // What the last life had just started holds its socket until it is the program that it is to be.
        let hello = client.as_mut().map(|client| client.call("daemon.hello", json!({})));
        matches!(hello, Some(Ok(_))) || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    });
    client.unwrap()
}

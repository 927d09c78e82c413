//! `logs` and `events`: line by line, until the daemon, the reader or Ctrl-C ends it.

use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};

use crate::fake::{BOUND, Fake, Then};
use crate::run::{Running, command, mcpctl};

fn line(text: &str) -> Value {
    json!({"time": "2026-11-22T11:30:00.123456Z", "stream": "out", "text": text})
}

fn done() -> Value {
    json!({"schema": 1, "lines": 1})
}

/// A follower against a daemon that sends one line, then closes the connection when told to.
fn following(verb: &str, method: &'static str, item: Value) -> (Running, Sender<()>, Fake) {
    let (close, told): (Sender<()>, Receiver<()>) = channel();
    let fake = Fake::start(move |asked| {
        asked.notify(method, item.clone());
        let _ = told.recv_timeout(BOUND);
        Then::Close
    });
    let mut command = command(verb);
    command.arg("--socket").arg(&fake.socket);
    (Running::start(command), close, fake)
}

/// The daemon is gone, and no other one takes its place.
fn end(close: &Sender<()>, fake: &Fake) {
    std::fs::remove_file(&fake.socket).unwrap();
    close.send(()).unwrap();
}

#[test]
fn followed_lines_come_at_once_and_the_daemons_end_is_10() {
    let (mut running, close, fake) = following("logs web -f", "log.lines", json!({"lines": [line("hello")]}));
    assert_eq!(running.line(), "2026-11-22T11:30:00.123456Z out hello\n");
    assert_eq!(fake.asked(), ("log.follow".into(), json!({"name": "web", "lines": 10, "since": null})));
    end(&close, &fake);
    let ended = running.end();
    assert_eq!(ended.code, 10, "{ended:?}");
    assert_eq!(ended.stderr, "mcpctl: mcpd closed the connection, and is not there any more.\n");
}

#[test]
fn followed_events_come_at_once() {
    let event = json!({
        "schema": 1, "id": 1, "time": "2026-11-22T11:30:00Z", "service": "web", "event": "started", "message": "pid 7",
    });
    let (mut running, close, fake) = following("events -f", "event", event.clone());
    assert_eq!(running.line(), "2026-11-22T11:30:00Z web started pid 7\n");
    assert_eq!(
        fake.asked(),
        ("event.subscribe".into(), json!({"name": null, "backlog": 10, "follow": true}))
    );
    end(&close, &fake);
    assert_eq!(running.end().code, 10);

    let (mut running, close, fake) = following("events -f --json", "event", event.clone());
    assert_eq!(serde_json::from_str::<Value>(&running.line()).unwrap(), event);
    end(&close, &fake);
    assert_eq!(running.end().code, 10);
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_how_following_ends() {
    use rustix::process::{Pid, Signal, kill_process};

    let (mut running, _close, _fake) =
        following("logs web -f", "log.lines", json!({"lines": [line("hello")]}));
    running.line();
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = running.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let fake = Fake::start(|asked| {
        while asked.lines(json!([line("again and again")])) == Then::GoOn {}
        Then::Close
    });
    for verb in ["logs web -f", "logs web -n all", "logs web -f --json", "logs web --raw"] {
        let mut command = command(verb);
        command.arg("--socket").arg(&fake.socket);
        let mut running = Running::start(command);
        running.line();
        running.close_stdout();
        let ended = running.end();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{verb}: {ended:?}");
    }
}

#[test]
fn events_left_out_are_counted() {
    let fake = Fake::start(|asked| {
        asked.notify("events_missed", json!({"missed": 3}));
        asked.answer(json!({}))
    });
    let ended = mcpctl(&fake.socket, "events");
    assert_eq!((ended.code, ended.text().as_str()), (0, ""), "{ended:?}");
    assert!(ended.stderr.contains("3 events left out"), "{ended:?}");
    assert_eq!(mcpctl(&fake.socket, "events --json").text(), "{\"missed\":3}\n");
}

#[test]
fn events_from_a_time_on_are_all_of_them() {
    let fake = Fake::start(|asked| asked.answer(json!({})));
    for (words, params) in [
        ("events", json!({"name": null, "backlog": 100, "follow": false})),
        (
            "events web --since 2026-11-22T11:30:00Z",
            json!({"name": "web", "since": "2026-11-22T11:30:00Z", "follow": false}),
        ),
        (
            "events -n 3 --since 2026-11-22T11:30:00Z",
            json!({"name": null, "backlog": 3, "since": "2026-11-22T11:30:00Z", "follow": false}),
        ),
    ] {
        assert_eq!(mcpctl(&fake.socket, words).code, 0, "{words}");
        assert_eq!(fake.asked(), ("event.subscribe".into(), params), "{words}");
    }
    assert_eq!(mcpctl(&fake.socket, "events --since whenever").code, 2);
}

#[test]
fn following_from_a_time_on_asks_for_all_of_it() {
    let fake = Fake::start(|_| Then::Close);
    assert_eq!(mcpctl(&fake.socket, "logs web -f --since 2026-11-22T11:30:00Z").code, 10);
    let params = json!({"name": "web", "lines": null, "since": "2026-11-22T11:30:00Z"});
    assert_eq!(fake.asked(), ("log.follow".into(), params));
}

#[test]
fn reading_asks_for_what_was_asked_for() {
    let fake = Fake::start(|asked| {
        asked.lines(json!([line("one")]));
        asked.answer(done())
    });
    let table = [
        ("logs web", json!({"name": "web", "lines": 100, "since": null})),
        ("logs web -n 5", json!({"name": "web", "lines": 5, "since": null})),
        ("logs web -n all", json!({"name": "web", "lines": null, "since": null})),
        (
            "logs web --since 2026-11-22T12:30:00+01:00",
            json!({"name": "web", "lines": null, "since": "2026-11-22T11:30:00Z"}),
        ),
        (
            "logs web -n 7 --since 2026-11-22T11:30:00Z",
            json!({"name": "web", "lines": 7, "since": "2026-11-22T11:30:00Z"}),
        ),
    ];
    for (verb, params) in table {
        let ended = mcpctl(&fake.socket, verb);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{verb}: {ended:?}");
        assert_eq!(fake.asked(), ("log.read".into(), params), "{verb}");
    }
}

#[test]
fn raw_is_byte_for_byte() {
    let fake = Fake::start(|asked| {
        asked.lines(json!([
            {"time": null, "stream": "out", "text": "begin ", "continues": true},
            {"time": null, "stream": "err", "text": "between"},
            {"time": null, "stream": "out", "text": "end"},
            // 0xff 0x00 a
            {"time": null, "stream": "out", "text": "\u{fffd}\0a", "base64": "/wBh"},
            {"time": null, "stream": "out", "text": "\u{1b}[31mred"},
        ]));
        asked.answer(done())
    });
    let ended = mcpctl(&fake.socket, "logs web --raw");
    assert_eq!(ended.stdout, b"between\nbegin end\n\xff\0a\n\x1b[31mred\n", "{ended:?}");
    let ended = mcpctl(&fake.socket, "logs web");
    assert_eq!(ended.stdout, b"err between\nout begin end\nout \xff\0a\nout \x1b[31mred\n", "{ended:?}");
    let ended = mcpctl(&fake.socket, "logs web --json");
    assert_eq!(ended.text().lines().count(), 5, "{ended:?}");
    let fourth: Value = serde_json::from_str(ended.text().lines().nth(3).unwrap()).unwrap();
    assert_eq!(fourth["base64"], "/wBh");
}

#[test]
fn lines_left_out_are_told_apart_from_the_output() {
    let fake = Fake::start(|asked| {
        asked.notify("log.lines", json!({"lines": [line("after")], "skipped": 12}));
        asked.answer(done())
    });
    let ended = mcpctl(&fake.socket, "logs web");
    assert_eq!(ended.text(), "2026-11-22T11:30:00.123456Z out after\n");
    assert!(ended.stderr.contains("12 lines left out"), "{ended:?}");
    let ended = mcpctl(&fake.socket, "logs web --json");
    assert_eq!(ended.text().lines().next(), Some("{\"skipped\":12}"));
}

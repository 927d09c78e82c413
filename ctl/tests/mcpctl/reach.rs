//! Is the daemon there, may it be asked, does it answer in time?

use std::time::Duration;

use interprocess::local_socket::ListenerOptions;
use mcpd_proto::error::Kind;
use mcpd_proto::socket;
use serde_json::json;

use crate::fake::{BOUND, Fake, Then, daemon, free_socket, service};
use crate::run::{Running, command, mcpctl};

#[test]
fn a_daemon_that_is_not_there_is_one_sentence_and_10() {
    let (_dir, socket) = free_socket();
    for verb in ["status", "status web", "restart web", "logs web -f", "events", "crashes", "daemon shutdown"]
    {
        let ended = mcpctl(&socket, verb);
        assert_eq!(ended.code, 10, "{verb}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{verb}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{verb}: {ended:?}");
        let expected = format!("mcpctl: mcpd is not running: nothing listens on {}. ", socket.display());
        assert!(ended.stderr.starts_with(&expected), "{verb}: {ended:?}");
    }
    let ended = mcpctl(&socket, "status --json");
    assert_eq!((ended.code, &ended.json()["error"]["data"]["kind"]), (10, &json!("unreachable")));
}

#[test]
fn a_socket_left_behind_is_no_daemon() {
    let (_dir, socket) = free_socket();
    let name = socket::name(&socket).unwrap();
    let listener = ListenerOptions::new().name(name).reclaim_name(false).create_sync().unwrap();
    drop(listener);
    let ended = mcpctl(&socket, "status");
    assert_eq!(ended.code, 10, "{ended:?}");
    assert!(ended.stderr.contains("nothing listens on"), "{ended:?}");
}

#[test]
fn the_environment_names_the_socket() {
    let fake = Fake::start(|asked| asked.answer(daemon()));
    let mut command = command("daemon status");
    command.env("MCPD_SOCKET", &fake.socket);
    let ended = Running::start(command).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.text().starts_with("● mcpd 0.1.0, running\n"), "{ended:?}");
}

#[test]
fn silence_ends_with_11() {
    let fake = Fake::start(|_| Then::GoOn);
    for (verb, sentence) in [
        ("status --timeout 200ms", "did not answer within 200 ms."),
        ("stop web --timeout 0.2", "stopping web was not done within 200 ms. mcpd goes on with it"),
        ("logs web --timeout 200ms", "did not answer within 200 ms."),
    ] {
        let ended = mcpctl(&fake.socket, verb);
        assert_eq!(ended.code, 11, "{verb}: {ended:?}");
        assert!(ended.stderr.contains(sentence), "{verb}: {ended:?}");
    }
}

#[test]
fn the_limit_is_one_for_all_however_busy_the_stream() {
    let fake = Fake::start(|asked| {
        while asked.lines(json!([{"time": null, "stream": "out", "text": "tick"}])) == Then::GoOn {}
        Then::Close
    });
    let began = std::time::Instant::now();
    let ended = mcpctl(&fake.socket, "logs web -f --timeout 300ms");
    assert_eq!(ended.code, 11, "{}", ended.stderr);
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < BOUND);
    assert!(!ended.stdout.is_empty());
}

/// The next daemon answers what the one before it was asked; what would be done twice is not asked twice.
#[test]
fn a_question_is_asked_again_and_an_order_is_not() {
    let mut asked_before = false;
    let fake = Fake::start(move |asked| {
        if std::mem::replace(&mut asked_before, true) {
            return asked
                .answer(json!({"schema": 1, "daemon": daemon(), "services": [service("web", "up")]}));
        }
        Then::Close
    });
    let ended = mcpctl(&fake.socket, "status");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.starts_with(b"NAME"), "{ended:?}");
    assert_eq!([fake.asked().0, fake.asked().0], ["service.list", "service.list"]);

    let fake = Fake::start(|_| Then::Close);
    assert_eq!(mcpctl(&fake.socket, "restart web").code, 10);
    assert_eq!(fake.asked().0, "service.restart");
    assert!(fake.has_no_more());
}

#[test]
fn a_daemon_that_hangs_up_is_10_and_garbage_is_1() {
    let fake = Fake::start(|_| Then::Close);
    let ended = mcpctl(&fake.socket, "status");
    assert_eq!(ended.code, 10, "{ended:?}");
    assert!(ended.stderr.contains("closed the connection"), "{ended:?}");

    let fake = Fake::start(|asked| asked.answer(json!({"schema": 1, "services": 7})));
    let ended = mcpctl(&fake.socket, "status");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("does not understand"), "{ended:?}");
    assert_eq!(mcpctl(&fake.socket, "status --json").code, 0);
}

#[test]
fn a_later_schema_is_said_aloud() {
    let fake = Fake::start(|asked| {
        let mut status = service("web", "up");
        status["schema"] = json!(2);
        asked.answer(status)
    });
    let ended = mcpctl(&fake.socket, "status web");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("mcpd is newer"), "{ended:?}");
}

#[test]
fn each_kind_of_refusal_has_its_exit_code() {
    let table = [
        (Kind::Denied, 4),
        (Kind::NoSuchService, 5),
        (Kind::ConfigInvalid, 6),
        (Kind::NotRunning, 7),
        (Kind::ShuttingDown, 10),
        (Kind::Timeout, 11),
        (Kind::NoSuchCrash, 1),
        (Kind::Internal, 1),
    ];
    for (kind, code) in table {
        let fake = Fake::start(move |asked| asked.refuse(kind, "it will not do", json!({})));
        let ended = mcpctl(&fake.socket, "crashes show 1");
        assert_eq!((ended.code, ended.stderr.as_str()), (code, "mcpctl: it will not do\n"), "{kind:?}");
        let ended = mcpctl(&fake.socket, "crashes show 1 --json");
        assert_eq!((ended.code, &ended.json()["error"]["data"]["kind"]), (code, &json!(kind)), "{kind:?}");
    }
}

#[test]
fn usage_is_2() {
    let (_dir, socket) = free_socket();
    for line in [
        "dance",
        "start",
        "status --timeout soon",
        "signal web",
        "signal web SIGNOPE",
        "crashes show",
        "crashes web 1",
        "logs web --since whenever",
        "logs web --raw --json",
    ] {
        let ended = mcpctl(&socket, line);
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
        assert!(ended.stdout.is_empty() || line.contains("--json"), "{line}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{line}");
    }
    let ended = Running::start(command("--version")).end();
    assert_eq!((ended.code, ended.text()), (0, format!("mcpctl {}\n", env!("CARGO_PKG_VERSION"))));
}

//! `start`, `stop`, `restart`, `reset`, `signal`, `daemon`: what is asked, and what people read about the outcome.

use mcpd_proto::error::Kind;
use serde_json::{Value, json};

use crate::fake::{Fake, Then};
use crate::run::mcpctl;

fn outcomes(outcomes: Value) -> Value {
    json!({"schema": 1, "outcomes": outcomes})
}

#[test]
fn an_order_that_went_well_says_so() {
    let fake = Fake::start(|asked| {
        asked.answer(outcomes(json!([{"name": "web", "ok": true, "message": "running, pid 4711"}])))
    });
    let ended = mcpctl(&fake.socket, "restart web");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.text().starts_with("web: running, pid 4711"), "{ended:?}");
    assert_eq!(fake.asked(), ("service.restart".into(), json!({"names": ["web"], "wait": true})));
    mcpctl(&fake.socket, "start web --no-wait");
    assert_eq!(fake.asked(), ("service.start".into(), json!({"names": ["web"], "wait": false})));
}

#[test]
fn a_start_that_failed_shows_the_reason_the_tail_and_where_to_look() {
    let failed = outcomes(json!([{
        "name": "web", "ok": false, "message": "failed", "error": {
            "code": -32000, "message": "exited with code 1 after 0.3 s", "data": {
                "kind": "start_failed", "service": "web", "crash_id": "c1",
                "stderr_tail": [{"time": null, "stream": "err", "text": "ModuleNotFoundError: mcp"}],
            },
        },
    }]));
    let document = failed.clone();
    let fake = Fake::start(move |asked| asked.answer(failed.clone()));
    let ended = mcpctl(&fake.socket, "start web");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "web: exited with code 1 after 0.3 s\n    ModuleNotFoundError: mcp\n  see: mcpctl logs web -n 50\n       \
         mcpctl crashes show c1\n"
    );
    let ended = mcpctl(&fake.socket, "start web --json");
    assert_eq!((ended.code, ended.json(), ended.stderr.as_str()), (1, document, ""));
}

#[test]
fn a_start_refused_as_a_whole_reads_the_same() {
    let fake = Fake::start(|asked| {
        asked.refuse(Kind::StartFailed, "did not come up", json!({"service": "web", "stderr_tail": ["boom"]}))
    });
    let ended = mcpctl(&fake.socket, "start web");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (1, "web: did not come up\n    boom\n  see: mcpctl logs web -n 50\n")
    );
}

#[test]
fn an_unknown_service_is_5_with_a_suggestion() {
    let fake = Fake::start(|asked| {
        asked.refuse(Kind::NoSuchService, "there is no service \"wbe\"", json!({"nearest": "web"}))
    });
    for verb in ["start wbe", "stop wbe", "restart wbe", "reset wbe", "signal wbe HUP", "logs wbe"] {
        let ended = mcpctl(&fake.socket, verb);
        assert_eq!(ended.code, 5, "{verb}: {ended:?}");
        assert!(ended.stderr.contains("Did you mean \"web\"?"), "{verb}: {ended:?}");
    }
}

#[test]
fn signals_go_out_by_their_full_name() {
    let fake = Fake::start(|asked| asked.answer(outcomes(json!([]))));
    for (line, names, signal, all) in [
        ("signal web SIGHUP", json!(["web"]), "SIGHUP", false),
        ("signal -s usr1 web db", json!(["web", "db"]), "SIGUSR1", false),
        ("signal web 15 --all", json!(["web"]), "SIGTERM", true),
    ] {
        assert_eq!(mcpctl(&fake.socket, line).code, 0, "{line}");
        let params = json!({"names": names, "signal": signal, "all": all});
        assert_eq!(fake.asked(), ("service.signal".into(), params), "{line}");
    }
}

#[test]
fn a_reload_tells_what_it_touched_or_what_is_wrong() {
    let fake = Fake::start(|asked| {
        asked.answer(json!({
            "schema": 1, "added": ["a"], "removed": [], "restarted": ["b"], "updated": [], "unchanged": 3,
            "needs_daemon_restart": ["daemon.state_dir"],
        }))
    });
    let ended = mcpctl(&fake.socket, "daemon reload");
    assert_eq!(ended.text(), "configuration reloaded: 1 added (a), 1 restarted (b), 3 unchanged\n");
    assert!(ended.stderr.contains("daemon.state_dir"), "{ended:?}");

    let fake = Fake::start(|asked| {
        let data = json!({"diagnostics": "error: no such key\n --> mcpd.toml:3:1\n"});
        asked.refuse(Kind::ConfigInvalid, "the configuration has errors; nothing was changed", data)
    });
    let ended = mcpctl(&fake.socket, "daemon reload");
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.stderr.ends_with("\n\nerror: no such key\n --> mcpd.toml:3:1\n"), "{ended:?}");
}

#[test]
fn a_daemon_that_is_gone_before_it_answers_has_shut_down() {
    let fake = Fake::start(|_| Then::Close);
    let ended = mcpctl(&fake.socket, "daemon shutdown");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.text(), "mcpd and all its services are down\n");
}
